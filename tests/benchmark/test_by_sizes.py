"""Training of other kinds than PyTorch steps, by the protocol of an epoch of given size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from greenlove_mlflow.benchmark import BenchmarkPlan, CallableRunner, EpochRunner, run_benchmark
from greenlove_mlflow.core.records import BenchmarkLog, Machine
from greenlove_mlflow.core.timing.adaptive_fit import fit_log
from greenlove_mlflow.core.timing.fit import AdaptiveFit
from greenlove_mlflow.core.workload import Workload
from greenlove_mlflow.errors import InvalidInputError
from tests.support.clock import VirtualClock


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


def test_the_seed_method_runs_any_training() -> None:
    log, fit = run(lambda size: 0.00002 * size, 50_000, method="original")
    assert log.stop_reason == "complete"
    assert fit.epoch_s == pytest.approx(1.0, rel=0.01)
    assert fit.spearman_rho == 1.0
