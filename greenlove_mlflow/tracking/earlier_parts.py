"""Reads what earlier parts of a training, or trials of a study, recorded, for a later one to continue the account."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.outcome import EarlierParts
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.account.totals import Totals, Trial
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.quantity import LOCAL, QUANTITIES
from greenlove_mlflow.errors import RunDataError
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.names import metric_key
from greenlove_mlflow.tracking.spool.events import LapEvent
from greenlove_mlflow.units import J_PER_KWH, S_PER_H

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

    from greenlove_mlflow.tracking.spool.header import StudyRun


# One page of a search; a study of more trials than MLflow's page shows counts those of this page.
MOST_TRIALS = 1000


def read_earlier_parts(client: MlflowClient, run_id: str) -> tuple[EarlierParts | None, tuple[LapEvent, ...]]:
    """The earlier parts of a run and its laps; ``(None, ())`` if neither a lap nor an outcome was recorded.

    A part that ended normally left an outcome, which includes all parts before it. For a part that was killed, the laps
    after the last outcome count.
    """
    run = client.get_run(run_id)
    laps = _laps(client, run_id)
    ended_ms = max((point.timestamp for point in _history(client, run_id, names.ACTUAL_TIME_H)), default=0)
    since = [lap for lap in laps if lap.timestamp_ms > ended_ms]
    time_s = run.data.metrics.get(names.ACTUAL_TIME_H, 0.0) * S_PER_H if ended_ms else 0.0
    time_s += math.fsum(lap.duration_s for lap in since)
    if not time_s:
        return None, ()
    energy_kwh = _energy_kwh(run, since, has_outcome=bool(ended_ms))
    grid = None if (facts := _facts(run)) is None else facts.grid
    price = None if grid is None else grid.price_usd_per_kwh
    intensity = None if grid is None else grid.intensity_g_per_kwh
    earlier = EarlierParts(
        lap_durations_s=tuple(lap.duration_s for lap in laps),
        time_s=time_s,
        energy_kwh=energy_kwh,
        cost_usd=None if energy_kwh is None or price is None else energy_kwh * price.point,
        co2_g=None if energy_kwh is None or intensity is None else energy_kwh * intensity.point,
    )
    return earlier, laps


def read_trials(client: MlflowClient, study: StudyRun) -> dict[str, Trial]:
    """The trials of a study by run id: what each was estimated to take, and what it took.

    Args:
        client: Client of the store.
        study: The study's run.
    """
    is_child = f"tags.`{names.TAG_PARENT}` = '{study.run_id}'"
    is_training = f"tags.`{names.TAG_KIND}` = '{names.KIND_TRACK}'"
    found = client.search_runs(
        [] if study.experiment_id is None else [study.experiment_id],
        filter_string=f"{is_child} and {is_training}",
        max_results=MOST_TRIALS,
    )
    return {run.info.run_id: _trial(client, run) for run in found}


def _trial(client: MlflowClient, run: Run) -> Trial:
    metrics = run.data.metrics
    has_ended = run.info.status != "RUNNING"
    estimated = {quantity.field: _interval(metrics, quantity.metric, 1.0 / quantity.factor) for quantity in QUANTITIES}
    if names.ACTUAL_TIME_H in metrics:
        taken = {
            quantity.field: _scaled(metrics.get(f"{names.ACTUAL}/{quantity.column}"), 1.0 / quantity.factor)
            for quantity in QUANTITIES
        }
        spent: Totals | None = Totals.of_outcome(SimpleNamespace(**taken))
    else:
        # A trial that was killed has no outcome; its laps are what it took.
        earlier = read_earlier_parts(client, run.info.run_id)[0] if has_ended else None
        spent = None if earlier is None else Totals.of_outcome(earlier)
    return Trial(
        estimated=None if estimated["time_s"] is None else Totals.of_estimate(SimpleNamespace(**estimated)),
        spent=spent,
        is_whole=names.ACTUAL_TIME_ERROR_RATIO in metrics,
        has_ended=has_ended,
    )


def _interval(metrics: Mapping[str, float], key: str, factor: float) -> Interval | None:
    point, low, high = (metrics.get(metric_key(key, LOCAL, end)) for end in ("", "lo", "hi"))
    if point is None or low is None or high is None:
        return None
    # Metrics of estimates are rounded, so that an end may have moved past the point.
    return Interval(point=point, low=min(low, point), high=max(high, point)).scaled(factor)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _energy_kwh(run: Run, since: list[LapEvent], *, has_outcome: bool) -> float | None:
    recorded = run.data.metrics.get(names.ACTUAL_ENERGY_KWH) if has_outcome else 0.0
    joules = [lap.energy_j for lap in since]
    if recorded is None or any(each is None for each in joules):
        return None
    facts = _facts(run)
    pue = 1.0 if facts is None else facts.pue.point
    return recorded + math.fsum(each or 0.0 for each in joules) / J_PER_KWH * pue


def _facts(run: Run) -> RunFacts | None:
    try:
        return RunFacts.from_json(run.data.tags.get(names.TAG_STATS, ""))
    except RunDataError:
        return None


def _laps(client: MlflowClient, run_id: str) -> tuple[LapEvent, ...]:
    """All laps of the run, in the order they ended; without forecasts, which covered only their own part."""
    of_energy = {(each.step, each.timestamp): each.value for each in _history(client, run_id, names.TRAIN_ENERGY_J)}
    laps = []
    for key, is_epoch in ((names.TRAIN_EPOCH_S, True), (names.TRAIN_LAP_S, False)):
        for each in _history(client, run_id, key):
            at = (each.step, each.timestamp)
            laps.append(
                LapEvent(
                    index=each.step,
                    duration_s=each.value,
                    energy_j=of_energy.get(at),
                    forecast_s=None,
                    timestamp_ms=each.timestamp,
                    is_epoch=is_epoch,
                )
            )
    return tuple(sorted(laps, key=lambda lap: (lap.timestamp_ms, lap.index)))


def _history(client: MlflowClient, run_id: str, key: str) -> list[Metric]:
    return list(client.get_metric_history(run_id, key))
