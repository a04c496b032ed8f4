"""Reads what earlier parts of a training recorded in its run, for a resumed training to continue."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.outcome import EarlierParts
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.errors import RunDataError
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.spool.events import LapEvent
from greenlove_mlflow.units import J_PER_KWH, S_PER_H

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run


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
