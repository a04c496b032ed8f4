"""The ledger's totals, whatever a meter says."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from greenlove_mlflow.core.energy.power import board_bounds, read_metered
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.records import PowerSample
from greenlove_mlflow.power.ledger import Ledger, RawReading, SampleStore, SourceTraits

BOARD = SourceTraits(bounds=board_bounds(400.0))

counters = st.one_of(st.none(), st.floats(min_value=0.0, max_value=1e9))
powers = st.one_of(st.none(), st.floats(min_value=-10.0, max_value=20_000.0), st.just(math.nan))
looks = st.lists(
    st.tuples(st.floats(min_value=0.0, max_value=60.0), counters, powers, st.sampled_from([-1, 0, 1])), max_size=40
)


@given(looks=looks)
@example(looks=[(0.0, 0.0, None, -1), (1.2e-38, 1.0, None, -1), (2.0, None, None, -1)])  # a tick right after another
def test_whatever_a_meter_says_energy_is_what_a_board_can_draw_or_unknown(looks: list[tuple]) -> None:
    ledger, at_s, depth = Ledger("gpu_0", BOARD), 0.0, 0
    for elapsed_s, counter_j, power_w, mark in looks:
        at_s += elapsed_s
        ledger.add(RawReading(at_s=at_s, counter_j=counter_j, power_w=power_w), inside=depth > 0)
        if mark > 0 and depth == 0:
            ledger.begin_window(at_s)
        depth = max(0, depth + mark)
        if mark < 0 and depth == 0:
            ledger.end_window(at_s)
        tally = ledger.tally(at_s)
        if tally is not None:
            assert 0.0 <= tally.known_share <= 1.0
            # Each reading may bring a quarter of a second's burst with it.
            assert 0.0 <= tally.energy_j <= 600.0 * (at_s + 0.25 * len(looks)) + 1e-6
    metered = ledger.metered()
    assert metered.counter_j is None or metered.counter_j >= 0.0
    assert 0.0 <= metered.counter_s <= at_s + 1e-6
    assert 0.0 <= metered.sampled_s <= at_s + 1e-6
    reading = read_metered(metered, note="")
    if reading is not None and math.isfinite(reading.log_half_width):
        assert reading.power_w > 0.0
        assert Interval.from_log_width(reading.power_w, reading.log_half_width).low >= 0.0


@given(
    power_w=st.floats(min_value=1.0, max_value=590.0),
    steps_s=st.lists(st.floats(min_value=0.01, max_value=5.0), min_size=1, max_size=50),
    lost=st.sets(st.integers(min_value=0, max_value=49)),
)
def test_looks_in_between_and_looks_that_failed_change_no_total(
    power_w: float, steps_s: list[float], lost: set[int]
) -> None:
    ledger, at_s, seen = Ledger("gpu_0", BOARD), 0.0, []
    ledger.add(RawReading(at_s=0.0, counter_j=100.0), inside=False)
    for number, step_s in enumerate(steps_s):
        at_s += step_s
        is_read = number not in lost or number == len(steps_s) - 1
        ledger.add(RawReading(at_s=at_s, counter_j=100.0 + power_w * at_s if is_read else None), inside=False)
        seen.append(energy_j(ledger, at_s))
    assert seen[-1] == pytest.approx(power_w * at_s, rel=1e-6)


class Board:
    """A board of changing power whose counter ticks ten times a second, looked at about as often."""

    def __init__(self, seed: int, seconds: float = 60.0) -> None:
        self.chance = random.Random(seed)
        self.watts = [self.chance.uniform(150.0, 350.0) for _ in range(int(seconds / 10.0) + 2)]
        self.times_s = [0.0]
        while self.times_s[-1] < seconds:
            self.times_s.append(self.times_s[-1] + self.chance.uniform(0.05, 0.15))

    def power_w(self, at_s: float) -> float:
        return self.watts[int(at_s / 10.0)]

    def true_j(self, at_s: float) -> float:
        whole = int(at_s / 10.0)
        return sum(self.watts[:whole]) * 10.0 + (at_s - whole * 10.0) * self.watts[whole]

    def counter_j(self, at_s: float) -> float:
        return 7e6 + self.true_j(math.floor(at_s / 0.1) * 0.1)

    def readings(self) -> list[RawReading]:
        return [RawReading(at_s=at, counter_j=self.counter_j(at), power_w=self.power_w(at)) for at in self.times_s]


def energy_j(ledger: Ledger, at_s: float) -> float | None:
    tally = ledger.tally(at_s)
    return None if tally is None else tally.energy_j


def booked(readings: list[RawReading]) -> Ledger:
    ledger = Ledger("gpu_0", BOARD)
    for reading in readings:
        ledger.add(reading, inside=False)
    return ledger


def spoilt(readings: list[RawReading], **odd: float | None) -> list[RawReading]:
    return [
        RawReading(**{"at_s": each.at_s, "counter_j": each.counter_j, "power_w": each.power_w, **odd})
        for each in readings
    ]


@pytest.mark.parametrize("seed", range(5))
def test_an_honest_board_is_counted_to_the_tick_and_its_energy_never_falls(seed: int) -> None:
    board = Board(seed)
    ledger, seen = Ledger("gpu_0", BOARD), [0.0]
    for reading in board.readings():
        ledger.add(reading, inside=False)
        seen.append(energy_j(ledger, reading.at_s) or 0.0)
        assert seen[-1] == pytest.approx(board.true_j(reading.at_s), abs=0.1 * 350.0 + 1e-6)
    assert seen == sorted(seen)


FAULTS = {
    "frozen": lambda part: spoilt(part, counter_j=part[0].counter_j),
    "counter gone": lambda part: spoilt(part, counter_j=None),
    "power gone": lambda part: spoilt(part, power_w=None),
    "power zero": lambda part: spoilt(part, power_w=0.0),
    "power absurd": lambda part: spoilt(part, power_w=4_294_967.0),
    "power negative": lambda part: spoilt(part, power_w=-5.0),
    "power nan": lambda part: spoilt(part, power_w=math.nan),
    "torn": lambda part: [*spoilt(part[:1], counter_j=12.0), *part[1:]],
    "torn high": lambda part: [*spoilt(part[:1], counter_j=9e8), *part[1:]],
    "both gone": lambda part: spoilt(part, counter_j=None, power_w=None),
    "late": lambda part: part[-1:],
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", range(3))
def test_a_board_that_misbehaves_for_a_while_is_counted_as_if_it_had_not(fault: str, seed: int) -> None:
    board = Board(seed)
    readings, chance = board.readings(), random.Random(seed)
    for start in (60, 250, 400):
        length = chance.randrange(5, 100)
        readings[start : start + length] = FAULTS[fault](readings[start : start + length])
    at_s = readings[-1].at_s
    tally = booked(readings).tally(at_s)
    assert tally is not None
    assert tally.energy_j == pytest.approx(board.true_j(at_s), rel=0.02)
    assert tally.known_share > 0.9


@pytest.mark.parametrize("catches_up", [True, False])
def test_a_counter_that_stood_still_is_believed_again_when_it_makes_up_for_it(catches_up: bool) -> None:
    board = Board(1)
    readings = board.readings()
    stood = [reading for reading in readings if 20.0 <= reading.at_s < 30.0]
    missed_j = 0.0 if catches_up else board.counter_j(30.0) - (stood[0].counter_j or 0.0)
    readings = [
        *(each for each in readings if each.at_s < 20.0),
        *spoilt(stood, counter_j=stood[0].counter_j),
        *(spoilt([each], counter_j=each.counter_j - missed_j)[0] for each in readings if each.at_s >= 30.0),
    ]
    ledger, at_s = booked(readings), readings[-1].at_s
    assert energy_j(ledger, at_s) == pytest.approx(board.true_j(at_s), rel=0.01)
    assert (ledger.frozen_s > 9.0) == (not catches_up)


def test_a_counter_that_never_moves_and_no_samples_are_unknown_and_never_0() -> None:
    ledger = booked([RawReading(at_s=at / 10.0, counter_j=55.0) for at in range(200)])
    assert ledger.tally(19.9) is None
    assert ledger.metered().counter_w is None
    assert ledger.frozen_s == pytest.approx(19.9)


def test_a_window_leaves_out_the_time_in_which_the_counter_stood_still() -> None:
    ledger = Ledger("gpu_0", BOARD)
    ledger.add(RawReading(at_s=0.0, counter_j=0.0), inside=False)
    ledger.begin_window(0.0)
    for number in range(1, 201):
        at_s = number / 10.0
        ledger.add(RawReading(at_s=at_s, counter_j=200.0 * min(at_s, 8.0)), inside=True)
    metered = ledger.metered()
    assert metered.counter_s == pytest.approx(8.0)
    assert metered.counter_w == pytest.approx(200.0)


def test_a_counter_of_32_bits_goes_on_where_it_began_anew() -> None:
    wraps = SourceTraits(bounds=board_bounds(400.0), wraps_at_j=2**32 / 1000.0)
    ledger = Ledger("gpu_0", wraps)
    for number in range(400):
        at_s = number / 10.0
        ledger.add(RawReading(at_s=at_s, counter_j=(4_294_000.0 + 250.0 * at_s) % (2**32 / 1000.0)), inside=False)
    assert energy_j(ledger, 39.9) == pytest.approx(250.0 * 39.9)
    assert ledger.reset_count == 0


def test_cpu_seconds_may_stand_still() -> None:
    ledger = Ledger("cpu", SourceTraits(tick_s=0.0, lag_s=0.0, may_rest=True))
    for number in range(100):
        ledger.add(RawReading(at_s=number / 10.0, counter_j=40.0 * min(number, 50) / 10.0), inside=False)
    assert energy_j(ledger, 9.9) == pytest.approx(200.0)
    assert ledger.frozen_s == 0.0


@settings(max_examples=30)
@given(count=st.integers(min_value=1, max_value=3000), cap=st.integers(min_value=2, max_value=64))
def test_a_store_stays_small_and_keeps_its_order(count: int, cap: int) -> None:
    store = SampleStore(cap)
    for number in range(count):
        store.append(PowerSample(at_s=float(number), device="gpu_0", power_w=float(number)))
    kept = store.all()
    assert 1 <= len(kept) <= cap
    assert all(one.at_s < other.at_s for one, other in itertools.pairwise(kept))
    assert 0.0 <= kept[0].at_s <= kept[-1].at_s <= count


@given(cap=st.integers(min_value=2, max_value=32), watts=st.lists(st.floats(1.0, 500.0), min_size=1, max_size=400))
def test_a_store_that_merges_samples_keeps_their_mean(cap: int, watts: list[float]) -> None:
    store = SampleStore(cap)
    for number, power_w in enumerate(watts):
        store.append(PowerSample(at_s=float(number), device="gpu_0", power_w=power_w))
    kept = store.all()
    weights = store.weights()
    assert sum(weights) == len(watts)
    mean_w = sum(weight * sample.power_w for weight, sample in zip(weights, kept, strict=True)) / len(watts)
    mean_s = sum(weight * sample.at_s for weight, sample in zip(weights, kept, strict=True)) / len(watts)
    assert mean_w == pytest.approx(sum(watts) / len(watts))
    assert mean_s == pytest.approx((len(watts) - 1) / 2.0)


def test_time_between_samples_far_apart_is_filled_with_the_mean_of_the_rest() -> None:
    watts = [(at / 10.0, 100.0) for at in range(101)] + [(at / 10.0, 300.0) for at in range(200, 301)]
    ledger = booked([RawReading(at_s=at_s, power_w=power_w) for at_s, power_w in watts])
    tally = ledger.tally(30.0)
    assert tally is not None
    assert tally.known_share == pytest.approx(2.0 / 3.0)
    assert tally.energy_j == pytest.approx(200.0 * 30.0)


def test_samples_from_before_the_counter_stopped_are_not_counted_again() -> None:
    readings = []
    for number in range(201):
        at_s = number / 10.0
        is_sampled = number % 15 == 0
        readings.append(RawReading(at_s=at_s, counter_j=200.0 * min(at_s, 8.2), power_w=200.0 if is_sampled else None))
    ledger = booked(readings)
    # The last sample lies at 19.5 s; the half second behind it is filled.
    assert energy_j(ledger, 20.0) == pytest.approx(4000.0, abs=1e-6)
    tally = ledger.tally(20.0)
    assert tally is not None
    assert tally.known_share == pytest.approx(19.5 / 20.0)
