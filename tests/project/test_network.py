"""No command asks anybody outside for anything: every look-up and connection is to the store that MLflow is set to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import new_store
from tests.support.documents import ROOT
from tests.support.warm import WarmPython

pytestmark = pytest.mark.slow

# Python tells its audit hooks of every look-up and connection, whatever library makes it.
HOOK = """
import os, sys

def note(event, args):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        asked = args[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        asked = args[1][0]
    else:
        return
    with open(os.environ["ASKED"], "a") as file:
        file.write(f"{event} {asked}\\n")

sys.addaudithook(note)
"""
TRACK = """
import torch
import greenlove_mlflow as greenlove

model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
data = torch.utils.data.TensorDataset(torch.randn(256, 8), torch.randn(256, 1))
with greenlove.track(model, optimizer, torch.nn.MSELoss(), data, epochs=2, budget_s=0.5) as run:
    for epoch in run.epochs():
        for x, y in torch.utils.data.DataLoader(data, 32):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
print(run.run_id)
"""


COMMAND = "from greenlove_mlflow.cli import main; main()"


def environment(folder: Path) -> dict[str, str]:
    (folder / "hook").mkdir(exist_ok=True)
    (folder / "hook" / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    return kept | {
        "PYTHONPATH": os.pathsep.join([str(folder / "hook"), str(ROOT)]),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_DATA_HOME": str(folder / "data"),
        "ASKED": str(folder / "asked"),
    }


def outcome(folder: Path, code: str, *arguments: str, python: WarmPython | None = None) -> tuple[int, str, list[str]]:
    """Exit code, what was said, and whom was asked; with ``python``, not while torch and MLflow are imported."""
    if python is not None:
        command = ["-c", f"{HOOK}\n{code}", *arguments]
        done = python.run(command, folder=folder, environment=environment(folder), timeout_s=600)
    else:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600,
            check=False,
        )  # fmt: skip
    asked = folder / "asked"
    return done.returncode, done.stdout + done.stderr[-3000:], asked.read_text().splitlines() if asked.exists() else []


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with the store of one tracked training, and the run's id."""
    folder = tmp_path_factory.mktemp("network")
    new_store(folder / "mlflow.db")
    code, said, asked = outcome(folder, TRACK)
    assert code == 0, said
    assert asked == []
    return folder, next(line for line in said.splitlines() if len(line) == 32)


def test_the_hook_sees_whoever_is_asked(tmp_path: Path) -> None:
    code, _, asked = outcome(tmp_path, "import socket; socket.getaddrinfo('localhost', 80)")
    assert code == 0
    assert asked == ["socket.getaddrinfo localhost"]


@pytest.mark.parametrize(
    "command",
    ["report RUN_ID", "report --experiment Default", "doctor", "compare RUN_ID", "calibration",
     "reestimate --experiment Default", "recover", "demo --epochs 1"],
)  # fmt: skip
def test_a_command_asks_nobody_outside(command: str, tracked: tuple[Path, str], python: WarmPython) -> None:
    folder, run_id = tracked
    code, said, asked = outcome(folder, COMMAND, *command.replace("RUN_ID", run_id).split(), python=python)
    assert code == 0, said
    assert asked == []
