"""Every command and every snippet of README and docs, run as a reader would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import copy_store, new_store
from tests.support.documents import PAGES, ROOT, Block, blocks_of, named
from tests.support.warm import WarmPython

pytestmark = pytest.mark.slow

# What a reader's own program has before the snippet begins: a small training.
PRELUDE = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import greenlove_mlflow as greenlove

torch.manual_seed(0)
dataset = TensorDataset(torch.randn(2048, 16), torch.randint(0, 4, (2048,)))
loader = DataLoader(dataset, batch_size=32, shuffle=True)
validation_loader = DataLoader(dataset, batch_size=32)
model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()


def train_one_epoch(*_):
    for inputs, labels in loader:
        optimizer.zero_grad()
        criterion(model(inputs), labels).backward()
        optimizer.step()


estimate = None
"""
ESTIMATE = "estimate = greenlove.estimate(model, optimizer, criterion, loader, epochs=10, country='DE')\n"
RECORD = (
    PRELUDE
    + """
for experiment in ("my-model", "Default"):
    with greenlove.track(model, optimizer, criterion, loader, epochs=2, country="DE", experiment=experiment) as run:
        for epoch in run.epochs():
            train_one_epoch()
print(run.run_id)
"""
)
# Blocks of the README that tests or CI run elsewhere.
RUN_ELSEWHERE = ("demo command", "test command")


def environment_of(folder: Path) -> dict[str, str]:
    """A user's environment in an empty folder of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    return kept | {
        "PYTHONPATH": str(ROOT),
        "PATH": os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_DATA_HOME": str(folder / "data"),
        "TZ": "Europe/Berlin",
        # Pages show what to write; that a benchmark of the usual length runs is seen elsewhere.
        "GREENLOVE_BUDGET_S": "2",
    }


def call(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment_of(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    return done.stdout


def run_program(python: WarmPython, text: str, folder: Path) -> str:
    (folder / "program.py").write_text(text, encoding="utf-8")
    done = python.run([str(folder / "program.py")], folder=folder, environment=environment_of(folder))
    assert done.returncode == 0, f"{text[-3000:]}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def recorded(python: WarmPython, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store with a finished training in each of two experiments, and the id of one of them."""
    folder = tmp_path_factory.mktemp("recorded")
    new_store(folder / "mlflow.db")
    return folder / "mlflow.db", run_program(python, RECORD, folder).split()[-1]


def is_run(block: Block, language: str) -> bool:
    return block.language == language and not block.reason_not_run and block.comment not in RUN_ELSEWHERE


def pages_with(language: str) -> list[Path]:
    return [page for page in PAGES if any(is_run(block, language) for block in blocks_of(page))]


@pytest.mark.parametrize("page", pages_with("python"), ids=named)
def test_the_snippets_of_a_page_run_one_after_the_other(
    page: Path, tmp_path: Path, python: WarmPython, recorded: tuple[Path, str]
) -> None:
    copy_store(recorded[0], tmp_path / "mlflow.db")
    snippets = [block.text for block in blocks_of(page) if is_run(block, "python")]
    needs_estimate = any("estimate" in text for text in snippets[:1]) or "estimate.caveats" in "".join(snippets)
    program = PRELUDE + (ESTIMATE if needs_estimate else "") + "\n\n".join(snippets)
    assert run_program(python, f"{program}\nprint('the end')", tmp_path).endswith("the end\n")


@pytest.mark.parametrize("page", pages_with("bash"), ids=named)
def test_the_commands_of_a_page_run_one_after_the_other(
    page: Path, tmp_path: Path, python: WarmPython, recorded: tuple[Path, str]
) -> None:
    store, run_id = recorded
    copy_store(store, tmp_path / "mlflow.db")
    for name in ("greenlove", "mlflow"):
        python.put_in_place_of(name, tmp_path)
    for block in blocks_of(page):
        if block.file_name:
            (tmp_path / block.file_name).write_text(block.text + "\n", encoding="utf-8")
        elif is_run(block, "bash"):
            command = block.text.replace("RUN_ID", run_id).replace("CHECKOUT", str(ROOT))
            said = call(["bash", "-euo", "pipefail", "-c", f"{command}\necho the end"], tmp_path)
            assert said.endswith("the end\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_completion(shell: str, tmp_path: Path) -> None:
    said = call(["bash", "-c", f"_GREENLOVE_COMPLETE={shell}_source greenlove"], tmp_path)
    assert "_GREENLOVE_COMPLETE" in said


def test_bash_completes_commands(tmp_path: Path) -> None:
    typed = 'COMP_WORDS="greenlove re" COMP_CWORD=1 _GREENLOVE_COMPLETE=bash_complete greenlove'
    said = call(["bash", "-c", typed], tmp_path)
    assert {"plain,recover", "plain,reestimate", "plain,report"} <= set(said.split())
