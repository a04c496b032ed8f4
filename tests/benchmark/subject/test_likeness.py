"""What makes two trainings one workload, and what makes them two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from greenlove_mlflow.benchmark.subject.likeness import likeness
from greenlove_mlflow.benchmark.subject.training import Training


class Net(torch.nn.Module):
    def __init__(self, width: int = 16, heads: int = 4, dropout: float = 0.1, stride: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.body = torch.nn.Sequential(
            torch.nn.Linear(8, width), torch.nn.Dropout(dropout), torch.nn.Conv1d(1, 1, 3, stride=stride)
        )

    def forward(self, inputs: Any) -> Any:
        return self.body(inputs)


class Images(Dataset[Any]):
    def __init__(self, count: int = 64, size: int = 8) -> None:
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count


def rows(count: int = 64, width: int = 8) -> TensorDataset:
    return TensorDataset(torch.randn(count, width), torch.zeros(count, dtype=torch.long))


def make(
    net: Callable[[], torch.nn.Module] = Net,
    optimizer: Callable[..., Any] = torch.optim.Adam,
    data: Any = None,
    batch_size: int = 16,
    more: dict[str, Any] | None = None,
    criterion: Any = None,
    train_step: Any = None,
    **settings: Any,
) -> str:
    model = net()
    loader = DataLoader(rows() if data is None else data, batch_size, num_workers=settings.pop("workers", 0))
    training = Training(
        model=model,
        optimizer=optimizer(model.parameters(), **{"lr": 1e-3, **settings}),
        criterion=criterion or torch.nn.CrossEntropyLoss(),
        data=loader,
        train_step=train_step,
    )
    return likeness(training, more or {})


def a_step(accumulation: int) -> Callable[..., Any]:
    """A step that is defined anew each time it is asked for."""

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        return criterion(model(batch), device), optimizer

    def other(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        return criterion(model(batch), device), optimizer, 1

    return step if accumulation == 1 else other


ALIKE: list[dict[str, Any]] = [
    {"lr": 0.5},
    {"net": lambda: Net(dropout=0.3)},
    {"weight_decay": 0.0},
    {"betas": (0.8, 0.99)},
]
DIFFERENT: list[dict[str, Any]] = [
    {"net": lambda: Net(width=32)},
    {"net": lambda: Net(heads=8)},
    {"net": lambda: Net(stride=2)},
    {"net": lambda: Net(dropout=0.0)},
    {"net": lambda: Net().double()},
    {"net": lambda: Net().requires_grad_(False)},
    {"optimizer": torch.optim.AdamW},
    {"optimizer": torch.optim.SGD},
    {"weight_decay": 0.01},
    {"amsgrad": True},
    {"batch_size": 32},
    {"data": rows(128)},
    {"data": rows(width=9)},
    {"workers": 2},
    {"criterion": torch.nn.MSELoss()},
    {"train_step": a_step(1)},
    {"more": {"country": "DE"}},
]


@pytest.mark.parametrize("change", ALIKE, ids="-".join)
def test_what_costs_no_time_changes_nothing(change: dict[str, Any]) -> None:
    torch.manual_seed(1)
    assert make() == make(**change)


@pytest.mark.parametrize("change", DIFFERENT, ids="-".join)
def test_what_may_cost_time_makes_another_workload(change: dict[str, Any]) -> None:
    assert make() != make(**change)


def test_the_settings_of_a_data_set_count_and_so_does_its_class() -> None:
    assert make(data=Images()) == make(data=Images())
    assert len({make(data=Images()), make(data=Images(size=16)), make(data=Images(count=32)), make(data=rows())}) == 4


def test_a_step_that_is_defined_anew_is_the_same_step() -> None:
    assert make(train_step=a_step(1)) == make(train_step=a_step(1))
    assert make(train_step=a_step(1)) != make(train_step=a_step(4))


def test_torch_settings_of_the_process_count() -> None:
    plain = make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert make() != plain
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert make() != plain
    finally:
        torch.set_num_threads(threads)
    assert make() == plain
