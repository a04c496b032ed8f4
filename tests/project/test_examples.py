"""Every example training runs as a program of its own and leaves a finished run: the promise and what happened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from tests.conftest import new_store
from tests.support.warm import WarmPython

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BY_EPOCHS = (
    "mlp",
    "cnn",
    "finetune_transformer",
    "plain_form",
    "accelerate_loop",
    "sklearn_runner",
    "lightning_callback",
    "keras_callback",
)
BY_STEPS = ("steps_resumed", "watch", "huggingface_callback")
EPOCH_COUNT = 2


def environment_of(folder: Path) -> dict[str, str]:
    """A user's environment, with the default store in an empty folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    return kept | {
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(folder / "state"),
        "TZ": "Europe/Berlin",
        "GREENLOVE_BUDGET_S": "2",
    }


def run_example(python: WarmPython, name: str, folder: Path, *more: str) -> str:
    """What the example printed."""
    if not (folder / "mlflow.db").exists():
        new_store(folder / "mlflow.db")
    command = [str(ROOT / "examples" / f"{name}.py"), "--epochs", str(EPOCH_COUNT), *more]
    done = python.run(command, folder=folder, environment=environment_of(folder))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        *((name, "green/train/epoch_s") for name in BY_EPOCHS),
        *((name, "green/train/lap_s") for name in BY_STEPS),
    ],
)
def test_an_example_ends_with_a_finished_run(name: str, metric: str, tmp_path: Path, python: WarmPython) -> None:
    client, run = run_of(python, name, tmp_path)
    assert sorted(point.step for point in client.get_metric_history(run.info.run_id, metric)) == list(
        range(EPOCH_COUNT)
    )
    assert {"green/time_h/local", "green/time_h/H100-HGX-80GB", "green/actual/time_h"} <= set(run.data.metrics)


def test_autolog_adds_to_the_run_of_the_program(tmp_path: Path, python: WarmPython) -> None:
    _, run = run_of(python, "autolog", tmp_path)
    assert {"loss", "green/actual/time_h"} <= set(run.data.metrics)


def run_of(python: WarmPython, name: str, folder: Path) -> tuple[MlflowClient, Any]:
    """The one run that an example leaves, finished, its id printed."""
    said = run_example(python, name, folder)
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = client.search_runs(["0"])
    assert run.info.status == "FINISHED"
    assert run.info.run_id in said
    return client, run


def test_the_example_on_two_ranks_ends_with_one_finished_run(tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, str(ROOT / "examples" / "ddp.py"), "--epochs", str(EPOCH_COUNT)],
        cwd=tmp_path,
        env=environment_of(tmp_path),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout
    (run,) = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").search_runs(["0"])
    assert run.info.status == "FINISHED"
    assert run.info.run_id in said
    assert run.data.params["green.world_size"] == "2"
    assert {"green/time_h/local", "green/time_h/H100-HGX-80GB-x2", "green/actual/time_h"} <= set(run.data.metrics)


def test_the_sweep_ends_with_a_study_of_its_trials(tmp_path: Path, python: WarmPython) -> None:
    said = run_example(python, "sweep", tmp_path, "--trials", "3")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (study,) = client.search_runs(["0"], "tags.`greenlove.kind` = 'study'")
    trials = client.search_runs(["0"], f"tags.`mlflow.parentRunId` = '{study.info.run_id}'")
    assert study.info.run_id in said
    assert "3 of 3 trials begun" in said
    assert [run.data.params["green.benchmark"] for run in trials] == ["reused", "reused", "before"]
    total_h = sum(run.data.metrics["green/actual/time_h"] for run in trials)
    assert abs(study.data.metrics["green/study/time_h"] - total_h) < 1e-12
