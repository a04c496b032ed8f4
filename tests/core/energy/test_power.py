"""Properties of the ledger and of the power arithmetic, whatever a meter says."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlove_mlflow.core.energy.power import (
    MeteredDevice,
    counter_step_j,
    noise_log_half_width,
    read_metered,
    tick_log_half_width,
)
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.records import PowerSample
from greenlove_mlflow.power.ledger import Ledger, RawReading, SampleStore

counters = st.one_of(st.none(), st.floats(min_value=0.0, max_value=1e9))
powers = st.one_of(st.none(), st.floats(min_value=0.0, max_value=2000.0))
looks = st.lists(
    st.tuples(st.floats(min_value=0.0, max_value=60.0), counters, powers, st.sampled_from([-1, 0, 1])), max_size=40
)


@given(looks=looks)
def test_whatever_a_meter_says_energy_is_never_negative_and_never_falls(looks: list[tuple]) -> None:
    ledger, at_s, depth, seen = Ledger("gpu_0"), 0.0, 0, [0.0]
    for elapsed_s, counter_j, power_w, mark in looks:
        at_s += elapsed_s
        ledger.add(RawReading(at_s=at_s, counter_j=counter_j, power_w=power_w), inside=depth > 0)
        if mark > 0 and depth == 0:
            ledger.begin_window(at_s)
        depth = max(0, depth + mark)
        if mark < 0 and depth == 0:
            ledger.end_window(at_s)
        if ledger.energy_j is not None:
            seen.append(ledger.energy_j)
    assert seen == sorted(seen)
    metered = ledger.metered()
    assert metered.counter_j is None or metered.counter_j >= 0.0
    assert 0.0 <= metered.counter_s <= at_s + 1e-6
    assert 0.0 <= metered.sampled_s <= at_s + 1e-6
    reading = read_metered(metered, note="")
    if reading is not None and math.isfinite(reading.log_half_width):
        assert Interval.from_log_width(reading.power_w, reading.log_half_width).low >= 0.0


@given(
    power_w=st.floats(min_value=1.0, max_value=1000.0),
    steps_s=st.lists(st.floats(min_value=0.01, max_value=5.0), min_size=1, max_size=50),
    lost=st.sets(st.integers(min_value=0, max_value=49)),
)
def test_looks_in_between_and_looks_that_failed_change_no_total(
    power_w: float, steps_s: list[float], lost: set[int]
) -> None:
    ledger, at_s = Ledger("gpu_0"), 0.0
    ledger.add(RawReading(at_s=0.0, counter_j=100.0), inside=False)
    for number, step_s in enumerate(steps_s):
        at_s += step_s
        is_read = number not in lost or number == len(steps_s) - 1
        ledger.add(RawReading(at_s=at_s, counter_j=100.0 + power_w * at_s if is_read else None), inside=False)
    assert ledger.energy_j == pytest.approx(power_w * at_s, rel=1e-6)


@given(
    before=st.floats(min_value=0.0, max_value=65_000.0),
    used=st.floats(min_value=0.0, max_value=5_000.0),
)
def test_a_wrapped_counter_gives_the_joules_used(before: float, used: float) -> None:
    after = (before + used) % 65_536.0
    assert counter_step_j(before, after, 10.0, wraps_at_j=65_536.0) == pytest.approx(used, abs=1e-6)


@pytest.mark.parametrize("window_s", [0.3, 1.0, 2.0, 5.0, 20.0])
def test_the_range_holds_what_ticks_of_random_phase_do_to_a_mean(window_s: float) -> None:
    chance = random.Random(7)
    width = tick_log_half_width(window_s, 1)
    held = 0
    for _ in range(2000):
        start_s = chance.uniform(0.0, 0.1)
        ticks = math.floor((start_s + window_s) / 0.1) - math.floor(start_s / 0.1)
        mean = ticks * 0.1 / window_s
        held += mean > 0.0 and abs(math.log(mean)) <= width + 1e-9
    assert held / 2000 >= 0.93


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


@settings(max_examples=30)
@given(count=st.integers(min_value=1, max_value=3000), cap=st.integers(min_value=2, max_value=64))
def test_a_store_stays_small_and_keeps_its_order(count: int, cap: int) -> None:
    store = SampleStore(cap)
    for number in range(count):
        store.append(PowerSample(at_s=float(number), device="gpu_0", power_w=float(number)))
    kept = store.all()
    assert 1 <= len(kept) <= cap
    assert list(kept) == sorted(kept, key=lambda sample: sample.at_s)
    assert 0.0 <= kept[0].at_s <= kept[-1].at_s <= count


def test_a_meter_without_a_tick_needs_no_long_window() -> None:
    reading = read_metered(MeteredDevice(device="cpu", counter_s=0.5, counter_j=20.0, tick_s=0.0), note="")
    assert reading is not None
    assert reading.power_w == 40.0
    assert reading.log_half_width < 0.12
