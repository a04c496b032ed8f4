"""Text of the page: the four main figures, the table of options, the parts of a step, and equivalents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlove_mlflow.core.energy.equivalences import find_equivalents
from greenlove_mlflow.numbers import (
    NOT_MEASURED,
    UNKNOWN,
    Scale,
    format_co2_g,
    format_count,
    format_duration_s,
    format_epochs,
    format_kwh,
    format_money,
    format_probability,
    format_ratio,
    format_share,
    format_significant,
    format_usd,
)
from greenlove_mlflow.numbers.durations import spoken_point, spoken_range
from greenlove_mlflow.words.plain_text import (
    comparison_scales,
    home_label,
    memory_words,
    missing_co2,
    missing_cost,
    missing_rent,
    offer_label,
    speed_of,
)
from greenlove_mlflow.words.summary import MOST_OFFERS, cheapest_first
from greenlove_mlflow.words.verdict import difference_words

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import Outcome
    from greenlove_mlflow.core.energy.equivalences import Equivalence, Equivalent
    from greenlove_mlflow.core.interval import Interval
    from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFigure:
    """One of the four main figures at the top of the page; ``assumed`` is what its estimate rests on."""

    key: str
    name: str
    value: str
    spread: str
    note: str = ""
    assumed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A table cell: a quantity's point, its range, and the plain number to sort by.

    Args:
        words: The range as text with its unit, shown on hover.
        missing: Text of the cell when the value is unknown.
    """

    point: str
    spread: str = ""
    value: float | None = None
    words: str = ""
    missing: str = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionLine:
    """One line of the table of options: home or an offer; ``is_brief`` lines are shown before the reader asks."""

    key: str
    name: str
    time: Cell
    cost: Cell
    co2: Cell
    claim: Cell
    speed: Cell
    memory: str
    cheaper: Cell
    price: Cell
    basis: str
    place: str
    is_home: bool = False
    is_brief: bool = True
    fits: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionTable:
    """The lines of the table of options and the units of its columns."""

    lines: tuple[OptionLine, ...]
    time_unit: str
    co2_unit: str


def figures_of(
    estimate: Estimate, outcome: Outcome | None = None, so_far: Outcome | None = None
) -> tuple[KeyFigure, ...]:
    """Time, energy, cost and CO2e: what happened, or the training took so far, beside its estimate; else the estimate.

    Args:
        estimate: The estimate here.
        outcome: The outcome; None when nothing ran, or it still runs.
        so_far: What a running training took up to its last lap; None without one.
    """
    known = outcome or so_far
    return _estimated(estimate) if known is None else _happened(estimate, known)


def _estimated(estimate: Estimate) -> tuple[KeyFigure, ...]:
    grid, plan = estimate.grid, estimate.workload
    price, intensity, statistics = grid.price_usd_per_kwh, grid.intensity_g_per_kwh, estimate.statistics
    rate = "" if price is None else f"electricity at {format_usd(price, with_range=False)} per kWh"
    carbon = "" if intensity is None else f"{format_count(intensity.point)} g per kWh ({grid.scope})"
    has_overhead = statistics is not None and statistics.pue.point > 1.0
    overhead = f"PUE {statistics.pue.point:.2f} included" if has_overhead and statistics is not None else ""
    time_s = estimate.time_s
    spread = "" if time_s.is_exact else spoken_range(time_s)
    return (
        KeyFigure(
            key="time", name="Time", value=spoken_point(time_s), spread=spread, note=format_epochs(plan.epoch_count)
        ),
        _figure("energy", "Energy", format_kwh(estimate.energy_kwh), overhead),
        _figure("cost", "Cost", format_money(estimate.cost_usd, missing=missing_cost(estimate)), rate),
        _figure("co2", "CO2e", format_co2_g(estimate.co2_g, missing=missing_co2(estimate)), carbon),
    )


