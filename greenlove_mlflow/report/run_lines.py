"""The table of an experiment's runs: one line each, what it took next to its estimate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlove_mlflow.core.quantity import COLUMNS
from greenlove_mlflow.numbers import (
    NOT_MEASURED,
    UNKNOWN,
    format_co2_g,
    format_duration_s,
    format_epochs,
    format_kwh,
    format_money,
)
from greenlove_mlflow.numbers.durations import spoken_point, spoken_range
from greenlove_mlflow.report.takeaway import csv_text
from greenlove_mlflow.report.view import Cell
from greenlove_mlflow.units import G_PER_KG, S_PER_H
from greenlove_mlflow.words.verdict import Fate, fate_of

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import Outcome
    from greenlove_mlflow.core.offers.experiment_totals import Training

NOT_RUN = "not run"
CSV_HEADS = (
    "run", "run_id", "started_at", "status", "machine", "place", *(f"actual_{name}" for name in COLUMNS),
    *(f"estimated_{name}" for name in COLUMNS),
)  # fmt: skip
# The columns' fields and their conversion.
_CSV_FIELDS = (("time_s", S_PER_H), ("cost_usd", 1.0), ("energy_kwh", 1.0), ("co2_g", G_PER_KG))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """One run: name, start, fate, machine, what it took, its estimate.

    Args:
        verdict: Whether the time was within the estimate's range, as text.
        off: Actual over estimated time, minus 1; None when it cannot be judged.
    """

    name: str
    run_id: str
    started_at: str
    fate: Fate | None
    machine: str
    promised: Cell
    happened: Cell
    verdict: str
    off: float | None
    energy: Cell
    cost: Cell
    co2: Cell


def run_lines(trainings: Sequence[Training]) -> tuple[RunLine, ...]:
    """The table of runs, latest first."""
    return tuple(_line(each) for each in sorted(trainings, key=lambda each: each.started_at, reverse=True))


def runs_csv(trainings: Sequence[Training]) -> str:
    """All runs as CSV with full precision; an unknown figure is an empty cell."""
    return csv_text(CSV_HEADS, [_csv_cells(each) for each in trainings])


def _line(training: Training) -> RunLine:
    estimate, outcome, statistics = training.estimate, training.outcome, training.estimate.statistics
    off, verdict = _judgement(training)
    unknown = NOT_RUN if outcome is None else NOT_MEASURED if outcome.energy_kwh is None else UNKNOWN
    time_s = estimate.time_s
    spread = "" if time_s.is_exact else spoken_range(time_s)
    return RunLine(
        name=training.name or training.run_id,
        run_id=training.run_id,
        started_at=training.started_at[:16].replace("T", " "),
        fate=fate_of(training.status),
        machine=statistics.machine.processor_name if statistics is not None else "",
        promised=Cell(point=spoken_point(time_s), spread=spread, value=time_s.point),
        happened=_fact(_get(outcome, "time_s"), format_duration_s, NOT_RUN),
        verdict=verdict,
        off=off,
        energy=_fact(_get(outcome, "energy_kwh"), format_kwh, NOT_MEASURED if outcome else NOT_RUN),
        cost=_fact(_get(outcome, "cost_usd"), format_money, unknown),
        co2=_fact(_get(outcome, "co2_g"), format_co2_g, unknown),
    )


def _csv_cells(training: Training) -> list[str]:
    estimate, outcome, statistics = training.estimate, training.outcome, training.estimate.statistics
    machine = statistics.machine.processor_name if statistics is not None else ""
    texts = [training.name, training.run_id, training.started_at, training.status, machine, estimate.grid.place]
    return [*texts, *_csv_figures(outcome), *_csv_figures(estimate)]


def _csv_figures(of: Estimate | Outcome | None) -> list[str]:
    """Hours, dollars, kWh and kg as cells."""
    figures = [(getattr(of, name, None), per) for name, per in _CSV_FIELDS]
    points = [(getattr(value, "point", value), per) for value, per in figures]
    return ["" if value is None else repr(float(value) / per) for value, per in points]


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


def _fact(value: float | None, written: Callable[[float], str], missing: str) -> Cell:
    return Cell(point=missing if value is None else written(value), value=value, missing=missing)
