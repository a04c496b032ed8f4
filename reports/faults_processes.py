"""Trainings in processes of their own that are killed, and stores that fail beside them: each epoch arrives once.

A training of eight epochs stops at a stage until the fault has been made, then goes on where it still can. Whatever
has not arrived by its end arrives by ``recover``, once; the run's status is that of what happened.
"""

from __future__ import annotations

import contextlib
import http.server
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "reports")]

import requests  # noqa: E402
from faults_count import Count  # noqa: E402

from greenlove_mlflow.tracking import open_run  # noqa: E402
from greenlove_mlflow.tracking.spool.recovery import recover  # noqa: E402
from tests.support.server import Server, running_server  # noqa: E402

EPOCHS, KEY, PATIENCE_S, LOCKED_S = 8, "green/train/epoch_s", 240.0, 8.0
# A process that has imported everything and does nothing but fork: its children start at once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["mlflow", "mlflow.store.tracking.sqlalchemy_store", "greenlove_mlflow.tracking"])
STAGES = {"at the start": 0, "after three epochs": 3, "at the end": EPOCHS}


def train(folder: str, stage: int, env: dict[str, str]) -> None:
    """Eight epochs kept in MLflow, which wait at a stage; runs in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    os.environ.clear()
    os.environ.update(kept | env)
    # SIGINT is ignored in what a shell has put into the background, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.simplefilter("ignore")
    os.dup2(os.open(f"{folder}/said", os.O_WRONLY | os.O_CREAT), 2)

    def wait() -> None:
        Path(folder, "reached").touch()
        while not Path(folder, "go").exists():
            time.sleep(0.05)

    with open_run(state=Path(folder, "greenlove"), run_name=Path(folder).name) as run:
        if largest := int(env.get("LARGEST_FILE", 0)):
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        for epoch in range(EPOCHS):
            if epoch == stage:
                wait()
            run.log_epoch(epoch, 1.0 + epoch, 100.0, None)
        if stage == EPOCHS:
            wait()
        run.tags({"outcome": "whole"})


def recover_all(state: str, store: str) -> None:
    """What ``greenlove recover`` does; runs in a process of its own."""
    list(recover(Path(state), store_uri=store))


# What a proxy does with a request: its number to None (pass it on), seconds to wait, or status and body.
Fault = Callable[[int], "float | tuple[int, bytes] | None"]
ANSWERS_AFTER = b"the answer is lost"


def each(count: int, what: float | tuple[int, bytes]) -> Fault:
    """Every so many requests."""
    return lambda number: what if number % count == 0 else None


PROXIED: dict[str, Fault] = {
    "404": each(1, (404, b"not here")),
    "every second 413": each(2, (413, b"")),
    "every second 429": each(2, (429, b"")),
    "500": each(1, (500, b"")),
    "every third 500": each(3, (500, b"")),
    "502 as HTML": each(1, (502, b"<html>bad gateway</html>")),
    "a login page": each(1, (200, b"<html>log in</html>")),
    "garbage": each(1, (200, b"\x00\xff garbage")),
    "closes": each(1, (0, b"")),
    "late": each(1, 1.5),
    "does it, then answers 500": each(2, (500, ANSWERS_AFTER)),
}


@dataclass
class Proxy:
    """A proxy before a store, healthy until it is given a fault; the health check passes always."""

    target: str
    fault: Fault = field(default=lambda number: None)
    count: int = 0
    server: Any = None

    @property
    def uri(self) -> str:
        """The proxy's address."""
        return f"http://127.0.0.1:{self.server.server_port}"

    def pass_on(self, handler: Any) -> None:
        """Answer one request, by the store or by the fault."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.count += 1
        what = None if handler.path.startswith(("/health", "/version")) else self.fault(self.count)
        if isinstance(what, float):
            time.sleep(what)
        if not isinstance(what, tuple) or what[1] == ANSWERS_AFTER:
            kept = {name: value for name, value in handler.headers.items() if name.lower() != "host"}
            answer = requests.request(handler.command, self.target + handler.path, data=body, headers=kept, timeout=60)
            status, text = answer.status_code, answer.content
        if isinstance(what, tuple):
            status, text = what
        if status == 0:
            handler.close_connection = True
            handler.connection.close()
            return
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)


@contextlib.contextmanager
def proxy_before(target: str) -> Iterator[Proxy]:
    """A running proxy."""
    proxy = Proxy(target)

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                proxy.pass_on(self)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - the names of http.server

        def log_message(self, *args: object) -> None: ...

    proxy.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.server.daemon_threads = True
    threading.Thread(target=proxy.server.serve_forever, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()


@dataclass
class Trained:
    """A training in a process of its own, and the store that it is kept in."""

    folder: Path
    uri: str
    stage: int
    env: dict[str, str] = field(default_factory=dict)
    process: Any = None

    @property
    def state(self) -> Path:
        """The folder of its spools."""
        return self.folder / "greenlove"

    def start(self) -> None:
        """Start the process."""
        self.folder.mkdir()
        env = {
            "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_TRACKING_URI": self.uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "XDG_STATE_HOME": str(self.folder), **self.env,
        }  # fmt: skip
        self.process = PROCESSES.Process(target=train, args=(str(self.folder), self.stage, env))
        self.process.start()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, and wait for the end."""
        os.kill(self.process.pid, number)
        self.process.join(PATIENCE_S)

    def wait_for_stage(self) -> None:
        """Wait until the training waits."""
        end_s = time.monotonic() + PATIENCE_S
        while not (self.folder / "reached").exists():
            if not self.process.is_alive() or time.monotonic() > end_s:
                raise RuntimeError(f"never got there: {(self.folder / 'said').read_text()[-300:]}")
            time.sleep(0.05)

    def finish(self) -> None:
        """Let the training go on, and wait for its end."""
        (self.folder / "go").touch()
        self.process.join(PATIENCE_S)

    def judge(self, store: str, epochs: int, status: str) -> str:
        """What is wrong with what the store holds; empty when nothing is."""
        from mlflow import MlflowClient

        client = MlflowClient(store)
        runs = client.search_runs(["0"], filter_string=f"attributes.run_name = '{self.folder.name}'")
        if len(runs) != 1:
            return f"{len(runs)} runs, said {(self.folder / 'said').read_text()[-200:]!r}"
        steps = sorted(point.step for point in client.get_metric_history(runs[0].info.run_id, KEY))
        if steps != list(range(epochs)):
            return f"epochs {steps}, not {epochs}"
        if runs[0].info.status != status:
            return f"is {runs[0].info.status}, not {status}"
        is_whole = runs[0].data.tags.get("outcome") == "whole"
        return "" if is_whole == (status == "FINISHED") else f"the outcome is {'there' if is_whole else 'missing'}"


