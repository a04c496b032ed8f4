"""Text of the page: the four main figures, the table of options, and equivalents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlove_mlflow.core.energy.equivalences import find_equivalents
from greenlove_mlflow.numbers import (
    UNKNOWN,
    Scale,
    format_co2_g,
    format_count,
    format_epochs,
    format_kwh,
    format_probability,
    format_ratio,
    format_significant,
    format_usd,
)
from greenlove_mlflow.numbers.durations import spoken_point, spoken_range
from greenlove_mlflow.words.estimate import (
    comparison_scales,
    home_label,
    memory_words,
    missing_co2,
    missing_cost,
    missing_rent,
    offer_label,
    speed_of,
)

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.energy.equivalences import Equivalence, Equivalent
    from greenlove_mlflow.core.interval import Interval
    from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One of the four main figures at the top of the page."""

    key: str
    name: str
    value: str
    spread: str
    note: str = ""


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
    """One line of the table of options: home or an offer."""

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
    is_home: bool = False
    fits: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionTable:
    """The lines of the table of options and the units of its columns."""

    lines: tuple[OptionLine, ...]
    time_unit: str
    co2_unit: str


def figures_of(estimate: Estimate) -> tuple[Figure, ...]:
    """Time, energy, cost and CO2e of the training here."""
    grid, plan = estimate.grid, estimate.workload
    price = grid.price_usd_per_kwh
    intensity = grid.intensity_g_per_kwh
    rate = "" if price is None else f"electricity at {format_usd(price, with_range=False)} per kWh, {grid.place}"
    carbon = "" if intensity is None else f"{format_count(intensity.point)} g per kWh ({grid.scope}), {grid.place}"
    epochs = format_epochs(plan.epoch_count)
    time_s = estimate.time_s
    spread = "" if time_s.is_exact else spoken_range(time_s)
    return (
        Figure(key="time", name="Time", value=spoken_point(time_s), spread=spread, note=epochs),
        _figure("energy", "Energy", format_kwh(estimate.energy_kwh), "the building's overhead included"),
        _figure("cost", "Cost", format_usd(estimate.cost_usd, missing=missing_cost(estimate)), rate),
        _figure("co2", "CO2e", format_co2_g(estimate.co2_g, missing=missing_co2(estimate)), carbon),
    )


def options_of(comparison: Comparison) -> OptionTable:
    """The table of home and the offers, with one unit per column."""
    time, _, co2 = comparison_scales(comparison)
    lines = (_home_line(comparison), *(_offer_line(comparison, index) for index in _by_price(comparison)))
    return OptionTable(lines=lines, time_unit=time.unit, co2_unit=co2.unit)


def _by_price(comparison: Comparison) -> list[int]:
    """Indices of the offers in the comparison, those without a public price last."""
    rows = comparison.rows
    return sorted(range(len(rows)), key=lambda index: rows[index].offer.price_usd_per_hour is None)


def equivalents_of(estimate: Estimate, equivalences: tuple[Equivalence, ...]) -> tuple[tuple[str, str], ...]:
    """Everyday equivalents of the CO2e: amount and unit, and the factor's year."""
    if estimate.co2_g is None:
        return ()
    return tuple(
        (_equivalent_words(each), f"factor of {each.equivalence.factor_year}")
        for each in find_equivalents(estimate.co2_g.point, equivalences)
    )


def _home_line(comparison: Comparison) -> OptionLine:
    home, (time, usd, co2) = comparison.home, comparison_scales(comparison)
    return OptionLine(
        key="home",
        name=home_label(comparison),
        time=quantity_cell(home.time_s, time),
        cost=quantity_cell(home.cost_usd, usd, missing_cost(home)),
        co2=quantity_cell(home.co2_g, co2, missing_co2(home)),
        claim=Cell(point=""),
        speed=Cell(point="1x", value=1.0),
        memory="runs here",
        cheaper=Cell(point=""),
        price=Cell(point="electricity"),
        basis="benchmarked here",
        is_home=True,
    )


def _offer_line(comparison: Comparison, index: int) -> OptionLine:
    row, (time, usd, co2) = comparison.rows[index], comparison_scales(comparison)
    estimate, ratio = row.estimate, speed_of(row)
    point, _, spread = format_ratio(ratio).partition(" (")
    return OptionLine(
        key=f"offer-{index}",
        name=offer_label(row),
        time=quantity_cell(estimate.time_s, time),
        cost=quantity_cell(estimate.cost_usd, usd, missing_rent(row)),
        co2=quantity_cell(estimate.co2_g, co2),
        claim=_claim_cell(row),
        speed=Cell(point=point, spread=spread.rstrip(")"), value=ratio.point),
        memory=_memory_words(row),
        cheaper=Cell(point=format_probability(row.p_cheaper), value=row.p_cheaper),
        price=_price_cell(row),
        basis=row.speed_ratio.basis,
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


def _memory_words(row: ComparisonRow) -> str:
    size = f"{row.offer.memory_gib:,.0f} GiB"
    return size if row.fits_memory is None else f"{size}, {memory_words(row)}"


def _claim_cell(row: ComparisonRow) -> Cell:
    claim = row.co2_market_g
    if claim is None:
        return Cell(point="no claim")
    return Cell(point=format_co2_g(claim), value=claim.point)


def _price_cell(row: ComparisonRow) -> Cell:
    hourly = row.price_usd_per_hour
    if hourly is None:
        return Cell(point=missing_rent(row), spread=row.offer.as_of)
    return Cell(point=f"{format_usd(hourly)} per hour", spread=row.offer.as_of, value=hourly)


def _figure(key: str, name: str, text: str, note: str) -> Figure:
    value, _, spread = text.partition(" (")
    return Figure(key=key, name=name, value=value, spread=spread.rstrip(")"), note=note)


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
