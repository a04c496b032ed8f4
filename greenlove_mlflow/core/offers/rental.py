"""What can be rented: the smallest instance that has the GPUs a training uses, and how long it takes to start."""

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
    """What is asked of every offer.

    Args:
        used_gpu_count: GPUs at work, at least 1.
        start_s: Seconds from asking for an instance to its first command; None leaves its start out.
    """

    used_gpu_count: int = 1
    start_s: Interval | None = None

    def __post_init__(self) -> None:
        if self.used_gpu_count < 1:
            raise InvalidInputError(f"a training needs at least one GPU, got gpus={self.used_gpu_count}")

    @property
    def start_point_s(self) -> float:
        """The seconds that an instance needs to start; 0 where nothing is known."""
        return 0.0 if self.start_s is None else self.start_s.point


def rented_gpu_count(gpu_counts: Sequence[int], used_gpu_count: int) -> int | None:
    """GPUs of the smallest instance that has as many as are used; None where none has.

    A sheet that states no sizes, or sells GPUs one by one, sells as many as are used.

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
    """GPUs of the instances that some rows rent; NaN where none has as many as are used.

    Args:
        sold_in: The counts that each offer is sold in.
        offer_index: Into these, one per row.
        used_gpu_count: GPUs at work, one per row.
    """
    rented = np.full(len(offer_index), np.nan)
    for used in np.unique(used_gpu_count):
        counts = [rented_gpu_count(each, int(used)) for each in sold_in]
        of_offers = np.array([np.nan if count is None else count for count in counts], dtype=np.float64)
        is_meant = used_gpu_count == used
        rented[is_meant] = of_offers[offer_index[is_meant]]
    return rented


def is_too_small_to_rent(home_time_s: float, start_s: float) -> bool:
    """Whether the training at home is over before a rented instance has started."""
    return math.isfinite(home_time_s) and home_time_s < start_s
