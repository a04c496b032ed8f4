"""What the ranks of a training measured as one log: every board once."""

from __future__ import annotations

import pytest

from greenlove_mlflow.core.account.all_ranks import RankRecords, log_of_ranks
from greenlove_mlflow.core.records import BenchmarkLog, PowerReading
from tests.support.factories import a_log, a_machine, an_epoch

BOARD_W, CPU_W = 300.0, 80.0


def reading(device: str, power_w: float) -> PowerReading:
    return PowerReading(device=device, power_w=power_w, log_half_width=0.1, source="counter")


def own_log() -> BenchmarkLog:
    return a_log(
        machine=a_machine(device="cuda:0"),
        power=(reading("gpu_0", BOARD_W), reading("cpu", CPU_W)),
        peak_reserved_gib=10.0,
        fixed_memory_gib=2.0,
    )


def of_rank_1(*power: PowerReading) -> RankRecords:
    return RankRecords(epochs=(an_epoch(duration_s=30.0),), power=power, peak_reserved_gib=14.0)


def test_boards_of_two_ranks_add_up() -> None:
    log = log_of_ranks(own_log(), {1: of_rank_1(reading("gpu_1", 250.0))}, ("a", "b"))
    assert sum(each.power_w for each in log.power) == BOARD_W + CPU_W + 250.0
    assert (log.peak_reserved_gib, log.fixed_memory_gib) == (14.0, 2.0)


def test_a_board_that_was_not_read_draws_the_mean_of_the_others() -> None:
    log = log_of_ranks(own_log(), {1: of_rank_1()}, ("a", "b"))
    assert sum(each.power_w for each in log.power) == 2.0 * BOARD_W + CPU_W


def test_a_board_of_two_ranks_is_counted_once_and_holds_the_memory_of_both() -> None:
    log = log_of_ranks(own_log(), {1: of_rank_1()}, ("a", "a"))
    assert sum(each.power_w for each in log.power) == BOARD_W + CPU_W
    assert log.peak_reserved_gib == pytest.approx(24.0)
    assert log.fixed_memory_gib == pytest.approx(4.0)


def test_the_slowest_rank_sets_the_time() -> None:
    assert log_of_ranks(own_log(), {1: of_rank_1()}, ("a", "b")).epochs[0].duration_s == 30.0
