"""The report of a whole experiment: its totals, whether estimates held, and its cost elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greenlove_mlflow._version import __version__
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.experiment_totals import (
    ComparedRun,
    Elsewhere,
    Spent,
    promises_kept,
    spent,
    spent_by_month,
    spent_elsewhere,
)
from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.core.quantity import COLUMNS
from greenlove_mlflow.numbers import (
    NOT_MEASURED,
    UNKNOWN,
    duration_scale,
    format_co2_g,
    format_duration_s,
    format_kwh,
    format_money,
    format_share,
)
from greenlove_mlflow.numbers.durations import spoken_point, spoken_range
from greenlove_mlflow.numbers.quantities import LEAST_USD
from greenlove_mlflow.numbers.ticks import money_ticks
from greenlove_mlflow.report.page import render
from greenlove_mlflow.report.takeaway import csv_text
from greenlove_mlflow.report.view import Cell, KeyFigure
from greenlove_mlflow.units import G_PER_KG, S_PER_H
from greenlove_mlflow.words.plain_text import missing_rent, offer_label
from greenlove_mlflow.words.verdict import Fate, fate_of, how_far

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import Outcome


NOT_RUN = "not run"
NOT_YET = "not yet"
TOO_SMALL = "Each was too small to rent a GPU for: it was over before a rented one would have started."
CSV_HEADS = (
    "run", "run_id", "started_at", "status", "machine", "place", *(f"actual_{name}" for name in COLUMNS),
    *(f"estimated_{name}" for name in COLUMNS),
)  # fmt: skip
# The columns' fields and their conversion.
_CSV_FIELDS = (("time_s", S_PER_H), ("cost_usd", 1.0), ("energy_kwh", 1.0), ("co2_g", G_PER_KG))
Json = dict[str, Any]


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


def run_lines(trainings: Sequence[ComparedRun]) -> tuple[RunLine, ...]:
    """The table of runs, latest first."""
    return tuple(_line(each) for each in sorted(trainings, key=lambda each: each.started_at, reverse=True))


def runs_csv(trainings: Sequence[ComparedRun]) -> str:
    """All runs as CSV with full precision; an unknown figure is an empty cell."""
    return csv_text(CSV_HEADS, [_csv_cells(each) for each in trainings])


def _line(training: ComparedRun) -> RunLine:
    estimate, outcome, statistics = training.estimate, training.outcome or training.so_far, training.estimate.statistics
    off, verdict = _judgement(training)
    silent = NOT_YET if training.status == "running" else NOT_RUN
    unknown = silent if outcome is None else NOT_MEASURED if outcome.energy_kwh is None else UNKNOWN
    time_s = estimate.time_s
    spread = "" if time_s.is_exact else spoken_range(time_s)
    return RunLine(
        name=training.name or training.run_id,
        run_id=training.run_id,
        started_at=training.started_at[:16].replace("T", " "),
        fate=fate_of(training.status),
        machine=statistics.machine.processor_name if statistics is not None else "",
        promised=Cell(point=spoken_point(time_s), spread=spread, value=time_s.point),
        happened=_fact(_get(outcome, "time_s"), format_duration_s, silent),
        verdict=verdict,
        off=off,
        energy=_fact(_get(outcome, "energy_kwh"), format_kwh, NOT_MEASURED if outcome else silent),
        cost=_fact(_get(outcome, "cost_usd"), format_money, unknown),
        co2=_fact(_get(outcome, "co2_g"), format_co2_g, unknown),
    )


def _csv_cells(training: ComparedRun) -> list[str]:
    estimate, outcome, statistics = training.estimate, training.outcome, training.estimate.statistics
    machine = statistics.machine.processor_name if statistics is not None else ""
    texts = [training.name, training.run_id, training.started_at, training.status, machine, estimate.grid.place]
    return [*texts, *_csv_figures(outcome), *_csv_figures(estimate)]


def _csv_figures(of: Estimate | Outcome | None) -> list[str]:
    """Hours, dollars, kWh and kg as cells."""
    figures = [(getattr(of, name, None), per) for name, per in _CSV_FIELDS]
    points = [(getattr(value, "point", value), per) for value, per in figures]
    return ["" if value is None else repr(float(value) / per) for value, per in points]


def _judgement(training: ComparedRun) -> tuple[float | None, str]:
    outcome = training.outcome
    if outcome is None:
        return None, "" if training.so_far is None else f"{how_far(training.estimate, training.so_far)} so far"
    if not outcome.completed:
        return None, how_far(training.estimate, outcome)
    off = outcome.time_s / training.estimate.time_s.point - 1.0
    side = "within" if training.estimate.time_s.contains(outcome.time_s) else "outside"
    sign = "+" if off > 0 else ""
    return off, f"{sign}{off:.1%}, {side} the range"


def _get(outcome: Outcome | None, name: str) -> float | None:
    value: float | None = getattr(outcome, name, None)
    return value


def _fact(value: float | None, written: Callable[[float], str], missing: str) -> Cell:
    return Cell(point=missing if value is None else written(value), value=value, missing=missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentContent:
    """The content of an experiment's report.

    Args:
        name: Name of the experiment.
        trainings: Its runs.
        skipped: Runs that could not be read, and why.
        sources: Sources of all tables used.
        url: URL of the experiment's page.
        prices_as_of: Date of the offers' prices.
        made_at: When the page was made, ISO 8601 in UTC.
    """

    name: str
    trainings: tuple[ComparedRun, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    sources: tuple[Source, ...] = ()
    url: str | None = None
    prices_as_of: str = ""
    made_at: str = ""


def render_experiment(content: ExperimentContent) -> str:
    """The report of an experiment as one HTML file that fetches nothing; all text is escaped."""
    trainings = content.trainings
    total, months, offers = spent(trainings), spent_by_month(trainings), spent_elsewhere(trainings)
    charts = _charts(trainings, total, offers)
    # An axis of microdollars would decide nothing.
    charts |= {"months": _month_bars(months)} if (total.cost_usd or 0.0) >= LEAST_USD else {}
    return render(
        "experiment.html.j2",
        {"charts": charts},
        list(charts),
        content=content,
        verdict=_verdict(content, total, offers),
        figures=_figures(total),
        lines=run_lines(trainings),
        csv=runs_csv(trainings),
        overview=_facts(content),
        months=[(month, *_spent_texts(each)) for month, each in months],
        offers=[_offer_texts(each) for each in offers],
        here=_spent_texts(total),
        version=__version__,
    )


def _verdict(content: ExperimentContent, total: Spent, offers: tuple[Elsewhere, ...]) -> tuple[str, ...]:
    if not total.run_count:
        done = "ended" if any(each.so_far for each in content.trainings) else "run"
        return (f"None of the {_counted(len(content.trainings))} in {content.name} has {done} yet.",)
    parts = [
        format_duration_s(total.time_s),
        format_kwh(total.energy_kwh, missing=""),
        format_money(total.cost_usd, missing=""),
    ]
    co2 = format_co2_g(total.co2_g, missing="")
    parts += [f"{co2} CO2e"] if co2 else []
    took = ", ".join(part for part in parts if part)
    sentences = [f"{_counted(total.run_count).capitalize()} so far: {took}."]
    kept, finished = promises_kept(content.trainings)
    if finished:
        sentences.append(f"{kept} of the {finished} that ran to their end took a time within the estimated range.")
    rentable_count = sum(each.could_be_rented for each in content.trainings)
    if not rentable_count:
        return (*sentences, TOO_SMALL)
    full = [each for each in offers if each.cost_usd is not None and each.run_count == rentable_count]
    if full:
        best = min(full, key=lambda each: each.cost_usd.point * each.time_s.point if each.cost_usd else 0.0)
        cost = format_money(best.cost_usd)
        which = "same" if rentable_count == total.run_count else f"{rentable_count:,} long enough to rent a GPU for"
        sentences.append(
            f"On {offer_label(best.row)} the {which} would have taken {format_duration_s(best.time_s)} for {cost}."
        )
    return tuple(sentences)


def _facts(content: ExperimentContent) -> tuple[str, ...]:
    """From when to when the runs were started, and which fates beside finishing they met."""
    days = sorted(each.started_at[:10] for each in content.trainings if each.started_at)
    span = () if not days else (days[0],) if days[0] == days[-1] else (f"{days[0]} to {days[-1]}",)
    fates = Counter(each.status for each in content.trainings)
    return (
        *span,
        *(
            f"{fates[key]:,} {key}"
            for key in ("running", "refused", "stopped", "pruned", "failed", "killed")
            if fates[key]
        ),
    )


def _figures(total: Spent) -> tuple[KeyFigure, ...]:
    unmetered = (
        f"{total.unmetered_count} without a known energy" if total.unmetered_count else "of every training that ran"
    )
    return (
        KeyFigure(key="time", name="Time", value=format_duration_s(total.time_s), spread=_counted(total.run_count)),
        KeyFigure(key="energy", name="Energy", value=format_kwh(total.energy_kwh), spread="", note=unmetered),
        KeyFigure(
            key="cost", name="Cost of electricity", value=format_money(total.cost_usd), spread="", note=unmetered
        ),
        KeyFigure(key="co2", name="CO2e", value=format_co2_g(total.co2_g), spread="", note=unmetered),
    )


def _spent_texts(total: Spent) -> tuple[str, str, str, str, str]:
    return (
        f"{total.run_count:,}",
        format_duration_s(total.time_s),
        format_kwh(total.energy_kwh),
        format_money(total.cost_usd),
        format_co2_g(total.co2_g),
    )


def _offer_texts(each: Elsewhere) -> tuple[str, str, str, str, str]:
    return (
        offer_label(each.row),
        f"{each.run_count:,}",
        format_duration_s(each.time_s),
        format_money(each.cost_usd, missing=missing_rent(each.row)),
        format_co2_g(each.co2_g),
    )


def _charts(trainings: tuple[ComparedRun, ...], total: Spent, offers: tuple[Elsewhere, ...]) -> dict[str, Json]:
    charts: dict[str, Json] = {}
    finished = [each for each in trainings if each.outcome is not None and each.outcome.completed]
    if finished:
        charts["calibration"] = _calibration(finished)
    if total.cost_usd and any(each.cost_usd is not None for each in offers):
        here = Interval.exactly(total.cost_usd)
        rows = [_bar("here", "here", here, format_duration_s(total.time_s), format_co2_g(total.co2_g))]
        rows += [
            _bar(
                offer_label(each.row), "offer", each.cost_usd, format_duration_s(each.time_s), format_co2_g(each.co2_g)
            )
            for each in offers
        ]
        ends = [end for row in rows if row["cost"] is not None for end in (row["cost_low"], row["cost_high"])]
        charts["elsewhere"] = {"offers": rows, "titles": {"money_ticks": money_ticks(min(ends), max(ends))}}
    return charts


def _calibration(finished: list[ComparedRun]) -> Json:
    scale = duration_scale([each.estimate.time_s for each in finished])
    rows = []
    for each in finished:
        promised, happened = each.estimate.time_s, each.outcome.time_s if each.outcome else 0.0
        rows.append({
            "name": each.name or each.run_id,
            "promised": promised.point * scale.factor,
            "ratio": happened / promised.point,
            "low": promised.low / promised.point,
            "high": promised.high / promised.point,
            "kept": "within its range" if promised.contains(happened) else "outside its range",
            "promised_text": format_duration_s(promised),
            "actual_text": format_duration_s(happened),
            "off_text": format_share(happened / promised.point - 1.0),
        })  # fmt: skip
    titles = {
        "time_title": f"estimated time, {scale.unit}",
        "roles_seen": list(dict.fromkeys(row["kept"] for row in rows)),
    }
    return {"runs": rows, "one": [{"ratio": 1.0}], "titles": titles}


def _bar(name: str, role: str, cost: Interval | None, time_text: str, co2_text: str) -> Json:
    return {
        "name": name,
        "role": role,
        "cost": None if cost is None else cost.point,
        "cost_low": None if cost is None else cost.low,
        "cost_high": None if cost is None else cost.high,
        "cost_text": format_money(cost),
        "time_text": time_text,
        "co2_text": co2_text,
    }


def _month_bars(months: tuple[tuple[str, Spent], ...]) -> Json:
    rows = []
    for month, each in months:
        count, time_text, energy, cost, co2 = _spent_texts(each)
        rows.append({
            "month": month, "cost": each.cost_usd or 0.0, "runs": count, "time_text": time_text,
            "energy_text": energy, "cost_text": cost, "co2_text": co2,
        })  # fmt: skip
    return {"months": rows}


def _counted(count: int) -> str:
    return "1 training" if count == 1 else f"{count:,} trainings"
