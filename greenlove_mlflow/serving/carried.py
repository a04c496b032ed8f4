"""Copies the light part of the package into a model, so that it loads where the package is not installed."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import greenlove_mlflow._version as _version_file
from greenlove_mlflow._version import __version__

PACKAGE = "greenlove_mlflow"
MARKER = "carried_by_model.txt"
_ENTRY = f"{PACKAGE}.serving.model"


def copy_light_part(folder: Path) -> Path:
    """Copy the modules that the served code imports to ``greenlove_mlflow`` inside ``folder``, and return that path."""
    root = _root()
    for module in light_modules():
        source = _file_of(module)
        target = folder / PACKAGE / source.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    text = f"The light part of greenlove-mlflow {__version__}, carried by an MLflow model.\n"
    (folder / PACKAGE / MARKER).write_text(text, encoding="utf-8")
    return folder / PACKAGE


@cache
def light_modules() -> tuple[str, ...]:
    """The package's modules that ``predict`` imports, directly or indirectly, except for type checking."""
    found: set[str] = set()
    # The package's own __init__ imports the version, and nothing else when it is loaded.
    waiting = [_ENTRY, _version_file.__name__]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        parent = module.rpartition(".")[0]
        waiting += [parent] if parent else []
        # The package's lazy names lead to all of its modules, but served code does not use them.
        waiting += [] if module == PACKAGE else _imports_of(module)
    return tuple(sorted(found))


def _imports_of(module: str) -> list[str]:
    tree = ast.parse(_file_of(module).read_text(encoding="utf-8"))
    names: list[str] = []
    for node in _walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.startswith(f"{PACKAGE}.") and _exists(name)]


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes except branches under ``TYPE_CHECKING``."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk(child)


def _root() -> Path:
    return Path(_version_file.__file__).resolve().parent


def _exists(module: str) -> bool:
    return _file_of(module).is_file()


def _file_of(module: str) -> Path:
    path = _root().joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
