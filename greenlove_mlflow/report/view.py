"""What the page shows, as plain texts: figures, offers, caveats, what was measured, sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlove_mlflow.formatting import (
    format_co2_g,
    format_count,
    format_duration_s,
    format_interval,
    format_kwh,
    format_probability,
    format_ratio,
    format_usd,
    format_w,
)
from greenlove_mlflow.formatting.text import (
    comparison_scales,
    home_label,
    memory_words,
    missing_co2,
    missing_cost,
    missing_rent,
    offer_label,
)

if TYPE_CHECKING:
    from greenlove_mlflow.core.compare import Comparison, ComparisonRow
    from greenlove_mlflow.core.estimate import Caveat, Estimate, Source
    from greenlove_mlflow.report.content import ReportContent


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One of the four figures of the first screen."""

    name: str
    value: str
    spread: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferLine:
    """One line of the table of offers, in words."""

    name: str
    time: str
    cost: str
    co2: str
    speed: str
    basis: str
    basis_detail: str
    memory: str
    p_cheaper: str
    price: str
    is_home: bool = False


def figures_of(estimate: Estimate) -> tuple[Figure, ...]:
    """Time, energy, cost and CO2e of the training here."""
    grid = estimate.grid
    price = (
        "" if grid.price_usd_per_kwh is None else f"at {format_usd(grid.price_usd_per_kwh.point)} per kWh, {grid.place}"
    )
    carbon = (
        ""
        if grid.intensity_g_per_kwh is None
        else f"at {format_count(grid.intensity_g_per_kwh.point)} g per kWh ({grid.scope}), {grid.place}"
    )
    texts = (
        ("Time", format_duration_s(estimate.time_s), f"{estimate.workload.epoch_count:,} epochs"),
        ("Energy", format_kwh(estimate.energy_kwh), "building overhead included"),
        ("Cost", format_usd(estimate.cost_usd, missing=missing_cost(estimate)), price),
        ("CO2e", format_co2_g(estimate.co2_g, missing=missing_co2(estimate)), carbon),
    )
    return tuple(_figure(name, text, note) for name, text, note in texts)


def offers_of(comparison: Comparison | None) -> tuple[OfferLine, ...]:
    """Home and the offers, one unit a column."""
    if comparison is None:
        return ()
    time, usd, co2 = comparison_scales(comparison)
    home = comparison.home
    first = OfferLine(
        name=home_label(comparison),
        time=format_interval(home.time_s, time),
        cost=format_interval(home.cost_usd, usd, missing=missing_cost(home)),
        co2=format_interval(home.co2_g, co2, missing=missing_co2(home)),
        speed="1x",
        basis="benchmarked here",
        basis_detail="",
        memory="",
        p_cheaper="",
        price="electricity",
        is_home=True,
    )

    def line(row: ComparisonRow) -> OfferLine:
        hourly = row.offer.price_usd_per_hour
        return OfferLine(
            name=offer_label(row),
            time=format_interval(row.estimate.time_s, time),
            cost=format_interval(row.estimate.cost_usd, usd, missing=missing_rent(row)),
            co2=format_interval(row.estimate.co2_g, co2),
            speed=format_ratio(row.speed_ratio.ratio),
            basis=row.speed_ratio.basis,
            basis_detail=row.speed_ratio.detail,
            memory=memory_words(row),
            p_cheaper=format_probability(row.p_cheaper),
            price=missing_rent(row) if hourly is None else f"{format_usd(hourly)} per hour, {row.offer.as_of}",
        )

    return (first, *(line(row) for row in comparison.rows))


def caveats_of(content: ReportContent) -> tuple[Caveat, ...]:
    """Every caveat once: of the estimate, the comparison and the speed ratios."""
    found = list(content.estimate.caveats)
    if content.comparison is not None:
        found += content.comparison.caveats
        found += [caveat for row in content.comparison.rows for caveat in row.speed_ratio.caveats]
    return tuple(dict.fromkeys(found))


def plan_of(content: ReportContent) -> tuple[tuple[str, str], ...]:
    """What is planned and on what, as pairs of name and text."""
    plan, statistics = content.estimate.workload, content.estimate.statistics
    pairs = [
        ("Plan", f"{plan.epoch_count:,} epochs of {plan.sample_count:,} samples, batches of {plan.batch_size:,}"),
    ]
    if statistics is not None:
        machine = statistics.machine
        pairs += [
            ("Machine", machine.processor_name),
            ("Precision", statistics.precision),
            ("Electricity of", f"{content.estimate.grid.place} (found by: {content.estimate.grid.basis})"),
        ]
    if content.log is not None:
        pairs.append(("Benchmark", f"{format_duration_s(content.log.duration_s)}, {len(content.log.epochs)} passes"))
    return tuple(pairs)


def measured_of(content: ReportContent) -> tuple[tuple[str, str, str], ...]:
    """What was measured and what was modelled: quantity, value, how it is known."""
    statistics = content.estimate.statistics
    rows = [("Time of an epoch", format_duration_s(None if statistics is None else statistics.fit.epoch_s), "measured")]
    if statistics is None or not statistics.power:
        rows.append(("Power", "not measured", "no meter and no model: energy, cost and CO2e are unknown"))
        return tuple(rows)
    for reading in statistics.power:
        known = "measured" if reading.source in ("counter", "sampled") else reading.source
        rows.append(
            (f"Power of {reading.device}", format_w(reading.power_w), f"{known}: {reading.note or reading.source}")
        )
    rows.append(("Overhead of the building (PUE)", f"{statistics.pue.point:.2f}", "assumed unless given"))
    return tuple(rows)


def sources_of(content: ReportContent) -> tuple[Source, ...]:
    """Every source once: those given, of prices, grid and speed ratios."""
    grid = content.estimate.grid
    found = [*content.sources, grid.intensity_source, grid.price_source]
    if content.comparison is not None:
        found += [content.comparison.prices.source, *(row.speed_ratio.source for row in content.comparison.rows)]
    return tuple(dict.fromkeys(source for source in found if source is not None))


def _figure(name: str, text: str, note: str) -> Figure:
    value, _, spread = text.partition(" (")
    return Figure(name=name, value=value, spread=spread.rstrip(")"), note=note)
