"""What kind of model is trained, at which precision, and whether two benchmarks are of the same workload."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from greenlove_mlflow.benchmark import BenchmarkPlan, Training, describe_model, read_machine, run_benchmark

X, Y = torch.randn(16, 4), torch.randint(0, 2, (16,))


def describe(model: nn.Module, batch: Any = (X, Y), batch_size: int = 8, **over: Any) -> Any:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return describe_model(model, optimizer, batch, batch_size, **over)


class SelfAttention(nn.Module):
    """An attention of another library's making."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(4, 4), nn.Linear(4, 4)


class SpatialAttention(nn.Module):
    """A gate of a convolutional net."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (nn.Linear(4, 2), "other"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2)), "convolutional"),
        (nn.GRU(4, 4), "recurrent"),
        (nn.TransformerEncoderLayer(4, 2, 8), "transformer"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), SelfAttention()), "transformer"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), SpatialAttention()), "convolutional"),
    ],
)
def test_the_kind_is_that_of_its_layers(model: nn.Module, kind: str) -> None:
    assert describe(model).kind == kind


def test_precision_is_that_of_autocast_or_of_the_parameters() -> None:
    assert describe(nn.Linear(4, 2)).precision == "fp32"
    assert describe(nn.Linear(4, 2).to(torch.bfloat16)).precision == "bf16"
    assert describe(nn.Linear(4, 2), autocast_dtype=torch.float16).precision == "fp16"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert describe(nn.Linear(4, 2)).precision == "bf16"


def test_autocast_inside_the_users_step_is_seen_and_nothing_is_left_behind() -> None:
    original = torch.autocast.__enter__

    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return criterion(model(batch[0]), batch[1])

    model = nn.Linear(4, 2)
    training = Training(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        criterion=nn.CrossEntropyLoss(),
        data=TensorDataset(X, Y),
        train_step=step,
    )
    assert run_benchmark(training, BenchmarkPlan(epoch_count=1, batch_size=4)).precision == "bf16"
    assert torch.autocast.__enter__ is original


def test_the_fingerprint_tells_structure_batch_precision_and_data_shape_but_not_weights() -> None:
    base = describe(nn.Linear(4, 2)).fingerprint
    assert describe(nn.Linear(4, 2)).fingerprint == base
    assert describe(nn.Linear(4, 2), (X[:3], Y[:3])).fingerprint == base  # a partial batch
    others = [
        describe(nn.Linear(4, 3)),
        describe(nn.Linear(4, 2), batch_size=16),
        describe(nn.Linear(4, 2), (torch.randn(16, 5), Y)),
        describe(nn.Linear(4, 2), autocast_dtype=torch.bfloat16),
        describe_model(nn.Linear(4, 2), torch.optim.Adam(nn.Linear(1, 1).parameters()), (X, Y), 8),
    ]
    frozen = nn.Linear(4, 2)
    frozen.bias.requires_grad = False
    others.append(describe(frozen))
    assert len({base, *(each.fingerprint for each in others)}) == 1 + len(others)


def test_parameters_are_counted_and_a_model_that_is_no_module_is_described() -> None:
    assert describe(nn.Linear(4, 2)).parameter_count == 10
    plain = describe_model(lambda x: x, None, X, 8)
    assert (plain.kind, plain.parameter_count) == ("other", None)


def test_the_machine_is_read_without_naming_its_host() -> None:
    import platform

    machine = read_machine("cpu")
    assert machine.device == "cpu"
    assert machine.visible_cpu_count >= 1
    assert machine.memory_gib is None or machine.memory_gib > 0.1
    assert platform.node() not in repr(machine) or not platform.node()
    assert machine.fingerprint == read_machine("cpu").fingerprint
