"""The style that all figures share: palette, titles, captions, axes with plain numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.numbers.ticks import money_ticks, round_ticks, tick_label
from greenlove_mlflow.words.html import HOME_COLOUR, OFFER_COLOUR

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The palette of Okabe and Ito, distinguishable with any colour vision. Source: Okabe and Ito, "Color Universal
# Design", 2008, https://jfly.uni-koeln.de/color/. Orange is darkened to reach a contrast of 3 on white.
BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE = "#0072b2", "#d55e00", "#007d5c", "#b25f92", "#3d9bd1", "#b97b00"
INK, SOFT, LINE = "#1f2933", "#52606d", "#d8dee4"
# Home has one colour on every surface, offers another; PALETTE is for telling offers apart.
HOME, OFFER = HOME_COLOUR, OFFER_COLOUR
PALETTE = (BLUE, GREEN, PURPLE, ORANGE, SKY)

# MLflow shows a figure in a run's note at 600 to 700 pixels.
WIDTH_IN, DOTS_PER_INCH = 7.0, 100
# Width of a character of a tick's label, of the space beside the label, of the longest labels left of the rows, and of
# the values beside the marks.
_CHAR_IN, _SPACE_IN, _ROW_LABELS_IN, _VALUES_IN = 0.075, 0.1, 2.3, 0.42
_MARGIN_IN, _TITLE_IN, _CAPTION_LINE_IN = 0.16, 0.62, 0.17


def open_canvas(*, title: str, subtitle: str, caption: str, height_in: float) -> Figure:
    """An empty figure 700 pixels wide, title above and caption below; ``height_in`` is the axes' height in inches."""
    from matplotlib.figure import Figure

    lines = caption.splitlines()
    foot_in = _MARGIN_IN + _CAPTION_LINE_IN * len(lines)
    whole_in = height_in + _TITLE_IN + foot_in
    figure = Figure(figsize=(WIDTH_IN, whole_in), dpi=DOTS_PER_INCH, layout="constrained", facecolor="white")
    layout: Any = figure.get_layout_engine()
    layout.set(rect=(0.01, foot_in / whole_in, 0.98, height_in / whole_in), w_pad=0.04, h_pad=0.04)
    left = _MARGIN_IN / WIDTH_IN
    figure.text(left, 1.0 - 0.12 / whole_in, title, fontsize=11.5, fontweight="bold", color=INK, va="top")
    figure.text(left, 1.0 - 0.36 / whole_in, subtitle, fontsize=9, color=SOFT, va="top")
    figure.text(left, 0.1 / whole_in, caption, fontsize=7.5, color=SOFT, va="bottom", linespacing=1.35)
    return figure


def empty_canvas(*, title: str, reason: str) -> Figure:
    """A figure that states why there is nothing to show."""
    figure = open_canvas(title=title, subtitle="", caption="", height_in=1.2)
    figure.text(0.5, 0.38, reason, fontsize=11, color=SOFT, ha="center", va="center")
    return figure


def style_axes(axes: Axes, *, x_label: str, y_label: str = "", grid: str = "y") -> None:
    """Style the axes: no box, light grid lines along one direction, labels with units."""
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side == "bottom")
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(colors=SOFT, labelsize=8.5, length=0)
    axes.tick_params(which="minor", length=0)
    axes.grid(visible=True, axis=grid, color=LINE, linewidth=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label, fontsize=9, color=SOFT)
    axes.set_ylabel(y_label, fontsize=9, color=SOFT)


def log_ticks(axes: Axes, *, along: str, prefix: str = "", most: int = 4) -> None:
    """Put few round numbers on a logarithmic axis ("0.5", "20", "1k"); at most three amounts of money."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis = axes.xaxis if along == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    ticks = money_ticks(low, high) if prefix else round_ticks(low, high, most)
    if along == "x":
        ticks = _apart(ticks, low, high, prefix, _axis_in(axes))
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick_label(value, prefix)))


def _axis_in(axes: Axes) -> float:
    """The length of the horizontal axis in inches, at least."""
    spec = axes.get_subplotspec()
    column_count = 1 if spec is None else spec.get_gridspec().ncols
    return (WIDTH_IN - _ROW_LABELS_IN) / column_count - _VALUES_IN


def _apart(ticks: list[float], low: float, high: float, prefix: str, axis_in: float) -> list[float]:
    """The ticks whose labels do not reach that of the one before, on a logarithmic axis of that length."""
    kept: list[float] = []
    for tick in ticks:
        labels = [tick_label(each, prefix) for each in (*kept[-1:], tick)]
        needed_in = _SPACE_IN + _CHAR_IN * sum(map(len, labels)) / 2.0
        if not kept or math.log(tick / kept[-1]) * axis_in >= needed_in * math.log(high / low):
            kept.append(tick)
    return kept


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, at the size that MLflow's pages show."""
    figure.savefig(path, format="png", dpi=DOTS_PER_INCH)
