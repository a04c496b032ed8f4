"""A benchmark that is the first seconds of the real training: the training stays what it is."""

from __future__ import annotations

import threading
import time
from typing import Any

import mlflow
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import greenlove_mlflow as greenlove
from greenlove_mlflow.errors import InvalidInputError

EPOCHS = 10
pytestmark = pytest.mark.slow


def parts(samples: int = 640) -> tuple[Any, Any, Any, Any]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.2), torch.nn.Linear(16, 2))
    data = TensorDataset(torch.randn(samples, 8), torch.randint(0, 2, (samples,)))
    return model, torch.optim.Adam(model.parameters(), lr=0.01), torch.nn.CrossEntropyLoss(), data


def train_epoch(model: Any, optimizer: Any, criterion: Any, loader: Any, *, pause_s: float = 0.0) -> None:
    for inputs, targets in loader:
        optimizer.zero_grad()
        criterion(model(inputs), targets).backward()
        optimizer.step()
        time.sleep(pause_s)


def options(**over: Any) -> dict[str, Any]:
    return {"epochs": EPOCHS, "benchmark": "within", "country": "DE", "log_model": False, "saved_view": False, **over}


def weights(model: Any) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_a_training_is_bit_for_bit_the_same_with_and_without(store: str) -> None:
    model, optimizer, criterion, data = parts()
    for _ in range(EPOCHS):
        train_epoch(model, optimizer, criterion, DataLoader(data, 64, shuffle=True))
    bare, drawn = weights(model), torch.rand(1)
    model, optimizer, criterion, data = parts()
    with greenlove.track(model, optimizer, criterion, data, **options()) as run:
        assert run.estimate is None
        assert run.approved is None
        for _ in range(EPOCHS):
            train_epoch(model, optimizer, criterion, DataLoader(data, 64, shuffle=True))
    assert all(torch.equal(one, other) for one, other in zip(bare, weights(model), strict=True))
    assert torch.equal(drawn, torch.rand(1))
    assert not optimizer._optimizer_step_post_hooks
    assert run.estimate is not None
    assert "benchmark-within" in {caveat.code for caveat in run.estimate.caveats}
    recorded = mlflow.MlflowClient(store).get_run(run.run_id)
    assert recorded.info.status == "FINISHED"
    assert {"green/time_h/local", "green/actual/time_h", "green/actual/time_error_ratio"} <= set(recorded.data.metrics)
    assert len(mlflow.MlflowClient(store).get_metric_history(run.run_id, "green/train/epoch_s")) == EPOCHS
    assert recorded.data.tags["greenlove.stats"]


def test_the_estimate_comes_while_the_training_runs(store: str) -> None:
    model, optimizer, criterion, data = parts()
    with greenlove.track(model, optimizer, criterion, data, **options()) as run:
        came_in = []
        for epoch in run.epochs():
            train_epoch(model, optimizer, criterion, DataLoader(data, 64), pause_s=0.005)
            assert run.wait(120.0)
            if run.estimate is not None:
                came_in.append(epoch)
    assert came_in
    assert came_in[0] <= EPOCHS // 2
    assert run.log is not None
    assert sum(record.step_count for record in run.log.epochs) <= EPOCHS * 10 // 4
    assert run.outcome is not None
    assert run.outcome.completed


def test_an_estimate_that_breaks_a_limit_stops_the_training_at_the_epoch(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model, optimizer, criterion, data = parts()
    limits = greenlove.Limits(kwh=1e-12)
    trained = 0
    with greenlove.track(model, optimizer, criterion, data, limits=limits, **options()) as run:
        for _ in run.epochs():
            train_epoch(model, optimizer, criterion, DataLoader(data, 64), pause_s=0.005)
            run.wait(120.0)
            trained += 1
    assert trained < EPOCHS
    assert run.approved is False
    assert "kWh" in run.refusal
    assert "training stopped" in capsys.readouterr().err
    tags = mlflow.MlflowClient(store).get_run(run.run_id).data.tags
    assert tags["greenlove.status"] == "stopped"
    assert "kWh" in tags["greenlove.reason"]


def test_confirm_is_refused_at_entry(store: str) -> None:
    with (
        pytest.raises(InvalidInputError, match="confirm="),
        greenlove.track(*parts(), confirm=lambda estimate: True, **options()),
    ):
        pass
    assert mlflow.MlflowClient(store).search_runs(["0"]) == []


def test_a_training_in_which_no_step_is_seen_has_no_estimate(store: str) -> None:
    with greenlove.track(*parts(), **options()) as run:
        pass
    assert run.estimate is None
    assert run.outcome is None
    assert mlflow.MlflowClient(store).get_run(run.run_id).info.status == "FINISHED"


def test_steps_are_planned_and_recorded(store: str) -> None:
    model, optimizer, criterion, data = parts()
    batch = data.tensors
    with greenlove.track(model, optimizer, criterion, data, **options(epochs=None, steps=35)) as run:
        for _ in run.steps():
            optimizer.zero_grad()
            criterion(model(batch[0]), batch[1]).backward()
            optimizer.step()
    assert run.estimate is not None
    assert run.estimate.workload.epoch_count == pytest.approx(3.5)
    assert run.outcome is not None
    assert run.outcome.completed
    client = mlflow.MlflowClient(store)
    assert len(client.get_metric_history(run.run_id, "green/train/lap_s")) == 4


def test_trainings_in_two_threads_are_not_benchmarked_over_each_other(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    both, ended = threading.Barrier(2, timeout=60.0), list[Any]()

    def work() -> None:
        model, optimizer, criterion, data = parts()
        both.wait()
        given = options(benchmark=None, budget_s=0.5, epochs=3)
        with greenlove.track(model, optimizer, criterion, data, **given) as run:
            for _ in run.epochs():
                train_epoch(model, optimizer, criterion, DataLoader(data, 64, shuffle=True), pause_s=0.05)
        ended.append(run)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120.0)
    client = mlflow.MlflowClient(store)
    runs = [client.get_run(run.run_id) for run in ended]
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    assert {run.data.params["green.benchmark"] for run in runs} == {"before", "within"}
    assert all("green/actual/time_error_ratio" in run.data.metrics for run in runs)
    assert "draws from the same random numbers" in capsys.readouterr().err
