"""Estimates and comparisons as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenlove_mlflow.core.offers.offer import DEFAULT_BILLING
from greenlove_mlflow.numbers.durations import format_time
from greenlove_mlflow.numbers.quantities import (
    LEAST_S,
    NO_PUBLIC_PRICE,
    NOT_MEASURED,
    UNKNOWN,
    Ranged,
    Scale,
    at_least,
    co2_scale,
    duration_scale,
    format_co2_g,
    format_epochs,
    format_interval,
    format_kwh,
    format_money,
    format_probability,
    format_significant,
    format_usd,
    usd_scale,
)
from greenlove_mlflow.words.fitting import text_table

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.interval import Interval
    from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow
    from greenlove_mlflow.core.offers.offer import Offer
    from greenlove_mlflow.core.workload import Grid


RANGE_SENTENCE = "Ranges in brackets hold the real value 95 times in 100."


def range_sentences(estimate: Estimate) -> list[str]:
    """Sentences on what the ranges mean and what the time's range was learned from; none where the time is exact."""
    if estimate.time_s.is_exact:
        return []
    if estimate.statistics is None or estimate.statistics.fit.method == "original":
        return [RANGE_SENTENCE]
    learned = estimate.statistics.fit.calibrated_on
    if not learned:
        return [RANGE_SENTENCE, "That of the time rests on the benchmark alone: no finished run to learn from yet."]
    return [RANGE_SENTENCE, f"That of the time was learned from {learned}."]


def missing_cost(estimate: Estimate) -> str:
    """A word or two on why a run at home has no cost."""
    return NOT_MEASURED if estimate.energy_kwh is None else "no electricity price known"


def missing_co2(estimate: Estimate) -> str:
    """A word or two on why a run at home has no CO2e."""
    return NOT_MEASURED if estimate.energy_kwh is None else "grid unknown"


def missing_rent(row: ComparisonRow) -> str:
    """A word or two on why an offer has no cost."""
    return NO_PUBLIC_PRICE if row.offer.price_usd_per_hour is None else UNKNOWN


def estimate_lines(estimate: Estimate) -> list[tuple[str, str, str]]:
    """The four figures of an estimate: name, value with range, and what it was priced with."""
    grid = estimate.grid
    plan = estimate.workload
    epochs = format_epochs(plan.epoch_count)
    return [
        ("Time", format_time(estimate.time_s), f"{epochs} of {plan.sample_count:,} samples"),
        ("Energy", format_kwh(estimate.energy_kwh), ""),
        ("Cost", format_money(estimate.cost_usd, missing=missing_cost(estimate)), _price_words(grid)),
        ("CO2e", format_co2_g(estimate.co2_g, missing=missing_co2(estimate)), _intensity_words(grid)),
    ]


def format_estimate(estimate: Estimate) -> str:
    """An estimate as a few lines of plain text: the four figures with their ranges, then the caveats."""
    rows = [(name, value, f"at {note}" if name in ("Cost", "CO2e") and note else note) for name, value, note in
            estimate_lines(estimate)]  # fmt: skip
    lines = text_table(rows, gap=3)
    lines += range_sentences(estimate)
    lines += [f"! {caveat}" for caveat in estimate.caveats]
    return "\n".join(lines)


def format_comparison(comparison: Comparison) -> str:
    """A comparison as a plain text table, home first, one unit per column, then its caveats."""
    header = comparison_header(comparison)
    rows = [home_cells(comparison), *(offer_cells(comparison, row) for row in rows_by_price(comparison))]
    prices = comparison.prices
    lines = text_table([header, *rows])
    lines.insert(1, "-" * max(len(line) for line in lines))
    lines += [
        "",
        f"{RANGE_SENTENCE} Prices of {prices.as_of or 'unknown date'}, {prices.source.producer or 'unknown source'}.",
    ]
    lines += [f"! {caveat}" for caveat in comparison.caveats]
    return "\n".join(lines)


def comparison_header(comparison: Comparison) -> tuple[str, ...]:
    """The column headings of a comparison, units included."""
    time_unit, co2_unit = (scale.unit for scale in _text_scales(comparison))
    return ("GPU", f"time, {time_unit}", "cost", f"CO2e, {co2_unit}", "speed", "P(cheaper)", "memory", "basis")


def home_cells(comparison: Comparison) -> tuple[str, ...]:
    """The table cells of home."""
    home, (time, co2) = comparison.home, _text_scales(comparison)
    return (
        home_label(comparison),
        _bare_time(home.time_s, time),
        format_money(home.cost_usd, missing=missing_cost(home)),
        _bare(home.co2_g, co2, missing_co2(home)),
        "1x",
        "",
        "",
        "",
    )


