"""Programs in processes of their own, forked from one that has imported what all of them import.

Importing PyTorch and MLflow takes longer than most programs of the tests and of the documentation run for.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

# What a tracked training imports and takes seconds: PyTorch's compiler with the first optimizer, MLflow's SQLite stores
# and models, pictures. Nothing of this package, which programs import for themselves.
IMPORTS = (
    "torch",
    "torch._dynamo",
    "mlflow",
    "mlflow.tracking",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.pyfunc",
    "pandas",
    "pyarrow.parquet",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "scipy.optimize",
)
_LONGEST_ORDER = 1 << 20
# A command that has another one run where it stands itself.
_SHIM = """#!{python} -IS
import json, os, socket, sys

connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect({address!r})
order = {{"command": [{installed!r}, *sys.argv[1:]], "folder": os.getcwd(), "environment": dict(os.environ)}}
socket.send_fds(connection, [json.dumps({{**order, "owns_terminal": False}}).encode()], [0, 1, 2])
answers = connection.makefile("r")
answers.readline()
sys.exit(int(answers.readline()) % 256)
"""


class Started:
    """A program that was started, like a ``subprocess.Popen`` whose streams are pipes of text."""

    def __init__(self, connection: socket.socket, ends: Mapping[str, int]) -> None:
        self._answers = connection.makefile("r")
        connection.close()
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None
        self.stdin = os.fdopen(ends["stdin"], "w", encoding="utf-8", errors="replace") if "stdin" in ends else None
        self.stdout, self.stderr = (
            os.fdopen(ends[name], encoding="utf-8", errors="replace") if name in ends else None
            for name in ("stdout", "stderr")
        )

    def wait(self, timeout: float = threading.TIMEOUT_MAX) -> int:
        """Wait for its end, and kill it after so many seconds."""
        if self.returncode is None:
            killer = threading.Timer(timeout, self.kill)
            killer.daemon = True
            killer.start()
            try:
                self.returncode = int(self._answers.readline())
            finally:
                killer.cancel()
            self._answers.close()
        return self.returncode

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def communicate(self, said: str = "", timeout: float = threading.TIMEOUT_MAX) -> tuple[str, str]:
        """Say that to it, and return what it printed until its end, on both streams."""
        assert self.stdout is not None
        assert self.stderr is not None
        errors: list[str] = []
        reader = threading.Thread(target=lambda stream: errors.append(stream.read()), args=(self.stderr,), daemon=True)
        reader.start()
        killer = threading.Timer(timeout, self.kill)
        killer.daemon = True
        killer.start()
        if self.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self.stdin:
                self.stdin.write(said)
        with self.stdout:
            out = self.stdout.read()
        reader.join()
        self.stderr.close()
        self.wait(timeout)
        killer.cancel()
        return out, errors[0]


class WarmPython:
    """Starts programs quickly; a context manager, for POSIX alone.

    Args:
        address: Where the process that forks them listens, a socket among the files.
    """

    def __init__(self, address: Path) -> None:
        self.address = address

    def __enter__(self) -> WarmPython:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm", self.address],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "it could not start"
        return self

    def __exit__(self, *_: object) -> None:
        # It ends with its input, and so with this process, however that ends.
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def start(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        speaks: bool = False,
        terminal: int | None = None,
    ) -> Started:
        """Start a program as ``python COMMAND`` would.

        Args:
            command: A file to run, ``-c`` and a text, or ``-m`` and a module, and the arguments.
            folder: Its working directory.
            environment: Its whole environment.
            speaks: Whether its standard input is a pipe, not empty.
            terminal: A terminal that its standard streams are, in place of pipes.
        """
        theirs, ours = {}, {}
        if terminal is None:
            theirs["stdin"], ours["stdin"] = os.pipe() if speaks else (os.open(os.devnull, os.O_RDONLY), -1)
            ours["stdout"], theirs["stdout"] = os.pipe()
            ours["stderr"], theirs["stderr"] = os.pipe()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(str(self.address))
        order = {
            "command": [*command],
            "folder": str(folder),
            "environment": {**environment},
            "owns_terminal": terminal is not None,
        }
        streams = [*theirs.values()] if terminal is None else [terminal] * 3
        socket.send_fds(connection, [json.dumps(order).encode()], streams)
        for end in theirs.values():
            os.close(end)
        return Started(connection, {name: end for name, end in ours.items() if end >= 0})

    def put_in_place_of(self, name: str, folder: Path) -> None:
        """Write a command of that name into a folder, which does what the installed one does, started quickly."""
        installed = shutil.which(name)
        assert installed is not None, name
        shim = folder / name
        shim.write_text(_SHIM.format(python=sys.executable, address=str(self.address), installed=installed), "utf-8")
        shim.chmod(0o755)

    def run(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        timeout_s: float = threading.TIMEOUT_MAX,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as ``python COMMAND`` would, until its end or for so many seconds."""
        program = self.start(command, folder=folder, environment=environment)
        said = program.communicate(timeout=timeout_s)
        assert program.returncode is not None
        return subprocess.CompletedProcess(command, program.returncode, *said)


