"""Diagnostics: caveats from a benchmark, each with its remedy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import BenchmarkLog
from greenlove_mlflow.core.timing.growth import Growth
from greenlove_mlflow.core.timing.noise import Noise
from greenlove_mlflow.core.workload import Workload
from greenlove_mlflow.numbers import format_duration_s

# Thresholds below which nothing is worth reporting; our own choice.
LEAST_SPEARMAN_RHO = 0.9
LEAST_AFFINE_R2 = 0.98
LARGEST_OVERHEAD_SHARE = 0.05
# Neighbours can also bend the line through a few short epochs.
BEND_PER_NOISE = 4.0
LEAST_BATCHES = 5
FEW_STEPS = 20
LARGEST_CORRELATION_FACTOR = 4.0
LEAST_NOISE_LOG_SD = 0.02
LARGEST_ONE_OFF_SHARE = 0.05
LARGEST_WAIT_SHARE = 0.3
# A board that is busy this much of the time leaves little to gain.
LARGEST_BUSY_SHARE = 0.8
LARGEST_STEP_CV = 0.25
LEAST_CONTENTION_SHARE = 0.1
LEAST_VIRTUAL_SHARE = 0.5
LARGEST_LOAD_RATIO = 1.0
LARGEST_THROTTLED_SHARE = 0.05
FARTHEST_EXTRAPOLATION = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FitFindings:
    """Intermediate results of the fit that the diagnostics use.

    Args:
        mode: How the epoch was measured.
        one_off_s: One-off cost, seconds.
        epoch_s: One epoch, seconds.
        overhead_s: Part of an epoch that does not grow with its steps, seconds.
        total_s: The whole run, seconds.
        noise: Noise of the timed passes.
        contention_share: Share of the machine that other processes took during the benchmark, 0 to 1.
        growth: How time grows with the data; None without three sizes.
        step_cv: Coefficient of variation of a step; None when not measured.
        is_from_first_steps: Whether nothing was timed after first contact.
    """

    mode: str
    one_off_s: float
    epoch_s: float
    overhead_s: float
    total_s: float
    noise: Noise
    contention_share: float = 0.0
    growth: Growth | None = None
    step_cv: float | None = None
    is_from_first_steps: bool = False


def diagnose(log: BenchmarkLog, workload: Workload, findings: FitFindings) -> tuple[Caveat, ...]:
    """The caveats of a benchmark, most severe first."""
    return (
        *_of_the_data(log),
        *_of_the_steps(log, findings),
        *_of_the_machine(log, findings),
        *_of_the_hypervisor(log),
        *_of_the_growth(findings.growth, findings.noise),
        *_of_the_plan(log, workload, findings),
    )


def _of_the_data(log: BenchmarkLog) -> Iterator[Caveat]:
    if log.sample_count < log.batch_size:
        yield Caveat.of("smaller-than-a-batch", sample_count=log.sample_count, batch_size=log.batch_size)
    elif log.sample_count < LEAST_BATCHES * log.batch_size or (
        log.steps_per_epoch < FEW_STEPS and log.sample_count % log.batch_size
    ):
        yield Caveat.of("batch-quantisation", step_count=log.steps_per_epoch, batch_size=log.batch_size)
    if log.stated_steps_per_epoch is not None:
        yield Caveat.of(
            "epoch-shorter-than-stated", step_count=log.steps_per_epoch, stated_count=log.stated_steps_per_epoch
        )
    if log.loss_is_finite is False:
        yield Caveat.of("loss-not-finite")


def _of_the_steps(log: BenchmarkLog, findings: FitFindings) -> Iterator[Caveat]:
    share = findings.overhead_s / findings.epoch_s
    if findings.is_from_first_steps and not any(record.whole for record in log.epochs):
        count = sum(record.step_count for record in log.epochs_of("first-contact"))
        yield Caveat.of("few-steps", count=count)
    if share > LARGEST_OVERHEAD_SHARE:
        yield Caveat.of("overhead-share", share=share, overhead_s=findings.overhead_s)
    if findings.one_off_s > LARGEST_ONE_OFF_SHARE * findings.total_s:
        yield Caveat.of("warm-up-share", one_off_s=findings.one_off_s)
    if findings.mode == "cached":
        yield Caveat.of("cold-cache")
    wait, duration = _timed_wait_s(log)
    if duration > 0.0 and wait > LARGEST_WAIT_SHARE * duration:
        yield Caveat.of("data-bound", share=wait / duration, advice=_advice_on_data(log))
    yield from _of_the_profile(log)
    noise = findings.noise
    if findings.step_cv is not None and findings.step_cv > LARGEST_STEP_CV and noise.correlation_factor < 1.5:
        yield Caveat.of("variable-step-cost", variation=findings.step_cv)


def _of_the_profile(log: BenchmarkLog) -> Iterator[Caveat]:
    """The caveat that the board waits for its host, with the possible gain."""
    profile = log.profile
    if profile is None or profile.bound_by != "host" or profile.busy_share is None:
        return
    share = profile.least_step_share
    if share is not None and share < LARGEST_BUSY_SHARE:
        yield Caveat.of("host-bound", busy_share=share, least_share=share)


def _advice_on_data(log: BenchmarkLog) -> str:
    advice = "raise num_workers or prefetch_factor" if log.worker_count else "set num_workers and pin_memory"
    profile = log.profile
    share = None if profile is None else profile.least_step_share
    if profile is None or profile.bound_by != "data" or share is None:
        return advice
    return f"{advice} (the same on this GPU could take {share:.2f} of the time)"


def _of_the_machine(log: BenchmarkLog, findings: FitFindings) -> Iterator[Caveat]:
    signals, noise = log.machine_signals, findings.noise
    share = findings.contention_share
    load = signals.load_ratio or 0.0
    if share > LEAST_CONTENTION_SHARE or load > LARGEST_LOAD_RATIO + _own_load(log):
        seen = (
            f"others took {share:.0%} of it" if share > LEAST_CONTENTION_SHARE else f"its load is {load:.1f} per core"
        )
        alone_s = findings.total_s * (1.0 - share)
        yield Caveat.of("contention", seen=seen, alone=format_duration_s(alone_s))
    if noise.is_drifting:
        counted = "only the later half counts" if noise.is_settling else "the mean of all of it counts"
        yield Caveat.of("drift", change=math.expm1(noise.halves_gap_log), counted=counted)
    if noise.correlation_factor > LARGEST_CORRELATION_FACTOR and noise.log_sd > LEAST_NOISE_LOG_SD:
        yield Caveat.of("autocorrelation")
    throttled = signals.throttled_share or 0.0
    if throttled > LARGEST_THROTTLED_SHARE:
        yield Caveat.of("throttling", seen=f"held back {throttled:.0%} of the time")
    elif signals.is_clock_falling:
        yield Caveat.of("throttling", seen=f"clocked down by {-(signals.clock_change_ratio or 0.0):.0%}")


def _of_the_hypervisor(log: BenchmarkLog) -> Iterator[Caveat]:
    if log.virtual_share >= LEAST_VIRTUAL_SHARE:
        yield Caveat.of("virtual-machine")


def _of_the_growth(growth: Growth | None, noise: Noise) -> Iterator[Caveat]:
    if growth is None:
        return
    if growth.spearman_rho is not None and growth.spearman_rho < LEAST_SPEARMAN_RHO:
        yield Caveat.of("spearman-low", rho=growth.spearman_rho, least_rho=LEAST_SPEARMAN_RHO)
    if growth.r2 is not None and growth.r2 < LEAST_AFFINE_R2:
        yield Caveat.of("affine-fit-poor", r2=growth.r2)
    if growth.is_bent and growth.bend > BEND_PER_NOISE * noise.log_sd:
        yield Caveat.of("superlinear", bend=growth.bend)


def _of_the_plan(log: BenchmarkLog, workload: Workload, findings: FitFindings) -> Iterator[Caveat]:
    if log.duration_s > 0.0 and findings.total_s > FARTHEST_EXTRAPOLATION * log.duration_s:
        yield Caveat.of("extrapolation", factor=findings.total_s / log.duration_s)
    if not (workload.validation_s or workload.extra_per_epoch_s):
        yield Caveat.of("steps-only")


def _timed_wait_s(log: BenchmarkLog) -> tuple[float, float]:
    timed = [record for record in log.epochs_of("timed") if record.data_wait_s is not None]
    waits: Mapping[int, float] = {record.epoch_index: record.data_wait_s or 0.0 for record in timed}
    return math.fsum(waits.values()), math.fsum(record.duration_s for record in timed)


def _own_load(log: BenchmarkLog) -> float:
    """Load per core due to this training itself: its threads and workers."""
    cpu_share = log.machine_signals.cpu_share
    own = (1.0 if cpu_share is None else cpu_share) + log.worker_count
    return own / max(1, log.machine.visible_cpu_count)
