"""The ranks of a training: who they are, and what each does when another fails or does not come."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch.distributed import HashStore  # type: ignore[attr-defined]

from greenlove_mlflow.benchmark import ranks as module
from greenlove_mlflow.benchmark.meeting import meet
from greenlove_mlflow.benchmark.ranks import Member, Ranks, on_all_ranks, world_size
from greenlove_mlflow.environment import read_environment
from greenlove_mlflow.errors import BenchmarkError, InvalidInputError, TrackingError


def test_alone_there_are_no_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    environment = read_environment()
    assert environment.world_size == 1
    assert meet("track(epochs=1)", environment.world_size) is None
    assert on_all_ranks(None, lambda: 7) == 7


def test_ranks_that_have_not_met_are_refused_by_the_launchers_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert read_environment().world_size == 2
    with pytest.raises(InvalidInputError, match=r"one of 2 processes.*init_process_group"):
        meet("track(epochs=1)", read_environment().world_size)


def test_torch_distributed_is_asked_before_the_environment(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        assert world_size(8) == 1
    finally:
        torch.distributed.destroy_process_group()


def test_one_rank_of_each_machine_meters_it() -> None:
    members = [Member(host=host, pid=pid, asks="") for host, pid in (("a", 10), ("a", 11), ("b", 10), ("b", 12))]
    ranks = [Ranks(HashStore(), rank=rank, members=members) for rank in range(4)]
    assert [each.counts_host for each in ranks] == [True, False, True, False]
    assert [each.neighbour_pids for each in ranks] == [(11,), (10,), (12,), (10,)]


def test_one_rank_of_each_board_meters_it() -> None:
    def shared(ranks: Ranks) -> tuple[bool, int]:
        ranks.share_board("00000000:65:00.0" if ranks.rank < 2 else "00000000:66:00.0")
        return ranks.counts_board, ranks.board_count

    assert _on_each(shared) == [(True, 2), (False, 2), (True, 2)]


def test_boards_of_one_address_on_two_machines_are_two() -> None:
    store = HashStore()
    ranks = [Ranks(store, rank=rank, members=[Member(host=host, pid=1, asks="") for host in "ab"]) for rank in range(2)]
    threads = [threading.Thread(target=each.share_board, args=("00000000:65:00.0",)) for each in ranks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20.0)
    assert [(each.counts_board, each.board_count) for each in ranks] == [(True, 2), (True, 2)]


def test_ranks_on_cpus_count_one_board_each() -> None:
    assert (
        _on_each(lambda ranks: [ranks.share_board(None), ranks.counts_board, ranks.board_count])
        == [[None, True, 3]] * 3
    )


def test_ranks_agree_on_the_largest_value_again_and_again() -> None:
    assert (
        _on_each(lambda ranks: [ranks.agree(turn * (1.0 + ranks.rank)) for turn in range(5)])
        == [[0.0, 3.0, 6.0, 9.0, 12.0]] * 3
    )


def test_rank_0_speaks_for_all() -> None:
    assert _on_each(lambda ranks: ranks.from_leader(lambda: {"rank": ranks.rank})) == [{"rank": 0}] * 3


def test_where_one_rank_fails_all_do_with_the_same_kind_of_error() -> None:
    def open_store(ranks: Ranks) -> Any:
        def work() -> None:
            if ranks.is_leader:
                raise TrackingError("the store is gone")

        try:
            ranks.together(work)
        except TrackingError as error:
            return str(error)

    assert _on_each(open_store) == ["the store is gone", *["rank 0: the store is gone"] * 2]


def test_an_error_of_the_users_code_reaches_the_others_by_name() -> None:
    def step(ranks: Ranks) -> Any:
        try:
            ranks.together(lambda: [0][ranks.rank - 1 if ranks.rank else 0])
        except (IndexError, BenchmarkError) as error:
            return type(error).__name__, "rank 2: IndexError" in str(error)

    assert _on_each(step) == [("BenchmarkError", True), ("BenchmarkError", True), ("IndexError", False)]


def test_a_rank_that_does_not_answer_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    ranks = Ranks(HashStore(), rank=0, members=[Member(host="a", pid=pid, asks="") for pid in (1, 2)])
    with pytest.raises(BenchmarkError, match="rank 1 did not answer"):
        ranks.agree(1.0)


def test_a_rank_that_has_died_is_not_waited_for() -> None:
    with subprocess.Popen(["true"]) as child:
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.001)
        members = [Member(host="a", pid=pid, asks="") for pid in (os.getpid(), child.pid)]
        with pytest.raises(BenchmarkError, match="rank 1 died without an error"):
            Ranks(HashStore(), rank=0, members=members).agree(1.0)


def test_process_ids_of_another_container_are_not_taken_for_ones_own() -> None:
    members = [Member(host="a", pid=pid, asks="", pid_space=space) for pid, space in ((1, "x"), (2, "x"), (2**30, "y"))]
    ranks = Ranks(HashStore(), rank=0, members=members)
    assert (ranks.neighbour_pids, 2 in ranks.dead) == ((2,), False)


def test_what_is_claimed_first_holds_for_all() -> None:
    claimed = _on_each(lambda ranks: ranks.claim("laps", json.dumps(ranks.rank)))
    assert len(set(claimed)) == 1
    assert claimed[0] in ("0", "1", "2")


def test_a_store_that_fails_is_given_up_without_an_error_in_the_training() -> None:
    class Broken:
        def set(self, key: str, value: str) -> None:
            raise RuntimeError("connection closed")

    ranks = Ranks(Broken(), rank=1, members=[Member(host="a", pid=pid, asks="") for pid in (1, 2)])
    ranks.post("power", {"at_s": 1.0})
    assert ranks.is_lost
    assert ranks.read("stop") is None
    with pytest.raises(BenchmarkError, match="cannot agree"):
        ranks.agree(1.0)


def _on_each(work: Callable[[Ranks], Any], count: int = 3) -> list[Any]:
    """What ``work`` returns on each rank; the ranks are threads, with a store in memory."""
    store, members = HashStore(), [Member(host="a", pid=pid, asks="") for pid in range(count)]
    results: list[Any] = [None] * count

    def run(rank: int) -> None:
        results[rank] = work(Ranks(store, rank=rank, members=members))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20.0)
    return results