@functools.cache
def warm_python() -> WarmPython:
    """The one that all tests of this process share, started when it is first asked for."""
    folder = tempfile.mkdtemp(prefix="warm-")
    stack = contextlib.ExitStack()
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(stack.close)
    return stack.enter_context(WarmPython(Path(folder) / "socket"))


def serve(address: str) -> None:
    """Fork a program for every order."""
    for name in IMPORTS:
        __import__(name)
    # A collection in a program would copy all that was imported.
    gc.freeze()
    # What is forked for an order is never waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(address)
        listening.listen()
        print("listening", flush=True)
        while True:
            if sys.stdin in select.select([listening, sys.stdin], [], [])[0]:
                return
            connection, _ = listening.accept()
            text, streams, _, _ = socket.recv_fds(connection, _LONGEST_ORDER, 3)
            if os.fork() == 0:
                listening.close()
                break
            connection.close()
            for stream in streams:
                os.close(stream)
    _wait_for_the_program(connection, streams)
    # Here is the program itself.
    connection.close()
    _become(json.loads(text), streams)


def _wait_for_the_program(connection: socket.socket, streams: Sequence[int]) -> None:
    """Fork the program, in which this returns, and tell its id and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    program = os.fork()
    if program == 0:
        return
    for stream in streams:
        os.close(stream)
    with contextlib.suppress(BrokenPipeError):
        connection.send(f"{program}\n".encode())
    _, status = os.waitpid(program, 0)
    with contextlib.suppress(BrokenPipeError):
        connection.send(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(order: Mapping[str, Any], streams: Sequence[int]) -> None:
    """Be the program, and end as it does, threads and exit handlers included."""
    if order["owns_terminal"]:
        import fcntl
        import termios

        os.setsid()
        fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        # Made anew, as they know whether they are a terminal.
        buffering = 1 if number == 2 or os.isatty(number) else -1
        setattr(sys, name, os.fdopen(number, "w" if number else "r", buffering, closefd=False))
    named = order["environment"].get("PYTHONPATH", "").split(os.pathsep)
    first, *rest = sys.argv = order["command"]
    sys.path[:1] = ["" if first in ("-c", "-m") else str(Path(first).parent), *(path for path in named if path)]
    if first == "-c":
        del sys.argv[1]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        _end(lambda: exec(compile(rest[0], "<string>", "exec"), main.__dict__))
    if first == "-m":
        del sys.argv[0]
        _end(lambda: runpy.run_module(rest[0], run_name="__main__", alter_sys=True))
    _end(lambda: runpy.run_path(first, run_name="__main__"))


def _end(program: Callable[[], object]) -> NoReturn:
    """Run a program and end as Python does, except that no module is taken apart, which would copy all of them."""
    code: int | str | None = 0
    try:
        program()
    except SystemExit as left:
        code = left.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException as error:  # noqa: BLE001 - ends as it would by itself
        sys.excepthook(type(error), error, error.__traceback__)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code or 0)


if __name__ == "__main__":
    serve(sys.argv[1])