def _happened(estimate: Estimate, outcome: Outcome) -> tuple[KeyFigure, ...]:
    unknown = NOT_MEASURED if outcome.energy_kwh is None else UNKNOWN
    energy_name = f"Energy, {outcome.energy_source}" if outcome.energy_source else "Energy"
    texts = (
        ("time", "Time", format_duration_s(outcome.time_s), format_duration_s(estimate.time_s)),
        ("energy", energy_name, format_kwh(outcome.energy_kwh), format_kwh(estimate.energy_kwh)),
        (
            "cost",
            "Cost",
            format_money(outcome.cost_usd, missing=unknown),
            format_money(estimate.cost_usd, missing=missing_cost(estimate)),
        ),
        (
            "co2",
            "CO2e",
            format_co2_g(outcome.co2_g, missing=unknown),
            format_co2_g(estimate.co2_g, missing=missing_co2(estimate)),
        ),
    )
    differences, assumed = _differences(estimate, outcome), {each.key: each.note for each in _estimated(estimate)}
    return tuple(
        KeyFigure(
            key=key,
            name=name,
            value=value,
            spread=f"estimated {promised}",
            note=differences.get(key, ""),
            assumed=assumed[key],
        )
        for key, name, value, promised in texts
    )


def _differences(estimate: Estimate, outcome: Outcome) -> dict[str, str]:
    """The outcome against the estimate by figure; none for a run that was cut short."""
    if not outcome.completed:
        return {}
    return {
        "time": difference_words(estimate.time_s, outcome.time_s),
        "energy": difference_words(estimate.energy_kwh, outcome.energy_kwh),
        "cost": difference_words(estimate.cost_usd, outcome.cost_usd),
        "co2": difference_words(estimate.co2_g, outcome.co2_g),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPart:
    """What a part of a step takes of the whole step, which the longest part determines."""

    name: str
    share: float | None
    words: str
    is_bound: bool


def step_parts(estimate: Estimate) -> tuple[StepPart, ...]:
    """Data, host and device (data and CPU on a CPU) as shares of a step; empty where they are unknown."""
    profile = None if estimate.statistics is None else estimate.statistics.profile
    longest_s = None if profile is None else profile.longest_s
    if profile is None or profile.bound_by is None or not longest_s:
        return ()
    data = [each for each in (profile.loader_s, profile.fetch_s) if each is not None]
    parts = [("data", "data", max(data) if data else None)]
    if profile.on_cpu:
        parts.append(("cpu", "CPU", profile.host_s))
    else:
        parts += [("host", "host", profile.host_s), ("device", "device", profile.device_busy_s)]
    return tuple(
        StepPart(
            name=name,
            share=None if seconds is None else min(1.0, seconds / longest_s),
            words=NOT_MEASURED if seconds is None else format_share(min(1.0, seconds / longest_s)),
            is_bound=key == profile.bound_by,
        )
        for key, name, seconds in parts
    )


def options_of(comparison: Comparison) -> OptionTable:
    """The table of home and the offers, with one unit per column; the cheapest that can be had come first."""
    time, _, co2 = comparison_scales(comparison)
    rentable = cheapest_first(comparison)
    order = [next(at for at, each in enumerate(comparison.rows) if each is row) for row in rentable]
    rest = [at for at in range(len(comparison.rows)) if at not in order]
    lines = [_home_line(comparison)]
    lines += [_offer_line(comparison, index, is_brief=place < MOST_OFFERS) for place, index in enumerate(order)]
    lines += [_offer_line(comparison, index, is_brief=False) for index in rest]
    return OptionTable(lines=tuple(lines), time_unit=time.unit, co2_unit=co2.unit)


def equivalents_of(
    estimate: Estimate, equivalences: tuple[Equivalence, ...], outcome: Outcome | None = None
) -> tuple[tuple[str, str], ...]:
    """Everyday equivalents of the CO2e that was emitted, else estimated: amount and unit, and the factor's year."""
    estimated = None if estimate.co2_g is None else estimate.co2_g.point
    co2_g = estimated if outcome is None else outcome.co2_g
    if co2_g is None:
        return ()
    return tuple(
        (_equivalent_words(each), f"factor of {each.equivalence.factor_year}")
        for each in find_equivalents(co2_g, equivalences)
    )


def _home_line(comparison: Comparison) -> OptionLine:
    home, (time, _, co2) = comparison.home, comparison_scales(comparison)
    return OptionLine(
        key="home",
        name=home_label(comparison),
        time=quantity_cell(home.time_s, time),
        cost=spend_cell(home.cost_usd, missing_cost(home)),
        co2=quantity_cell(home.co2_g, co2, missing_co2(home)),
        claim=Cell(point=""),
        speed=Cell(point="1x", value=1.0),
        memory="runs here",
        cheaper=Cell(point=""),
        price=Cell(point="electricity"),
        basis="benchmarked here",
        place=home.grid.place,
        is_home=True,
    )


def _offer_line(comparison: Comparison, index: int, *, is_brief: bool) -> OptionLine:
    row, (time, _, co2) = comparison.rows[index], comparison_scales(comparison)
    estimate, ratio = row.estimate, speed_of(row)
    point, _, spread = format_ratio(ratio).partition(" (")
    return OptionLine(
        key=f"offer-{index}",
        name=offer_label(row),
        time=quantity_cell(estimate.time_s, time),
        cost=spend_cell(estimate.cost_usd, missing_rent(row)),
        co2=quantity_cell(estimate.co2_g, co2),
        claim=_claim_cell(row),
        speed=Cell(point=point, spread=spread.rstrip(")"), value=ratio.point),
        memory=_memory_words(row),
        cheaper=Cell(point=format_probability(row.p_cheaper), value=row.p_cheaper),
        price=_price_cell(row, comparison.prices.as_of),
        basis=row.speed_ratio.basis,
        place=estimate.grid.place,
        is_brief=is_brief,
        fits={None: "", True: "yes", False: "no"}[row.fits_memory],
    )


def quantity_cell(value: Interval | None, scale: Scale, missing: str = UNKNOWN) -> Cell:
    """A cell of a column with the given unit.

    Args:
        value: The quantity; None when unknown.
        scale: Unit of the column.
        missing: Text of the cell when the value is unknown.
    """
    if value is None:
        return Cell(point=missing, missing=missing)
    bare = Scale(unit="", factor=scale.factor, prefix=scale.prefix, fewest_decimals=scale.fewest_decimals)
    if value.is_exact:
        return Cell(point=bare.text(value.point), value=value.point, missing=missing)
    return Cell(
        point=bare.point(value),
        spread=bare.range(value),
        value=value.point,
        words=f"{scale.range(value)}, 95 times in 100",
        missing=missing,
    )


def spend_cell(value: Interval | None, missing: str = UNKNOWN) -> Cell:
    """A cell of money to be spent; below one cent it says no more than that."""
    if value is None:
        return Cell(point=missing, missing=missing)
    point, _, spread = format_money(value).partition(" (")
    words = f"{spread.rstrip(')')}, 95 times in 100" if spread else ""
    return Cell(point=point, spread=spread.rstrip(")"), value=value.point, words=words, missing=missing)


def _memory_words(row: ComparisonRow) -> str:
    size = f"{row.offer.memory_gib:,.0f} GiB"
    return size if row.fits_memory is None else f"{size}, {memory_words(row)}"


def _claim_cell(row: ComparisonRow) -> Cell:
    claim = row.co2_market_g
    if claim is None:
        return Cell(point="no claim")
    return Cell(point=format_co2_g(claim), value=claim.point)


def _price_cell(row: ComparisonRow, as_of: str) -> Cell:
    """The rent per hour of the instance, with its date where it is not the sheet's."""
    hourly, date = row.price_usd_per_hour, "" if row.offer.as_of == as_of else row.offer.as_of
    if hourly is None:
        return Cell(point=missing_rent(row), spread=date)
    return Cell(point=f"{format_usd(hourly)} per hour", spread=date, value=hourly)


def _figure(key: str, name: str, text: str, note: str) -> KeyFigure:
    value, _, spread = text.partition(" (")
    return KeyFigure(key=key, name=name, value=value, spread=spread.rstrip(")"), note=note, assumed=note)


def _equivalent_words(each: Equivalent) -> str:
    """An equivalent as a phrase ("510 m driven in an average gasoline car")."""
    amount, unit, thing = format_significant(each.amount), each.unit, each.equivalence.thing
    if each.equivalence.key == "car_km_epa":
        return f"{amount} {unit} driven in an average gasoline car"
    if each.equivalence.key == "smartphone_charge_epa":
        return f"{amount} {unit.replace('charge', 'smartphone charge')}{'s' if unit == 'charge' else ''}"
    if each.equivalence.key == "tree_seedling_10y_epa":
        return f"what {amount} {unit} take up again" if unit.startswith("days") else f"{amount} {unit}s take up again"
    return f"{amount} {unit}: {thing}"
