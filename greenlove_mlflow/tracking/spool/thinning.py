"""Turns events into metric points: one per device and second, and very long series in ever wider groups.

Points depend only on the events in order, so a spool that is read again yields the same points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from greenlove_mlflow.tracking.names import (
    TRAIN_ENERGY_J,
    TRAIN_EPOCH_S,
    TRAIN_FORECAST_TIME_H,
    TRAIN_LAP_S,
    power_key,
)
from greenlove_mlflow.tracking.spool.events import Event, LapEvent, MetricEvent, PowerEvent
from greenlove_mlflow.units import S_PER_H

# The first points of a series are all kept; then groups grow with the series, so that a year of seconds becomes about
# 40,000 points. MLflow draws 320 points per series.
FULL_COUNT = 20_000
GROWTH_COUNT = 1600
_STEPS_PER_S = 10
# How a group becomes one point: the mean of means and durations, the sum of additive quantities, else the last.
_MEANS = (TRAIN_EPOCH_S, TRAIN_LAP_S)
_SUMS = (TRAIN_ENERGY_J,)
_MACHINE_PREFIX = "system/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of a metric's history."""

    key: str
    value: float
    timestamp_ms: int
    step: int


class Thinner:
    """Groups events into points; a group's point has the time and step of its last event."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._groups: dict[str, list[Point]] = {}
        self._seconds: dict[str, list[Point]] = {}

    def add(self, event: Event) -> list[Point]:
        """The points that this event completes; none for an event other than a measurement."""
        return [whole for point in self._points(event) if (whole := self._grouped(point)) is not None]

    def rest(self) -> list[Point]:
        """The points of incomplete groups, for the end of all series."""
        seconds, self._seconds = self._seconds, {}
        done = [whole for group in seconds.values() if (whole := self._grouped(_merged(group))) is not None]
        groups, self._groups = self._groups, {}
        return done + [_merged(group) for group in groups.values() if group]

    def _points(self, event: Event) -> Iterator[Point]:
        if isinstance(event, MetricEvent):
            yield Point(key=event.key, value=event.value, timestamp_ms=event.timestamp_ms, step=event.step)
        elif isinstance(event, LapEvent):
            yield from lap_points(event)
        elif isinstance(event, PowerEvent):
            yield from self._second(event)

    def _second(self, event: PowerEvent) -> Iterator[Point]:
        """The point of the previous second, when this reading starts a new one."""
        key = power_key(event.device)
        point = Point(key=key, value=event.power_w, timestamp_ms=event.timestamp_ms, step=event.step // _STEPS_PER_S)
        group = self._seconds.setdefault(key, [])
        if group and group[-1].step != point.step:
            yield _merged(group)
            group.clear()
        group.append(point)

    def _grouped(self, point: Point) -> Point | None:
        seen = self._seen.get(point.key, 0)
        group = self._groups.setdefault(point.key, [])
        group_size = max(1, (seen - len(group) - FULL_COUNT) // GROWTH_COUNT)
        self._seen[point.key] = seen + 1
        group.append(point)
        if len(group) < group_size:
            return None
        self._groups[point.key] = []
        return _merged(group)


def lap_points(lap: LapEvent) -> Iterator[Point]:
    """The metric points of one lap."""
    values: dict[str, float | None] = {
        TRAIN_EPOCH_S if lap.is_epoch else TRAIN_LAP_S: lap.duration_s,
        TRAIN_ENERGY_J: lap.energy_j,
    }
    if lap.forecast_s is not None:
        for end, value_s in zip(("", "_lo", "_hi"), lap.forecast_s, strict=True):
            values[f"{TRAIN_FORECAST_TIME_H}{end}"] = value_s / S_PER_H
    for key, value in values.items():
        if value is not None:
            yield Point(key=key, value=value, timestamp_ms=lap.timestamp_ms, step=lap.index)


def _merged(group: list[Point]) -> Point:
    last = group[-1]
    if len(group) == 1:
        return last
    total = sum(point.value for point in group)
    if last.key in _SUMS:
        value = total
    elif last.key in _MEANS or last.key.startswith(_MACHINE_PREFIX):
        value = total / len(group)
    else:
        value = last.value
    return Point(key=last.key, value=value, timestamp_ms=last.timestamp_ms, step=last.step)
