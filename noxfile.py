"""The project's checks, each in an environment of its own: ``nox -l`` lists them.

``nox`` alone runs what a pull request must pass quickly. ``lowest`` and ``newest`` test the ends of the ranges that
pyproject.toml states.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests", "docs"]
nox.options.default_venv_backend = "virtualenv"

ROOT = Path(__file__).resolve().parent
PINS = ("-c", "constraints.txt")
QUICK = "not slow and not server and not browser and not spark and not gpu and not exhaustive"
# Their tests need a browser's or a compiler's packages, which do not depend on the versions under test.
TEST_TOOLS = ("pytest>=8.0", "pytest-xdist>=3.5", "hypothesis>=6.100")
# What the lowest versions need of packages that they do not bound themselves: MLflow 3.1 an SQLAlchemy with
# FallbackAsyncAdaptedQueuePool, Lightning 2.2 the pkg_resources of older setuptools.
BESIDE_THE_LOWEST = ("sqlalchemy<2.1", "setuptools<81")
ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
# Parts of the tests that say something about other packages' versions; lint, types and pictures do not.
RANGE_TESTS = (
    "tests/benchmark", "tests/core", "tests/numbers", "tests/pipeline", "tests/power", "tests/reestimation",
    "tests/tables", "tests/tracking", "tests/words", "tests/serving", "tests/stored", "tests/integrations",
)  # fmt: skip


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format, types and layers."""
    session.install(*PINS, "-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """The quick tests; ``nox -s tests -- --all`` runs all of them."""
    session.install(*PINS, "-e", ".[dev]")
    chosen = [] if "--all" in session.posargs else ["-m", QUICK]
    session.run("pytest", "-n", "2", "--dist", "loadgroup", *chosen, env=ENVIRONMENT)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, every warning an error."""
    session.install(*PINS, "-e", ".[dev]")
    session.run("mkdocs", "build", "--strict", env=ENVIRONMENT)


@nox.session
def package(session: nox.Session) -> None:
    """Wheel and sdist: built, checked, and each installed into a bare environment."""
    session.install("build", "twine")
    folder = Path(session.create_tmp())
    session.run("python", "-m", "build", "--outdir", str(folder), env=ENVIRONMENT)
    files = [next(str(path) for path in folder.glob(kind)) for kind in ("*.whl", "*.tar.gz")]
    session.run("twine", "check", "--strict", *files)
    bare = folder / "bare" / "bin"
    session.run("python", "-m", "venv", "--clear", str(bare.parent))
    for file in files:
        session.run(str(bare / "pip"), "install", "-q", *PINS, file, external=True)
        session.run(str(bare / "greenlove"), "tables", "validate", external=True, silent=True)
        session.run(str(bare / "pip"), "uninstall", "-q", "-y", "greenlove-mlflow", external=True)


@nox.session(python="3.10")
def lowest(session: nox.Session) -> None:
    """The tests of the package on the lowest versions that pyproject.toml admits.

    ``nox -s lowest -- tests/tracking`` runs some of them. PyTorch's own lowest release has no small build on every
    platform: GREENLOVE_TORCH_PIN=2.13.0 tests the others beside a given one.
    """
    pins = Path(session.create_tmp()) / "lowest.txt"
    pins.write_text("\n".join([*_lowest_pins(session.python), *BESIDE_THE_LOWEST]) + "\n", encoding="utf-8")
    session.log(" ".join(pins.read_text(encoding="utf-8").split()))
    session.install("-c", str(pins), "-e", ".", *BESIDE_THE_LOWEST, *TEST_TOOLS)
    _run_range_tests(session)


@nox.session(python="3.13")
def newest(session: nox.Session) -> None:
    """The same on the newest versions there are."""
    session.install("--upgrade", "-e", ".", *TEST_TOOLS)
    _run_range_tests(session)


@nox.session(python="3.11")
def frameworks(session: nox.Session) -> None:
    """The callbacks on the newest Lightning, Transformers and Keras."""
    session.install(*PINS, "--upgrade", "-e", ".[lightning,huggingface,keras]", *TEST_TOOLS)
    session.run("pytest", "tests/integrations", *session.posargs, env=ENVIRONMENT)


@nox.session(python="3.10")
def frameworks_lowest(session: nox.Session) -> None:
    """The callbacks on the lowest versions of frameworks and everything else that pyproject.toml admits.

    GREENLOVE_TORCH_PIN is as for ``lowest``; ``--force-python 3.11`` runs it on another Python.
    """
    pins = Path(session.create_tmp()) / "lowest.txt"
    extras = [pin for extra in ("lightning", "huggingface", "keras") for pin in _lowest_of(f"{extra} = [")]
    lines = [*_lowest_pins(session.python), *extras, *BESIDE_THE_LOWEST]
    pins.write_text("\n".join(lines) + "\n", encoding="utf-8")
    session.log(" ".join(lines))
    session.install("-c", str(pins), "-e", ".[lightning,huggingface,keras]", *BESIDE_THE_LOWEST, *TEST_TOOLS)
    session.run("pytest", "tests/integrations", *session.posargs, env=ENVIRONMENT)


def _run_range_tests(session: nox.Session) -> None:
    session.run("pip", "list")
    chosen = session.posargs or [path for path in RANGE_TESTS if (ROOT / path).exists()]
    session.run("pytest", "-n", "2", "--dist", "loadgroup", "-m", QUICK, *chosen, env=ENVIRONMENT)


def _lowest_pins(python: object) -> list[str]:
    """``name==version`` for each dependency, its version the lower bound in pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text.split("dependencies = [", 1)[1].split("\n]", 1)[0]
    found = re.findall(r'"([\w-]+)>=([\w.]+)(?:;\s*python_version < \'([\d.]+)\')?"', block)
    running = _release(str(python or sys.version.split()[0]))
    pins = {name: version for name, version, marker in found if not marker or running < _release(marker)}
    pins["torch"] = os.environ.get("GREENLOVE_TORCH_PIN", pins["torch"])
    return [f"{name}=={version}" for name, version in pins.items()]


def _lowest_of(opening: str) -> list[str]:
    """``name==version`` for each requirement of the list that begins so."""
    block = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split(opening, 1)[1].split("\n]", 1)[0]
    return [f"{name}=={version}" for name, version in re.findall(r'"([\w-]+)>=([\w.]+)', block)]


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
