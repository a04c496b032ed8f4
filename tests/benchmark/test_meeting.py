"""Ranks meet before a training: all of them, the living ones, and without waiting in silence."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from torch.distributed import HashStore  # type: ignore[attr-defined]

from greenlove_mlflow.benchmark import meeting as module
from greenlove_mlflow.benchmark.meeting import Meeting
from greenlove_mlflow.benchmark.ranks import Member, Ranks
from greenlove_mlflow.errors import InvalidInputError


def met(store: Any, pids: dict[int, int], *, count: int = 3, said: list[str] | None = None) -> dict[int, Any]:
    """What each of the ranks that come gets, by rank: the ranks, or the error."""
    found: dict[int, Any] = {}

    def come(rank: int) -> None:
        own = Member(host="a", pid=pids[rank], asks="track(epochs=4)")
        say = (said if said is not None else []).append
        try:
            found[rank] = Meeting(store, rank=rank, count=count, own=own, say=say).hold()
        except InvalidInputError as error:
            found[rank] = error

    threads = [threading.Thread(target=come, args=(rank,)) for rank in pids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20.0)
    return found


def test_all_ranks_know_all() -> None:
    said: list[str] = []
    found = met(HashStore(), {0: 10, 1: 11, 2: 12}, said=said)
    assert [[member.pid for member in found[rank].members] for rank in range(3)] == [[10, 11, 12]] * 3
    assert said == []


def test_ranks_that_a_launcher_has_replaced_leave_nothing_to_the_next() -> None:
    store = HashStore()
    first = met(store, {0: 10, 1: 11, 2: 12})
    first[1].fail(ValueError("had enough"))
    first[0].post("stop", {"reason": "enough"})
    second = met(store, {0: 20, 1: 21, 2: 22})
    assert [[member.pid for member in second[rank].members] for rank in range(3)] == [[20, 21, 22]] * 3
    assert [(second[rank].failure, second[rank].read("stop")) for rank in range(3)] == [("", None)] * 3


def test_a_call_that_nobody_stands_behind_any_more_is_not_answered_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    store = HashStore()
    killed: list[Any] = []

    def die(self: Ranks, name: str) -> dict[int, Any]:
        killed.append(name)
        raise SystemExit

    dying = Meeting(store, rank=0, count=2, own=Member(host="a", pid=10, asks=""), say=print)
    with monkeypatch.context() as patched:
        patched.setattr(Ranks, "read_others", die)  # rank 0 is killed after its call
        with pytest.raises(SystemExit):
            dying.hold()
    assert killed == ["answer"]
    found = met(store, {0: 20, 1: 21}, count=2)
    assert [[member.pid for member in found[rank].members] for rank in (0, 1)] == [[20, 21]] * 2


def test_a_rank_that_does_not_come_is_named_on_all_and_before_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEET_TIMEOUT_S", 0.3)
    monkeypatch.setattr(module, "SILENCE_S", 0.05)
    said: list[str] = []
    found = met(HashStore(), {0: 10, 1: 11}, said=said)
    assert ["rank 2 did not come" in str(found[rank]) for rank in (0, 1)] == [True, True]
    assert [line.split(",")[0] for line in said] == ["rank 0 waits for rank 2"]
    assert said[0].endswith("every rank must call greenlove.track")


def test_rank_0_is_named_where_it_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEET_TIMEOUT_S", 0.3)
    monkeypatch.setattr(module, "GRACE_S", 0.0)
    monkeypatch.setattr(module, "SILENCE_S", 0.05)
    said: list[str] = []
    found = met(HashStore(), {1: 11}, count=2, said=said)
    assert "rank 0 did not come" in str(found[1])
    assert said[0].startswith("rank 1 waits for rank 0")


def test_a_store_that_does_not_answer_is_told_from_a_rank_that_does_not_come() -> None:
    class Broken(HashStore):  # type: ignore[misc]
        def set(self, key: str, value: str) -> None:
            raise RuntimeError("connection closed")

        def check(self, keys: list[str]) -> bool:
            raise RuntimeError("connection closed")

    own = Member(host="a", pid=1, asks="")
    for rank in (0, 1):
        gathering = Meeting(HashStore(), rank=rank, count=2, own=own, say=print)
        gathering._hall = Ranks(Broken(), rank=rank, members=(own,) * 2)
        with pytest.raises(InvalidInputError, match="cannot reach each other"):
            gathering.hold()
