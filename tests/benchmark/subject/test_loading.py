"""The loader by itself: its pace, and what is left for the step's own thread."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from greenlove_mlflow.benchmark.subject.loading import Batches, ProfiledLoader, measure_loading


class Rounds:
    """Batches as workers give them: so many at once, a round after a time, on a clock of the test's own."""

    def __init__(self, clock: Any, workers: int, round_s: float, length: int = 10_000) -> None:
        self.clock, self.workers, self.round_s, self.length = clock, workers, round_s, length
        self.begun = 0

    def __iter__(self) -> Iterator[int]:
        self.begun += 1
        ready_s = self.clock.now_s
        for index in range(self.length):
            if index % self.workers == 0:
                ready_s += self.round_s
            self.clock.now_s = max(self.clock.now_s, ready_s) + 0.0001
            yield index


class Clock:
    now_s = 100.0

    def read(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(time, "perf_counter", found.read)
    monkeypatch.setattr(time, "sleep", found.sleep)
    return found


@pytest.mark.parametrize(("workers", "round_s"), [(1, 0.010), (4, 0.020), (6, 0.120)])
def test_pace_of_workers_is_that_of_their_rounds(clock: Clock, workers: int, round_s: float) -> None:
    loader = ProfiledLoader(batches=Rounds(clock, workers, round_s), worker_count=workers)

    found = measure_loading(Batches(loader), fetch_s=9.0)

    assert found.loader_s == pytest.approx(round_s / workers, rel=0.05)
    assert found.fetch_s == pytest.approx(0.0001, abs=1e-9)


def test_loading_in_the_steps_own_thread_is_its_fetch(clock: Clock) -> None:
    found = measure_loading(Batches(ProfiledLoader(batches=[1, 2])), fetch_s=0.003)

    assert (found.loader_s, found.fetch_s) == (0.0, 0.003)


def test_workers_that_start_slowly_are_not_started_for_a_profile(clock: Clock) -> None:
    rounds = Rounds(clock, 2, 0.01)
    batches = Batches(ProfiledLoader(batches=rounds, worker_count=2, startup_s=3.0, spare_batch="kept"))

    found = measure_loading(batches, fetch_s=0.0)

    assert (found.loader_s, found.fetch_s) == (None, None)
    assert found.reason
    assert batches.next() == "kept"
    assert rounds.begun == 0


def test_loader_is_watched_for_a_part_of_a_second(clock: Clock) -> None:
    begun_s = clock.now_s

    measure_loading(Batches(ProfiledLoader(batches=Rounds(clock, 4, 1.0), worker_count=4)), fetch_s=0.0)

    assert clock.now_s - begun_s < 3.0


def test_data_that_ends_early_is_not_begun_again_by_its_workers(clock: Clock) -> None:
    rounds = Rounds(clock, 4, 0.02, length=10)
    batches = Batches(ProfiledLoader(batches=rounds, worker_count=4, spare_batch="kept"))

    found = measure_loading(batches, fetch_s=0.0)

    assert found.loader_s == pytest.approx(0.005, rel=0.1)
    assert found.fetch_s is None
    assert "ended" in found.reason
    assert (batches.next(), rounds.begun) == ("kept", 1)


def test_data_in_the_steps_own_thread_is_begun_again() -> None:
    batches = Batches(ProfiledLoader(batches=[1, 2]))

    assert [batches.next() for _ in range(5)] == list(itertools.islice(itertools.cycle([1, 2]), 5))
