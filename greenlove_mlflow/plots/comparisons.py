"""Figures that compare: home with every offer, the runs with older prices, several runs side by side."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.offer import PriceSheet
from greenlove_mlflow.core.quantity import LOCAL
from greenlove_mlflow.numbers import format_interval, format_money
from greenlove_mlflow.numbers.quantities import Scale
from greenlove_mlflow.plots.canvas import (
    HOME,
    INK,
    OFFER,
    PALETTE,
    SOFT,
    empty_canvas,
    log_ticks,
    open_canvas,
    style_axes,
)
from greenlove_mlflow.units import G_PER_KG, S_PER_H
from greenlove_mlflow.words.plain_text import (
    comparison_scales,
    home_label,
    missing_co2,
    missing_cost,
    missing_rent,
    offer_label,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from greenlove_mlflow.core.offers.compare import Comparison


_ROW_IN = 0.27
# Space for the printed value right of the widest range, as a share of the axis.
_VALUE_ROOM = 0.42
TITLE = "What these runs would cost, by date of the prices"
_MARKERS = "os^vPX"
Pick = Callable[[Estimate], Interval | None]
_RUN_ROW_IN = 0.5
_LONGEST_LABEL = 26


def plot_crusoe(comparison: Comparison) -> Figure:
    """A figure of time, cost and CO2e here and on each offer, as points with 95% ranges, fastest first."""
    rows = sorted(comparison.rows, key=lambda row: row.estimate.time_s.point)
    home = comparison.home
    labels = [home_label(comparison), *(offer_label(row) for row in rows)]
    time, usd, co2 = comparison_scales(comparison)
    panels: tuple[tuple[str, Scale, list[Interval | None], list[str]], ...] = (
        (f"time, {time.unit}", time, [home.time_s, *(row.estimate.time_s for row in rows)], [""] * len(labels)),
        (
            "cost, US dollars",
            usd,
            [home.cost_usd, *(row.estimate.cost_usd for row in rows)],
            [missing_cost(home), *map(missing_rent, rows)],
        ),
        (
            f"CO2e, {co2.unit}",
            co2,
            [home.co2_g, *(row.estimate.co2_g for row in rows)],
            [missing_co2(home), *["grid unknown"] * len(rows)],
        ),
    )
    figure = open_canvas(
        title="This training here and on each Crusoe GPU",
        subtitle="Points are estimates, bars hold the real value 95 times in 100; each axis is logarithmic",
        caption=_caption(comparison),
        height_in=_ROW_IN * len(labels) + 0.55,
    )
    axes = figure.subplots(1, 3, sharey=True, width_ratios=(1.0, 1.0, 1.0))
    for panel, (x_label, scale, values, missing) in zip(axes, panels, strict=True):
        _draw_panel(panel, values, scale, missing)
        style_axes(panel, x_label=x_label, grid="x")
    axes[0].set_yticks(range(len(labels)), [_shorten(label) for label in labels])
    axes[0].set_ylim(len(labels) - 0.4, -0.6)
    axes[0].get_yticklabels()[0].set_fontweight("bold")
    for text in axes[0].get_yticklabels():
        text.set_color(INK)
    return figure


def _draw_panel(axes: Axes, values: list[Interval | None], scale: Scale, missing: list[str]) -> None:
    """Draw one quantity: a point, a bar and the value as text per row."""
    shown = [value for value in values if value is not None and value.low > 0.0]
    axes.set_xscale("log")
    if shown:
        low, high = min(value.low for value in shown) * scale.factor, max(value.high for value in shown) * scale.factor
        spread = max(high / low, 2.0)
        axes.set_xlim(low / spread**0.06, high * spread**_VALUE_ROOM)
    else:
        axes.set_xlim(1.0, 10.0)
    left, right = axes.get_xlim()
    bare = Scale(unit="", factor=1.0, prefix=scale.prefix, fewest_decimals=scale.fewest_decimals)
    for row, (value, words) in enumerate(zip(values, missing, strict=True)):
        colour = HOME if row == 0 else OFFER
        if value is None or value.low <= 0.0:
            text = words if value is None else format_interval(value, scale)
            axes.text(left * (right / left) ** 0.04, row, text, fontsize=8, color=SOFT, va="center", style="italic")
            continue
        seen = value.scaled(scale.factor)
        axes.plot([seen.low, seen.high], [row, row], color=colour, linewidth=2.6, alpha=0.45, solid_capstyle="round")
        axes.plot(seen.point, row, "D" if row == 0 else "o", color=colour, markersize=5)
        axes.annotate(
            format_money(value, with_range=False) if scale.prefix else bare.number(seen.point, seen),
            (seen.high, row),
            xytext=(5, 0),
            textcoords="offset points",
            fontsize=8,
            color=INK,
            va="center",
        )
    if shown:
        log_ticks(axes, along="x", prefix=scale.prefix, most=3)
    else:
        axes.set_xticks([])
        axes.minorticks_off()


def _caption(comparison: Comparison) -> str:
    prices, grid = comparison.prices, comparison.home.grid
    first = f"Cost: electricity here ({grid.place}), rent there. Prices of {prices.as_of}: {prices.source.producer}."
    return f"{first}\nCO2e at the grid of each place ({grid.scope}). Speeds by published benchmarks or specifications."


def _shorten(label: str, most: int = 30) -> str:
    return label if len(label) <= most else f"{label[: most - 1]}…"


def plot_price_history(summary: pd.DataFrame, run_count: int) -> Figure:
    """A figure of the mean cost of a run on each offer and at home, one point per price version.

    Args:
        summary: As ``Summary.frame`` makes it.
        run_count: Runs that were estimated.
    """
    from matplotlib.dates import AutoDateLocator, DateFormatter

    known = summary[summary["cost_usd_run_count"] > 0]
    known = known.assign(
        mean_usd=known["cost_usd_total"] / known["cost_usd_run_count"],
        day=[dt.date.fromisoformat(date[:10]) for date in known["as_of"]],
    )
    known = known[known["mean_usd"] > 0.0]
    if known.empty:
        return empty_canvas(title=TITLE, reason="no cost is known")
    first, last = known["as_of"].min(), known["as_of"].max()
    figure = open_canvas(
        title=TITLE,
        subtitle=f"{_mean_of(run_count)}, US dollars; home is the electricity bill",
        caption=f"Prices of {first} to {last}. A gap means that the sheet of that date does not list the GPU.\n"
        "The range of each run is in reestimates.parquet; speed ratios move all dates of a GPU together.",
        height_in=3.4,
    )
    axes = figure.subplots()
    _draw_lines(axes, known)
    axes.set_yscale("log")
    style_axes(axes, x_label="date of the prices", y_label="US dollars per run")
    log_ticks(axes, along="y", prefix="$")
    axes.xaxis.set_major_locator(AutoDateLocator(minticks=2, maxticks=6))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(DateFormatter("%Y-%m"))  # type: ignore[no-untyped-call]
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _mean_of(run_count: int) -> str:
    return "one run" if run_count == 1 else f"mean of {run_count:,} runs"


def _draw_lines(axes: object, known: pd.DataFrame) -> None:
    days = sorted(known["day"].unique())
    order = known.groupby("gpu", sort=False)["mean_usd"].mean().sort_values(ascending=False)
    for index, gpu in enumerate(order.index):
        # A price date without this GPU leaves a gap in its line.
        of_gpu = known[known["gpu"] == gpu].set_index("day")["mean_usd"].reindex(days)
        is_home = gpu == LOCAL
        axes.plot(  # type: ignore[attr-defined]
            days,
            of_gpu.to_numpy(),
            color=HOME if is_home else PALETTE[index % len(PALETTE)],
            linestyle="--" if is_home else "-",
            marker="D" if is_home else _MARKERS[index // len(PALETTE) % len(_MARKERS)],
            markersize=4,
            linewidth=1.4,
            label="home" if is_home else gpu,
        )


PANELS: tuple[tuple[str, Pick], ...] = (
    ("hours", lambda each: each.time_s.scaled(1.0 / S_PER_H)),
    ("US dollars", lambda each: each.cost_usd),
    ("kWh", lambda each: each.energy_kwh),
    ("kg CO2e", lambda each: None if each.co2_g is None else each.co2_g.scaled(1.0 / G_PER_KG)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlottedRun:
    """One run's figures at home and on its best offer; None where no offer has a price."""

    label: str
    home: Estimate
    best_name: str
    best: Estimate | None


