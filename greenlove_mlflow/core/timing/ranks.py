"""Rank correlation."""

from __future__ import annotations

import math
from collections.abc import Sequence

LEAST_PAIRS = 3


def spearman_rho(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Spearman's rank correlation with average ranks; None with fewer than three pairs or without spread.

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
    """Ranks from 1; ties share the mean of theirs."""
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
