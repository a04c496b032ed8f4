"""Totals of a study: spent so far, all trials, limits over all of them."""

from __future__ import annotations

import math
import random

import pytest

from greenlove_mlflow.core.account.totals import (
    NOTHING,
    Totals,
    Trial,
    add_up,
    broken_by,
    committed,
    forecast_of_trials,
    spent,
    spent_of,
)
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval
from greenlove_mlflow.core.workload import Limits

HALF_WIDTH = 0.2


def totals(time_s: float, *, width: float = 0.0, usd: float | None = 1.0) -> Totals:
    return Totals(
        time_s=Interval.from_log_width(time_s, width),
        energy_kwh=Interval.from_log_width(time_s / 1000.0, width),
        cost_usd=None if usd is None else Interval.from_log_width(usd, width),
        co2_g=Interval.from_log_width(time_s / 2.0, width),
    )


def ended(time_s: float, estimated_s: float = 100.0, *, is_whole: bool = True) -> Trial:
    return Trial(
        estimated=totals(estimated_s, width=HALF_WIDTH), spent=totals(time_s), is_whole=is_whole, has_ended=True
    )


def test_trials_share_their_error_so_that_a_sum_is_relatively_as_wide_as_one() -> None:
    one = totals(100.0, width=HALF_WIDTH)
    total = add_up([one] * 20)
    assert total.time_s.point == pytest.approx(2000.0)
    assert total.time_s.log_half_width == pytest.approx(HALF_WIDTH)


def test_before_any_trial_has_ended_all_take_what_the_first_is_estimated_to() -> None:
    running = Trial(estimated=totals(100.0, width=HALF_WIDTH))
    forecast = forecast_of_trials([running], 20)
    assert forecast is not None
    assert forecast.time_s.point == pytest.approx(2000.0)
    assert forecast.time_s.high == pytest.approx(2000.0 * math.exp(HALF_WIDTH))
    assert forecast_of_trials([Trial()], 20) is None


def test_what_is_spent_is_exact_and_the_rest_follows_the_pace_of_whole_trials() -> None:
    forecast = forecast_of_trials([ended(200.0)], 3)
    assert forecast is not None
    # One trial at twice its estimate moves the two that are left by the square root of two.
    left_s = 2 * 100.0 * math.sqrt(2.0)
    assert forecast.time_s.point == pytest.approx(200.0 + left_s)
    assert forecast.time_s.low == pytest.approx(200.0 + left_s * math.exp(-HALF_WIDTH))


def test_a_pruned_trial_says_nothing_of_the_pace() -> None:
    forecast = forecast_of_trials([ended(10.0, is_whole=False)], 3)
    assert forecast is not None
    assert forecast.time_s.point == pytest.approx(10.0 + 200.0)


def test_when_all_trials_are_over_the_forecast_is_what_they_took() -> None:
    trials = [ended(90.0), ended(120.0)]
    assert forecast_of_trials(trials, 2) == spent(trials)
    assert forecast_of_trials([*trials, ended(1.0)], 2) == spent([*trials, ended(1.0)])


def test_an_unknown_cost_stays_unknown() -> None:
    trial = Trial(estimated=totals(100.0, usd=None), spent=totals(100.0, usd=None), has_ended=True)
    assert spent([ended(10.0), trial]).cost_usd is None
    assert spent([ended(10.0), trial]).time_s.point == 110.0
    forecast = forecast_of_trials([ended(10.0), trial], 4)
    assert forecast is not None
    assert forecast.cost_usd is None
    assert forecast.energy_kwh is not None


def test_a_trial_that_runs_is_committed_by_its_estimate() -> None:
    trials = [ended(30.0), Trial(estimated=totals(100.0))]
    assert committed(trials).time_s.point == pytest.approx(130.0)
    assert spent(trials).time_s.point == pytest.approx(30.0)


def test_the_next_trial_breaks_a_limit_by_what_is_left_of_it() -> None:
    limits = Limits(usd=10.0, hours=1.0)
    taken, planned = totals(1000.0, usd=8.0), totals(1000.0, usd=2.5)
    (said,) = broken_by(taken, planned, limits)
    assert said == "the limit of $10.00 (spent $8.00, the next trial is estimated at $2.50)"
    assert broken_by(taken, totals(1000.0, usd=2.0), limits) == ()
    assert len(broken_by(taken, totals(2601.0, usd=2.5), limits)) == 2
    assert broken_by(totals(1.0, usd=None), planned, Limits(usd=1.0)) == ()


def test_a_limit_that_is_spent_is_said() -> None:
    assert spent_of(totals(3600.0), Limits(hours=1.0)) == ("the limit of 1 h (spent 1 h)",)
    assert spent_of(totals(3599.0), Limits(hours=1.0)) == ()
    assert spent_of(NOTHING, Limits(kwh=1e-9)) == ()


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("done", "planned"), [(0, 10), (1, 2), (1, 10), (5, 6), (5, 20)])
def test_the_range_of_all_trials_holds_whatever_share_of_the_error_is_theirs_in_common(
    shared: float, done: int, planned: int
) -> None:
    draw = random.Random(f"{shared} {done} {planned}")
    sd = HALF_WIDTH / NORMAL_QUANTILE_95
    held, repeats = 0, 1500
    for _ in range(repeats):
        common = draw.gauss(0.0, sd * math.sqrt(shared))
        took_s = [100.0 * math.exp(common + draw.gauss(0.0, sd * math.sqrt(1.0 - shared))) for _ in range(planned)]
        begun = [ended(each) for each in took_s[:done]] or [Trial(estimated=totals(100.0, width=HALF_WIDTH))]
        forecast = forecast_of_trials(begun, planned)
        assert forecast is not None
        held += forecast.time_s.contains(math.fsum(took_s))
    # Only the last of trials that have nothing in common comes near the lower bound.
    assert held / repeats >= 0.91
