"""The benchmark that is the first seconds of the real training: what it times, when it stops, what it leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from greenlove_mlflow.benchmark.feed import Feed
from greenlove_mlflow.benchmark.session import BenchmarkPlan, Session
from greenlove_mlflow.benchmark.within import StepRecorder, WindowPlan
from greenlove_mlflow.core.records import BenchmarkLog, Machine, StepProfile
from greenlove_mlflow.core.timing.adaptive_fit import fit_adaptive
from greenlove_mlflow.core.workload import Workload
from tests.support.clock import VirtualClock

STEP_S = 0.02


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock().installed() as installed:
        yield installed


class CountingMeter:
    """A meter of 100 W that knows in which windows it was asked to look."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock, self.window_s = clock, 0.0

    def energy_j(self) -> float:
        return 100.0 * self.clock.now_s

    @contextmanager
    def window(self) -> Iterator[None]:
        begun_s = self.clock.now_s
        yield
        self.window_s += self.clock.now_s - begun_s


class Profiler:
    def __init__(self, clock: VirtualClock) -> None:
        self.clock, self.started_s, self.step_count = clock, 0.0, 0

    def start(self) -> None:
        self.started_s = self.clock.now_s

    def step(self) -> None:
        pass

    def stop(self, step_count: int) -> StepProfile:
        self.step_count = step_count
        return StepProfile(host_s=(self.clock.now_s - self.started_s) / step_count, on_cpu=True)


def make_recorder(
    *, steps_per_epoch: int = 1000, batch_size: int = 10, total: int | None = None, **over: Any
) -> StepRecorder:
    meter = over.pop("meter", None)
    feed = Feed(
        loader=None, sample_count=steps_per_epoch * batch_size, batch_size=batch_size, steps_per_epoch=steps_per_epoch
    )
    session = Session(feed, lambda _: None, BenchmarkPlan(), synchronize=lambda: None, meter=meter)
    return StepRecorder(session, WindowPlan(total_step_count=total), **over)


def train(recorder: StepRecorder, clock: VirtualClock, steps: int, *, step_s: float = STEP_S) -> None:
    for _ in range(steps):
        clock.advance(step_s)
        recorder.step()


def log_of(recorder: StepRecorder) -> BenchmarkLog:
    session, feed = recorder.session, recorder.session.feed
    return BenchmarkLog(
        method="adaptive",
        machine=Machine(device="cpu"),
        sample_count=feed.sample_count,
        batch_size=feed.batch_size,
        steps_per_epoch=feed.steps_per_epoch,
        epochs=tuple(session.epochs),
        blocks=tuple(session.blocks),
        duration_s=session.duration_s,
        first_contact_steps_s=tuple(session.first_steps_s),
    )


def total_s(recorder: StepRecorder, epoch_count: int) -> float:
    log = log_of(recorder)
    workload = Workload(
        sample_count=log.sample_count,
        batch_size=log.batch_size,
        steps_per_epoch=log.steps_per_epoch,
        epoch_count=epoch_count,
    )
    fit = fit_adaptive(log, workload)
    return fit.one_off_s + fit.first_epoch_s + (epoch_count - 1) * fit.epoch_s


def test_a_steady_training_is_foretold_to_the_step(clock: VirtualClock) -> None:
    recorder = make_recorder(steps_per_epoch=1000)
    recorder.begin()
    train(recorder, clock, 1, step_s=3.0)
    train(recorder, clock, 999)
    assert recorder.has_closed
    assert recorder.stop_reason == "precise"
    assert total_s(recorder, 7) == pytest.approx(3.0 - STEP_S + 7000 * STEP_S, rel=1e-6)


def test_first_contact_is_timed_step_by_step_and_holds_four_after_the_first(clock: VirtualClock) -> None:
    recorder = make_recorder(total=10_000)
    recorder.begin()
    train(recorder, clock, 1, step_s=40.0)
    train(recorder, clock, 200, step_s=5.0)
    assert recorder.session.first_steps_s[:5] == pytest.approx([40.0, 5.0, 5.0, 5.0, 5.0])
    first = recorder.session.epochs[0]
    assert (first.phase, first.step_count) == ("first-contact", 5)
    assert recorder.stop_reason == "budget"
    assert total_s(recorder, 1) == pytest.approx(35.0 + 1000 * 5.0)


