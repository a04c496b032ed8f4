"""The figure of a comparison: time, cost and CO2e at home and on every offer, with their ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenlove_mlflow.numbers import format_interval, format_money
from greenlove_mlflow.numbers.quantities import Scale
from greenlove_mlflow.plots.canvas import HOME, INK, OFFER, SOFT, log_ticks, open_canvas, style_axes
from greenlove_mlflow.words.plain_text import (
    comparison_scales,
    home_label,
    missing_co2,
    missing_cost,
    missing_rent,
    offer_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from greenlove_mlflow.core.interval import Interval
    from greenlove_mlflow.core.offers.compare import Comparison

_ROW_IN = 0.27
# Space for the printed value right of the widest range, as a share of the axis.
_VALUE_ROOM = 0.42


def plot_crusoe(comparison: Comparison) -> Figure:
    """A figure of time, cost and CO2e here and on each offer, as points with 95 % ranges, fastest first."""
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
