"""Benchmarks by sizes: training of other kinds than PyTorch steps, and the original's sizes, order and end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from greenlove_mlflow.benchmark import BenchmarkPlan, CallableRunner, EpochRunner, Training, run_benchmark
from greenlove_mlflow.core.records import BenchmarkLog, Machine
from greenlove_mlflow.core.timing.adaptive_fit import fit_log
from greenlove_mlflow.core.timing.fit import AdaptiveFit
from greenlove_mlflow.core.workload import Workload
from greenlove_mlflow.errors import InvalidInputError
from tests.support.clock import MachineModel, Profile, SimulatedMachine, SimulatedTraining, VirtualClock


def run(
    seconds_of: Callable[[int], float], count: int, *, epochs: int = 3, **plan: Any
) -> tuple[BenchmarkLog, AdaptiveFit]:
    clock = VirtualClock()
    runner = CallableRunner(run=lambda size: clock.advance(seconds_of(size)), sample_count=count)
    with clock.installed():
        log = run_benchmark(runner, BenchmarkPlan(epoch_count=epochs, **plan), machine=Machine(device="cpu"))
    return log, fit_log(log, workload(log, epochs))


def workload(log: BenchmarkLog, epochs: int) -> Workload:
    return Workload(
        sample_count=log.sample_count, batch_size=1, epoch_count=epochs, steps_per_epoch=log.steps_per_epoch
    )


def test_a_function_is_an_epoch_runner() -> None:
    assert isinstance(CallableRunner(run=print, sample_count=3), EpochRunner)
    with pytest.raises(InvalidInputError):
        CallableRunner(run=print, sample_count=0)
    with pytest.raises(InvalidInputError, match="own is 1"):
        run(lambda size: 0.001 * size, 100, batch_size=7)


def test_an_epoch_that_fits_is_timed_whole() -> None:
    log, fit = run(lambda size: 0.1 + 0.0001 * size, 10_000, epochs=30)
    assert any(record.whole and record.sample_count == 10_000 for record in log.epochs_of("timed"))
    assert fit.predict(workload(log, 30)).point == pytest.approx(30 * 1.1, rel=0.01)
    assert fit.spearman_rho == 1.0


def test_a_longer_one_is_extrapolated_along_the_line_of_its_sizes() -> None:
    log, fit = run(lambda size: 0.1 + 0.0001 * size, 1_000_000)
    assert max(record.sample_count for record in log.epochs) < 1_000_000
    assert fit.epoch_s == pytest.approx(100.1, rel=0.01)
    assert fit.affine_intercept_s == pytest.approx(0.1, rel=0.05)
    assert fit.structure_log_sd > 0.05
    assert log.duration_s < 15.0


def test_a_kernel_method_is_extrapolated_by_its_power_and_said_to_be_superlinear() -> None:
    wobble = [1.0, 1.002, 0.998, 1.001]
    log, fit = run(lambda size: 2e-8 * size**2 * wobble[size // 7 % 4], 100_000)
    assert fit.epoch_s == pytest.approx(200.0, rel=0.05)
    assert "superlinear" in [caveat.code for caveat in fit.caveats]
    assert log.duration_s < 20.0


def test_the_original_method_runs_any_training() -> None:
    log, fit = run(lambda size: 0.00002 * size, 50_000, method="original")
    assert log.stop_reason == "complete"
    assert fit.epoch_s == pytest.approx(1.0, rel=0.01)
    assert fit.spearman_rho == 1.0


def run_original(profile: Profile, **plan: Any) -> BenchmarkLog:
    machine = SimulatedMachine(MachineModel(), horizon_s=1200.0)
    return SimulatedTraining(profile, machine).benchmark(
        BenchmarkPlan(method="original", epoch_count=profile.epoch_count, **plan)
    )


def sizes(log: BenchmarkLog, *phases: Any) -> list[int]:
    """The size of each run, in order; a run is a stretch of records of one size."""
    found: list[int] = []
    for record in log.epochs_of(*phases):
        if not found or found[-1] != record.sample_count:
            found.append(record.sample_count)
    return found


@pytest.mark.slow
def test_exploration_multiplies_by_the_epochs_that_fit_in_its_seconds() -> None:
    # 1000 samples are 125 steps of 0.4 ms: 0.05 s an epoch, so five end in 0.3 s (the sixth ends at the limit).
    log = run_original(Profile(sample_count=100_000, step_s=0.00041), cap_s=20.0)
    assert sizes(log, "exploration")[0] == 1000
    assert sum(record.whole for record in log.epochs_of("exploration")) == 5
    assert sizes(log, "warm-up", "steady")[0] == 5000


@pytest.mark.slow
def test_exploration_shrinks_tenfold_when_no_epoch_ends_and_stops_at_one_batch() -> None:
    # 1000 samples take 12.5 s, 100 take 1.3 s, 10 take 0.2 s: one epoch of 10 ends, and then n = 10 * 1.
    log = run_original(Profile(sample_count=100_000, step_s=0.1), cap_s=20.0)
    tried = [record.sample_count if record.whole else None for record in log.epochs_of("exploration")]
    assert tried[-2:] == [10, None] or tried[-1] == 10
    assert sizes(log, "warm-up", "steady")[0] == 10
    slow = run_original(Profile(sample_count=100_000, step_s=0.5), cap_s=40.0)
    assert sizes(slow, "warm-up", "steady")[0] == 8


@pytest.mark.slow
def test_exploration_grows_by_ten_seconds_over_the_total_when_all_thirty_epochs_end() -> None:
    # 1000 samples are 125 steps of 40 us: 5 ms an epoch, 0.15 s for thirty; n = 1000 * 10 / 0.15 = 66,666.
    # An epoch of that takes 0.33 s, more than 0.3 s: n = 6666, 33.3 ms an epoch, 8 or 9 epochs in 0.3 s.
    log = run_original(Profile(sample_count=1_000_000, step_s=0.00004), cap_s=15.0)
    explored = [record.sample_count for record in log.epochs_of("exploration") if record.whole]
    assert explored[:30] == [1000] * 30
    representative = sizes(log, "warm-up", "steady")[0]
    assert explored[-1] == pytest.approx(6666, rel=0.01)
    assert representative in {explored[-1] * 8, explored[-1] * 9}


@pytest.mark.slow
def test_reaching_all_samples_ends_exploration() -> None:
    log = run_original(Profile(sample_count=3000, step_s=0.00004), cap_s=15.0)
    assert sizes(log, "warm-up", "steady")[0] == 3000


@pytest.mark.slow
def test_the_grid_grows_past_twenty_seconds_and_shrinks_below_one() -> None:
    # n = 1000 * 5 = 5000: 625 steps of 0.41 ms, 0.26 s an epoch, 7.7 s a run.
    log = run_original(Profile(sample_count=100_000, step_s=0.00041))
    grid = sizes(log, "warm-up", "steady")
    start = grid[0]
    up = [size - (size % 8 == 1) for size in (start, *(int(start * 1.5**power) for power in (1, 2, 3)))]
    assert grid[:4] == up
    totals = {
        size: sum(record.duration_s for record in log.epochs_of("warm-up", "steady") if record.sample_count == size)
        for size in grid
    }
    assert totals[up[-1]] > 20.0 >= totals[up[-2]]
    # A size that would leave one sample alone in its last batch is run without it.
    down = [size - (size % 8 == 1) for size in (int(start / 1.5**power) for power in range(1, len(grid) - 3))]
    assert grid[4:] == down
    assert totals[down[-1]] < 1.0 <= totals[down[-2]]
    assert log.stop_reason == "complete"
    assert log.duration_s < 90.0


@pytest.mark.slow
def test_thirty_epochs_a_size_of_which_three_are_warm_up() -> None:
    log = run_original(Profile(sample_count=3000, step_s=0.0002))
    for size in sizes(log, "warm-up", "steady"):
        phases = [record.phase for record in log.epochs_of("warm-up", "steady") if record.sample_count == size]
        assert phases == ["warm-up"] * 3 + ["steady"] * 27


@pytest.mark.slow
def test_sizes_stay_between_one_batch_and_all_samples() -> None:
    log = run_original(Profile(sample_count=500, batch_size=32, step_s=0.001))
    assert max(record.sample_count for record in log.epochs) <= 500
    assert min(record.sample_count for record in log.epochs) >= 32
    tiny = run_original(Profile(sample_count=5, batch_size=32, step_s=0.001))
    assert {record.sample_count for record in tiny.epochs} == {5}


@pytest.mark.slow
@pytest.mark.parametrize("step_s", [0.02, 1.0, 8.0])
def test_the_cap_of_ninety_seconds_holds(step_s: float) -> None:
    log = run_original(Profile(sample_count=100_000, step_s=step_s, overhead_s=1.2, worker_count=2))
    assert log.duration_s <= 90.0 + 2.0 * step_s + 1.3
    assert log.epochs_of("warm-up", "steady")


@pytest.mark.slow
def test_the_parameters_of_the_original_are_obeyed() -> None:
    log = run_original(
        Profile(sample_count=4000, step_s=0.0005),
        exploration_epoch_count=6,
        warm_up_epoch_count=1,
        initial_sample_count=80,
        longest_run_s=0.2,
        shortest_run_s=0.1,
    )
    assert log.epochs_of("exploration")[0].sample_count == 80
    grid = sizes(log, "warm-up", "steady")
    assert len(log.epochs_of("warm-up")) == len(grid)
    assert len(log.epochs_of("warm-up", "steady")) == 6 * len(grid)
    assert log.warm_up_epoch_count == 1


@pytest.mark.slow
@pytest.mark.parametrize(("total", "lone"), [(512, False), (513, True)])
def test_no_batch_of_one_unless_the_training_has_one(total: int, lone: bool, tmp_path: Path) -> None:
    # A file: what the step holds in memory is put back after the benchmark.
    sizes_seen = os.open(tmp_path / "sizes", os.O_CREAT | os.O_WRONLY)

    def step(model: Any, batch: torch.Tensor, *_: Any) -> None:
        os.write(sizes_seen, f"{len(batch[0])}\n".encode())

    model = torch.nn.Linear(2, 2)
    training = Training(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        criterion=None,
        data=DataLoader(TensorDataset(torch.zeros(total, 2)), batch_size=32, shuffle=True),
        train_step=step,
    )
    for initial in (33, 65, 321):
        plan = BenchmarkPlan(method="original", initial_sample_count=initial, target_benchmark_s=0.05,
                             longest_run_s=0.05, shortest_run_s=0.01, exploration_budget_s=0.02, cap_s=1.0)  # fmt: skip
        run_benchmark(training, plan)

    os.close(sizes_seen)
    seen = {int(line) for line in (tmp_path / "sizes").read_text().split()}
    assert 32 in seen
    assert (1 in seen) == lone
