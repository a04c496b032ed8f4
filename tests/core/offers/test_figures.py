"""The array function that comparison, served model and batch share."""

from __future__ import annotations

import numpy as np
import pytest

from greenlove_mlflow.core.interval import Interval, Intervals
from greenlove_mlflow.core.offers.figures import offer_figures


def figures_of(
    *, price: float = 2.0, power: Interval | None = None, intensity: Interval | None = None, start_s: float = 0.0
):  # type: ignore[no-untyped-def]
    return offer_figures(
        Intervals.of([Interval.from_log_width(7200.0, 0.3)]),
        Intervals.of([Interval.from_log_width(0.5, 0.4), Interval.exactly(1.0)]),
        start_s=start_s,
        price_usd_per_hour=np.array([price, np.nan]),
        power_w=Intervals.of([power, power]),
        pue=Interval.from_log_width(1.5, 0.0),
        intensity_g_per_kwh=Intervals.of([intensity, None]),
    )


def test_unknown_stays_unknown_in_every_column() -> None:
    figures = figures_of(power=None, intensity=None)
    assert figures.energy_kwh.at(0) is None
    assert figures.co2_g.at(0) is None
    assert figures.cost_usd.at(0) is not None
    assert figures.cost_usd.at(1) is None
    assert figures.time_s.at(1) is not None


def test_independent_ranges_add_in_quadrature() -> None:
    figures = figures_of(power=Interval.from_log_width(1000.0, 1.2))
    time_s, energy_kwh = figures.time_s.at(0), figures.energy_kwh.at(0)
    assert time_s is not None
    assert energy_kwh is not None
    assert time_s.log_half_width == pytest.approx(0.5)
    assert energy_kwh.point == pytest.approx(1.5)
    assert energy_kwh.log_half_width == pytest.approx(1.3)


def test_a_skewed_grid_leaves_a_skewed_range() -> None:
    figures = figures_of(power=Interval.exactly(1000.0), intensity=Interval(point=363.0, low=28.0, high=418.0))
    co2_g = figures.co2_g.at(0)
    assert co2_g is not None
    assert co2_g.point / co2_g.low > 2.0 * co2_g.high / co2_g.point


def test_a_grid_of_zero_is_zero_and_not_unknown() -> None:
    figures = figures_of(power=Interval.exactly(1000.0), intensity=Interval.exactly(0.0))
    assert figures.co2_g.at(0) == Interval.exactly(0.0)


def test_start_is_billed_and_is_not_in_the_time() -> None:
    figures = figures_of(start_s=600.0)
    time_s, cost_usd = figures.time_s.at(0), figures.cost_usd.at(0)
    assert time_s is not None
    assert cost_usd is not None
    assert time_s.point == pytest.approx(3600.0)
    assert cost_usd.point == pytest.approx(2.0 * 4200.0 / 3600.0)
    assert cost_usd.high == pytest.approx(2.0 * (time_s.high + 600.0) / 3600.0)
