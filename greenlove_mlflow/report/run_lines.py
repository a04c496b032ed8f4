"""The table of an experiment's runs: one line each, estimate next to outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlove_mlflow.numbers import (
    NOT_MEASURED,
    UNKNOWN,
    co2_scale,
    duration_scale,
    energy_scale,
    format_epochs,
    format_interval,
    usd_scale,
)
from greenlove_mlflow.report.view import Cell, quantity_cell

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.outcome import Outcome
    from greenlove_mlflow.core.offers.totals import Training
    from greenlove_mlflow.numbers import Scale

NOT_RUN = "not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """One run: name, start, machine, estimated and actual time, energy, cost and CO2e.

    Args:
        verdict: Whether the time was within the estimate's range, as text.
        off: Actual over estimated time, minus 1; None when it cannot be judged.
    """

    name: str
    run_id: str
    started_at: str
    status: str
    machine: str
    promised: Cell
    happened: Cell
    verdict: str
    off: float | None
    energy: Cell
    cost: Cell
    co2: Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTable:
    """The lines of the table and the units of its columns."""

    lines: tuple[RunLine, ...]
    time_unit: str
    energy_unit: str
    co2_unit: str


def run_lines(trainings: Sequence[Training]) -> RunTable:
    """The table of runs, latest first, with one unit per column."""
    outcomes = [each.outcome for each in trainings if each.outcome is not None]
    time = duration_scale([*(each.estimate.time_s for each in trainings), *(outcome.time_s for outcome in outcomes)])
    energy = energy_scale([outcome.energy_kwh for outcome in outcomes])
    co2 = co2_scale([outcome.co2_g for outcome in outcomes])
    latest_first = sorted(trainings, key=lambda each: each.started_at, reverse=True)
    return RunTable(
        lines=tuple(_line(each, time, energy, co2) for each in latest_first),
        time_unit=time.unit,
        energy_unit=energy.unit,
        co2_unit=co2.unit,
    )


def _line(training: Training, time: Scale, energy: Scale, co2: Scale) -> RunLine:
    estimate, outcome, statistics = training.estimate, training.outcome, training.estimate.statistics
    off, verdict = _judgement(training)
    unknown = NOT_RUN if outcome is None else NOT_MEASURED if outcome.energy_kwh is None else UNKNOWN
    return RunLine(
        name=training.name or training.run_id,
        run_id=training.run_id,
        started_at=training.started_at[:16].replace("T", " "),
        status=training.status,
        machine=statistics.machine.processor_name if statistics is not None else "",
        promised=quantity_cell(estimate.time_s, time),
        happened=_fact(_get(outcome, "time_s"), time, NOT_RUN),
        verdict=verdict,
        off=off,
        energy=_fact(_get(outcome, "energy_kwh"), energy, NOT_MEASURED if outcome else NOT_RUN),
        cost=_fact(_get(outcome, "cost_usd"), usd_scale(), unknown),
        co2=_fact(_get(outcome, "co2_g"), co2, unknown),
    )


def _judgement(training: Training) -> tuple[float | None, str]:
    outcome, plan = training.outcome, training.estimate.workload
    if outcome is None:
        return None, ""
    if not outcome.completed:
        return None, f"{len(outcome.epoch_durations_s):,} of {format_epochs(plan.epoch_count)}"
    off = outcome.time_s / training.estimate.time_s.point - 1.0
    side = "within" if training.estimate.time_s.contains(outcome.time_s) else "outside"
    sign = "+" if off > 0 else ""
    return off, f"{sign}{off:.1%}, {side} the range".replace("%", " %")


def _get(outcome: Outcome | None, name: str) -> float | None:
    value: float | None = getattr(outcome, name, None)
    return value


def _fact(value: float | None, scale: Scale, missing: str) -> Cell:
    bare = type(scale)(unit="", factor=scale.factor, prefix=scale.prefix, fewest_decimals=scale.fewest_decimals)
    return Cell(point=format_interval(value, bare, missing=missing), value=value, missing=missing)
