"""The figure of a re-estimation: cost of the runs on each offer over the dates of the prices."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pandas as pd

from greenlove_mlflow.core.quantity import LOCAL
from greenlove_mlflow.plots.canvas import HOME, PALETTE, empty_canvas, log_ticks, open_canvas, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "What these runs would cost, by date of the prices"
_MARKERS = "os^vPX"


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
