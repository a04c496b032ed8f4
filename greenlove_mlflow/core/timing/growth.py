"""Growth: how the time of an epoch grows with its samples, by rank correlation and a straight line with its misfit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_SIZES = 3
LEAST_PAIRS = 3
LACK_OF_FIT_P = 0.01
LEAST_BEND = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The growth of time with size.

    Args:
        spearman_rho: Rank correlation of size and mean time; None with fewer than three sizes.
        intercept_s: Intercept of the straight line, weighted by the inverse square of the time, seconds.
        slope_s: Its seconds per sample.
        r2: Weighted share of the variance that the line explains; None without variance.
        lack_of_fit_p: P value of the lack-of-fit test by repeated epochs; None without repeats.
        bend: Relative excess of the largest size over the straight line through the smaller ones.
        exponent: Exponent of the power law of time over the upper half of the sizes.
    """

    spearman_rho: float | None
    intercept_s: float
    slope_s: float
    r2: float | None
    lack_of_fit_p: float | None
    bend: float
    exponent: float = 1.0

    @property
    def is_bent(self) -> bool:
        """Whether time grows faster than a straight line, significantly and by more than ``LEAST_BEND``."""
        return self.lack_of_fit_p is not None and self.lack_of_fit_p < LACK_OF_FIT_P and self.bend > LEAST_BEND


def fit_growth(sizes: Sequence[float], durations_s: Sequence[float]) -> Growth | None:
    """The growth shown by single epochs; None with fewer than three sizes.

    Args:
        sizes: Samples of each epoch.
        durations_s: Seconds of each epoch.

    >>> growth = fit_growth([1, 2, 4, 1, 2, 4], [3, 5, 9, 3, 5, 9])
    >>> round(growth.intercept_s, 9), round(growth.slope_s, 9), growth.spearman_rho
    (1.0, 2.0, 1.0)
    """
    groups = _groups(sizes, durations_s)
    if len(groups) < LEAST_SIZES:
        return None
    unique = np.array(sorted(groups))
    means = np.array([float(np.mean(groups[size])) for size in unique])
    counts = np.array([len(groups[size]) for size in unique], dtype=np.float64)
    # Noise is relative, so values are weighted by the inverse square of their expectation.
    weights = counts / means**2
    intercept, slope = _line(unique, means, weights)
    fitted = intercept + slope * unique
    lack = float(np.sum(weights * (means - fitted) ** 2))
    pure = math.fsum(
        ((value - mean) / mean) ** 2 for size, mean in zip(unique, means, strict=True) for value in groups[size]
    )
    spread = float(np.sum(weights * (means - np.average(means, weights=weights)) ** 2))
    return Growth(
        spearman_rho=spearman_rho(unique.tolist(), means.tolist()),
        intercept_s=intercept,
        slope_s=slope,
        r2=1.0 - (lack + pure) / (spread + pure) if spread + pure > 0.0 else None,
        lack_of_fit_p=_lack_of_fit_p(lack, len(groups) - 2, pure, int(counts.sum()) - len(groups)),
        bend=_bend(unique, means, weights),
        exponent=_exponent(unique, means),
    )


def _groups(sizes: Sequence[float], durations_s: Sequence[float]) -> dict[float, list[float]]:
    groups: dict[float, list[float]] = {}
    for size, duration_s in zip(sizes, durations_s, strict=True):
        groups.setdefault(float(size), []).append(float(duration_s))
    return groups


def _line(sizes: np.ndarray, means: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    centre, level = np.average(sizes, weights=weights), np.average(means, weights=weights)
    spread = float(np.sum(weights * (sizes - centre) ** 2))
    slope = float(np.sum(weights * (sizes - centre) * (means - level))) / spread
    return float(level - slope * centre), slope


def _bend(sizes: np.ndarray, means: np.ndarray, weights: np.ndarray) -> float:
    intercept, slope = _line(sizes[:-1], means[:-1], weights[:-1])
    if slope < 0.0:  # More data take no less time: a line that falls, perhaps below zero, is noise around a level one.
        expected = float(np.average(means[:-1], weights=weights[:-1]))
    else:
        expected = intercept + slope * float(sizes[-1])
    return float(means[-1]) / expected - 1.0


def _lack_of_fit_p(lack: float, lack_count: int, pure: float, pure_count: int) -> float | None:
    from scipy.special import fdtrc

    if lack_count < 1 or pure_count < 1 or pure <= 0.0:
        return None
    return float(fdtrc(lack_count, pure_count, (lack / lack_count) / (pure / pure_count)))


def _exponent(sizes: np.ndarray, means: np.ndarray) -> float:
    middle = (len(sizes) - 1) // 2
    return math.log(float(means[-1] / means[middle])) / math.log(float(sizes[-1] / sizes[middle]))


def spearman_rho(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Spearman's rank correlation with average ranks; None with fewer than three pairs or without variance.

    >>> spearman_rho([1, 2, 3, 4], [1, 4, 9, 8])
    0.8
    """
    if len(xs) < LEAST_PAIRS:
        return None
    ranks_x, ranks_y = _ranks(xs), _ranks(ys)
    mean = (len(xs) + 1) / 2.0
    covariance = math.fsum((a - mean) * (b - mean) for a, b in zip(ranks_x, ranks_y, strict=True))
    spread = math.fsum((a - mean) ** 2 for a in ranks_x) * math.fsum((b - mean) ** 2 for b in ranks_y)
    return covariance / math.sqrt(spread) if spread > 0.0 else None


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1; ties get their mean rank."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in order[start : end + 1]:
            ranks[place] = (start + end) / 2.0 + 1.0
        start = end + 1
    return ranks