def plot_side_by_side(runs: Sequence[PlottedRun], prices: PriceSheet) -> Figure:
    """A figure of hours, dollars, kWh and CO2e of each run, at home and on its best offer, with their ranges."""
    figure = open_canvas(
        title="Runs side by side",
        subtitle="orange diamonds: home; blue circles: the offer of best value; bars are 95% ranges",
        caption=f"Prices of {prices.as_of}, {prices.source.producer or 'unknown source'}. "
        "Each axis is logarithmic.\nThe offer under a run's name has the least cost times time of those that fit.",
        height_in=_RUN_ROW_IN * len(runs) + 0.7,
    )
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (unit, pick) in zip(panels, PANELS, strict=True):
        axes.set_xscale("log")
        _draw(axes, runs, pick)
        style_axes(axes, x_label=unit, grid="x")
        log_ticks(axes, along="x", most=3, prefix="$" if "dollars" in unit else "")
    panels[0].set_yticks(range(len(runs)), [_label(run) for run in runs])
    panels[0].set_ylim(len(runs) - 0.4, -0.6)
    for text in panels[0].get_yticklabels():
        text.set_color(INK)
    return figure


def _draw(axes: Axes, runs: Sequence[PlottedRun], pick: Pick) -> None:
    drawn = False
    for row, each in enumerate(runs):
        drawn |= _draw_value(axes, pick(each.home), row - 0.14, HOME)
        if each.best is not None:
            drawn |= _draw_value(axes, pick(each.best), row + 0.14, OFFER)
    if not drawn:
        axes.set_xlim(1.0, 10.0)
        axes.text(0.5, 0.5, "unknown", transform=axes.transAxes, color=SOFT, ha="center", va="center", fontsize=9)


def _draw_value(axes: Axes, value: Interval | None, y: float, color: str) -> bool:
    if value is None or value.low <= 0.0:
        return False
    below, above = value.point - value.low, value.high - value.point
    axes.errorbar(
        value.point,
        y,
        xerr=[[below], [above]],
        fmt="D" if color == HOME else "o",
        color=color,
        markersize=5,
        elinewidth=2,
    )
    return True


def _label(run: PlottedRun) -> str:
    best = run.best_name or "no offer has a price"
    name = run.label if len(run.label) <= _LONGEST_LABEL else f"{run.label[: _LONGEST_LABEL - 3]}..."
    return f"{name}\n{best}"
