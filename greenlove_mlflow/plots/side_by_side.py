"""The figure of several runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.offer import PriceSheet
from greenlove_mlflow.plots.canvas import HOME, INK, OFFER, SOFT, log_ticks, open_canvas, style_axes
from greenlove_mlflow.units import G_PER_KG, S_PER_H

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Pick = Callable[[Estimate], Interval | None]
PANELS: tuple[tuple[str, Pick], ...] = (
    ("hours", lambda each: each.time_s.scaled(1.0 / S_PER_H)),
    ("US dollars", lambda each: each.cost_usd),
    ("kWh", lambda each: each.energy_kwh),
    ("kg CO2e", lambda each: None if each.co2_g is None else each.co2_g.scaled(1.0 / G_PER_KG)),
)
_ROW_IN = 0.5
_LONGEST_LABEL = 26


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
        subtitle="orange diamonds: home; blue circles: the offer of best value; bars are 95 % ranges",
        caption=f"Prices of {prices.as_of}, {prices.source.producer or 'unknown source'}. "
        "Each axis is logarithmic.\nThe offer under a run's name has the least cost times time of those that fit.",
        height_in=_ROW_IN * len(runs) + 0.7,
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
