"""Ranks that train in step end at the same step, or at the end of the same lap, whoever is ahead."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from torch.distributed import HashStore  # type: ignore[attr-defined]

from greenlove_mlflow.benchmark.ranks import Member, Ranks
from greenlove_mlflow.core.workload import Limits
from greenlove_mlflow.errors import LimitReached
from greenlove_mlflow.pipeline.live import rank_link
from greenlove_mlflow.pipeline.live.policy import Policy, Stopping
from greenlove_mlflow.pipeline.live.rank_link import LOOK_STEPS, RankLink, link_ended
from tests.support.factories import a_log, an_epoch


class NoRun:
    """A run that keeps nothing."""

    def say_status(self, status: str, reason: str) -> None:
        """Nothing."""


class SpentAfter(Policy):
    """A policy whose limit is spent from a number of outcomes on."""

    def spent(self, outcome: Any) -> str:
        """The outcome is a number of steps here."""
        return "time 2 h of 1 h spent" if outcome >= 21 else ""


def a_link(
    store: Any, rank: int, *, may_stop: bool = True, failures: list[str] | None = None, pids: tuple[int, int] = (1, 2)
) -> RankLink:
    members = [Member(host="a", pid=pid, asks="") for pid in pids]
    return RankLink(
        Ranks(store, rank=rank, members=members),
        device="cpu",
        synchronize=lambda: None,
        may_stop=may_stop,
        on_failure=(failures if failures is not None else []).append,
        on_sample=lambda sample: None,
    )


def in_step(train: Callable[[int, threading.Barrier], Any]) -> list[Any]:
    """What each of two ranks returns; ``train`` waits at the barrier for the other where gradients are exchanged."""
    barrier, results = threading.Barrier(2, timeout=20.0), [None, None]

    def run(rank: int) -> None:
        results[rank] = train(rank, barrier)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30.0)
    return results


@pytest.mark.parametrize("slow_rank", [0, 1])
@pytest.mark.parametrize("on_limit", ["stop", "raise"])
def test_ranks_stop_at_the_same_step(slow_rank: int, on_limit: Any) -> None:
    store = HashStore()

    def train(rank: int, barrier: threading.Barrier) -> int:
        stopping = Stopping(SpentAfter(limits=Limits(hours=1.0), on_limit=on_limit), NoRun(), a_link(store, rank))  # type: ignore[arg-type]
        step = 0
        try:
            while not stopping.must_stop and step < 200:
                barrier.wait()  # a step needs the gradients of both
                time.sleep(0.003 if rank == slow_rank else 0.0)
                step += 1
                stopping.check_spent(step, "21 steps", step)  # type: ignore[arg-type]
                stopping.look(step, laps_by_caller=False)
        except LimitReached:
            assert on_limit == "raise"
        return step

    first, second = in_step(train)
    assert first == second
    assert 21 < first <= 21 + LOOK_STEPS + 1


def test_ranks_stop_at_the_end_of_the_same_lap() -> None:
    store = HashStore()

    def train(rank: int, barrier: threading.Barrier) -> int:
        stopping = Stopping(SpentAfter(limits=Limits(hours=1.0)), NoRun(), a_link(store, rank))  # type: ignore[arg-type]
        for lap in range(1, 10):
            barrier.wait()
            time.sleep(0.02 if rank == 0 else 0.0)
            stopping.check_spent(7 * lap, f"{lap} laps", 7 * lap)  # type: ignore[arg-type]
            stopping.end_lap(lap)
            if stopping.must_stop:
                return lap
        return 0

    assert in_step(train) == [3, 3]


def test_without_limits_no_rank_waits_for_another() -> None:
    alone = a_link(HashStore(), 1, may_stop=False)
    assert alone.stop_after_lap(1) is None
    assert alone.due_stop(LOOK_STEPS) is None


def test_a_rank_goes_on_when_rank_0_has_left() -> None:
    store = HashStore()
    leader, other = a_link(store, 0), a_link(store, 1)
    other.ranks.post("ended", True)
    leader.end()
    assert other.stop_after_lap(7) is None


def test_a_stop_is_seen_by_a_rank_that_comes_after_rank_0_has_left() -> None:
    store = HashStore()
    leader, other = a_link(store, 0), a_link(store, 1)
    other.ranks.post("ended", True)
    leader.propose("enough", refusal="", raises=False, step_count=40)
    assert leader.stop_after_lap(2) is not None
    leader.end()
    assert other.stop_after_lap(1) is None
    stop = other.stop_after_lap(2)
    assert stop is not None
    assert stop.reason == "enough"


def test_ranks_do_not_wait_for_each_other_for_good_where_their_epochs_end_at_different_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rank 1 has had its last batch of the epoch, and rank 0 waits for it in an exchange."""
    monkeypatch.setattr(rank_link, "LAP_TIMEOUT_S", 0.05)
    store = HashStore()
    leader, other = a_link(store, 0), a_link(store, 1)
    assert other.stop_after_lap(1) is None
    leader.propose("enough", refusal="", raises=True, step_count=20)
    assert leader.stop_after_lap(1) is None  # rank 1 has gone on
    assert other.stop_after_lap(2) is None
    stops = [each.due_stop(24) for each in (leader, other)]
    assert [stop is not None and stop.reason for stop in stops] == ["enough"] * 2
    assert not leader.ends_laps_together
    assert not other.ends_laps_together


