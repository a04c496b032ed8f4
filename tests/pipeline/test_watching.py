"""``watch``: any loop, by its optimizer's steps alone."""

from __future__ import annotations

from typing import Any

import mlflow
import pytest
import torch

import greenlove_mlflow as greenlove
from greenlove_mlflow.errors import InvalidInputError

QUIET = {"country": "DE", "log_model": False, "saved_view": False}


def make() -> tuple[Any, Any]:
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 2)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def step(model: Any, optimizer: Any) -> None:
    optimizer.zero_grad()
    model(torch.ones(4, 8)).sum().backward()
    optimizer.step()


@pytest.mark.slow
def test_a_loop_is_watched_by_its_optimizer(store: str) -> None:
    model, optimizer = make()
    with greenlove.watch(optimizer, model, steps=100, batch_size=4, **QUIET) as run:
        for _ in range(100):
            step(model, optimizer)
    assert run.estimate is not None
    assert run.estimate.workload.epoch_count * run.estimate.workload.steps_per_epoch == pytest.approx(100)
    assert run.outcome is not None
    assert run.outcome.completed
    recorded = mlflow.MlflowClient(store).get_run(run.run_id)
    assert recorded.data.params["green.steps"] == "100"
    assert recorded.data.params["green.lap_steps"] == "2"
    assert recorded.data.params["green.benchmark"] == "within"
    assert len(mlflow.MlflowClient(store).get_metric_history(run.run_id, "green/train/lap_s")) == 50


@pytest.mark.slow
def test_a_training_without_an_end_is_metered_and_nothing_is_promised(store: str) -> None:
    model, optimizer = make()
    with greenlove.watch(optimizer, **QUIET) as run:
        for _ in range(2100):
            step(model, optimizer)
    client = mlflow.MlflowClient(store)
    metrics = client.get_run(run.run_id).data.metrics
    assert len(client.get_metric_history(run.run_id, "green/train/lap_s")) == 2
    assert metrics["green/actual/time_h"] > 0.0
    assert "green/time_h/local" not in metrics
    assert "green/actual/time_error_ratio" not in metrics


def test_nothing_that_steps_is_refused(store: str) -> None:
    with pytest.raises(InvalidInputError, match="optimizer"), greenlove.watch(torch.nn.Linear(1, 1), steps=10):
        pass


def test_epochs_need_their_steps(store: str) -> None:
    with pytest.raises(InvalidInputError, match="steps_per_epoch"), greenlove.watch(make()[1], epochs=3):
        pass