def test_the_window_ends_ten_seconds_after_the_first_step(clock: VirtualClock) -> None:
    recorder = make_recorder()
    recorder.begin()
    pace = [0.01, 0.08, 0.02, 0.05]
    for index in range(2000):
        clock.advance(pace[(index // 40) % 4])
        recorder.step()
        if recorder.has_closed:
            break
    assert recorder.stop_reason == "budget"
    assert 10.0 <= clock.now_s <= 10.7


@pytest.mark.parametrize(("total", "most"), [(1, 1), (4, 2), (7, 2), (8, 2), (12, 3), (100, 25), (400, 100)])
def test_the_window_takes_at_most_a_quarter_of_the_steps(clock: VirtualClock, total: int, most: int) -> None:
    recorder = make_recorder(total=total)
    recorder.begin()
    seen = []
    for _ in range(total):
        train(recorder, clock, 1)
        seen.append(recorder.has_closed)
    recorder.end()
    assert recorder.has_closed
    assert seen.index(True) + 1 == most if True in seen else total == most
    assert sum(record.step_count for record in recorder.session.epochs) == most
    assert total_s(recorder, 1) == pytest.approx(1000 * STEP_S)


def test_validation_and_checkpoints_are_no_steps(clock: VirtualClock) -> None:
    meter = CountingMeter(clock)
    recorder = make_recorder(steps_per_epoch=100, meter=meter)
    recorder.begin()
    for _ in range(6):
        train(recorder, clock, 100)
        recorder.pause("validation")
        clock.advance(7.0)
        recorder.resume()
        recorder.lap()
        recorder.pause()
        clock.advance(1.0)
        recorder.resume()
    assert recorder.has_closed
    assert recorder.session.validation_s == pytest.approx(7.0)
    assert total_s(recorder, 10) == pytest.approx(1000 * STEP_S)
    timed_s = sum(record.duration_s for record in recorder.session.epochs if record.phase == "timed")
    assert meter.window_s == pytest.approx(timed_s)


def test_what_every_epoch_pays_to_begin_is_part_of_every_epoch(clock: VirtualClock) -> None:
    recorder = make_recorder(steps_per_epoch=100)
    recorder.begin()
    for _ in range(8):
        clock.advance(0.6)  # workers start
        train(recorder, clock, 100)
        recorder.lap()
    assert recorder.has_closed
    assert total_s(recorder, 50) == pytest.approx(50 * (0.6 + 100 * STEP_S), rel=0.01)


def test_epochs_shorter_than_a_block_are_kept_whole(clock: VirtualClock) -> None:
    recorder = make_recorder(steps_per_epoch=3)
    recorder.begin()
    for _ in range(400):
        train(recorder, clock, 3)
        recorder.lap()
    assert recorder.stop_reason == "precise"
    timed = [record for record in recorder.session.epochs if record.phase == "timed"]
    assert {(record.step_count, record.whole) for record in timed[1:-1]} == {(3, True)}
    assert total_s(recorder, 1000) == pytest.approx(3000 * STEP_S)


def test_a_batch_that_is_waited_for_is_told_apart(clock: VirtualClock) -> None:
    recorder = make_recorder()
    recorder.begin()
    while not recorder.has_closed:
        clock.advance(0.015)
        recorder.ready()
        clock.advance(0.005)
        recorder.step()
    timed = recorder.session.epochs[-1]
    assert timed.data_wait_s == pytest.approx(0.75 * timed.duration_s)


def test_the_wait_for_data_is_unknown_where_nobody_tells_it(clock: VirtualClock) -> None:
    recorder = make_recorder()
    recorder.begin()
    train(recorder, clock, 1000)
    assert {record.data_wait_s for record in recorder.session.epochs} == {None}


def test_two_steps_are_left_to_the_profiler_and_out_of_the_timing(clock: VirtualClock) -> None:
    profiler = Profiler(clock)
    recorder = make_recorder(profiler=profiler)
    recorder.begin()
    while not profiler.started_s:
        train(recorder, clock, 1)
    assert recorder.is_open
    train(recorder, clock, 2, step_s=9.0)
    assert recorder.has_closed
    assert profiler.step_count == 2
    assert recorder.session.profile is not None
    assert recorder.session.profile.host_s == pytest.approx(9.0)
    assert total_s(recorder, 1) == pytest.approx(1000 * STEP_S)


def test_a_training_without_two_more_steps_is_not_profiled(clock: VirtualClock) -> None:
    profiler = Profiler(clock)
    recorder = make_recorder(total=3, profiler=profiler)
    recorder.begin()
    train(recorder, clock, 3)
    recorder.end()
    assert profiler.step_count == 0
    assert recorder.has_closed


def test_a_training_that_ends_in_its_window_is_recorded_to_its_end(clock: VirtualClock) -> None:
    closed = []
    recorder = make_recorder(steps_per_epoch=50, on_close=lambda: closed.append(True))
    recorder.begin()
    train(recorder, clock, 50)
    recorder.lap()
    train(recorder, clock, 13)
    recorder.end()
    recorder.end()
    assert closed == [True]
    assert recorder.stop_reason == "complete"
    assert sum(record.step_count for record in recorder.session.epochs) == 63


def test_a_training_without_a_step_ends_without_a_record(clock: VirtualClock) -> None:
    recorder = make_recorder()
    recorder.begin()
    clock.advance(5.0)
    recorder.end()
    assert recorder.has_closed
    assert recorder.session.epochs == []


def test_steps_that_nobody_announced_begin_with_the_first_one_seen(clock: VirtualClock) -> None:
    recorder = make_recorder()
    clock.advance(100.0)
    recorder.step()
    train(recorder, clock, 1000)
    assert recorder.step_count == 1001
    assert total_s(recorder, 1) == pytest.approx(1000 * STEP_S)


def test_energy_is_kept_with_passes_that_are_long_enough_to_have_some(clock: VirtualClock) -> None:
    recorder = make_recorder(steps_per_epoch=100, meter=CountingMeter(clock))
    recorder.begin()
    for _ in range(4):
        train(recorder, clock, 100)
        recorder.lap()
    known = [record for record in recorder.session.epochs if record.energy_j is not None]
    assert known
    assert [record.energy_j for record in known] == pytest.approx([100.0 * record.duration_s for record in known])


def test_nothing_is_done_after_the_window(clock: VirtualClock) -> None:
    synchronised = []
    recorder = make_recorder(synchronize=lambda: synchronised.append(True))
    recorder.begin()
    train(recorder, clock, 1000)
    count, records = len(synchronised), list(recorder.session.epochs)
    train(recorder, clock, 5000)
    recorder.lap()
    recorder.pause()
    recorder.resume()
    assert len(synchronised) == count
    assert recorder.session.epochs == records
    assert recorder.step_count == 6000
