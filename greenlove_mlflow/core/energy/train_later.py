"""When to start: the start time with the least CO2e by a forecast of the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.units import S_PER_H

# How many hours ahead a start is searched for.
DEFAULT_WINDOW_H = 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IntensityReading:
    """The carbon intensity of one zone from a point in time on.

    Args:
        zone: Electricity Maps zone.
        at: Start of its validity, with a time zone.
        intensity_g_per_kwh: Grams CO2e per kWh, at least 0.
        is_estimated: Whether the service estimated it; None when it does not say.
    """

    zone: str
    at: datetime
    intensity_g_per_kwh: float
    is_estimated: bool | None = None

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise InvalidInputError(f"a reading needs a time zone, got {self.at.isoformat()}")
        if not self.intensity_g_per_kwh >= 0.0:
            raise InvalidInputError(f"carbon intensity must be at least 0, got {self.intensity_g_per_kwh}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BestStart:
    """The start with the least CO2e, compared with starting now.

    Args:
        start: When to start.
        intensity_g_per_kwh: Mean over the run if it starts then.
        now_g_per_kwh: Mean over the run if it starts now.
        wait_h: Hours until that start.
    """

    start: datetime
    intensity_g_per_kwh: float
    now_g_per_kwh: float
    wait_h: float

    @property
    def saved_share(self) -> float:
        """The share of the CO2e that waiting saves, 0 to 1."""
        return 1.0 - self.intensity_g_per_kwh / self.now_g_per_kwh if self.now_g_per_kwh else 0.0


def best_start(
    forecast: Sequence[IntensityReading], hours: float, *, window_h: float = DEFAULT_WINDOW_H
) -> BestStart | None:
    """The start within ``window_h`` hours with the least CO2e; None where the forecast does not cover the run.

    Each reading holds until the next, the last one for as long as the step before it. Power is assumed constant, so
    the mean intensity over the run decides. The run with the lowest mean starts or ends where a reading begins.

    Args:
        forecast: Readings of one zone, in any order; the earliest is now.
        hours: Length of the run, above 0.
        window_h: Latest start, hours from the first reading.

    Raises:
        InvalidInputError: If the hours are not above 0.
    """
    if not hours > 0.0:
        raise InvalidInputError(f"a training takes more than 0 hours, got {hours}")
    unique = {reading.at: reading for reading in forecast}
    readings = [unique[at] for at in sorted(unique)]
    if len(readings) < 2:
        return None
    first = readings[0].at
    edges = [(reading.at - first).total_seconds() / S_PER_H for reading in readings]
    edges.append(2.0 * edges[-1] - edges[-2])
    values = [reading.intensity_g_per_kwh for reading in readings]
    latest = min(window_h, edges[-1] - hours)
    if latest < 0.0:
        return None
    starts = {0.0, *edges, *(edge - hours for edge in edges)}
    means = {start: _mean(edges, values, start, hours) for start in sorted(starts) if 0.0 <= start <= latest}
    # The earliest of equally clean starts: there is no point in waiting longer.
    start_h = min(means, key=lambda start: (means[start], start))
    return BestStart(
        start=first + timedelta(hours=start_h),
        intensity_g_per_kwh=means[start_h],
        now_g_per_kwh=means[0.0],
        wait_h=start_h,
    )


def _mean(edges: Sequence[float], values: Sequence[float], start: float, hours: float) -> float:
    """The mean of a step function over ``hours`` from ``start``."""
    end = start + hours
    return (
        sum(
            value * max(0.0, min(end, upper) - max(start, lower))
            for value, lower, upper in zip(values, edges[:-1], edges[1:], strict=True)
        )
        / hours
    )
