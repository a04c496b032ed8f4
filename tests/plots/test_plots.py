from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest

from greenlove_mlflow.plots import plot_crusoe, plot_epochs, plot_power, plot_scaling
from greenlove_mlflow.plots.canvas import DOTS_PER_INCH, PALETTE, WIDTH_IN
from tests.support.factories import an_epoch
from tests.support.report import a_benchmark, a_benchmark_fit, a_comparison, an_estimate

PICTURES: dict[str, Callable[[], Any]] = {
    "crusoe": lambda: plot_crusoe(a_comparison()),
    "epochs": lambda: plot_epochs(a_benchmark()),
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