def recovered(state: Path, store: str, **how: Any) -> str:
    """What is left after ``recover``; empty when all was sent."""
    left = [
        f"{each.fate} {each.problem}".strip() for each in recover(state, store_uri=store, **how) if not each.is_sent
    ]
    return f"left: {left}" if left else ""


# --- killed ------------------------------------------------------------------------------------------------------


def try_signal(folder: Path, store: str, number: int, stage: int) -> str:
    """A training that gets a signal at some stage."""
    training = Trained(folder, store, stage)
    training.start()
    training.wait_for_stage()
    training.kill(number)
    return recovered(training.state, store) or training.judge(store, stage, "KILLED")


def try_recovers_at_once(folder: Path, store: str) -> str:
    """Three processes that recover the same killed training."""
    training = Trained(folder, store, EPOCHS)
    training.start()
    training.wait_for_stage()
    training.kill()
    several = [PROCESSES.Process(target=recover_all, args=(str(training.state), store)) for _ in range(3)]
    for process in several:
        process.start()
    for process in several:
        process.join(PATIENCE_S)
    codes = [process.exitcode for process in several]
    return (f"exit codes {codes}" if any(codes) else "") or training.judge(store, EPOCHS, "KILLED")


def try_two_at_once(folder: Path, store: str) -> str:
    """Two trainings that share a folder for their spools."""
    folder.mkdir()
    shared = {"XDG_STATE_HOME": str(folder)}
    two = [Trained(folder / f"{folder.name}-{number}", store, 3, env=shared) for number in range(2)]
    for training in two:
        training.start()
    for training in two:
        training.wait_for_stage()
    for training in two:
        training.finish()
    problems = [recovered(each.state, store) or each.judge(store, EPOCHS, "FINISHED") for each in two]
    return "; ".join(filter(None, problems))


# --- stores that fail --------------------------------------------------------------------------------------------


