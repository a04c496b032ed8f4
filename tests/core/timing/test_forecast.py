"""The total forecast again from the epochs that are done."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from greenlove_mlflow.core.timing.forecast import forecast_total_s
from tests.support.factories import a_fit, a_workload

FIT, PLAN = a_fit(first_epoch_s=10.0, epoch_s=10.0, one_off_s=0.0), a_workload(epoch_count=20)


def test_before_the_first_epoch_the_promise_stands_and_after_the_last_the_fact() -> None:
    assert forecast_total_s(FIT, PLAN, [], 0.0) == FIT.predict(PLAN)
    assert forecast_total_s(FIT, PLAN, [10.0] * 20, 203.0).point == 203.0
    assert forecast_total_s(FIT, PLAN, [10.0] * 20, 203.0).is_exact


def test_it_follows_the_pace_of_the_training() -> None:
    slower = forecast_total_s(FIT, PLAN, [13.0] * 8, 104.0)
    assert slower.point == pytest.approx(260.0, rel=0.02)
    assert slower.low > FIT.predict(PLAN).point


def test_a_slow_first_epoch_is_not_taken_for_the_pace() -> None:
    assert forecast_total_s(FIT, PLAN, [30.0], 30.0).point == pytest.approx(220.0, rel=0.03)
    assert forecast_total_s(FIT, PLAN, [30.0, 10.0], 40.0).point == pytest.approx(220.0, rel=0.02)


def test_the_range_shrinks_as_the_training_goes_on() -> None:
    widths = [forecast_total_s(FIT, PLAN, [10.0] * done, 10.0 * done).log_half_width for done in range(21)]
    assert all(later < earlier for earlier, later in itertools.pairwise(widths[1:]))
    assert widths[10] < 0.6 * widths[0]


def test_what_has_passed_is_never_taken_back() -> None:
    late = forecast_total_s(FIT, PLAN, [10.0] * 19, 190.0)
    assert 190.0 <= late.low <= late.point == pytest.approx(200.0)


def test_epochs_that_validate_now_and_then_are_averaged() -> None:
    plan = a_workload(epoch_count=20, validation_s=5.0, validation_every_epochs=5)
    durations = [15.0 if (index + 1) % 5 == 0 else 10.0 for index in range(9)]
    forecast = forecast_total_s(FIT, plan, durations, sum(durations))
    assert forecast.point == pytest.approx(220.0, rel=0.02)


def test_the_range_holds_the_total_nineteen_times_in_twenty() -> None:
    rng, inside = np.random.default_rng(0), []
    fit = a_fit(first_epoch_s=10.0, epoch_s=10.0, one_off_s=0.0, drift_log_sd=0.03, noise_log_sd=0.02, block_count=12)
    for _ in range(400):
        keep = np.exp(-1.0 / rng.uniform(5.0, 50.0))
        pace, durations = 0.03 * rng.normal(), []
        for _ in range(20):
            pace = keep * pace + 0.03 * np.sqrt(1.0 - keep**2) * rng.normal()
            durations.append(10.0 * np.exp(pace + 0.005 * rng.normal()))
        done = int(rng.integers(1, 20))
        forecast = forecast_total_s(fit, PLAN, durations[:done], sum(durations[:done]))
        inside.append(forecast.contains(sum(durations)))
    assert 0.92 <= np.mean(inside) <= 1.0


def forecasts_after_a_wrong_promise(gap_log: float, done: int, *, seed: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Point over truth, and whether the range held it, of trainings whose pace is off the promise by so much."""
    rng = np.random.default_rng(seed)
    sure = {"noise_log_sd": 0.0, "drift_log_sd": 0.008, "structure_log_sd": 0.006, "overhead_s": 0.0}
    fit, plan = a_fit(first_epoch_s=10.0, epoch_s=10.0, one_off_s=0.0, **sure), a_workload(epoch_count=40)
    off, held = [], []
    for _ in range(300):
        durations = 10.0 * np.exp(gap_log + rng.normal(0.0, 0.06, 40))
        truth_s = float(durations.sum())
        forecast = forecast_total_s(fit, plan, list(durations[:done]), float(durations[:done].sum()))
        off.append(forecast.point / truth_s)
        held.append(forecast.contains(truth_s))
    return np.array(off), np.array(held)


@pytest.mark.parametrize("done", [8, 16])
@pytest.mark.parametrize("gap_log", [0.12, -0.12, 0.2])
def test_a_promise_that_is_contradicted_loses_its_say(gap_log: float, done: int) -> None:
    off, held = forecasts_after_a_wrong_promise(gap_log, done)
    # A promise that is surer than the epochs seen and off by several of its own SDs must not draw the pace to itself.
    assert float(np.mean(off)) == pytest.approx(1.0, abs=0.012)
    assert held.mean() >= 0.9


def test_a_promise_that_is_contradicted_makes_the_range_no_wider_than_the_gap_allows() -> None:
    _, held = forecasts_after_a_wrong_promise(0.1, 8)
    assert 0.85 <= held.mean() <= 0.97


def test_a_promise_that_holds_keeps_its_say() -> None:
    off, held = forecasts_after_a_wrong_promise(0.0, 8)
    # Eight epochs that differ by 6% tell their mean to 2.4%; with the promise the forecast is nearer.
    assert float(np.std(off)) < 0.017
    assert held.mean() >= 0.93


def test_the_range_holds_the_scatter_of_the_epochs_to_come() -> None:
    # Epochs that differ by 6% where the benchmark saw none of it; few of them are left.
    held = [
        forecasts_after_a_wrong_promise(0.0, done, seed=seed)[1].mean() for seed in (91, 92) for done in (12, 24, 36)
    ]
    assert 0.93 <= np.mean(held) <= 0.985
    assert min(held) >= 0.91


def test_epochs_that_scatter_more_make_the_range_wider() -> None:
    plan = a_workload(epoch_count=10)
    calm, rough = ([10.0 * (1.0 + sign * size) for sign in (1, -1, 1, -1, 1, -1)] for size in (0.0, 0.06))
    calm_range, rough_range = (forecast_total_s(FIT, plan, epochs, 60.0) for epochs in (calm, rough))
    # Four epochs of 10 s each: their sum alone is off by 6% times 10 s times the square root of four, 1.2 s (SD).
    added_s = (rough_range.high - rough_range.point) ** 2 - (calm_range.high - calm_range.point) ** 2
    assert added_s**0.5 > 1.96 * 1.2
