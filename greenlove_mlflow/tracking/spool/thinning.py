"""Thinning: a series of any length as about two thousand points, decided as it comes in and the same each time."""

from __future__ import annotations

import math
from dataclasses import dataclass

# All of the first thousand samples, then groups that grow with the series, so that their number grows with its
# logarithm: 10 samples a second for a week, 6 million, become 2,000 points. MLflow draws 320 points a series.
FULL_COUNT = 1000
GROWTH_COUNT = 80
MACHINE_PREFIX = "system/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of a metric's history."""

    key: str
    value: float
    timestamp_ms: int
    step: int


class Thinner:
    """Groups of samples to points; deterministic, so that a series read again gives the same points.

    A group's point has the time and step of its last sample and, for a series of the machine (power), the mean of its
    values, else the last of them.
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._groups: dict[str, list[Point]] = {}

    def add(self, point: Point) -> Point | None:
        """The point that this sample completes; None while its group is not full."""
        seen = self._seen.get(point.key, 0)
        group = self._groups.setdefault(point.key, [])
        group_size = max(1, (seen - len(group) - FULL_COUNT) // GROWTH_COUNT)
        self._seen[point.key] = seen + 1
        group.append(point)
        if len(group) < group_size:
            return None
        self._groups[point.key] = []
        return _merge(group)

    def rest(self) -> list[Point]:
        """The points of the groups that are not full, for the end of all series."""
        groups, self._groups = self._groups, {}
        return [_merge(group) for group in groups.values() if group]


def _merge(group: list[Point]) -> Point:
    last = group[-1]
    if len(group) == 1 or not last.key.startswith(MACHINE_PREFIX):
        return last
    value = math.fsum(point.value for point in group) / len(group)
    return Point(key=last.key, value=value, timestamp_ms=last.timestamp_ms, step=last.step)
