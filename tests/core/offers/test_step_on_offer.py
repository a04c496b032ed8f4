"""The step on an offer: what the board makes faster and what it does not, replayed on profiles of an H200."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlove_mlflow.core.normal import Longest
from greenlove_mlflow.core.offers.step_on_offer import (
    HOST_LOG_SD,
    LAUNCH_S,
    HomeSteps,
    StepOnOffer,
    TrainingShares,
    bound_by_on_offer,
    can_split,
    launch_cost_s,
    step_on_offer,
    training_on_offer,
)
from greenlove_mlflow.core.records import StepProfile


def profile(host_ms: float, busy_ms: float, *, loader_s: float | None = 0.0, fetch_s: float = 0.0) -> StepProfile:
    return StepProfile(loader_s=loader_s, fetch_s=fetch_s, host_s=host_ms / 1e3, device_busy_s=busy_ms / 1e3)


# Measured on one H200: the host's time with an empty queue, and the kernels of a step.
SMALL_CNN = profile(2.09, 0.17)
RESNET_18 = profile(14.5, 5.27)
BERT_BASE = profile(49.3, 19.9)
WIDE_MLP = profile(2.30, 7.51)
LSTM = profile(28.4, 26.6)
ALL_STEPS = TrainingShares(steps=np.ones(1), validation=np.zeros(1), fixed=np.zeros(1))


def on_offer(
    home: StepProfile | None, ratio: float, ratio_log_sd: float = 0.2, *, is_whole: bool = False, step_share: float = 1
) -> StepOnOffer:
    return step_on_offer(
        HomeSteps.of([home]),
        log_ratio=np.log([ratio]),
        ratio_log_sd=np.array([ratio_log_sd]),
        is_whole=np.array([float(is_whole)]),
        step_share=step_share,
    )


def range_of(longest: Longest) -> tuple[float, float, float]:
    ends = (float(np.exp(longest.log_quantile(p))[0]) for p in (0.025, 0.975))
    low, high = ends
    return low, float(longest.point[0]), high


@pytest.mark.parametrize("home", [SMALL_CNN, RESNET_18, BERT_BASE], ids=["cnn", "resnet", "bert"])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.7, 20.0])
def test_training_bound_by_its_host_is_no_faster_on_any_board(home: StepProfile, ratio: float) -> None:
    step = on_offer(home, ratio)
    assert 0.95 <= step.longest.point[0] <= 1.05
    assert bound_by_on_offer(step, 0) == "host"


def test_training_bound_by_its_board_follows_the_ratio() -> None:
    step = on_offer(WIDE_MLP, 1.7)
    assert step.longest.point[0] == pytest.approx(1 / 1.7)
    assert bound_by_on_offer(step, 0) == "device"
    low, _, high = range_of(step.longest)
    assert low == pytest.approx(1 / 1.7 / math.exp(0.2 * 1.96), rel=0.02)
    assert high == pytest.approx(1 / 1.7 * math.exp(0.2 * 1.96), rel=0.02)


def test_board_so_fast_that_the_host_takes_over() -> None:
    step = on_offer(WIDE_MLP, 10.0)
    assert step.longest.point[0] == pytest.approx(2.30 / 7.51)
    assert bound_by_on_offer(step, 0) == "host"


def test_host_and_board_at_a_tie_make_a_range_that_leans_upward() -> None:
    low, point, high = range_of(on_offer(LSTM, 1.0, 0.3).longest)
    assert point == 1.0
    assert 1.0 / low < high / 1.0


def test_slow_loader_holds_up_every_board() -> None:
    step = on_offer(profile(2.3, 7.51, loader_s=0.0075), 3.0)
    assert step.longest.point[0] == pytest.approx(0.0075 / 0.00751)
    assert bound_by_on_offer(step, 0) == "data"


def test_fetching_in_the_steps_own_thread_holds_up_every_board() -> None:
    step = on_offer(profile(0.5, 7.51, fetch_s=0.007), 3.0)
    assert step.longest.point[0] == pytest.approx(0.0075 / 0.00751)
    assert bound_by_on_offer(step, 0) == "data"


@pytest.mark.parametrize("home", [SMALL_CNN, RESNET_18, BERT_BASE, WIDE_MLP, LSTM])
def test_homes_own_board_takes_exactly_as_long(home: StepProfile) -> None:
    step = on_offer(home, 1.0, 0.0)
    assert step.longest.point[0] == 1.0
    shares = TrainingShares(steps=np.array([0.7]), validation=np.array([0.1]), fixed=np.array([0.2]))
    assert training_on_offer(step, on_offer(profile(1.0, 3.0), 1.0, 0.0), shares).point[0] == 1.0


def test_homes_own_board_still_has_another_host() -> None:
    low, _, high = range_of(on_offer(BERT_BASE, 1.0, 0.0).longest)
    assert low < 0.6
    assert high == pytest.approx(math.exp(1.96 * HOST_LOG_SD), rel=0.001)


def test_ratio_that_was_given_is_of_the_whole_step() -> None:
    step = on_offer(BERT_BASE, 2.5, 0.0, is_whole=True)
    assert 1.0 / step.longest.point[0] == pytest.approx(2.5, rel=1e-12)


def test_without_a_profile_the_ratio_is_of_the_whole_step() -> None:
    for unknown in (None, StepProfile(host_s=0.01), StepProfile(device_busy_s=0.01), StepProfile(reason="no CUPTI")):
        assert not can_split(unknown)
        assert on_offer(unknown, 1.6).longest.point[0] == pytest.approx(1 / 1.6)


def test_unmeasured_loader_widens_the_range_upward_only() -> None:
    low, point, high = range_of(on_offer(WIDE_MLP, 4.0).longest)
    wide = range_of(on_offer(profile(2.30, 7.51, loader_s=None), 4.0).longest)
    assert wide[1] == point
    assert wide[2] > high
    assert wide[0] >= low


def test_busy_time_that_is_an_upper_bound_widens_the_range() -> None:
    measured = range_of(on_offer(profile(1.0, 7.51), 4.0).longest)
    bound = StepProfile(loader_s=0.0, host_s=0.001, device_busy_s=0.00751, busy_is_upper_bound=True)
    assert range_of(on_offer(bound, 4.0).longest)[2] > measured[2]


def test_eight_boards_share_the_steps_but_not_the_loader() -> None:
    step = on_offer(profile(49.3, 19.9, loader_s=0.04), 7.0, step_share=1 / 8)
    assert step.longest.point[0] == pytest.approx(0.04 / 0.0493)
    assert on_offer(BERT_BASE, 7.0, step_share=1 / 8).longest.point[0] == pytest.approx(1 / 8)


def test_what_no_board_makes_faster_stays() -> None:
    shares = TrainingShares(steps=np.array([0.6]), validation=np.array([0.1]), fixed=np.array([0.3]))
    slow_validation = on_offer(profile(5.0, 1.0), 2.0, 0.0)
    whole = training_on_offer(on_offer(WIDE_MLP, 2.0, 0.0), slow_validation, shares)
    assert whole.point[0] == pytest.approx(0.6 / 2 + 0.1 + 0.3)


def test_training_of_steps_alone_is_its_step() -> None:
    step = on_offer(BERT_BASE, 2.0)
    whole = training_on_offer(step, step, ALL_STEPS)
    np.testing.assert_array_equal(whole.log_quantile(0.975), step.longest.log_quantile(0.975))


def test_small_network_from_a_cpu_is_held_by_its_launches() -> None:
    # Two cores of a small EPYC machine: 4.6 ms a step; 31 operators, 44 kernels. The H200 took 2.12 ms.
    home = StepProfile(loader_s=0.0, host_s=0.0046, launch_count=44, dispatch_s=4.4e-6, on_cpu=True)
    step = on_offer(home, 20.0, 0.6)
    low, point, high = (each * 4.6 for each in range_of(step.longest))
    assert low < 2.12 < high
    assert point == pytest.approx(44 * LAUNCH_S * 1e3, rel=0.01)
    assert bound_by_on_offer(step, 0) == "host"


def test_cpu_whose_launches_were_not_counted_follows_the_ratio() -> None:
    assert on_offer(StepProfile(loader_s=0.0, host_s=0.0046, on_cpu=True), 20.0).longest.point[0] == pytest.approx(0.05)


@pytest.mark.parametrize(("dispatch_s", "launch_s"), [(None, LAUNCH_S), (1e-6, 6e-6), (4e-6, 16e-6), (1.0, 52e-6)])
def test_launch_costs_what_this_cpu_says_within_what_was_measured(dispatch_s: float | None, launch_s: float) -> None:
    assert launch_cost_s(dispatch_s) == pytest.approx(launch_s)


SECONDS = st.floats(1e-4, 1.0)


@given(loader=SECONDS, host=SECONDS, busy=SECONDS, ratio=st.floats(0.1, 100.0), more=st.floats(1.0, 10.0))
def test_faster_board_never_makes_a_training_slower(
    loader: float, host: float, busy: float, ratio: float, more: float
) -> None:
    home = StepProfile(loader_s=loader, host_s=host, device_busy_s=busy)
    slow, fast = (range_of(on_offer(home, each).longest) for each in (ratio, ratio * more))
    assert all(after <= before * (1 + 1e-9) for before, after in zip(slow, fast, strict=True))
    assert slow[0] <= slow[1] <= slow[2]


@given(host=SECONDS, busy=SECONDS, ratio=st.floats(0.1, 100.0))
def test_small_change_of_the_profile_changes_little(host: float, busy: float, ratio: float) -> None:
    one, other = (
        range_of(on_offer(StepProfile(loader_s=0.0, host_s=host * each, device_busy_s=busy), ratio).longest)
        for each in (1.0, 1.0001)
    )
    assert other == pytest.approx(one, rel=1e-3)


@pytest.mark.parametrize("fixed", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.3, 3.0])
def test_range_holds_95_of_100_trainings(ratio: float, fixed: float) -> None:
    shares = TrainingShares(steps=np.array([1.0 - fixed]), validation=np.zeros(1), fixed=np.array([fixed]))
    step = on_offer(LSTM, ratio, 0.2)
    low, _, high = range_of(training_on_offer(step, step, shares))
    draws = np.random.default_rng(3)
    host = np.exp(draws.normal(0.0, HOST_LOG_SD, 100_000))
    board = 26.6 / 28.4 / np.exp(draws.normal(math.log(ratio), 0.2, 100_000))
    truth = (1.0 - fixed) * np.maximum(host, board) + fixed * host
    assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.98


def test_many_steps_are_worked_out_as_one_is() -> None:
    profiles = [BERT_BASE, WIDE_MLP, None, StepProfile(host_s=0.0046, launch_count=44, on_cpu=True)]
    together = step_on_offer(
        HomeSteps.of(profiles), log_ratio=np.log(np.full(4, 2.0)), ratio_log_sd=np.full(4, 0.3), is_whole=np.zeros(4)
    ).longest
    for index, each in enumerate(profiles):
        alone = on_offer(each, 2.0, 0.3).longest
        assert alone.log_point[0] == together.log_point[index]
        assert alone.log_quantile(0.975)[0] == pytest.approx(together.log_quantile(0.975)[index], rel=1e-12)


def contended(home: StepProfile | None, share: float, *, ratio: float = 2.0, is_whole: float = 0.0) -> StepOnOffer:
    return step_on_offer(
        HomeSteps.of([home], contention_shares=[share]),
        log_ratio=np.log([ratio]),
        ratio_log_sd=np.zeros(1),
        is_whole=np.array([is_whole]),
    )


@given(share=st.floats(0.0, 0.85), host=st.floats(0.1, 10.0), busy=st.floats(0.1, 10.0), ratio=st.floats(0.2, 20.0))
def test_neighbours_at_home_do_not_travel(share: float, host: float, busy: float, ratio: float) -> None:
    # What the offer takes in seconds is what it would take had home been alone: a host 1 - share as long.
    told = contended(profile(host, busy), share, ratio=ratio).longest.point[0] * max(host, busy)
    alone = profile(host * (1.0 - share), busy)
    expected = contended(alone, 0.0, ratio=ratio).longest.point[0] * max(host * (1.0 - share), busy)
    assert told == pytest.approx(expected, rel=1e-9)


@given(share=st.floats(0.0, 0.99))
def test_a_step_bound_by_its_board_feels_no_neighbours(share: float) -> None:
    assert contended(WIDE_MLP, share, ratio=1.0).longest.point[0] == 1.0


def test_from_a_cpu_only_what_it_loads_is_freed_of_neighbours() -> None:
    home = StepProfile(loader_s=0.0, fetch_s=0.04, host_s=0.06, launch_count=10.0, dispatch_s=4e-6, on_cpu=True)
    free, shared = contended(home, 0.0), contended(home, 0.3)
    # The board's part is counted work, or against a probe among the same neighbours; launches never ran here.
    assert shared.device.log_point[0] == free.device.log_point[0]
    launches = 10.0 * 16e-6 / 0.1
    assert np.exp(shared.thread.log_point[0]) == pytest.approx(0.4 * 0.7 + launches)
    assert contended(None, 0.3).longest.point[0] == pytest.approx(1.0 / 2.0)


def test_what_neighbours_took_is_known_from_nothing_to_twice_as_much() -> None:
    free, shared = contended(BERT_BASE, 0.0), contended(BERT_BASE, 0.3)
    added = math.sqrt(float(shared.thread.log_sd[0]) ** 2 - float(free.thread.log_sd[0]) ** 2)
    assert 1.96 * added == pytest.approx(-math.log(0.7), rel=0.03)


def test_a_ratio_of_the_whole_step_is_used_as_it_is_among_neighbours_too() -> None:
    assert contended(BERT_BASE, 0.4, ratio=2.5, is_whole=1.0).longest.point[0] == pytest.approx(0.4, rel=1e-12)


def test_more_neighbours_never_make_an_offer_slower() -> None:
    points = [contended(BERT_BASE, share).longest.point[0] for share in np.linspace(0.0, 1.0, 21)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(points))
