from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.plots import plot_crusoe, plot_epochs, plot_passes_by_size, plot_power, plot_scaling
from greenlove_mlflow.plots.canvas import DOTS_PER_INCH, HOME, OFFER, PALETTE, WIDTH_IN
from greenlove_mlflow.plots.comparisons import PlottedRun, plot_price_history, plot_side_by_side
from tests.support.factories import an_epoch
from tests.support.report import a_benchmark, a_benchmark_fit, a_comparison, a_row, a_sheet, an_estimate

PICTURES: dict[str, Callable[[], Any]] = {
    "crusoe": lambda: plot_crusoe(a_comparison()),
    "epochs": lambda: plot_epochs(a_benchmark()),
    "passes-by-size": lambda: plot_passes_by_size(a_benchmark()),
    "passes-by-size-empty": lambda: plot_passes_by_size(a_benchmark(epochs=(), blocks=())),
    "scaling": lambda: plot_scaling(a_benchmark(), a_benchmark_fit()),
    "power": lambda: plot_power(a_benchmark()),
    "crusoe-unmetered": lambda: plot_crusoe(
        a_comparison(an_estimate(energy_kwh=None, cost_usd=None, co2_g=None), specs=())
    ),
    "epochs-empty": lambda: plot_epochs(a_benchmark(epochs=(), blocks=())),
    "scaling-one-size": lambda: plot_scaling(a_benchmark(epochs=(an_epoch(),)), a_benchmark_fit()),
    "scaling-unfitted": lambda: plot_scaling(a_benchmark(), None),
    "power-unmetered": lambda: plot_power(a_benchmark(power=(), power_samples=())),
    "power-modelled": lambda: plot_power(a_benchmark(power_samples=())),
}


def texts(figure: Any) -> list[str]:
    from matplotlib.text import Text

    return [each.get_text() for each in figure.findobj(Text) if each.get_text()]


def priced(low: float, high: float) -> Any:
    """A comparison whose costs lie between two amounts."""
    home = an_estimate(cost_usd=Interval(point=(low * high) ** 0.5, low=low, high=high))
    return a_comparison(home)


def a_history() -> Any:
    dates = ("2025-05-21", "2026-02-25", "2026-09-28")
    options = (("local", 0.02), ("H100 HGX 80GB", 31.0), ("L40S 48GB", 1.5), ("A40 48GB", 0.9))
    rows = [
        {"gpu": gpu, "as_of": date, "version": date, "cost_usd_total": usd * (1 + n / 9), "cost_usd_run_count": 1}
        for n, date in enumerate(dates)
        for gpu, usd in options
    ]
    return plot_price_history(pd.DataFrame(rows), 1)


def side_by_side(factor: float) -> Any:
    homes = [
        an_estimate(
            cost_usd=Interval(point=usd * factor, low=usd * factor / 3, high=usd * factor * 3),
            time_s=Interval(point=usd * 9e4, low=usd * 8e4, high=usd * 1e5),
        )
        for usd in (0.01, 0.9, 70.0)
    ]
    runs = [
        PlottedRun(label=f"run {n}", home=home, best_name="H100 HGX 80GB", best=a_row(home).estimate)
        for n, home in enumerate(homes)
    ]
    return plot_side_by_side(runs, a_sheet())


MONEY: dict[str, Callable[[], Any]] = {
    "cents": lambda: plot_crusoe(priced(0.02, 0.09)),
    "microdollars": lambda: plot_crusoe(priced(1e-8, 4e-6)),
    "wide": lambda: plot_crusoe(priced(1e-4, 9e5)),
    "thousands": lambda: plot_crusoe(priced(2e3, 3e6)),
    "history": a_history,
    "beside": lambda: side_by_side(1.0),
    "beside-small": lambda: side_by_side(1e-5),
    "beside-large": lambda: side_by_side(1e4),
}


