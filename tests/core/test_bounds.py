from __future__ import annotations

from dataclasses import dataclass

import pytest

from greenlove_mlflow.core.bounds import bounds_of, check_bounds
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    power_w: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    duration_s: float = 1.0
    item_count: int = 3
    pue: Interval = Interval.exactly(1.2)  # noqa: RUF009 - it is frozen
    parts: tuple[Part, ...] = (Part(),)
    maybe_s: float | None = None
    is_on: bool = True
    name: str = "x"
    other: float = -5.0


def refusal(over: dict[str, object]) -> str:
    """The words in which these facts are refused; empty when they are not."""
    try:
        check_bounds(Whole(**over))  # type: ignore[arg-type]
    except InvalidInputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("over", [{}, {"duration_s": 0.0}, {"pue": Interval.exactly(1.0)}, {"parts": ()}])
def test_facts_that_can_be_pass(over: dict[str, object]) -> None:
    assert refusal(over) == ""


@pytest.mark.parametrize(
    ("over", "name"),
    [
        ({"duration_s": float("nan")}, "duration_s"),
        ({"duration_s": float("inf")}, "duration_s"),
        ({"duration_s": -1.0}, "duration_s"),
        ({"item_count": 10**400}, "item_count"),
        ({"pue": Interval(point=0.5, low=0.4, high=0.6)}, "pue"),
        ({"pue": Interval(point=1.2, low=1.1, high=1e300)}, "pue"),
        ({"parts": (Part(), Part(power_w=1e9))}, "power_w"),
        ({"maybe_s": 1e300}, "maybe_s"),
        ({"other": 1e300}, "other"),
    ],
)
def test_a_figure_that_cannot_be_is_named(over: dict[str, object], name: str) -> None:
    assert refusal(over).startswith(f"{name} cannot be")


def test_a_whole_name_counts_before_its_end() -> None:
    assert bounds_of("epoch_s")[0] > 0.0
    assert bounds_of("extra_per_epoch_s")[0] == 0.0
    assert bounds_of("affine_intercept_s")[0] < 0.0
