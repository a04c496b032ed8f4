"""Values of the wrong type or range are refused by name; those that mean the right thing are taken."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch

from greenlove_mlflow.core.workload import Limits
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.pipeline import checks
from greenlove_mlflow.pipeline.live.policy import Policy
from greenlove_mlflow.pipeline.options import make_options


@pytest.mark.parametrize("value", [np.int64(3), np.uint8(3), 3])
def test_whole_numbers_of_numpy_are_whole_numbers(value: Any) -> None:
    assert type(checks.whole("epochs", value)) is int
    assert make_options(value, {}).epochs == 3
    assert make_options(5, {"batch_size": value, "steps_per_epoch": value, "gpus": value}).batch_size == 3


@pytest.mark.parametrize("value", [True, 2.0, "3", None, 0, -1, np.float64(3), [3]])
def test_what_is_no_whole_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="epochs must be a whole number of at least 1"):
        checks.whole("epochs", value)


@pytest.mark.parametrize("value", ["5", "0,30", None, True, float("nan"), float("inf"), -1.0, [1.0], Decimal(1)])
def test_what_is_no_number_of_the_range_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"one_off_s must be at least 0, got"):
        checks.number("one_off_s", value)


def test_numbers_of_numpy_are_numbers_and_bounds_are_kept() -> None:
    assert checks.number("pue", np.float32(1.5), least=1.0) == 1.5
    assert checks.number("share", 1, above=True, most=1.0) == 1.0
    for value in (0, 1.01):
        with pytest.raises(InvalidInputError, match="between 0 and 1"):
            checks.number("share", value, above=True, most=1.0)


@pytest.mark.parametrize(
    "given",
    [
        {"budget_s": "5"},
        {"pue": "1.2"},
        {"tdp_w": "65"},
        {"electricity_price_usd_per_kwh": "0,30"},
        {"carbon_intensity_g_per_kwh": "334"},
        {"one_off_s": "3"},
        {"gpu_utilization": "0.5"},
        {"speed_ratios": {"H100 HGX 80GB": "2.5"}},
        {"speed_ratios": [2.5]},
        {"speed_ratios": {1: 2.5}},
        {"extra_state": 5},
        {"gpus": True},
        {"gpu_index": -1},
        {"country": 49},
        {"history": "no"},
        {"live_carbon": 1},
        {"progress": "bar"},
        {"progress": lambda phase: None},
        {"on_epoch": 5},
        {"on_epoch": lambda: None},
        {"train_step": lambda model, batch: None},
        {"accumulation": 10**30},
        {"plan": {"budget_s": "5"}},
        {"limits": Limits(usd=1.0)},
        {"confirm": print},
        {"billing": ()},
        {"billing": [1]},
        {"precision": "FP16"},
        {"scope": None},
        {"plan": {"budget": 5}},
        {"plan": 5},
        {"done": 3},
        {"benchmark": "after"},
    ],
    ids="-".join,
)
def test_an_option_of_the_wrong_type_is_refused_by_its_name(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(given))):
        make_options(3, given)


def test_one_object_with_a_state_and_one_billing_are_taken_for_several() -> None:
    class Scaler:
        def state_dict(self) -> dict[str, float]:
            return {}

    scaler = Scaler()
    options = make_options(3, {"extra_state": scaler, "billing": "spot"})
    assert options.extra_state == (scaler,)
    assert options.billing == ("spot",)


@pytest.mark.parametrize("limits", [50, "50 usd", {"usd": 50}])
def test_limits_and_confirm_of_another_type_are_refused(limits: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"limits must be greenlove\.Limits"):
        Policy(limits=limits)
    with pytest.raises(InvalidInputError, match="confirm must be a function"):
        Policy(confirm=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["5", 0, -1.0, True, float("nan")])
def test_a_limit_that_is_no_number_above_zero_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="limit usd must be a number above 0"):
        Limits(usd=value)


def test_functions_that_can_be_called_as_they_will_be_are_taken() -> None:
    step = lambda model, batch, optimizer, criterion, device, scale=1: None  # noqa: E731
    assert make_options(3, {"train_step": step, "progress": print}).train_step is step
    assert make_options(3, {"on_epoch": lambda *told: None}).on_epoch is not None
    with pytest.raises(InvalidInputError, match=r"confirm is called as confirm\(estimate\)"):
        Policy(confirm=lambda: True)  # type: ignore[call-arg, misc]


def test_a_module_is_called_as_its_forward() -> None:
    class Step(torch.nn.Module):
        def forward(self, model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> None: ...

    step = Step()
    assert make_options(1, {"train_step": step}).train_step is step
    for name, options in (
        ("train_step", {"train_step": torch.nn.Linear(1, 1)}),
        ("validation", {"validation": ([], torch.nn.Linear(1, 1))}),
    ):
        with pytest.raises(
            InvalidInputError, match=rf"{name}.* is called as .*\(model, batch, optimizer, criterion, device\)"
        ):
            make_options(1, options)


def test_a_name_that_is_not_known_is_refused_with_the_nearest() -> None:
    assert checks.named("billing", "spot", {"spot", "on-demand"}) == "spot"
    with pytest.raises(InvalidInputError, match="did you mean 'spot'"):
        checks.named("billing", "Spot", {"spot", "on-demand"})
    with pytest.raises(InvalidInputError, match="known are on-demand, spot"):
        checks.named("billing", "monthly", {"spot", "on-demand"})
