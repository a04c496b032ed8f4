"""Rental: the smallest instance with enough GPUs for a run, and how long it takes to start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenlove_mlflow.core.interval import FloatArray, Interval
from greenlove_mlflow.errors import InvalidInputError

IndexArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rental:
    """What every offer must provide.

    Args:
        used_gpu_count: GPUs in use, at least 1.
        start_s: Seconds from requesting an instance to its first command; None ignores the start.
    """

    used_gpu_count: int = 1
    start_s: Interval | None = None

    def __post_init__(self) -> None:
        if self.used_gpu_count < 1:
            raise InvalidInputError(f"a training needs at least one GPU, got gpus={self.used_gpu_count}")

    @property
    def start_point_s(self) -> float:
        """Seconds that an instance needs to start; 0 where unknown."""
        return 0.0 if self.start_s is None else self.start_s.point


def rented_gpu_count(gpu_counts: Sequence[int], used_gpu_count: int) -> int | None:
    """GPUs of the smallest instance with at least ``used_gpu_count`` GPUs; None where there is none.

    Where the sheet states no sizes or sells GPUs one by one, exactly as many as are used are rented.

    >>> rented_gpu_count((1, 2, 4, 8), 3), rented_gpu_count((8,), 1), rented_gpu_count((4,), 8)
    (4, 8, None)
    >>> rented_gpu_count((), 2), rented_gpu_count((1,), 2)
    (2, 2)
    """
    if tuple(gpu_counts) in ((), (1,)):
        return used_gpu_count
    return min((count for count in gpu_counts if count >= used_gpu_count), default=None)


def rented_gpu_counts(
    sold_in: Sequence[Sequence[int]], offer_index: IndexArray, used_gpu_count: FloatArray
) -> FloatArray:
    """GPUs of the rented instance of each row; NaN where no instance has enough.

    Args:
        sold_in: The GPU counts that each offer is sold in.
        offer_index: Index into ``sold_in``, one per row.
        used_gpu_count: GPUs in use, one per row.
    """
    rented = np.full(len(offer_index), np.nan)
    for used in np.unique(used_gpu_count):
        counts = [rented_gpu_count(each, int(used)) for each in sold_in]
        of_offers = np.array([np.nan if count is None else count for count in counts], dtype=np.float64)
        is_meant = used_gpu_count == used
        rented[is_meant] = of_offers[offer_index[is_meant]]
    return rented


def is_too_small_to_rent(home_time_s: float, start_s: float) -> bool:
    """Whether the run at home ends before a rented instance has started."""
    return math.isfinite(home_time_s) and home_time_s < start_s