def try_locked(folder: Path, store: str, *, before: bool) -> str:
    """A SQLite file that somebody else locks for a while."""
    training = Trained(folder, store, 3)
    if not before:
        training.start()
        training.wait_for_stage()
    lock = sqlite3.connect(store.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
    lock.execute("BEGIN EXCLUSIVE")
    if before:
        training.start()
    else:
        (folder / "go").touch()
    time.sleep(LOCKED_S)
    lock.rollback()
    lock.close()
    if before:
        training.wait_for_stage()
    training.finish()
    return recovered(training.state, store) or training.judge(store, EPOCHS, "FINISHED")


def try_proxy(folder: Path, target: str, fault: Fault) -> str:
    """A proxy that misbehaves from the third epoch to the end."""
    with proxy_before(target) as proxy:
        training = Trained(folder, proxy.uri, 3)
        training.start()
        training.wait_for_stage()
        proxy.fault = fault
        training.finish()
        proxy.fault = lambda number: None
        return recovered(training.state, proxy.uri) or training.judge(target, EPOCHS, "FINISHED")


def try_restart(folder: Path, server: Server) -> str:
    """A server that is killed in a training, and comes back after it."""
    training = Trained(folder, server.uri, 3)
    training.start()
    training.wait_for_stage()
    server.kill()
    training.finish()
    server.start()
    return recovered(training.state, server.uri) or training.judge(server.uri, EPOCHS, "FINISHED")


def try_deleted(folder: Path, store: str) -> str:
    """A run that somebody deletes in its training, and restores later."""
    from mlflow import MlflowClient

    training = Trained(folder, store, 3)
    training.start()
    training.wait_for_stage()
    client = MlflowClient(store)
    runs = client.search_runs(["0"], filter_string=f"attributes.run_name = '{folder.name}'")
    client.delete_run(runs[0].info.run_id)
    training.finish()
    if not recovered(training.state, store) and not recovered(training.state, store, with_refused=True):
        return "is called sent"
    client.restore_run(runs[0].info.run_id)
    return recovered(training.state, store, with_refused=True) or training.judge(store, EPOCHS, "FINISHED")


def try_small_files(folder: Path, store: str) -> str:
    """A limit on the size of files that the spool meets at once."""
    training = Trained(folder, store, 3, env={"LARGEST_FILE": "700"})
    training.start()
    training.wait_for_stage()
    training.finish()
    return recovered(training.state, store) or training.judge(store, EPOCHS, "FINISHED")


def try_removed(folder: Path, store: str) -> str:
    """A folder of spools that somebody removes in the training."""
    training = Trained(folder, store, 3)
    training.start()
    training.wait_for_stage()
    shutil.rmtree(training.state)
    training.finish()
    return recovered(training.state, store) or training.judge(store, EPOCHS, "FINISHED")


def cases(sqlite: str, server: Server) -> dict[str, Callable[[Path], str]]:
    """Every case by name; each gets a folder that does not exist yet."""
    found: dict[str, Callable[[Path], str]] = {}
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        for name, stage in STAGES.items():
            found[f"{number.name} {name}"] = (
                lambda folder, number=number, stage=stage: try_signal(folder, sqlite, number, stage)  # type: ignore[misc]
            )
    found["three recover at once"] = lambda folder: try_recovers_at_once(folder, sqlite)
    found["two trainings at once"] = lambda folder: try_two_at_once(folder, sqlite)
    found["SQLite locked in training"] = lambda folder: try_locked(folder, sqlite, before=False)
    found["SQLite locked at entry"] = lambda folder: try_locked(folder, sqlite, before=True)
    for name, fault in PROXIED.items():
        found[f"proxy: {name}"] = lambda folder, fault=fault: try_proxy(folder, server.uri, fault)  # type: ignore[misc]
    found["server killed and started again"] = lambda folder: try_restart(folder, server)
    found["run deleted in training"] = lambda folder: try_deleted(folder, server.uri)
    found["files may not grow"] = lambda folder: try_small_files(folder, server.uri)
    found["folder of spools removed"] = lambda folder: try_removed(folder, server.uri)
    return found


def count_processes(*, quick: bool = False, only: str = "") -> Count:
    """Every case; ``quick`` takes some of them."""
    from mlflow import MlflowClient

    count = Count("trainings that are killed, stores and proxies that fail beside them")
    with tempfile.TemporaryDirectory() as scratch, running_server(Path(scratch) / "server") as server:
        sqlite = f"sqlite:///{scratch}/mlflow.db"
        MlflowClient(sqlite).search_experiments()  # makes the tables, which two processes must not do at once
        for number, (name, case) in enumerate(list(cases(sqlite, server).items())[:: 7 if quick else 1]):
            if only not in name:
                continue
            try:
                problem = case(Path(scratch) / f"training-{number}")
            except Exception as error:  # noqa: BLE001 - one case must not keep the others from being tried
                problem = f"{type(error).__name__}: {error}"
            count.add(name, problem)
            if "-v" in sys.argv:
                print(name, problem or "right", flush=True)
    return count


if __name__ == "__main__":
    names = [each for each in sys.argv[1:] if not each.startswith("-")]
    tried = count_processes(quick="--quick" in sys.argv, only=names[0] if names else "")
    print("\n".join(tried.wrong))
    print(f"{tried.part}: {tried.tried} tried, {tried.right} right, {len(tried.wrong)} wrong")
    sys.exit(bool(tried.wrong))
