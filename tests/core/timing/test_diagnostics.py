"""Each caveat: a benchmark that provokes it and one that does not."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from greenlove_mlflow.benchmark import BenchmarkPlan
from greenlove_mlflow.core.machine_signals import MachineSignals
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import BenchmarkLog, BlockRecord, EpochRecord, Machine, StepProfile
from greenlove_mlflow.core.timing.adaptive_fit import fit_adaptive
from greenlove_mlflow.core.timing.drift_prior import DriftModel, contention_by_others, prior_drift
from greenlove_mlflow.core.timing.growth import fit_growth
from greenlove_mlflow.core.timing.noise import Noise
from greenlove_mlflow.core.workload import Workload
from tests.support.clock import MachineModel, Profile, SimulatedMachine, SimulatedTraining
from tests.support.factories import a_log, a_workload

STEADY = MachineModel()
LONG = Profile(sample_count=80_000, step_s=0.01, epoch_count=20)


def benchmark(profile: Profile = LONG, model: MachineModel = STEADY, **plan: Any) -> BenchmarkLog:
    machine = SimulatedMachine(model, seed=3, horizon_s=400.0)
    return SimulatedTraining(profile, machine).benchmark(BenchmarkPlan(epoch_count=profile.epoch_count, **plan))


def drift_of(log: BenchmarkLog) -> float:
    workload = Workload(
        sample_count=log.sample_count,
        batch_size=log.batch_size,
        epoch_count=20,
        steps_per_epoch=log.steps_per_epoch,
    )
    return fit_adaptive(log, workload).drift_log_sd


def caveats(log: BenchmarkLog, epochs: int = 20, **over: Any) -> dict[str, Caveat]:
    workload = Workload(
        **{
            "sample_count": log.sample_count,
            "batch_size": log.batch_size,
            "epoch_count": epochs,
            "steps_per_epoch": log.steps_per_epoch,
            **over,
        }
    )
    return {caveat.code: caveat for caveat in fit_adaptive(log, workload).caveats}


def with_signals(log: BenchmarkLog, **signals: Any) -> BenchmarkLog:
    return dataclasses.replace(log, machine_signals=MachineSignals(**signals))


def test_an_undisturbed_training_has_nothing_to_say_but_what_it_counts() -> None:
    assert set(caveats(benchmark())) == {"steps-only"}
    assert not caveats(benchmark(), validation_s=1.0)
    assert not caveats(benchmark(), extra_per_epoch_s=0.1)


@pytest.mark.parametrize(
    ("code", "profile"),
    [
        ("smaller-than-a-batch", Profile(sample_count=5, step_s=0.05, epoch_count=400)),
        ("batch-quantisation", Profile(sample_count=30, step_s=0.05, epoch_count=400)),
        ("batch-quantisation", Profile(sample_count=83, step_s=0.05, epoch_count=400)),
        ("overhead-share", Profile(sample_count=800, step_s=0.01, overhead_s=1.2, worker_count=2, epoch_count=50)),
        ("warm-up-share", Profile(sample_count=800, step_s=0.01, first_step_s=9.0, epoch_count=20)),
        ("cold-cache", Profile(sample_count=16_000, step_s=0.01, fetch_s=0.0002, cold_fetch_s=0.003, epoch_count=5)),
        ("data-bound", Profile(sample_count=16_000, step_s=0.002, fetch_s=0.001, epoch_count=20)),
        ("variable-step-cost", Profile(sample_count=80_000, step_s=0.01, length_cv=0.6, epoch_count=20)),
        ("few-steps", Profile(sample_count=80_000, step_s=30.0, epoch_count=2)),
        ("extrapolation", Profile(sample_count=800_000, step_s=0.01, epoch_count=100)),
    ],
)
def test_what_a_training_is_like_is_said(code: str, profile: Profile) -> None:
    found = caveats(benchmark(profile), epochs=profile.epoch_count)
    assert code in found
    assert ";" in found[code].message or ":" in found[code].message  # what was seen, then what to do


@pytest.mark.parametrize(
    ("code", "profile"),
    [
        ("batch-quantisation", Profile(sample_count=80, step_s=0.05, epoch_count=400)),
        ("overhead-share", Profile(sample_count=40_000, step_s=0.01, overhead_s=1.2, worker_count=2, epoch_count=5)),
        ("warm-up-share", Profile(sample_count=8000, step_s=0.01, first_step_s=2.0, epoch_count=50)),
        ("cold-cache", Profile(sample_count=16_000, step_s=0.01, fetch_s=0.002, epoch_count=5)),
        ("data-bound", Profile(sample_count=16_000, step_s=0.01, fetch_s=0.0002, epoch_count=20)),
        ("variable-step-cost", Profile(sample_count=80_000, step_s=0.01, length_cv=0.1, epoch_count=20)),
        ("few-steps", Profile(sample_count=80_000, step_s=3.0, epoch_count=2)),
        ("extrapolation", Profile(sample_count=80_000, step_s=0.01, epoch_count=60)),
    ],
)
def test_what_a_training_is_not_like_is_not_said(code: str, profile: Profile) -> None:
    assert code not in caveats(benchmark(profile), epochs=profile.epoch_count)


def test_extrapolating_far_widens_the_range() -> None:
    near, far = (Profile(sample_count=count, step_s=0.01, epoch_count=100) for count in (8_000, 800_000))
    widths = [
        fit_adaptive(benchmark(profile), a_workload(epoch_count=100)).prior_drift_log_sd for profile in (near, far)
    ]
    assert widths[1] == pytest.approx(1.5 * widths[0], rel=0.05)


def test_a_machine_that_warms_up_is_said_to_drift_and_one_with_bursts_is_not() -> None:
    heating = MachineModel(throttle=0.3, throttle_tau_s=6.0)
    assert "drift" in caveats(benchmark(LONG, heating))
    assert "drift" not in caveats(benchmark(LONG, MachineModel(noise_sd=0.05)))


def test_slow_and_fast_stretches_of_seconds_are_said_to_be_correlated() -> None:
    assert "autocorrelation" in caveats(benchmark(LONG, MachineModel(noise_sd=0.2, noise_tau_s=4.0)))
    assert "autocorrelation" not in caveats(benchmark(LONG, MachineModel(noise_sd=0.2, noise_tau_s=0.05)))


def test_neighbours_are_seen_by_cpu_seconds_by_waiting_and_by_load() -> None:
    half = MachineModel(burst_every_s=2.0, burst_s=2.0, burst_factor=2.0, burst_takes_cpu=True)
    seen = caveats(benchmark(LONG, half))
    assert "contention" in seen
    assert "without other load the training would take about" in seen["contention"].message
    quiet = benchmark()
    assert "contention" in caveats(with_signals(quiet, run_wait_share=0.3, cpu_share=0.7))
    assert "contention" in caveats(with_signals(quiet, load_ratio=3.0, cpu_share=1.0))
    assert "contention" not in caveats(with_signals(quiet, load_ratio=0.5, run_wait_share=0.001, cpu_share=1.0))


def test_the_trainings_own_load_is_no_contention() -> None:
    log = with_signals(benchmark(), load_ratio=1.1, cpu_share=0.9, run_wait_share=0.001)
    assert "contention" not in caveats(log)


def test_the_cpu_of_a_virtual_machine_is_said_and_its_gpu_is_not() -> None:
    log = with_signals(benchmark(), is_virtual=True)
    assert "virtual-machine" in caveats(log)
    assert "virtual-machine" not in caveats(with_signals(log, is_virtual=False))
    on_gpu = dataclasses.replace(log, machine=dataclasses.replace(log.machine, device="cuda:0"))
    assert "virtual-machine" not in caveats(on_gpu)


def test_a_gpu_that_waits_for_a_virtual_machine_drifts_as_one() -> None:
    log = with_signals(benchmark(), is_virtual=True)
    on_gpu = dataclasses.replace(log, machine=dataclasses.replace(log.machine, device="cuda:0"))
    by_host = StepProfile(loader_s=0.0, fetch_s=0.0, host_s=0.05, device_busy_s=0.02)
    by_device = StepProfile(loader_s=0.0, fetch_s=0.0, host_s=0.02, device_busy_s=0.05)
    unknown = StepProfile(loader_s=0.0, fetch_s=0.0, reason="no trace")

    def drift(profile: StepProfile | None) -> float:
        return drift_of(dataclasses.replace(on_gpu, profile=profile))

    assert "virtual-machine" in caveats(dataclasses.replace(on_gpu, profile=by_host))
    assert drift(by_host) == pytest.approx(drift_of(log))
    assert drift(by_device) == drift(None) < 0.03
    assert drift(unknown) == drift(by_host)


def test_a_training_bound_by_its_host_is_told_what_it_could_gain() -> None:
    by_host = StepProfile(loader_s=0.0, fetch_s=0.0, host_s=0.0493, device_busy_s=0.0183)
    on_gpu = dataclasses.replace(benchmark(), machine=Machine(device="cuda:0"), profile=by_host)
    found = caveats(on_gpu)

    assert found["host-bound"].severity == "act"
    assert "works 37% of the time" in str(found["host-bound"])
    assert "could take 0.37 of the time" in str(found["host-bound"])
    assert "host-bound" not in caveats(dataclasses.replace(on_gpu, profile=StepProfile(host_s=0.05, on_cpu=True)))


def test_throttling_is_said_where_clocks_or_reasons_say_so_and_not_for_heat() -> None:
    log = benchmark()
    assert "throttling" in caveats(with_signals(log, throttled_share=0.4))
    assert "throttling" in caveats(with_signals(log, clock_change_ratio=-0.08))
    assert "throttling" not in caveats(with_signals(log, temperature_rise_c=9.0, throttled_share=0.0))
    assert "throttling" not in caveats(with_signals(log, throttled_share=0.0, clock_change_ratio=-0.01))


def test_a_loss_that_is_not_finite_and_an_epoch_shorter_than_stated_are_said() -> None:
    log = benchmark()
    assert "loss-not-finite" in caveats(dataclasses.replace(log, loss_is_finite=False))
    assert "loss-not-finite" not in caveats(dataclasses.replace(log, loss_is_finite=True))
    assert "epoch-shorter-than-stated" in caveats(dataclasses.replace(log, stated_steps_per_epoch=10**6))
    assert "epoch-shorter-than-stated" not in caveats(log)


def a_scaling_log(
    seconds_of: Any, sizes: tuple[int, ...] = (250, 500, 750, 1000), noise: float = 0.003
) -> BenchmarkLog:
    rng = np.random.default_rng(5)
    records = [
        _record(0, "first-contact", 40, 0.4),
        *(_record(index, "timed", 1000, seconds_of(1000)) for index in (1, 2)),
    ]
    for size in 3 * sizes:
        records.append(_record(len(records), "scaling", size, seconds_of(size) * float(np.exp(noise * rng.normal()))))
    blocks = tuple(
        BlockRecord(epoch_index=index, phase="timed", start_s=0.5 * place, step_count=10, duration_s=0.5, cpu_s=0.5)
        for index in (1, 2)
        for place in range(10)
    )
    return a_log(epochs=tuple(records), blocks=blocks, duration_s=12.0)


def _record(index: int, phase: Any, size: int, duration_s: float) -> EpochRecord:
    return EpochRecord(
        epoch_index=index, phase=phase, sample_count=size, step_count=max(1, size // 10), duration_s=duration_s,
        whole=size != 40,
    )  # fmt: skip


def test_time_that_grows_faster_than_the_data_is_said_and_an_overhead_is_not() -> None:
    assert "superlinear" in caveats(a_scaling_log(lambda size: 1e-6 * size**2))
    assert "superlinear" not in caveats(a_scaling_log(lambda size: 0.1 + 0.001 * size))


def test_time_in_disorder_is_said() -> None:
    disorder = {250: 1.0, 500: 0.6, 750: 0.8, 1000: 0.9}
    found = caveats(a_scaling_log(disorder.__getitem__))
    assert {"spearman-low", "affine-fit-poor"} <= set(found)
    assert not {"spearman-low", "affine-fit-poor"} & set(caveats(a_scaling_log(lambda size: 0.001 * size)))


def test_growth_needs_three_sizes_and_repeats_for_its_test() -> None:
    assert fit_growth([1, 2], [1.0, 2.0]) is None
    alone = fit_growth([1, 2, 4], [1.0, 2.0, 4.0])
    assert alone is not None
    assert alone.lack_of_fit_p is None
    assert alone.spearman_rho == 1.0


def test_waiting_for_oneself_is_no_neighbour() -> None:
    quiet = benchmark()
    waits = {"run_wait_share": 0.3, "cpu_share": 0.7}
    # Sixteen threads on two cores wait for each other, and would on an offer's cores: nobody else ran.
    assert contention_by_others(with_signals(quiet, neighbour_share=0.0, **waits)) == 0.0
    assert contention_by_others(with_signals(quiet, neighbour_share=0.6, **waits)) == pytest.approx(0.3)
    assert contention_by_others(with_signals(quiet, neighbour_share=0.1, **waits)) == pytest.approx(0.1)
    # The hypervisor's other guests are neighbours whatever this machine's own counters say.
    assert contention_by_others(with_signals(quiet, neighbour_share=0.0, steal_share=0.2)) == pytest.approx(0.2)


def test_a_fit_keeps_what_neighbours_took() -> None:
    log = with_signals(benchmark(), neighbour_share=0.6, run_wait_share=0.3, cpu_share=0.7)
    assert fit_adaptive(log, a_workload()).contention_share == pytest.approx(0.3)


def drift_by_pace(log: BenchmarkLog, log_sd: float, *, block_count: int = 12, content_log_sd: float = 0.0) -> float:
    noise = Noise(
        log_sd=log_sd,
        correlation_factor=1.0,
        block_count=block_count,
        block_s=0.5,
        costs_s=(0.01,) * block_count,
        content_log_sd=content_log_sd,
    )
    return prior_drift(log, noise, DriftModel()).log_sd


SILENT = a_log(machine_signals=MachineSignals(neighbour_share=0.0, run_wait_share=0.0))
TELLING = a_log(machine_signals=MachineSignals(neighbour_share=0.01, run_wait_share=0.0))


def test_a_calm_reading_of_a_machine_that_says_nothing_is_weak_evidence_of_calm() -> None:
    calm, rough = 0.006, 0.04
    # Counters that count make a calm machine one's own; where they stand still, a good part of the doubt stays.
    assert drift_by_pace(TELLING, calm) == pytest.approx(DriftModel().quiet_log_sd, rel=0.03)
    assert drift_by_pace(SILENT, calm) > 1.8 * drift_by_pace(TELLING, calm)
    # The pace is evidence all the same, and never certainty.
    assert 1.5 * drift_by_pace(SILENT, calm) < drift_by_pace(SILENT, rough) < drift_by_pace(TELLING, rough)


def test_smoother_than_smooth_says_no_more() -> None:
    assert drift_by_pace(SILENT, 1e-4) == pytest.approx(drift_by_pace(SILENT, 0.0), rel=1e-4)


def test_steps_of_different_cost_hide_a_rough_machine() -> None:
    # All of the spread is explained by the steps: nothing is left, and nothing is known.
    hidden = drift_by_pace(SILENT, 0.06, content_log_sd=0.06)
    assert hidden > 1.4 * drift_by_pace(SILENT, 0.0)
    more_blocks = drift_by_pace(SILENT, 0.06, content_log_sd=0.06, block_count=400)
    assert more_blocks < hidden


def test_one_block_tells_nothing_of_the_pace() -> None:
    model = DriftModel()
    even = (model.silent_log_sd**2 + 0.5 * model.shared_log_sd**2) ** 0.5
    assert drift_by_pace(SILENT, 0.0, block_count=1) == pytest.approx(even)


def test_a_burst_at_the_smallest_size_bends_no_line_below_zero() -> None:
    # A line through 9, 2 and 1 s meets zero before the largest size; "infinitely more" could not be kept in the run.
    growth = fit_growth([1, 2, 3, 8] * 2, [9.0, 2.0, 1.0, 4.0, 9.1, 2.1, 1.1, 4.1])
    assert growth is not None
    assert math.isfinite(growth.bend)
