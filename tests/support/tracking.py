"""Stores, and trainings whose records are made up: what tracking does with them is what is tested."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from mlflow import MlflowClient

from greenlove_mlflow.core.account.outcome import Outcome
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.records import BenchmarkLog, PowerSample
from greenlove_mlflow.tracking import TrackedRun
from tests.support.report import a_benchmark, a_comparison
from tests.support.warm import Started, warm_python

ROOT = Path(__file__).resolve().parents[2]
POWER_SAMPLE_COUNT = 40
EPOCH_COUNT = 5

# What a script of the tests begins with: it tracks without benchmarking anything.
PREAMBLE = """
import os, signal, sys, time
from pathlib import Path
from greenlove_mlflow.tracking import open_run
from greenlove_mlflow.core.records import PowerSample
from greenlove_mlflow.tracking.spool import writer
from tests.support.tracking import a_tracked_log, keep_outcome, keep_promise, train
"""

# A machine busy with other tests may need longer than a user's.
PATIENT = "writer.CLOSE_DEADLINE_S = writer.CLOSE_LIMIT_S = 120\n"


def a_tracked_log() -> BenchmarkLog:
    """A log that has just been measured."""
    began_s = time.time() - 60.0
    began = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(began_s))
    return dataclasses.replace(a_benchmark(), started_at=began, duration_s=59.0)


def keep_promise(run: TrackedRun) -> None:
    """What the pipeline keeps after a benchmark."""
    comparison = a_comparison()
    log = a_tracked_log()
    run.log_estimates(comparison.home, comparison, log)
    run.log_page(comparison.home, comparison, log)


def train(run: TrackedRun, epochs: int = EPOCH_COUNT, samples: int = POWER_SAMPLE_COUNT) -> None:
    """What the pipeline keeps while a training runs."""
    for index in range(samples):
        run.log_power_sample(PowerSample(at_s=index / 10.0, device="gpu_0", power_w=300.0 + index))
    for epoch in range(epochs):
        run.log_epoch(epoch, 1.0 + epoch, 100.0, Interval(point=50.0, low=40.0, high=60.0))


def keep_outcome(run: TrackedRun, **over: Any) -> None:
    """What the pipeline keeps after a training."""
    comparison = a_comparison()
    fields = {"epoch_durations_s": (1.0,) * EPOCH_COUNT, "time_s": 18_000.0, "completed": True, "energy_kwh": 2.0}
    outcome = Outcome(
        **{**fields, "energy_source": "measured", "energy_note": "gaps", "cost_usd": 0.6, "co2_g": 700.0, **over}
    )
    run.log_outcome(comparison.home, comparison, a_tracked_log(), outcome)


def artifact_paths(client: MlflowClient, run_id: str, folder: str | None = None) -> set[str]:
    """Every file of a run."""
    return set(_walk(client, run_id, folder))


def raw_power(client: MlflowClient, run_id: str, folder: Path) -> list[float]:
    """Watts of every power sample that a run keeps, in order."""
    path = client.download_artifacts(run_id, "greenlove/power.parquet", str(folder))
    watts: list[float] = pq.read_table(path)["power_w"].to_pylist()
    return watts


def _walk(client: MlflowClient, run_id: str, folder: str | None) -> Iterator[str]:
    for each in client.list_artifacts(run_id, folder):
        if each.is_dir:
            yield from _walk(client, run_id, each.path)
        else:
            yield each.path


# The beginning of a program that trains a small network.
SMALL_TRAINING = """
import logging
import torch
import greenlove_mlflow as greenlove

logging.getLogger("alembic").setLevel(logging.ERROR)
torch.manual_seed(0)
data = torch.utils.data.TensorDataset(torch.randn(640, 32), torch.randint(0, 4, (640,)))
model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
criterion = torch.nn.CrossEntropyLoss()


def one_epoch():
    for x, y in torch.utils.data.DataLoader(data, batch_size=32):
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
"""


def run_script(code: str, *, cwd: Path, uri: str, state: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A script that ran to its end, in a process of its own."""
    process = start_script(code, cwd=cwd, uri=uri, state=state, **environ)
    out, err = process.communicate(timeout=300)
    assert process.returncode is not None
    return subprocess.CompletedProcess(code, process.returncode, out, err)


def start_script(code: str, *, cwd: Path, uri: str, state: Path, **environ: str) -> Started:
    """A script that has been started in a process of its own."""
    cwd.mkdir(parents=True, exist_ok=True)
    settings = {
        **{key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")},
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "XDG_STATE_HOME": str(state),
        "PYTHONPATH": str(ROOT),
        **environ,
    }
    return warm_python().start(["-c", PREAMBLE + code], folder=cwd, environment=settings, speaks=True)
