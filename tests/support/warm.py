"""Programs in processes of their own, forked from one that has imported what all of them import.

Importing PyTorch and MLflow takes longer than most programs of the documentation run for.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class WarmPython:
    """Starts programs quickly, one at a time; a context manager, for POSIX alone."""

    def __enter__(self) -> WarmPython:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm"],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def run(
        self,
        program: Path,
        *arguments: str,
        folder: Path,
        environment: Mapping[str, str],
        timeout_s: float = threading.TIMEOUT_MAX,
    ) -> Done:
        """Run a program as ``python PROGRAM ARGUMENTS`` would, with its output in files beside it.

        Args:
            program: The file to run.
            arguments: Its arguments.
            folder: Its working directory, where the output is written too.
            environment: Its whole environment.
            timeout_s: Seconds after which it is killed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"program": str(program), "arguments": arguments, "folder": str(folder), "environment": {**environment}}
        print(json.dumps(order), file=self._process.stdin, flush=True)
        child = int(self._process.stdout.readline())
        killer = threading.Timer(timeout_s, os.kill, (child, signal.SIGKILL))
        killer.daemon = True
        killer.start()
        try:
            code = int(self._process.stdout.readline())
        finally:
            killer.cancel()
        said = [(folder / f"{program.stem}.{name}").read_text("utf-8", "replace") for name in ("stdout", "stderr")]
        return Done(code, *said)


def _serve() -> None:
    for name in IMPORTS:
        __import__(name)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(order)
            return
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(order: Mapping[str, object]) -> None:
    """Be the program, and end as it does, threads and exit handlers included."""
    program, folder = Path(str(order["program"])), Path(str(order["folder"]))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(order["environment"])  # type: ignore[call-overload]
    time.tzset()
    for number, name in ((0, None), (1, "stdout"), (2, "stderr")):
        opened = (
            os.open(os.devnull, os.O_RDONLY)
            if name is None
            else os.open(folder / f"{program.stem}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        )
        os.dup2(opened, number)
    sys.argv = [str(program), *order["arguments"]]  # type: ignore[misc]
    sys.path[0] = str(program.parent)
    runpy.run_path(str(program), run_name="__main__")


if __name__ == "__main__":
    _serve()
