"""A training that is resumed in its run: laps keep their numbers, totals add up over its parts."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import mlflow
import pyarrow.parquet as pq
import pytest
from torch.utils.data import DataLoader

import greenlove_mlflow as greenlove
from tests.pipeline.test_track_within import parts, train_epoch
from tests.support.warm import WarmPython

pytestmark = pytest.mark.slow

QUIET = {"country": "DE", "log_model": False, "saved_view": False, "benchmark": "within"}
EPOCHS = 8
ROOT = Path(__file__).resolve().parents[2]

KILLED = """
import os, signal, sys, time
import greenlove_mlflow as greenlove
from tests.pipeline.test_resuming import QUIET, EPOCHS, parts, train_epoch
from torch.utils.data import DataLoader
model, optimizer, criterion, data = parts()
with greenlove.track(model, optimizer, criterion, data, EPOCHS, **QUIET) as run:
    print(run.run_id, flush=True)
    for epoch in run.epochs():
        train_epoch(model, optimizer, criterion, DataLoader(data, 64), pause_s=0.01)
        run.wait(120)
        if epoch == 4:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def train_part(*, done: int = 0, stop_after: int = EPOCHS, **over: Any) -> Any:
    model, optimizer, criterion, data = parts()
    with greenlove.track(model, optimizer, criterion, data, EPOCHS, done=done, **{**QUIET, **over}) as run:
        for epoch in run.epochs():
            train_epoch(model, optimizer, criterion, DataLoader(data, 64), pause_s=0.002)
            run.wait(120)
            if epoch == stop_after:
                break
    return run


def laps_of(store: str, run_id: str) -> list[tuple[int, float]]:
    history = mlflow.MlflowClient(store).get_metric_history(run_id, "green/train/epoch_s")
    return sorted((point.step, point.value) for point in history)


def test_a_second_part_adds_to_the_account_of_the_first(store: str) -> None:
    first = train_part(stop_after=4)
    client = mlflow.MlflowClient(store)
    promised = client.get_run(first.run_id).data
    second = train_part(done=5, run_id=first.run_id)
    assert second.run_id == first.run_id
    assert [step for step, _ in laps_of(store, first.run_id)] == list(range(EPOCHS))
    run = client.get_run(first.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["green/time_h/local"] == promised.metrics["green/time_h/local"]
    assert run.data.params == promised.params
    both_s = first.outcome.time_s + sum(value for step, value in laps_of(store, first.run_id) if step >= 5)
    assert run.data.metrics["green/actual/time_h"] * 3600.0 == pytest.approx(both_s, rel=0.02)
    assert run.data.metrics["green/actual/energy_kwh"] > first.outcome.energy_kwh
    assert run.data.metrics["green/actual/time_error_ratio"] > 0.0
    assert len(second.outcome.epoch_durations_s) == EPOCHS


def test_a_part_that_was_killed_is_in_the_account(store: str, tmp_path: Path, python: WarmPython) -> None:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store, "PYTHONPATH": str(ROOT)}
    killed = python.run(["-c", KILLED], folder=tmp_path, environment=environment, timeout_s=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    run_id = killed.stdout.split()[0]
    second = train_part(done=4, run_id=run_id)
    assert second.run_id == run_id
    client = mlflow.MlflowClient(store)
    steps = [step for step, _ in laps_of(store, run_id)]
    assert steps == list(range(EPOCHS))
    trained_s = sum(value for _, value in laps_of(store, run_id))
    assert client.get_run(run_id).data.metrics["green/actual/time_h"] * 3600.0 == pytest.approx(trained_s, rel=0.25)
    kept = client.get_run(run_id)
    assert (kept.info.status, kept.data.tags["greenlove.status"]) == ("FINISHED", "finished")
    assert kept.data.tags["mlflow.note.content"].startswith("It took ")
    path = client.download_artifacts(run_id, "greenlove/epochs.parquet", str(tmp_path))
    assert pq.read_table(path).num_rows == EPOCHS
