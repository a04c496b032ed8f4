"""What every test stands on: one thread, no telemetry, no state of the user's, no network but this machine's own."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support.warm import WarmPython, warm_python

# Before torch is imported: two threads a test, two tests at a time and a server are more than two cores bear.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Commands that MLflow starts by name (uvicorn) are those of this environment, also when it is not activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"
# Programs that tests start need not compile this package anew each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Keras picks its backend when it is imported.
os.environ["KERAS_BACKEND"] = "torch"
for _name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID", "RANK"):
    os.environ.pop(_name, None)

# Set before any fixture runs: no test sees the spools and tables of the machine that it runs on.
_STATE = tempfile.mkdtemp(prefix="greenlove-tests-")
atexit.register(shutil.rmtree, _STATE, ignore_errors=True)
os.environ["XDG_STATE_HOME"], os.environ["XDG_DATA_HOME"] = f"{_STATE}/state", f"{_STATE}/data"
os.environ.pop("GREENLOVE_DATA", None)

# A machine under load is slow, not wrong.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names that differ from process to process: two that share the tests would agree on none of them."""
    named = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if named:
        raise pytest.UsageError(f"tests are named by an address in memory; give them ids: {', '.join(named)}")


_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


def _is_loopback(host: Any) -> bool:
    text = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    return text.startswith(_LOOPBACK) or text == socket.gethostname()


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Every look-up and every connection that would leave this machine is refused."""
    look_up, connect, connect_ex = socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex

    def refuse(host: Any) -> None:
        raise OSError(f"a test tried to reach {host!r}; the network is off unless the user turned it on")

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        return look_up(host, *args, **kwargs) if _is_loopback(host) else refuse(host)

    def guarded_connect(self: socket.socket, address: Any) -> Any:
        return connect(self, address) if _may_connect(self, address) else refuse(address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> Any:
        return connect_ex(self, address) if _may_connect(self, address) else refuse(address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", guarded_look_up)
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        yield


def _may_connect(own: socket.socket, address: Any) -> bool:
    return own.family not in (socket.AF_INET, socket.AF_INET6) or _is_loopback(address[0])


@pytest.fixture(scope="session")
def python() -> WarmPython:
    """Starts programs of their own in a process that has imported torch and MLflow already."""
    return warm_python()


@pytest.fixture
def tracking_uri_put_back() -> Iterator[None]:
    """Whatever a test makes MLflow's store, by its API or by the environment, the next one does not see."""
    import mlflow

    named = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    # Not to what it was: the default, set, would hide the next test's variable. The call also removes the variable.
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    if named is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = named


# The order counts: what is asked for first is undone last, after the environment of `monkeypatch`.
@pytest.fixture(autouse=True)
def own_state(
    tracking_uri_put_back: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spools and added price sheets go to a folder of the test's own."""
    state = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("XDG_STATE_HOME", str(state / "state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(state / "data"))


@functools.cache
def _template() -> Path:
    """A SQLite file with MLflow's tables and no run; making them anew takes seconds, a copy none."""
    from mlflow import MlflowClient

    path = Path(_STATE) / "empty.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def new_store(path: Path) -> str:
    """Make an empty store at that path, its artifacts beside it as if MLflow had made it there, and return its URI."""
    copy_store(_template(), path)
    with contextlib.closing(sqlite3.connect(path)) as made, made:
        made.execute("UPDATE experiments SET artifact_location = ?", (str(path.parent / "mlruns" / "0"),))
    return f"sqlite:///{path}"


def copy_store(source: Path, target: Path) -> None:
    """A copy of a SQLite file, whatever still stands in its journal included."""
    with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
        old.backup(new)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URI of an empty store of the test's own, which is what MLflow uses by default in it."""
    import mlflow

    uri = new_store(tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(uri)
    yield uri
    while mlflow.active_run() is not None:
        mlflow.end_run()
