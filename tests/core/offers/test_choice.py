"""Which option is best, how sure that is, and what it saves."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.batch import best_value_index
from greenlove_mlflow.core.offers.choice import best_offer, best_value, cheapest, fastest, lowest_carbon, saving
from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow, TimePart
from greenlove_mlflow.core.offers.offer import Offer, PriceSheet
from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.core.speed.gpus import SpeedRatio
from tests.support.factories import a_grid, a_workload

HOME_WIDTH = 0.10


def an_estimate(
    *, time_s: float, cost_usd: float | None, co2_g: float | None = None, width: float = HOME_WIDTH
) -> Estimate:
    def around(value: float | None) -> Interval | None:
        return None if value is None else Interval.from_log_width(value, width)

    return Estimate(
        time_s=Interval.from_log_width(time_s, width),
        energy_kwh=None,
        cost_usd=around(cost_usd),
        co2_g=around(co2_g),
        workload=a_workload(),
        grid=a_grid(),
    )


def a_row(
    gpu: str = "Fast", *, time_s: float, cost_usd: float | None, co2_g: float | None = None, **over: Any
) -> ComparisonRow:
    width = over.pop("ratio_width", 0.2)
    fields = {
        "offer": Offer(provider="P", gpu=gpu, gpu_id=gpu.lower(), memory_gib=80.0, price_usd_per_hour=1.0),
        "speed_ratio": SpeedRatio(ratio=Interval.from_log_width(1.0, width), basis="spec"),
        "estimate": an_estimate(
            time_s=time_s, cost_usd=cost_usd, co2_g=co2_g, width=float(np.hypot(width, HOME_WIDTH))
        ),
    }
    return ComparisonRow(**{**fields, **over})


def a_comparison(*rows: ComparisonRow, home: Estimate | None = None) -> Comparison:
    return Comparison(
        home=home or an_estimate(time_s=36_000.0, cost_usd=10.0, co2_g=1000.0),
        rows=rows,
        prices=PriceSheet(version="1", as_of="2026-01-01", offers=(), source=Source(producer="p", title="t")),
    )


def test_the_fastest_is_the_least_time_and_surely_so_when_it_is_far_ahead() -> None:
    choice = fastest(a_comparison(a_row(time_s=3_600.0, cost_usd=20.0)))
    assert choice.row is not None
    assert choice.row.offer.gpu == "Fast"
    assert choice.probability > 0.999
    assert choice.tied_with == ()


def test_home_can_win_everything() -> None:
    comparison = a_comparison(a_row(time_s=72_000.0, cost_usd=100.0, co2_g=5000.0))
    for choice in (fastest(comparison), cheapest(comparison), best_value(comparison), lowest_carbon(comparison)):
        assert choice is not None
        assert choice.row is None


def test_two_alike_offers_share_the_probability_and_are_tied() -> None:
    twins = (a_row("One", time_s=3_600.0, cost_usd=5.0), a_row("Two", time_s=3_600.0, cost_usd=5.0))
    comparison = a_comparison(*twins)
    choice = fastest(comparison)
    assert choice.probability == pytest.approx(0.5, abs=0.01)
    assert choice.tied_with == ("Two",)


def test_the_start_of_an_instance_counts_for_time_and_cost_but_emits_nothing() -> None:
    row = a_row(time_s=30_000.0, cost_usd=9.0, co2_g=900.0)
    without = a_comparison(row)
    slow = dataclasses.replace(without, start_s=Interval.exactly(12_000.0))
    for choose in (fastest, best_value):
        assert choose(without).row is row
        assert choose(slow).row is None
    assert lowest_carbon(slow) == lowest_carbon(without)


def test_an_offer_that_does_not_fit_is_never_chosen() -> None:
    comparison = a_comparison(a_row(time_s=60.0, cost_usd=0.01, fits_memory=False))
    for choice in (fastest(comparison), cheapest(comparison), best_value(comparison)):
        assert choice is not None
        assert choice.row is None


def test_an_offer_without_a_price_can_be_fastest_but_not_best_value() -> None:
    comparison = a_comparison(a_row(time_s=60.0, cost_usd=None))
    row = fastest(comparison).row
    value = best_value(comparison)
    assert row is not None
    assert value is not None
    assert value.row is None


def test_best_value_is_the_least_cost_times_time_for_slower_offers_too() -> None:
    slow_but_nearly_free = a_row("Slow", time_s=72_000.0, cost_usd=1.0, ratio_width=0.1)
    fast_but_dear = a_row("Dear", time_s=18_000.0, cost_usd=40.0, ratio_width=0.1)
    choice = best_value(a_comparison(slow_but_nearly_free, fast_but_dear))
    assert choice is not None
    assert choice.row is slow_but_nearly_free


def test_best_value_is_none_when_no_cost_is_known() -> None:
    comparison = a_comparison(
        a_row(time_s=60.0, cost_usd=None), home=an_estimate(time_s=3_600.0, cost_usd=None, co2_g=None)
    )
    assert best_value(comparison) is None
    assert saving(comparison) is None
    assert cheapest(comparison) is None


def test_the_probability_is_that_of_a_simulation_in_which_home_time_is_shared() -> None:
    home = an_estimate(time_s=10_000.0, cost_usd=10.0)
    rows = (
        a_row("A", time_s=9_000.0, cost_usd=5.0, ratio_width=0.3),
        a_row("B", time_s=9_500.0, cost_usd=5.0, ratio_width=0.2),
    )
    choice = fastest(a_comparison(*rows, home=home))
    random = np.random.default_rng(1)
    shared = random.normal(0.0, HOME_WIDTH / 1.96, 200_000)
    options = [np.log(10_000.0) + shared]
    options += [
        np.log(row.estimate.time_s.point) + shared + random.normal(0.0, width / 1.96, shared.size)
        for row, width in zip(rows, (0.3, 0.2), strict=True)
    ]
    wins = np.argmin(np.array(options), axis=0) == 1
    assert choice.row is rows[0]
    assert choice.probability == pytest.approx(wins.mean(), abs=0.01)


def test_free_electricity_at_home_is_the_least_cost_and_no_unknown_one() -> None:
    home = dataclasses.replace(
        an_estimate(time_s=36_000.0, cost_usd=None, co2_g=500.0),
        cost_usd=Interval.exactly(0.0),
        co2_g=Interval.exactly(0.0),
    )
    comparison = a_comparison(a_row(time_s=9_000.0, cost_usd=5.0, co2_g=50.0), home=home)
    for choice in (cheapest(comparison), best_value(comparison), lowest_carbon(comparison)):
        assert choice is not None
        assert choice.row is None
        assert (choice.probability, choice.tied_with) == (1.0, ())
    quickest, saved = fastest(comparison), saving(comparison)
    assert quickest is not None
    assert quickest.row is not None
    assert saved is not None
    assert saved.cost_usd is not None
    assert saved.cost_usd.point == 0.0
    index = best_value_index(np.array([[0.0, 5.0]]), np.array([[36_000.0, 9_000.0]]), np.ones((1, 2)))
    assert index.tolist() == [0]


def test_saving_is_home_minus_best_value_and_cancels_the_shared_time() -> None:
    row = a_row(time_s=18_000.0, cost_usd=4.0, co2_g=400.0, ratio_width=0.05)
    found = saving(a_comparison(row))
    assert found is not None
    assert found.row is row
    assert found.time_s.point == pytest.approx(18_000.0)
    assert found.cost_usd is not None
    assert found.cost_usd.point == pytest.approx(6.0)
    assert found.co2_g is not None
    assert found.co2_g.point == pytest.approx(600.0)
    # Were the two times independent, the half-width would be above 4,000 s.
    assert found.time_s.high - found.time_s.point < 2_500.0


def test_nothing_is_saved_by_staying_at_home() -> None:
    found = saving(a_comparison(a_row(time_s=72_000.0, cost_usd=100.0)))
    assert found is not None
    assert (found.row, found.time_s.point, found.time_s.low, found.time_s.high) == (None, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("apart", [0.0, 0.15, 0.4])
def test_the_ratio_enters_cost_times_time_twice(apart: float) -> None:
    home = an_estimate(time_s=10_000.0, cost_usd=40.0)
    rows = (
        a_row("A", time_s=5_000.0, cost_usd=5.0, ratio_width=0.3),
        a_row("B", time_s=5_000.0, cost_usd=5.0 * float(np.exp(apart)), ratio_width=0.2),
    )
    choice = best_value(a_comparison(*rows, home=home))
    assert choice is not None
    assert choice.row is rows[0]
    random = np.random.default_rng(6)
    values = [np.full(300_000, np.log(10_000.0 * 40.0))]
    for row, width in zip(rows, (0.3, 0.2), strict=True):
        assert row.estimate.cost_usd is not None
        # Cost is rent times time: a ratio that errs by so much moves both.
        error = random.normal(0.0, width / 1.96, 300_000)
        values.append(np.log(row.estimate.time_s.point) + np.log(row.estimate.cost_usd.point) + 2.0 * error)
    assert choice.probability == pytest.approx(float((np.argmin(values, axis=0) == 1).mean()), abs=0.01)


def test_options_tie_by_twice_the_error_of_their_ratios() -> None:
    rows = tuple(
        a_row(name, time_s=5_000.0, cost_usd=5.0 * float(np.exp(apart)), ratio_width=0.1)
        for name, apart in (("A", 0.0), ("B", 0.3), ("C", 0.5))
    )
    choice = best_value(a_comparison(*rows))
    assert choice is not None
    # Half-widths of 0.1 count as 0.2 each: 0.3 apart is a tie, 0.5 is not; counted once, neither would be.
    assert choice.tied_with == ("B",)


def test_odds_of_the_best_value_are_those_of_a_simulation_of_the_longer_parts() -> None:
    def parts(host: float, board: float, log_sd: float) -> tuple[TimePart, ...]:
        return TimePart(share=host, log_sd=0.3), TimePart(share=board, log_sd=log_sd)

    home = an_estimate(time_s=36_000.0, cost_usd=4.0)
    rows = tuple(
        a_row(
            name, time_s=36_000.0 * max(host, board), cost_usd=price * 10.0 * max(host, board),
            time_parts=parts(host, board, log_sd),
        )
        for name, price, host, board, log_sd in (("A", 1.0, 0.45, 0.5, 0.2), ("B", 1.5, 0.42, 0.3, 0.25))
    )  # fmt: skip
    choice = best_value(a_comparison(*rows, home=home))
    assert choice is not None
    draws = np.random.default_rng(11)
    size = 300_000

    def drawn(host: float, board: float, log_sd: float) -> Any:
        host_s, board_s = host * np.exp(draws.normal(0, 0.3, size)), board * np.exp(draws.normal(0, log_sd, size))
        return np.maximum(host_s, board_s)

    values = np.array([np.full(size, 0.4), 1.0 * drawn(0.45, 0.5, 0.2) ** 2, 1.5 * drawn(0.42, 0.3, 0.25) ** 2])
    wins = np.argmin(values, axis=0)
    assert choice.row is rows[0]
    assert choice.probability == pytest.approx(np.mean(wins == 1), abs=0.006)


def test_offer_that_cannot_be_had_is_never_the_best_one() -> None:
    assert best_offer(a_comparison(a_row(time_s=60.0, cost_usd=None))) is None
    assert best_offer(a_comparison(a_row(time_s=60.0, cost_usd=0.1, fits_memory=False))) is None
    slow, fast = a_row("Slow", time_s=7_200.0, cost_usd=1.0), a_row("Fast", time_s=3_600.0, cost_usd=1.5)
    assert best_offer(a_comparison(slow, fast)) is fast


@pytest.mark.parametrize(
    ("cleanest", "other", "tied_with"),
    [
        ((90.0, 100.0, 300.0), (195.0, 200.0, 205.0), ("Other",)),
        ((30.0, 100.0, 110.0), (195.0, 200.0, 205.0), ()),
        ((98.0, 100.0, 102.0), (90.0, 200.0, 220.0), ("Other",)),
        ((98.0, 100.0, 102.0), (180.0, 200.0, 600.0), ()),
    ],
)
def test_options_tie_where_the_facing_sides_of_their_ranges_overlap(
    cleanest: tuple[float, float, float], other: tuple[float, float, float], tied_with: tuple[str, ...]
) -> None:
    def row(gpu: str, ends: tuple[float, float, float]) -> ComparisonRow:
        low, point, high = ends
        bare = a_row(gpu, time_s=3_600.0, cost_usd=5.0, ratio_width=0.001)
        estimate = dataclasses.replace(bare.estimate, co2_g=Interval(low=low, point=point, high=high))
        return dataclasses.replace(bare, estimate=estimate)

    home = an_estimate(time_s=36_000.0, cost_usd=10.0, co2_g=1e6, width=0.001)
    choice = lowest_carbon(a_comparison(row("Cleanest", cleanest), row("Other", other), home=home))
    assert choice is not None
    assert choice.row is not None
    assert (choice.row.offer.gpu, choice.tied_with) == ("Cleanest", tied_with)
