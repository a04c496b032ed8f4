"""A benchmark of a short training ends where the training itself would."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from greenlove_mlflow.benchmark import BenchmarkPlan, run_benchmark
from greenlove_mlflow.benchmark.subject.training import Training
from greenlove_mlflow.core.records import Machine

EPOCHS, STEPS = 3, 8


def a_training(total_steps: int) -> tuple[Training, Any]:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=total_steps)

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> None:
        optimizer.zero_grad()
        model(batch[0]).sum().backward()
        optimizer.step()
        schedule.step()

    data = DataLoader(TensorDataset(torch.randn(STEPS * 2, 4)), batch_size=2)
    training = Training(model=model, optimizer=optimizer, criterion=None, data=data, train_step=step)
    return training, schedule


def test_a_schedule_of_as_many_steps_as_the_training_has_ends_the_benchmark_and_is_put_back() -> None:
    training, schedule = a_training(EPOCHS * STEPS)
    weights = [each.clone() for each in training.model.parameters()]
    log = run_benchmark(training, BenchmarkPlan(epoch_count=EPOCHS, budget_s=0.5), machine=Machine(device="cpu"))
    assert log.stop_reason == "complete"
    assert sum(record.step_count for record in log.epochs) >= STEPS
    assert schedule.last_epoch == 0
    assert all(torch.equal(*pair) for pair in zip(training.model.parameters(), weights, strict=True))


def test_a_step_that_fails_before_the_end_of_the_training_fails_the_benchmark() -> None:
    training, schedule = a_training(EPOCHS * STEPS - 1)
    with pytest.raises(ValueError, match="Tried to step"):
        run_benchmark(training, BenchmarkPlan(epoch_count=EPOCHS, budget_s=0.5), machine=Machine(device="cpu"))
    assert schedule.last_epoch == 0
