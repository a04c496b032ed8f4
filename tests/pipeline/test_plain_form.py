"""The plain form of ``track``: a loop of one's own, metered whole, its epochs told by the optimizer's steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import greenlove_mlflow as greenlove

pytestmark = pytest.mark.slow

QUIET = {"country": "DE", "log_model": False, "saved_view": False, "budget_s": 0.5}


def parts(samples: int = 512) -> tuple[Any, Any, Any, Any]:
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 2)
    data = TensorDataset(torch.randn(samples, 8), torch.randint(0, 2, (samples,)))
    return model, torch.optim.SGD(model.parameters(), lr=0.1), torch.nn.CrossEntropyLoss(), data


def train_epoch(model: Any, optimizer: Any, criterion: Any, loader: Any, *, accumulation: int = 1) -> None:
    for index, (inputs, targets) in enumerate(loader):
        criterion(model(inputs), targets).backward()
        if (index + 1) % accumulation == 0:
            optimizer.step()
            optimizer.zero_grad()


def recorded(store: str, run_id: str, folder: Path) -> tuple[int, int, dict[str, float]]:
    client = mlflow.MlflowClient(store)
    metrics = client.get_run(run_id).data.metrics
    points = client.get_metric_history(run_id, "green/train/epoch_s")
    rows = pq.read_table(client.download_artifacts(run_id, "greenlove/epochs.parquet", str(folder))).num_rows
    return len(points), rows, metrics


@pytest.mark.parametrize(("batch_size", "accumulation"), [(64, 1), (16, 1), (256, 1), (16, 4)])
def test_epochs_are_those_that_were_trained(store: str, tmp_path: Path, batch_size: int, accumulation: int) -> None:
    model, optimizer, criterion, data = parts()
    with greenlove.track(model, optimizer, criterion, data, epochs=6, **QUIET) as run:
        for _ in range(6):
            loader = DataLoader(data, batch_size, shuffle=True)
            train_epoch(model, optimizer, criterion, loader, accumulation=accumulation)
    points, rows, metrics = recorded(store, run.run_id, tmp_path)
    assert rows == 6
    assert points <= 6
    assert metrics["green/actual/time_error_ratio"] > 0.0
    assert run.outcome.completed
    assert len(run.outcome.epoch_durations_s) == 6


def test_an_exception_leaves_the_time_so_far(store: str) -> None:
    runs: list[Any] = []

    def train() -> None:
        model, optimizer, criterion, data = parts()
        with greenlove.track(model, optimizer, criterion, data, epochs=6, **QUIET) as run:
            runs.append(run)
            for epoch in range(6):
                train_epoch(model, optimizer, criterion, DataLoader(data, 64))
                if epoch == 3:
                    raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        train()
    recorded_run = mlflow.MlflowClient(store).get_run(runs[0].run_id)
    assert recorded_run.info.status == "FAILED"
    assert recorded_run.data.metrics["green/actual/time_h"] > 0.0
    assert len(runs[0].outcome.epoch_durations_s) == 4


def test_a_refused_training_that_runs_all_the_same_is_metered(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    model, optimizer, criterion, data = parts()
    limits = greenlove.Limits(kwh=1e-12)
    with greenlove.track(model, optimizer, criterion, data, epochs=3, limits=limits, **QUIET) as run:
        for _ in range(3):
            train_epoch(model, optimizer, criterion, DataLoader(data, 64))
    said = capsys.readouterr().err
    assert "training refused" in said
    assert 'on_refusal="raise"' in said
    recorded_run = mlflow.MlflowClient(store).get_run(run.run_id)
    assert recorded_run.info.status == "FINISHED"
    assert recorded_run.data.tags["greenlove.status"] == "finished"
    assert "kwh" in recorded_run.data.tags["greenlove.refusal"]
    assert run.outcome.completed


def test_a_refusal_raises_when_asked_to(store: str) -> None:
    limits = greenlove.Limits(kwh=1e-12)
    with (
        pytest.raises(greenlove.TrainingRefused, match="kwh"),
        greenlove.track(*parts(), epochs=3, limits=limits, on_refusal="raise", **QUIET),
    ):
        pytest.fail("the body must not run")
    (run,) = mlflow.MlflowClient(store).search_runs(["0"])
    assert run.info.status == "KILLED"
    assert run.data.tags["greenlove.status"] == "refused"
