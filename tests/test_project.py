"""The project's own promises: lint, types, layers, light imports, commands that are documented."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import greenlove_mlflow
from greenlove_mlflow.cli import main

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "command",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",), ("lint-imports",)],
    ids=" ".join,
)
def test_static_check_is_clean(command: tuple[str, ...]) -> None:
    done = run(str(BIN / command[0]), *command[1:])
    assert done.returncode == 0, done.stdout + done.stderr


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


def test_every_command_is_in_the_readme_and_says_what_it_does() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in main.list_commands(None):  # type: ignore[arg-type]
        command = main.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        assert command.help, name
        assert f"greenlove {name}" in readme


def test_ci_calls_the_readmes_own_test_command() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme.count("<!-- test command -->") == 1
    command = readme.split("<!-- test command -->")[1].split("```")[1]
    assert "python3 -m venv" in command
    assert "pytest" in command


def test_modules_stay_short() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in (ROOT / "greenlove_mlflow").rglob("*.py")
        if (count := path.read_text().count("\n")) > 300
    }
    assert long == {}
