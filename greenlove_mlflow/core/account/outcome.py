"""The outcome of a run, compared with its estimate."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.run_facts import home_power_w
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.workload import Limits, limit_words
from greenlove_mlflow.units import G_PER_KG, J_PER_KWH, S_PER_H


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a run.

    Args:
        epoch_durations_s: Seconds of each finished epoch, in order.
        time_s: From the start of the first epoch to the end of the last, seconds.
        completed: Whether all planned epochs were run.
        energy_kwh: Electricity, PUE included; None when neither measured nor modelled.
        energy_source: ``measured``, ``modelled`` or empty.
        energy_note: Why the energy is not simply a meter's count; empty when it is.
        cost_usd: Its electricity bill, US dollars; None when unknown.
        co2_g: Grams CO2e of that electricity; None when unknown.
        forecasts_s: The forecast of the total after each epoch, seconds.
        lap_steps: Optimizer steps of each lap if laps are not epochs; None if they are.
    """

    epoch_durations_s: tuple[float, ...]
    time_s: float
    completed: bool
    energy_kwh: float | None = None
    energy_source: str = ""
    energy_note: str = ""
    cost_usd: float | None = None
    co2_g: float | None = None
    forecasts_s: tuple[Interval, ...] = ()
    lap_steps: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierParts:
    """What earlier parts of a resumed run took, as recorded.

    Args:
        lap_durations_s: Seconds of each lap, including laps that were trained twice.
        time_s: Total seconds.
        energy_kwh: Electricity, PUE included; None when unknown.
        cost_usd: Its bill, US dollars; None when unknown.
        co2_g: Its grams CO2e; None when unknown.
    """

    lap_durations_s: tuple[float, ...]
    time_s: float
    energy_kwh: float | None = None
    cost_usd: float | None = None
    co2_g: float | None = None


def with_earlier_parts(outcome: Outcome, earlier: EarlierParts) -> Outcome:
    """The outcome of the whole run, from that of its last part; a figure unknown for one part stays unknown."""
    return dataclasses.replace(
        outcome,
        epoch_durations_s=(*earlier.lap_durations_s, *outcome.epoch_durations_s),
        time_s=earlier.time_s + outcome.time_s,
        energy_kwh=_sum(earlier.energy_kwh, outcome.energy_kwh),
        cost_usd=_sum(earlier.cost_usd, outcome.cost_usd),
        co2_g=_sum(earlier.co2_g, outcome.co2_g),
        forecasts_s=tuple(forecast.shifted(earlier.time_s) for forecast in outcome.forecasts_s),
    )


def estimate_with_earlier_parts(estimate: Estimate, earlier: EarlierParts) -> Estimate:
    """The estimate of the whole run, from that of its last part."""
    return dataclasses.replace(
        estimate,
        time_s=estimate.time_s.shifted(earlier.time_s),
        energy_kwh=_shifted(estimate.energy_kwh, earlier.energy_kwh),
        cost_usd=_shifted(estimate.cost_usd, earlier.cost_usd),
        co2_g=_shifted(estimate.co2_g, earlier.co2_g),
    )


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _shifted(interval: Interval | None, by: float | None) -> Interval | None:
    return None if interval is None or by is None else interval.shifted(by)


def settle_outcome(
    estimate: Estimate,
    *,
    epoch_durations_s: tuple[float, ...],
    time_s: float,
    energy_j: float | None,
    is_metered: bool = True,
    energy_note: str = "",
    forecasts_s: tuple[Interval, ...] = (),
) -> Outcome:
    """The outcome of a run, priced with the grid, price and PUE of its estimate.

    Args:
        estimate: The estimate of the run.
        epoch_durations_s: Seconds of each finished epoch.
        time_s: Seconds of the whole training loop.
        energy_j: Joules counted over that time; with None or 0 the estimate's mean power is used.
        is_metered: Whether the training device was metered rather than modelled.
        energy_note: The meter's note on its figure.
        forecasts_s: The forecasts made during the run.
    """
    statistics = estimate.statistics
    power_w = None if statistics is None else home_power_w(statistics)
    # No run draws nothing: a meter that counted 0 was not counting.
    energy_j = energy_j if energy_j is not None and 0.0 < energy_j < math.inf else None
    joules = energy_j if energy_j is not None else None if power_w is None else power_w.point * time_s
    source = "" if joules is None else "measured" if energy_j is not None and is_metered else "modelled"
    pue = 1.0 if statistics is None else statistics.pue.point
    energy_kwh = None if joules is None else joules / J_PER_KWH * pue
    return Outcome(
        epoch_durations_s=epoch_durations_s,
        time_s=time_s,
        completed=len(epoch_durations_s) >= estimate.workload.epoch_count,
        energy_kwh=energy_kwh,
        energy_source=source,
        energy_note=energy_note,
        cost_usd=_priced(energy_kwh, estimate.grid.price_usd_per_kwh),
        co2_g=_priced(energy_kwh, estimate.grid.intensity_g_per_kwh),
        forecasts_s=forecasts_s,
    )


def outcome_of_laps(
    estimate: Estimate,
    durations_s: Sequence[float],
    energy_j: float | None,
    *,
    forecasts_s: Sequence[Interval] = (),
    lap_steps: int | None = None,
) -> Outcome:
    """The outcome up to the last recorded lap, of a run that has not said how it ended.

    Args:
        estimate: The estimate of the run.
        durations_s: Seconds of each recorded lap.
        energy_j: Joules of these laps, as metered; with None the estimate's mean power is used.
        forecasts_s: The recorded forecasts of the total, seconds.
        lap_steps: Optimizer steps of each lap if laps are not epochs.
    """
    statistics = estimate.statistics
    board = "gpu" if statistics is not None and statistics.machine.gpu_name else "cpu"
    readings = () if statistics is None else statistics.power
    sources = {reading.source for reading in readings if reading.device.startswith(board)}
    settled = settle_outcome(
        estimate,
        epoch_durations_s=tuple(durations_s),
        time_s=math.fsum(durations_s),
        energy_j=energy_j,
        is_metered=bool(sources) and "modelled" not in sources,
        forecasts_s=tuple(forecasts_s),
    )
    return dataclasses.replace(settled, completed=False, lap_steps=lap_steps)


def time_error_ratio(outcome: Outcome, estimate: Estimate) -> float | None:
    """Actual over estimated time of a completed run; None when it was cut short."""
    return outcome.time_s / estimate.time_s.point if outcome.completed else None


def spent_limits(outcome: Outcome, limits: Limits) -> tuple[str, ...]:
    """One sentence per limit that the outcome exceeds; an unknown figure exceeds none."""
    checks = (
        ("hours", limits.hours, outcome.time_s, 1.0 / S_PER_H),
        ("usd", limits.usd, outcome.cost_usd, 1.0),
        ("kwh", limits.kwh, outcome.energy_kwh, 1.0),
        ("kg_co2", limits.kg_co2, outcome.co2_g, 1.0 / G_PER_KG),
    )
    return tuple(
        limit_words(name, limit, spent=figure * factor)
        for name, limit, figure, factor in checks
        if limit is not None and figure is not None and figure * factor >= limit
    )


def _priced(energy_kwh: float | None, rate: Interval | None) -> float | None:
    return None if energy_kwh is None or rate is None else energy_kwh * rate.point
