"""The project's own promises: lint, types, layers, light imports, commands that are documented."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import greenlove_mlflow
from greenlove_mlflow.cli import main

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
README = (ROOT / "README.md").read_text()
PROSE = (".py", ".md", ".html", ".js", ".j2", ".txt", ".ipynb")
# The first is a library; the second writes words into a table whose published versions are never edited.
HAVE_OTHERS_WORDS = ("vega.js", "speed_ratios_fit.py")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("lint-imports",),
    ],
    ids=" ".join,
)
def test_static_check_is_clean(command: tuple[str, ...]) -> None:
    done = run(str(BIN / command[0]), *command[1:])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_types_are_clean_and_mypy_refuses_a_misspelt_option_and_a_wrong_type(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import greenlove_mlflow as greenlove\n"
        'greenlove.estimate(None, None, None, [], epochs=3, country="DE")\n'
        'greenlove.estimate(None, None, None, [], epochs=3, contry="DE")\n'
        'greenlove.estimate(None, None, None, [], epochs=3, batch_size="many")\n'
        'with greenlove.track(None, None, None, [], epochs=3, contry="DE"):\n'
        "    pass\n"
    )
    said = run(str(BIN / "mypy"), "greenlove_mlflow", str(script)).stdout
    errors = [line for line in said.splitlines() if ": error:" in line]
    assert [line for line in errors if "script.py:" not in line] == []
    assert {line.split("script.py:")[1].split(":")[0] for line in errors} == {"3", "4", "5"}, said


def test_import_loads_neither_torch_nor_mlflow() -> None:
    code = "import json, sys, greenlove_mlflow; print(json.dumps(sorted(sys.modules)))"
    modules = set(json.loads(run(sys.executable, "-c", code).stdout))
    assert "greenlove_mlflow" in modules
    assert not modules & {"torch", "mlflow", "pandas", "numpy"}


def test_every_public_name_loads() -> None:
    for name in greenlove_mlflow.__all__:
        assert getattr(greenlove_mlflow, name) is not None


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        greenlove_mlflow.no_such_name  # noqa: B018 - the access is what is tested


def test_version_is_the_projects() -> None:
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert declared is not None
    assert greenlove_mlflow.__version__ == declared.group(1)


def test_every_command_says_what_it_does() -> None:
    assert [name for name, command in leaf_commands(main) if not command.help] == []


def leaf_commands(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(None):  # type: ignore[arg-type]
        command = group.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in leaf_commands(command))
        else:
            yield name, command


def test_every_command_can_speak_json_to_a_script() -> None:
    silent = [name for name, command in leaf_commands(main) if "as_json" not in {each.name for each in command.params}]
    assert silent == []


def test_the_readme_is_one_page() -> None:
    assert len(README.split()) <= 900


def test_ci_calls_the_readmes_own_test_command() -> None:
    assert README.count("<!-- test command -->") == 1
    command = README.split("<!-- test command -->")[1].split("```")[1]
    assert "python3 -m venv" in command
    assert "pytest" in command


@pytest.mark.slow
def test_modules_stay_short() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in (ROOT / "greenlove_mlflow").rglob("*.py")
        if (count := path.read_text().count("\n")) > 400
    }
    assert long == {}


def test_functions_stay_short_or_say_why() -> None:
    long = []
    for path in (ROOT / "greenlove_mlflow").rglob("*.py"):
        lines = path.read_text().splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.FunctionDef) and "#" not in lines[node.lineno - 1]:
                begins = node.body[1:] if ast.get_docstring(node) else node.body
                length = (node.end_lineno or 0) - begins[0].lineno + 1 if begins else 0
                if length > 40:
                    long.append(f"{path.name}: {node.name}, {length} lines")
    assert long == []


def test_a_percentage_is_written_in_one_way() -> None:
    """As ``f"{share:.0%}"`` writes it: what is measured and what is said of it read alike on every surface."""
    folders = ("greenlove_mlflow", "docs", "reports", "examples")
    pages = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in PROSE]
    apart = re.compile(r"[0-9}](?: |&nbsp;|\N{NO-BREAK SPACE})%(?=$|[.,;:)\"'`|/<]| [a-z(|])", re.MULTILINE)
    found = {
        str(path.relative_to(ROOT)): apart.findall(path.read_text("utf-8"))
        for path in (*pages, ROOT / "README.md", ROOT / "CHANGELOG.md")
        if path.name not in HAVE_OTHERS_WORDS
    }
    assert {path: words for path, words in found.items() if words} == {}
