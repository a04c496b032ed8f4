"""The plain form of ``track``: a loop of one's own, metered whole, its epochs told by the optimizer's steps."""

from __future__ import annotations

import math
import threading
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


def train_scaled(model: Any, optimizer: Any, criterion: Any, data: Any, epochs: int) -> None:
    """Every 32nd step overflows: the scaler skips it."""
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    seen = 0
    for _ in range(epochs):
        for inputs, targets in DataLoader(data, 8):
            seen += 1
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets) * (math.inf if seen % 64 == 0 else 1.0)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()


def train_by_closure(model: Any, optimizer: Any, criterion: Any, data: Any, epochs: int) -> None:
    for _ in range(epochs):
        for inputs, targets in DataLoader(data, 64):

            def closure(inputs: Any = inputs, targets: Any = targets) -> Any:
                optimizer.zero_grad()
                loss = criterion(model(inputs), targets)
                loss.backward()
                return loss

            optimizer.step(closure)


def train_in_turns(model: Any, optimizers: Any, criterion: Any, data: Any, epochs: int) -> None:
    """As a GAN does it: the critic steps with every batch, the generator with each fourth."""
    critic, generator = optimizers
    for _ in range(epochs):
        for index, (inputs, targets) in enumerate(DataLoader(data, 64)):
            criterion(model(inputs), targets).backward()
            critic.step()
            if index % 4 == 3:
                generator.step()
            for optimizer in optimizers:
                optimizer.zero_grad()


def train_with_validation(model: Any, optimizer: Any, criterion: Any, data: Any, epochs: int) -> None:
    for _ in range(epochs):
        train_epoch(model, optimizer, criterion, DataLoader(data, 64))
        with torch.no_grad():
            criterion(model(data.tensors[0]), data.tensors[1]).item()


def one(make: Any) -> Any:
    return lambda model: make(model.parameters())


def critic_and_generator(model: Any) -> Any:
    return [torch.optim.SGD([each], lr=0.1) for each in model.parameters()]


LOOPS = {
    "a scaler that skips steps": (one(lambda each: torch.optim.SGD(each, lr=0.1)), train_scaled, 8),
    "a scaler, and an optimizer that skips them itself": (
        one(lambda each: torch.optim.Adam(each, fused=True)),
        train_scaled,
        8,
    ),
    "a fused optimizer": (one(lambda each: torch.optim.Adam(each, fused=True)), train_with_validation, 64),
    "LBFGS": (one(lambda each: torch.optim.LBFGS(each, lr=0.1, max_iter=3)), train_by_closure, 64),
    "two optimizers, one of them in turns": (critic_and_generator, train_in_turns, 64),
    "validation in the body": (one(lambda each: torch.optim.SGD(each, lr=0.1)), train_with_validation, 64),
}


def step_of_both(model: Any, batch: Any, optimizers: Any, criterion: Any, device: Any) -> None:
    criterion(model(batch[0]), batch[1]).backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize(
    ("name", "benchmark"), [*((name, "within") for name in LOOPS), ("a scaler that skips steps", "before")]
)
def test_any_kind_of_loop_has_its_epochs_and_ends_as_without(store: str, name: str, benchmark: str) -> None:
    make, train, batch_size = LOOPS[name]
    model, _, criterion, data = parts()
    train(model, make(model), criterion, data, 6)
    bare = [each.clone() for each in model.parameters()]
    model, _, criterion, data = parts()
    optimizers = make(model)
    options = {**QUIET, "batch_size": batch_size, "benchmark": benchmark}
    options |= {"train_step": step_of_both} if isinstance(optimizers, list) else {}
    with greenlove.track(model, optimizers, criterion, data, epochs=6, **options) as run:
        train(model, optimizers, criterion, data, 6)
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), bare, strict=True))
    assert len(run.outcome.epoch_durations_s) == 6
    assert run.outcome.completed
    assert "plan-differs" not in {each.code for each in run.estimate.caveats}


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
    assert "the limit of" in recorded_run.data.tags["greenlove.refusal"]
    assert run.outcome.completed


def test_a_refusal_raises_when_asked_to(store: str) -> None:
    limits = greenlove.Limits(kwh=1e-12)
    with (
        pytest.raises(greenlove.TrainingRefused, match="kWh"),
        greenlove.track(*parts(), epochs=3, limits=limits, on_refusal="raise", **QUIET),
    ):
        pytest.fail("the body must not run")
    (run,) = mlflow.MlflowClient(store).search_runs(["0"])
    assert run.info.status == "KILLED"
    assert run.data.tags["greenlove.status"] == "refused"


@pytest.mark.parametrize(("epochs", "is_beside"), [(20, False), (10_000_000, True)])
def test_the_page_is_made_beside_a_long_training_and_after_a_short_one(epochs: int, is_beside: bool) -> None:
    """Its seconds of Python hold up the training's own, for which nothing is too short."""
    with greenlove.track(*parts(), epochs=epochs, batch_size=8, **QUIET) as run:
        names = {each.name for each in threading.enumerate()}
    assert ("greenlove-page" in names) == is_beside
    artifacts = mlflow.artifacts.list_artifacts(run_id=run.run_id, artifact_path="greenlove")
    assert "greenlove/report.html" in {each.path for each in artifacts}
