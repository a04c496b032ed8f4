"""What can be rented."""

from __future__ import annotations

import pytest

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.offer import Rental, is_too_small_to_rent, rented_gpu_count
from greenlove_mlflow.errors import InvalidInputError


@pytest.mark.parametrize(
    ("counts", "used", "rented"),
    [((8,), 1, 8), ((1, 2, 4, 8, 10), 1, 1), ((1, 2, 4, 8, 10), 9, 10), ((8, 4), 2, 4), ((4,), 8, None), ((), 3, 3)],
)
def test_smallest_instance_that_has_the_gpus(counts: tuple[int, ...], used: int, rented: int | None) -> None:
    assert rented_gpu_count(counts, used) == rented


def test_training_that_ends_before_an_instance_starts_is_too_small() -> None:
    assert is_too_small_to_rent(60.9, 61.0)
    assert not is_too_small_to_rent(61.0, 61.0)
    assert not is_too_small_to_rent(0.5, 0.0)


def test_no_gpu_at_all_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="gpus=0"):
        Rental(used_gpu_count=0)


def test_start_is_nothing_where_nobody_stated_it() -> None:
    assert Rental().start_point_s == 0.0
    assert Rental(start_s=Interval(point=61.0, low=42.0, high=302.0, level=0.8)).start_point_s == 61.0