def offer_cells(comparison: Comparison, row: ComparisonRow) -> tuple[str, ...]:
    """The table cells of an offer."""
    time, co2 = _text_scales(comparison)
    return (
        offer_label(row),
        _bare_time(row.estimate.time_s, time),
        format_money(row.estimate.cost_usd, missing=missing_rent(row)),
        _bare(row.estimate.co2_g, co2, UNKNOWN),
        f"{format_significant(speed_of(row).point)}x",
        "" if row.p_cheaper is None else format_probability(row.p_cheaper),
        memory_words(row),
        row.speed_ratio.basis,
    )


def speed_of(row: ComparisonRow) -> Interval:
    """How many times faster the whole run is on an offer; by the board alone where that was not computed."""
    return row.time_ratio or row.speed_ratio.ratio


def rows_by_price(comparison: Comparison) -> tuple[ComparisonRow, ...]:
    """The offers, with those that have no public price last because their cost cannot be ranked."""
    return tuple(sorted(comparison.rows, key=lambda row: row.offer.price_usd_per_hour is None))


def comparison_scales(comparison: Comparison) -> tuple[Scale, Scale, Scale]:
    """The units that home and all offers share: time, dollars, CO2e."""
    estimates = [comparison.home, *(row.estimate for row in comparison.rows)]
    return (
        duration_scale([each.time_s for each in estimates]),
        usd_scale(),
        co2_scale([each.co2_g for each in estimates]),
    )


def home_label(comparison: Comparison) -> str:
    """The label of home: its processor where that is known."""
    statistics = comparison.home.statistics
    name = comparison.home_name
    if name == "local" and statistics is not None:
        name = statistics.machine.processor_name
    return f"{name} (here)"


def offer_label(row: ComparisonRow) -> str:
    """The label of an offer: GPU, how many are rented and in use, and its billing unless on demand.

    ``H100 HGX 80GB x8`` is an instance of eight of which one is in use.
    """
    return gpus_label(row.offer, rented=row.rented_gpu_count, used=row.used_gpu_count)


def gpus_label(offer: Offer, *, rented: int, used: int) -> str:
    """The label of an offer with ``rented`` GPUs, of which ``used`` are in use."""
    count = f" x{rented}" if rented > 1 else ""
    at_work = "" if used == 1 else ", all at work" if used == rented else f", {used} at work"
    billing = "" if offer.billing in DEFAULT_BILLING else f" ({offer.billing})"
    return f"{offer.gpu}{count}{at_work}{billing}"


def memory_words(row: ComparisonRow) -> str:
    """Text saying whether the training fits the offer's memory."""
    if row.fits_memory is None:
        return UNKNOWN
    if row.fits_memory:
        return "fits"
    return "too small" if row.fitting_batch_size is None else f"batch {row.fitting_batch_size} fits"


def _bare(value: Ranged | None, scale: Scale, missing: str) -> str:
    """A value with its range but without its unit, which the column heading states."""
    unitless = Scale(unit="", factor=scale.factor, prefix=scale.prefix, fewest_decimals=scale.fewest_decimals)
    return format_interval(value, unitless, missing=missing)


def _text_scales(comparison: Comparison) -> tuple[Scale, Scale]:
    """The units of time and CO2e in a table of text, where no time is read below a second."""
    estimates = [comparison.home, *(row.estimate for row in comparison.rows)]
    return (
        duration_scale([max(LEAST_S, each.time_s.point) for each in estimates]),
        co2_scale([each.co2_g for each in estimates]),
    )


def _bare_time(value: Interval, scale: Scale) -> str:
    """A time without its unit, which the column heading states; below a second nobody decides."""
    unitless = Scale(unit="", factor=scale.factor)
    least = unitless.text(LEAST_S)
    return at_least(
        value, LEAST_S, f"under {least}", lambda each: format_interval(each, unitless), missing=UNKNOWN, with_range=True
    )


def _price_words(grid: Grid) -> str:
    if grid.price_usd_per_kwh is None:
        return ""
    return f"{format_usd(grid.price_usd_per_kwh.point)} per kWh, {grid.place}"


def _intensity_words(grid: Grid) -> str:
    if grid.intensity_g_per_kwh is None:
        return ""
    return f"{grid.intensity_g_per_kwh.point:,.0f} g per kWh ({grid.scope}), {grid.place}"
