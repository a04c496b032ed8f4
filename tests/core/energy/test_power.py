"""Properties of the ledger and of the power arithmetic, whatever a meter says."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlove_mlflow.core.energy.power import (
    MeteredDevice,
    board_bounds,
    counter_step_j,
    metering_caveats,
    noise_log_half_width,
    read_metered,
    tick_log_half_width,
)
from greenlove_mlflow.core.records import PowerSample


@given(
    before=st.floats(min_value=0.0, max_value=65_000.0),
    used=st.floats(min_value=0.0, max_value=5_000.0),
)
def test_a_wrapped_counter_gives_the_joules_used(before: float, used: float) -> None:
    after = (before + used) % 65_536.0
    assert counter_step_j(before, after, 10.0, wraps_at_j=65_536.0) == pytest.approx(used, abs=1e-6)


@pytest.mark.parametrize("window_count", [1, 4, 25])
@pytest.mark.parametrize("window_s", [0.3, 1.0, 2.0, 5.0, 20.0])
def test_the_range_holds_what_ticks_of_random_phase_do_to_a_mean(window_s: float, window_count: int) -> None:
    chance = random.Random(7)
    errors = []
    for _ in range(600):
        tick_count, total_s = 0, 0.0
        for _ in range(window_count):
            start_s, lasts_s = chance.uniform(0.0, 0.1), window_s + chance.uniform(0.0, 0.1)
            tick_count += math.floor((start_s + lasts_s) / 0.1) - math.floor(start_s / 0.1)
            total_s += lasts_s
        errors.append(abs(math.log(tick_count * 0.1 / total_s)) if tick_count else math.inf)
    width = tick_log_half_width((window_s + 0.05) * window_count, window_count)
    held = sum(error <= width for error in errors) / len(errors)
    assert held >= 0.93
    if window_s * window_count > 5.1:
        # Beyond the worst case of short windows the range is no wider than it must be.
        assert held <= 0.98


def test_the_noise_of_a_mean_falls_with_time_and_grows_with_correlation() -> None:
    chance = random.Random(3)

    def samples(count: int, memory: float) -> list[PowerSample]:
        state, kept = 0.0, []
        for second in range(count):
            state = memory * state + chance.gauss(0.0, 0.05)
            kept.append(PowerSample(at_s=float(second), device="gpu_0", power_w=300.0 * math.exp(state)))
        return kept

    assert noise_log_half_width(samples(400, 0.0)) < 0.5 * noise_log_half_width(samples(25, 0.0))
    assert noise_log_half_width(samples(400, 0.8)) > 2.0 * noise_log_half_width(samples(400, 0.0))
    assert noise_log_half_width(samples(3, 0.0)) == 0.0


def test_the_noise_of_a_mean_covers_it() -> None:
    chance = random.Random(11)
    held = 0
    for _ in range(400):
        logs = [chance.gauss(0.0, 0.1) for _ in range(60)]
        watts = [300.0 * math.exp(each) for each in logs]
        kept = [PowerSample(at_s=float(at), device="gpu_0", power_w=each) for at, each in enumerate(watts)]
        truth = 300.0 * math.exp(0.1**2 / 2.0)
        held += abs(math.log(sum(watts) / len(watts) / truth)) <= noise_log_half_width(kept)
    assert 0.91 <= held / 400 <= 0.98


def test_a_meter_without_a_tick_needs_no_long_window() -> None:
    reading = read_metered(MeteredDevice(device="cpu", counter_s=0.5, counter_j=20.0, tick_s=0.0), note="")
    assert reading is not None
    assert reading.power_w == 40.0
    assert reading.log_half_width < 0.12


def test_ten_short_windows_are_told_less_surely_than_one_long() -> None:
    def width(window_count: int) -> float:
        reading = read_metered(
            MeteredDevice(device="gpu_0", counter_s=6.0, counter_j=1800.0, window_count=window_count), note=""
        )
        assert reading is not None
        return reading.log_half_width

    ticks = [math.sqrt(width(count) ** 2 - width(1) ** 2 + tick_log_half_width(6.0, 1) ** 2) for count in (1, 9, 36)]
    assert ticks[1] == pytest.approx(3.0 * ticks[0])
    assert ticks[2] == pytest.approx(6.0 * ticks[0])


def a_metered(counter_w: float | None, sampled_w: float | None, *, seconds: float = 10.0, **over: Any) -> MeteredDevice:
    return MeteredDevice(
        device="gpu_0",
        counter_s=0.0 if counter_w is None else seconds,
        counter_j=None if counter_w is None else counter_w * seconds,
        sampled_s=0.0 if sampled_w is None else seconds,
        sampled_j=None if sampled_w is None else sampled_w * seconds,
        **over,
    )


@pytest.mark.parametrize(
    ("counter_w", "sampled_w", "power_w", "source"),
    [
        (200.0, 210.0, 200.0, "counter"),
        (200.0, None, 200.0, "counter"),
        (None, 210.0, 210.0, "sampled"),
        # A counter that stands still, or counts a part.
        (0.0, 210.0, 210.0, "sampled"),
        (20.0, 210.0, 210.0, "sampled"),
        # Samples that stand still at what the board drew before.
        (200.0, 50.0, 200.0, "counter"),
        # A counter in another unit.
        (0.2, None, None, ""),
        (0.2, 200.0, 200.0, "sampled"),
        (200_000.0, 200.0, 200.0, "sampled"),
        (2_000.0, 200.0, 200.0, "sampled"),
        (2_000.0, None, None, ""),
        (None, None, None, ""),
    ],
)
def test_of_a_counter_and_samples_the_one_is_taken_that_can_be(
    counter_w: float | None, sampled_w: float | None, power_w: float | None, source: str
) -> None:
    metered = a_metered(counter_w, sampled_w, bounds=board_bounds(400.0))
    reading = read_metered(metered, note="")
    if power_w is None:
        assert reading is None
        return
    assert reading is not None
    assert (reading.power_w, reading.source) == (pytest.approx(power_w), source)
    codes = {caveat.code for caveat in metering_caveats(metered)}
    assert ("energy-counter-implausible" in codes) == (bool(counter_w) and source == "sampled")


@given(power_w=st.floats(min_value=1.5, max_value=590.0), seconds=st.floats(min_value=0.05, max_value=600.0))
def test_a_counter_of_any_possible_power_is_believed_over_any_window(power_w: float, seconds: float) -> None:
    assert a_metered(power_w, None, seconds=seconds, bounds=board_bounds(400.0)).is_counter_believed
    assert a_metered(power_w, power_w * 1.3, seconds=seconds, bounds=board_bounds(400.0)).is_counter_believed


@pytest.mark.parametrize("seconds", [1.0, 3.0, 4.9, 5.1, 60.0])
def test_a_short_window_is_told_once_and_a_long_one_not(seconds: float) -> None:
    told = [caveat.code for caveat in metering_caveats(a_metered(200.0, 200.0, seconds=seconds))]
    assert told == (["short-energy-window"] if seconds < 5.0 else [])
