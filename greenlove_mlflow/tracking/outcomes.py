"""What a training took, as metrics, and read from them: its outcome, or how far it was when it was last seen."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.estimate import Estimate, estimate_training
from greenlove_mlflow.core.account.outcome import Outcome, outcome_of_laps
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.codec import check_bounds
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.errors import RunDataError
from greenlove_mlflow.tracking import names
from greenlove_mlflow.units import G_PER_KG, S_PER_H
from greenlove_mlflow.untrusted import printable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# More would be epochs of a few seconds for a year: no training is read epoch by epoch beyond this.
EPOCH_LIMIT = 10_000_000
# Laps that together took longer than a recorded outcome by more than this were trained after it.
_LATER = 1.0 + 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPoint:
    """One point of a metric's history."""

    step: int
    timestamp_ms: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownOutcome:
    """What is known of a training.

    Args:
        outcome: The outcome; None when no epoch was run, or the training has not ended.
        so_far: What a training that has not ended took up to its last lap; None when it has ended or no lap has.
        seen_ms: When its last lap ended, milliseconds since 1970; None where no lap is known.
    """

    outcome: Outcome | None = None
    so_far: Outcome | None = None
    seen_ms: int | None = None


def read_known_outcome(client: MlflowClient, run: Run, statistics: RunFacts) -> KnownOutcome:
    """The outcome of a run, or how far its training was; one that ended without an outcome took what its laps took.

    Args:
        client: Client of the run's store.
        run: The run.
        statistics: Its facts.

    Raises:
        GreenloveError: If its values are invalid.
    """
    lap_steps = run.data.params.get(names.PARAM_LAP_STEPS, "")
    key = names.TRAIN_LAP_S if lap_steps.isdecimal() else names.TRAIN_EPOCH_S
    laps = sorted_history(client, run.info.run_id, key) if key in run.data.metrics else ()
    has_outcome = names.ACTUAL_TIME_H in run.data.metrics
    if not laps and not has_outcome:
        return KnownOutcome()
    taken_s = run.data.metrics.get(names.ACTUAL_TIME_H, 0.0) * S_PER_H
    is_whole = names.ACTUAL_TIME_ERROR_RATIO in run.data.metrics
    is_current = has_outcome and (is_whole or math.fsum(_every_epoch(laps)) <= taken_s * _LATER)
    if is_current:
        known = _read_outcome(client, run, laps)
    else:
        known = _read_laps(client, run, laps, estimate_training(statistics))
    known = dataclasses.replace(known, lap_steps=int(lap_steps) if lap_steps.isdecimal() else None)
    check_bounds(known)
    seen_ms = max((lap.timestamp_ms for lap in laps), default=None)
    own = run.data.tags.get(names.TAG_STATUS, "")
    # A run of the user's may stay open when the training in it has ended.
    is_open = run.info.status == "RUNNING" and (own == names.STATUS_RUNNING or not (own or is_current))
    return KnownOutcome(
        outcome=None if is_open else known,
        so_far=known if is_open else None,
        seen_ms=seen_ms,
    )


def outcome_values(outcome: Outcome, time_error_ratio: float | None) -> dict[str, float]:
    """The outcome by metric key; unknown values are left out."""
    values = {
        names.ACTUAL_TIME_H: outcome.time_s / S_PER_H,
        names.ACTUAL_ENERGY_KWH: outcome.energy_kwh,
        names.ACTUAL_COST_USD: outcome.cost_usd,
        names.ACTUAL_CO2_KG: None if outcome.co2_g is None else outcome.co2_g / G_PER_KG,
        names.ACTUAL_TIME_ERROR_RATIO: time_error_ratio,
    }
    return {key: value for key, value in values.items() if value is not None}


def _read_laps(client: MlflowClient, run: Run, laps: tuple[HistoryPoint, ...], estimate: Estimate) -> Outcome:
    joules = sorted_history(client, run.info.run_id, names.TRAIN_ENERGY_J)
    return outcome_of_laps(
        estimate,
        _every_epoch(laps),
        math.fsum(point.value for point in joules) if len(joules) == len(laps) else None,
        forecasts_s=_forecasts(client, run.info.run_id),
    )


def _read_outcome(client: MlflowClient, run: Run, laps: tuple[HistoryPoint, ...]) -> Outcome:
    metrics = run.data.metrics
    time_h = metrics[names.ACTUAL_TIME_H]
    co2_kg = metrics.get(names.ACTUAL_CO2_KG)
    return Outcome(
        epoch_durations_s=_every_epoch(laps),
        time_s=time_h * S_PER_H,
        completed=names.ACTUAL_TIME_ERROR_RATIO in metrics,
        energy_kwh=metrics.get(names.ACTUAL_ENERGY_KWH),
        energy_source=printable(run.data.tags.get(f"{names.TAG_POWER_SOURCE}.actual", "")),
        energy_note=printable(run.data.tags.get(f"{names.TAG_POWER_SOURCE}.note", "")),
        cost_usd=metrics.get(names.ACTUAL_COST_USD),
        co2_g=None if co2_kg is None else co2_kg * G_PER_KG,
        forecasts_s=_forecasts(client, run.info.run_id),
    )


def _every_epoch(points: tuple[HistoryPoint, ...]) -> tuple[float, ...]:
    """One duration per epoch in seconds; an epoch dropped by thinning gets that of the next one kept."""
    if points and points[-1].step >= EPOCH_LIMIT:
        raise RunDataError(f"epoch {points[-1].step} is beyond what a training can have")
    durations: list[float] = []
    for point in points:
        durations += [point.value] * max(0, point.step + 1 - len(durations))
    return tuple(durations)


def _forecasts(client: MlflowClient, run_id: str) -> tuple[Interval, ...]:
    ends = [
        {
            point.step: point.value * S_PER_H
            for point in sorted_history(client, run_id, f"{names.TRAIN_FORECAST_TIME_H}{end}")
        }
        for end in ("", "_lo", "_hi")
    ]
    return tuple(
        Interval(point=ends[0][step], low=min(ends[1][step], ends[0][step]), high=max(ends[2][step], ends[0][step]))
        for step in sorted(set(ends[0]) & set(ends[1]) & set(ends[2]))
    )


def sorted_history(client: MlflowClient, run_id: str, key: str) -> tuple[HistoryPoint, ...]:
    """All points of one metric of a run, sorted by step and time."""
    points = [
        HistoryPoint(step=each.step, timestamp_ms=each.timestamp, value=each.value)
        for each in client.get_metric_history(run_id, key)
    ]
    return tuple(sorted(points, key=lambda point: (point.step, point.timestamp_ms)))