def tick_boxes(figure: Any) -> list[tuple[str, Any]]:
    """Each tick label of a figure with the box that it is drawn in."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    labels = [label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels()]
    return [
        (label.get_text(), label.get_window_extent(canvas.get_renderer()))
        for label in labels
        if label.get_text() and label.get_visible()
    ]


@pytest.mark.parametrize("name", [*PICTURES, *MONEY])
def test_tick_labels_do_not_overlap(name: str) -> None:
    boxes = tick_boxes({**PICTURES, **MONEY}[name]())
    apart = itertools.combinations(boxes, 2)
    assert [(one, other) for (one, at), (other, beside) in apart if at.overlaps(beside)] == []


@pytest.mark.parametrize("home", [1e-6, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("offers", [1e-3, 1.0, 1e3])
def test_tick_labels_do_not_overlap_whatever_the_sizes(home: float, offers: float) -> None:
    comparison = a_comparison(a_scaled(an_estimate(), home))
    rows = tuple(replace(row, estimate=a_scaled(row.estimate, offers)) for row in comparison.rows)
    boxes = tick_boxes(plot_crusoe(replace(comparison, rows=rows)))
    apart = itertools.combinations(boxes, 2)
    assert [(one, other) for (one, at), (other, beside) in apart if at.overlaps(beside)] == []


def a_scaled(estimate: Any, factor: float) -> Any:
    names = ("time_s", "energy_kwh", "cost_usd", "co2_g")
    known = {name: value.scaled(factor) for name in names if (value := getattr(estimate, name)) is not None}
    return replace(estimate, **known)


@pytest.mark.parametrize("name", MONEY)
def test_a_money_axis_has_three_short_ticks_at_most_and_none_below_one_cent(name: str) -> None:
    figure = MONEY[name]()
    figure.canvas.draw_idle()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            money = [text for label in axis.get_ticklabels() if (text := label.get_text()).startswith("$")]
            assert len(money) <= 3
            assert all(len(text) <= 6 for text in money)
            assert not any(text.startswith("$0.00") for text in money)
    assert not any(text.startswith("$0.00") for text in texts(figure))


def test_home_has_one_colour_and_no_offer_shares_it() -> None:
    assert HOME not in PALETTE
    figure = plot_crusoe(a_comparison())
    lines = [line for line in figure.axes[0].lines if line.get_marker() in ("D", "o")]
    assert {line.get_color() for line in lines if line.get_marker() == "D"} == {HOME}
    assert {line.get_color() for line in lines if line.get_marker() == "o"} == {OFFER}


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_seven_hundred_pixels_wide_and_says_what_it_shows(name: str) -> None:
    figure = PICTURES[name]()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    assert figure.get_size_inches()[0] * DOTS_PER_INCH == WIDTH_IN * DOTS_PER_INCH == 700
    assert len(buffer.getvalue()) > 2000
    assert max(len(text) for text in texts(figure)) > 10


@pytest.mark.parametrize("name", ["crusoe", "epochs", "scaling", "power"])
def test_picture_has_units_and_a_source_line(name: str) -> None:
    shown = " ".join(texts(PICTURES[name]()))
    assert any(unit in shown for unit in ("seconds", "watts", "time, h"))
    assert "Measured by greenlove" in shown or "Prices of 2026-09-28" in shown


def test_missing_power_is_said_not_drawn_as_zero() -> None:
    figure = plot_power(a_benchmark(power=(), power_samples=()))
    assert any("not measured" in text for text in texts(figure))
    assert not figure.axes


def test_an_offer_without_a_price_says_so_in_its_place() -> None:
    assert "no public price" in texts(plot_crusoe(a_comparison()))


def test_nothing_touches_pyplot() -> None:
    sys.modules.pop("matplotlib.pyplot", None)
    plot_crusoe(a_comparison()).savefig(io.BytesIO(), format="png")
    assert "matplotlib.pyplot" not in sys.modules


def test_every_colour_of_the_palette_stands_out_from_white() -> None:
    assert all(contrast(colour, "#ffffff") >= 3.0 for colour in PALETTE)
