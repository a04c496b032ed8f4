"""``track`` of what Accelerate prepares: nothing of the training changes, and its run holds what happened."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

import greenlove_mlflow as greenlove

accelerate = pytest.importorskip("accelerate")
pytestmark = pytest.mark.slow

EPOCHS = 3


def train(*, is_tracked: bool, takes_over: bool = True) -> tuple[Any, Any, list[float]]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.2), torch.nn.Linear(16, 2))
    data = torch.utils.data.TensorDataset(torch.randn(320, 8), torch.randint(0, 2, (320,)))
    loader = torch.utils.data.DataLoader(data, 32, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(loader))
    accelerator = accelerate.Accelerator(cpu=True)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    rates = []

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        optimizer.zero_grad()
        loss = criterion(model(batch[0]), batch[1])
        accelerator.backward(loss)
        optimizer.step()
        schedule.step()
        return loss

    options = {"epochs": EPOCHS, "train_step": step, "country": "DE", "log_model": False, "saved_view": False}
    criterion = torch.nn.CrossEntropyLoss()
    tracked = greenlove.track(model, optimizer, criterion, loader, budget_s=0.5, **options)
    with tracked if is_tracked else nullcontext() as run:
        for _ in run.epochs() if is_tracked and takes_over else range(EPOCHS):
            for batch in loader:
                step(model, batch, optimizer, criterion, None)
                rates.append(schedule.get_last_lr()[0])
    return model, run, rates


@pytest.mark.parametrize("takes_over", [True, False])
def test_weights_and_learning_rates_are_as_without_it(store: str, takes_over: bool) -> None:
    (without, _, rates), (model, run, same_rates) = (
        train(is_tracked=False),
        train(is_tracked=True, takes_over=takes_over),
    )
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), without.parameters(), strict=True))
    assert same_rates == rates
    assert run.outcome.completed
    assert run.step_count == EPOCHS * 10
    recorded = MlflowClient().get_run(run.run_id)
    assert recorded.info.status == "FINISHED"
    assert len(MlflowClient().get_metric_history(run.run_id, "green/train/epoch_s")) == EPOCHS
