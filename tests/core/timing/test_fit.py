"""Seconds with a range from a fit, and the fit's range from a log."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from typing import Any

import pytest
from scipy.special import stdtrit

from greenlove_mlflow.core.machine_signals import MachineSignals
from greenlove_mlflow.core.records import BenchmarkLog, BlockRecord, EpochRecord, Machine
from greenlove_mlflow.core.timing.adaptive_fit import fit_log
from greenlove_mlflow.core.timing.drift import Drift
from greenlove_mlflow.core.timing.drift_prior import DriftModel, contention_share, prior_drift
from greenlove_mlflow.core.timing.fit import AdaptiveFit
from greenlove_mlflow.core.timing.noise import noise_of_blocks, startup_of_passes
from greenlove_mlflow.errors import BenchmarkError
from tests.support.factories import a_fit, a_log, a_workload


def a_timed_log(costs_s: list[float], *, epochs: int = 2, head_s: float = 0.0, **over: Any) -> BenchmarkLog:
    """A log of passes of blocks of ten steps; ``head_s`` is what the first step of a pass costs more."""
    records, blocks, index = [_record(0, "first-contact", 4, 0.4)], [], 1
    per_pass = len(costs_s) // epochs
    for place in range(epochs):
        own = costs_s[place * per_pass : (place + 1) * per_pass]
        blocks.append(_block(index, 1, own[0] / 10.0 + head_s))
        blocks += [_block(index, 10, cost) for cost in own]
        duration_s = own[0] / 10.0 + head_s + sum(own)
        records.append(_record(index, "timed", 1 + 10 * len(own), duration_s))
        index += 1
    fields = {"epochs": tuple(records), "blocks": tuple(blocks), "first_contact_steps_s": (0.1, 0.1, 0.1, 0.1)}
    return a_log(**{**fields, "duration_s": 12.0, "sample_count": 100_000, "steps_per_epoch": 10_000, **over})


def _record(index: int, phase: Any, steps: int, duration_s: float) -> EpochRecord:
    return EpochRecord(
        epoch_index=index, phase=phase, sample_count=10 * steps, step_count=steps, duration_s=duration_s, whole=False
    )


def _block(index: int, steps: int, duration_s: float) -> BlockRecord:
    return BlockRecord(
        epoch_index=index, phase="timed", start_s=0.0, step_count=steps, duration_s=duration_s, cpu_s=duration_s
    )


def prior_log_sd(log: BenchmarkLog) -> float:
    return prior_drift(log, noise_of_blocks(*_of(log)), DriftModel()).log_sd


def test_the_total_is_its_parts_and_the_one_off_is_paid_once() -> None:
    fit = a_fit(one_off_s=4.0, first_epoch_s=12.0, epoch_s=10.0)
    assert fit.predict(a_workload(epoch_count=1)).point == pytest.approx(16.0)
    assert fit.predict(a_workload(epoch_count=50)).point == pytest.approx(4.0 + 12.0 + 490.0)
    more = a_workload(
        epoch_count=50, validation_s=2.0, validation_every_epochs=5, extra_per_epoch_s=0.1, one_off_s=30.0
    )
    assert fit.predict(more).point == pytest.approx(506.0 + 20.0 + 5.0 + 30.0)


def test_what_was_given_as_seconds_is_exact() -> None:
    fit = a_fit(one_off_s=0.0)
    plain, given = fit.predict(a_workload()), fit.predict(a_workload(one_off_s=1000.0))
    assert given.high - given.point == pytest.approx(plain.high - plain.point)


def test_other_sample_counts_scale_the_steps_and_not_the_overhead() -> None:
    fit = a_fit(one_off_s=0.0, first_epoch_s=10.0, epoch_s=10.0, overhead_s=2.0)
    doubled = a_workload(sample_count=2000, steps_per_epoch=200, epoch_count=10)
    assert fit.predict(doubled).point == pytest.approx(180.0)


def test_the_range_is_the_formula_by_hand() -> None:
    fit = a_fit(
        one_off_s=0.0, first_epoch_s=10.0, epoch_s=10.0, noise_log_sd=0.1, correlation_factor=2.0, block_count=20,
        block_s=0.5, drift_log_sd=0.03, structure_log_sd=0.01, t_quantile=2.2,
    )  # fmt: skip
    # 20 epochs of 10 s are 400 blocks: 0.01 * 2 * (1/20 + 1/400) + 0.0009 + 0.0001 = 0.00205.
    predicted = fit.predict(a_workload(epoch_count=20))
    assert fit.rate_log_sd(200.0) == pytest.approx(math.sqrt(0.00205))
    assert predicted.log_half_width == pytest.approx(2.2 * math.sqrt(0.00205))


def test_a_learned_bias_moves_the_promise_and_a_conformal_bound_replaces_its_width() -> None:
    plain = a_fit(one_off_s=0.0).predict(a_workload())
    assert a_fit(one_off_s=0.0, bias_log=0.1).predict(a_workload()).point == pytest.approx(plain.point * math.exp(0.1))
    bound = a_fit(one_off_s=0.0, conformal_log_half_width=0.07).predict(a_workload())
    assert bound.log_half_width == pytest.approx(0.07)


def test_predicting_needs_no_quantile_function() -> None:
    code = (
        "import sys; sys.modules['scipy'] = None\n"
        "from tests.support.factories import a_fit, a_workload\n"
        "assert a_fit().predict(a_workload()).point > 0\n"
        "assert 'greenlove_mlflow.core.timing.adaptive_fit' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_noise_is_that_of_the_blocks() -> None:
    even = noise_of_blocks(*_of(a_timed_log([0.5] * 20)))
    assert (even.block_count, even.log_sd, even.correlation_factor) == (20, 0.0, 1.0)
    assert even.block_s == pytest.approx(0.5)
    alternating = noise_of_blocks(*_of(a_timed_log([0.45, 0.55] * 10)))
    assert alternating.log_sd == pytest.approx(0.5 * math.log(0.55 / 0.45), rel=0.03)
    assert alternating.correlation_factor == 1.0
    stretches = noise_of_blocks(*_of(a_timed_log(([0.45] * 5 + [0.55] * 5) * 2)))
    assert stretches.correlation_factor > 4.0
    assert stretches.without_drift(1.0).correlation_factor == 2.0
    assert stretches.without_drift(1.0).degrees_of_freedom == pytest.approx(9.0)
    assert stretches.without_drift(0.0) == stretches
    assert even.without_drift(1.0) == even


def test_a_slow_start_of_each_pass_is_overhead_and_no_noise() -> None:
    log = a_timed_log([0.5] * 20, head_s=1.5)
    startup = startup_of_passes(*_of(log))
    assert startup is not None
    assert startup.overhead_s == pytest.approx(1.5)
    assert startup.step_s == pytest.approx(0.05)
    assert noise_of_blocks(*_of(log)).log_sd == 0.0
    fit = fit_log(log, a_workload(sample_count=100_000, steps_per_epoch=10_000))
    assert fit.epoch_s == pytest.approx(1.5 + 10_000 * 0.05)


def test_short_blocks_are_joined() -> None:
    noise = noise_of_blocks(*_of(a_timed_log([0.1] * 40)))
    assert noise.block_s >= 0.4
    assert noise.block_count == 10


@pytest.mark.parametrize(
    ("costs_s", "expected_mean_s"),
    [
        ([0.5] * 20, 0.5),
        ([0.5] * 9 + [1.0, 1.0] + [0.5] * 9, 0.525),  # of one burst, half of the 0.05 s it added
        (([0.5] * 6 + [1.0]) * 3, 0.5 + 0.75 * 0.5 / 7.0),  # of three, three quarters
        ([0.45, 0.55] * 10, 0.5),  # to and fro is the machine's way, and no burst
        ([0.5, 0.5, 1.0, 0.5], 0.625),  # too few to say what is usual
    ],
    ids=["none", "one", "three", "alternating", "few blocks"],
)
def test_of_bursts_that_came_once_less_is_expected_again(costs_s: list[float], expected_mean_s: float) -> None:
    noise = noise_of_blocks(*_of(a_timed_log(costs_s, epochs=1)))
    mean_s = sum(costs_s) / len(costs_s)
    assert noise.pace_to_expect == pytest.approx(expected_mean_s / mean_s)


def test_a_burst_is_promised_in_part() -> None:
    workload = a_workload(sample_count=100_000, steps_per_epoch=10_000)
    log = a_timed_log([0.5] * 9 + [1.0, 1.0] + [0.5] * 9, epochs=1)
    assert fit_log(log, workload).epoch_s == pytest.approx(10_000 * 0.0525, rel=1e-3)


def test_neighbours_share_a_cpu_and_loader_workers_are_none() -> None:
    def drift(**over: Any) -> float:
        return prior_log_sd(a_timed_log([0.5, 0.502] * 10, **over))

    neighbours = MachineSignals(neighbour_share=0.3, run_wait_share=0.0)
    alone = MachineSignals(neighbour_share=0.01, run_wait_share=0.0)
    cpu, gpu = Machine(device="cpu"), Machine(device="cuda:0")
    assert drift(machine=cpu, machine_signals=neighbours) > 2.0 * drift(machine=cpu, machine_signals=alone)
    assert drift(machine=gpu, machine_signals=neighbours) < 0.025
    assert drift(machine=cpu, machine_signals=neighbours, worker_count=2) < 0.025


def test_a_shared_machine_is_promised_a_little_more_than_was_seen() -> None:
    workload = a_workload(sample_count=100_000, steps_per_epoch=10_000)
    quiet, shared = a_timed_log([0.5, 0.502] * 10), a_timed_log([0.45, 0.55] * 10)
    assert fit_log(quiet, workload).bias_log < 0.001 < 0.01 < fit_log(shared, workload).bias_log
    learned = Drift(log_sd=0.05, scale=1.0, usual_log_sd=0.05, bias_log=-0.1)
    assert fit_log(shared, workload, drift=learned).bias_log == -0.1
    unsure = dataclasses.replace(learned, bias_log=0.0)
    assert fit_log(shared, workload, drift=unsure).bias_log == fit_log(shared, workload).bias_log


def test_a_rough_machine_is_expected_to_drift_more_than_a_smooth_one() -> None:
    smooth, rough, burst = (
        a_timed_log(costs) for costs in ([0.5, 0.502] * 10, [0.45, 0.55] * 10, [0.5] * 15 + [0.75] * 2 + [0.5] * 3)
    )
    drift = [prior_log_sd(log) for log in (smooth, rough, burst)]
    assert drift[0] < 0.025
    assert min(drift[1:]) > 0.055
    assert max(drift) <= 0.2


def test_the_machines_own_signals_narrow_and_widen_the_range() -> None:
    def drift(**signals: Any) -> float:
        return prior_log_sd(a_timed_log([0.5, 0.502] * 10, machine_signals=MachineSignals(**signals)))

    silent = drift()
    assert drift(run_wait_share=0.0005, neighbour_share=0.01, load_ratio=0.4, cpu_share=1.0) < silent
    assert drift(run_wait_share=0.2, neighbour_share=0.4, load_ratio=1.5, cpu_share=0.8) > 0.06
    assert drift(run_wait_share=0.5, neighbour_share=0.5) > drift(run_wait_share=0.1, neighbour_share=0.5)
    assert drift(load_ratio=2.0, neighbour_share=0.5) > 0.055
    assert drift(throttled_share=0.5) > 0.055
    assert drift(is_virtual=False) == silent
    assert drift(is_virtual=True, run_wait_share=0.0005, neighbour_share=0.01) > 0.1


def test_the_drift_of_a_virtual_machine_includes_that_of_its_neighbours() -> None:
    def drift(costs: list[float], **signals: Any) -> float:
        signals = {"run_wait_share": 0.0005, "neighbour_share": 0.01, **signals}
        return prior_log_sd(a_timed_log(costs, machine_signals=MachineSignals(**signals)))

    calm, rough = [0.5, 0.502] * 10, [0.48, 0.52] * 10
    shared, virtual = drift(rough), drift(calm, is_virtual=True)
    assert shared > 0.055
    # Roughness adds its own part (0.35 x 0.04), neighbours none: 0.055 in quadrature would be 0.114 at least.
    assert virtual < drift(rough, is_virtual=True) < 0.105
    # Where the counters show how much others take, that part is added.
    assert drift(calm, is_virtual=True, run_wait_share=0.3) > 0.12


def test_stretches_of_slow_blocks_on_a_virtual_machine_are_its_drift_and_not_noise_again() -> None:
    def factor(costs: list[float], *, is_virtual: bool) -> float:
        log = a_timed_log(costs, machine_signals=MachineSignals(is_virtual=is_virtual))
        fit = fit_log(log, a_workload(sample_count=log.sample_count, batch_size=log.batch_size))
        assert isinstance(fit, AdaptiveFit)
        return fit.correlation_factor

    stretches = ([0.45] * 5 + [0.55] * 5) * 2
    assert factor(stretches, is_virtual=False) > 4.0
    assert factor(stretches, is_virtual=True) == 2.0
    assert factor([0.45, 0.55] * 10, is_virtual=True) == 1.0


def test_cpu_seconds_show_neighbours_where_the_kernel_does_not_tell() -> None:
    quiet = a_timed_log([0.5] * 20)
    assert contention_share(quiet) == 0.0
    taken = [
        BlockRecord(
            epoch_index=b.epoch_index, phase=b.phase, start_s=0.0, step_count=b.step_count, duration_s=b.duration_s,
            cpu_s=b.duration_s * (0.5 if place % 2 else 1.0),
        )
        for place, b in enumerate(quiet.blocks)
    ]  # fmt: skip
    assert contention_share(a_timed_log([0.5] * 20, blocks=tuple(taken))) == pytest.approx(0.25, abs=0.03)


def test_a_drift_that_was_learned_takes_the_place_of_the_prior() -> None:
    log, workload = a_timed_log([0.5, 0.502] * 10), a_workload(sample_count=100_000, steps_per_epoch=10_000)
    learned = fit_log(log, workload, drift=Drift(log_sd=0.1, degrees_of_freedom=40.0, calibrated_on="10 finished runs"))
    assert learned.drift_log_sd == 0.1
    assert learned.calibrated_on == "10 finished runs"
    assert learned.prior_drift_log_sd == fit_log(log, workload).drift_log_sd
    assert learned.t_quantile == pytest.approx(float(stdtrit(40.0, 0.975)), rel=0.01)


def test_few_blocks_make_fat_tails() -> None:
    workload = a_workload(sample_count=100_000, steps_per_epoch=10_000)
    drift = Drift(log_sd=0.01, degrees_of_freedom=100.0)
    few, many = (fit_log(a_timed_log([0.45, 0.75] * count), workload, drift=drift) for count in (3, 30))
    assert few.t_quantile > many.t_quantile > 1.96


def test_a_log_without_first_contact_is_no_adaptive_benchmark() -> None:
    with pytest.raises(BenchmarkError, match="first contact"):
        fit_log(a_log(), a_workload())


def _of(log: BenchmarkLog) -> tuple[Any, Any]:
    return log.epochs, log.blocks
