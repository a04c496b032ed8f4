"""What is published: a wheel and an sdist that hold what they should, and work where only they are installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
PYPROJECT = (ROOT / "pyproject.toml").read_text("utf-8")


def call(*command: str, folder: Path = ROOT) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the sdist."""
    folder = tmp_path_factory.mktemp("built")
    call(sys.executable, "-m", "hatchling", "build", "-d", str(folder))
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def test_a_pin_asks_for_no_newer_python_than_the_package_does() -> None:
    """Else the README's commands fail on the oldest Python, as no release fits."""
    oldest = re.search(r'requires-python = ">=([\d.]+)"', PYPROJECT)
    assert oldest is not None
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate({"python_version": oldest[1]})]
    assert here
    asked = {pin.name: str(metadata.metadata(pin.name)["Requires-Python"]) for pin in here}
    assert [name for name, python in asked.items() if oldest[1] not in SpecifierSet(python)] == []


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_an_index_would_take_both(built: tuple[Path, Path]) -> None:
    said = call(sys.executable, "-m", "twine", "check", "--strict", *(str(path) for path in built))
    assert said.count("PASSED") == 2


def test_the_wheel_holds_the_package_its_tables_and_its_licences_alone(built: tuple[Path, Path]) -> None:
    inside = names_in(built[0])
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "greenlove_mlflow").rglob("*.py")}
    assert modules <= inside
    assert "greenlove_mlflow/py.typed" in inside
    tables = [path.relative_to(ROOT).as_posix() for path in (ROOT / "data").glob("*/*.csv")]
    assert tables
    assert {f"greenlove_mlflow/{name}" for name in tables} <= inside
    licences = {name.rsplit("/", 1)[-1] for name in inside if ".dist-info/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}
    assert {name.split("/")[0].split("-")[0] for name in inside} == {"greenlove_mlflow"}
    assert [
        name
        for name in inside
        if re.search(r"__pycache__|\.ipynb|(^|/)tests/|\.db$|/data/.*\.py$|/upstream/|/\.git", name)
    ] == []


def test_the_wheel_stays_small(built: tuple[Path, Path]) -> None:
    assert built[0].stat().st_size < 2_000_000


def test_the_sdist_holds_what_the_wheel_is_built_from(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        inside = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "NOTICE"} <= inside
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "greenlove_mlflow").rglob("*.py")} <= inside


def test_the_installed_wheel_works_without_the_checkout(built: tuple[Path, Path], tmp_path: Path) -> None:
    """In an environment that has the wheel and, from this one, the dependencies."""
    bare = tmp_path / "bare"
    call(sys.executable, "-m", "venv", str(bare))
    python = bare / "bin" / "python"
    call(str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(built[0]))
    site = Path(call(str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").strip())
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    home = call(str(python), "-c", "import greenlove_mlflow; print(greenlove_mlflow.__file__)", folder=tmp_path)
    assert Path(home.strip()).is_relative_to(bare)
    command = str(bare / "bin" / "greenlove")
    assert "cloud-task" in call(command, "--help", folder=tmp_path)
    call(command, "tables", "validate", folder=tmp_path)
    estimate = "import greenlove_mlflow as g; print(g.Interval.exactly(1.0), g.track, g.reestimate)"
    assert "1.0" in call(str(python), "-c", estimate, folder=tmp_path)