def test_a_stop_at_a_lap_holds_for_a_rank_that_was_about_to_give_up_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_link, "LAP_TIMEOUT_S", 0.05)
    store = HashStore()
    leader, other = a_link(store, 0), a_link(store, 1)
    leader.propose("enough", refusal="", raises=False, step_count=20)
    monkeypatch.setattr(leader, "_post_lap", lambda lap_count: None)
    assert leader.stop_after_lap(1) is not None
    monkeypatch.undo()
    late = threading.Timer(0.2, leader._post_lap, args=(1,))
    monkeypatch.setattr(rank_link, "LAP_TIMEOUT_S", 0.05)
    late.start()
    assert other.stop_after_lap(1) is not None


def test_a_rank_with_fewer_steps_in_an_epoch_stops_with_rank_0_that_counted_enough_of_them() -> None:
    store = HashStore()
    policy = Policy(limits=Limits(hours=1.0))
    leader, other = (Stopping(policy, NoRun(), a_link(store, rank)) for rank in (0, 1))  # type: ignore[arg-type]
    assert leader._link is not None
    leader._link.propose("enough", refusal="", raises=False, step_count=6)
    leader.look(8, laps_by_caller=True)
    assert leader.must_stop == "enough"
    leader.end_lap(1)
    leader._link.end()
    other.end_lap(1)  # after seven steps
    assert other.must_stop == "enough"


def test_the_records_of_ranks_that_are_in_a_long_step_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(Ranks, "wait_for_others", lambda self, name, *, timeout_s: waited.append(timeout_s) or {})
    monkeypatch.setattr(rank_link, "_with_others", lambda log, found, boards: log)
    log = a_log(epochs=(an_epoch(step_count=2, duration_s=40.0),))
    a_link(HashStore(), 0).log_of_all(log)
    assert waited[0] > 20.0


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_dead_rank_is_noted_before_the_launcher_ends_this_one(
    has_ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[list[str]] = []
    notes: list[str] = []
    monkeypatch.setattr(rank_link, "_end_by_sigterm", lambda: ended.append([*notes]))
    child = subprocess.Popen(["true"])
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.001)
    link = a_link(HashStore(), 0, pids=(os.getpid(), child.pid))
    link.has_ended = has_ended
    with rank_link.deaths_noted(link, notes.append):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.0)
        assert (notes, ended) == (([], []) if has_ended else (["rank 1 died without an error"], [notes]))
    child.wait()
    assert len(ended) == 1
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_no_rank_but_the_first_listens_to_signals() -> None:
    with rank_link.deaths_noted(a_link(HashStore(), 1), [].append):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_failure_is_noted_by_rank_0_before_it_passes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_link, "NOTED_TIMEOUT_S", 10.0)
    store, failures = HashStore(), list[str]()
    leader, other = a_link(store, 0, failures=failures), a_link(store, 1)
    noting = threading.Thread(target=lambda: leader._look_until(threading.Event()), daemon=True)

    class OnlyNotes:
        refresh = staticmethod(lambda: None)
        latest_samples = staticmethod(lambda seen_s: ())

    leader._meter = OnlyNotes()  # type: ignore[assignment]
    noting.start()
    with pytest.raises(ValueError, match="had enough"), link_ended(other):
        raise ValueError("had enough")
    assert failures == ["rank 1: ValueError: had enough"]
    leader.ranks.is_lost = True  # ends the thread
    noting.join(timeout=5.0)
