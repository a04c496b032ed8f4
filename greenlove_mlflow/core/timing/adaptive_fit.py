"""The adaptive fit: from timed passes over the user's data to the cost of an epoch and its uncertainty."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from greenlove_mlflow.core.records import BenchmarkLog, BlockRecord, EpochRecord
from greenlove_mlflow.core.timing.diagnostics import FARTHEST_EXTRAPOLATION, FitFindings, diagnose
from greenlove_mlflow.core.timing.drift import Drift
from greenlove_mlflow.core.timing.drift_prior import DriftModel, contention_by_others, contention_share, prior_drift
from greenlove_mlflow.core.timing.fit import AdaptiveFit, Fit, Mode
from greenlove_mlflow.core.timing.growth import Growth, fit_growth
from greenlove_mlflow.core.timing.noise import (
    Noise,
    Startup,
    excess_s,
    first_use_cost,
    noise_of_blocks,
    startup_of_passes,
)
from greenlove_mlflow.core.timing.original_fit import fit_original
from greenlove_mlflow.core.workload import Workload
from greenlove_mlflow.errors import BenchmarkError

LEVEL = 0.975
# When to stop: enough blocks, enough seconds (neighbours are active only now and then, so a shorter benchmark mistakes
# a shared machine for a quiet one), and so little noise that the machine's drift dominates.
LEAST_BLOCKS = 6
LEAST_PASSES = 2
LEAST_PRECISE_S = 5.5
PRECISE_LOG_HALF_WIDTH = 0.02
# A second visit this much cheaper than the first is due to a cache, if the gap matters compared with a step.
CACHED_FETCH_RATIO = 0.7
CACHED_STEP_SHARE = 0.05

# Extrapolation error of each way of measuring (delta).
STRUCTURE_LOG_SD = {"whole": 0.005, "truncated": 0.01, "cached": 0.03}
# The same for growth along a line or a power, per factor e of samples beyond the largest timed size.
SIZE_LOG_SD = 0.05
FIRST_STEPS_ONLY_LOG_SD = 0.10
SINGLE_STEP_LOG_SD = 0.30

# More may change over hours than over minutes.
FAR_DRIFT_FACTOR = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _EpochCost:
    """Seconds: one-off cost, first epoch, any later epoch; an epoch's overhead and a step."""

    mode: Mode
    one_off_s: float
    first_epoch_s: float
    epoch_s: float
    overhead_s: float
    step_s: float
    structure_log_sd: float


def is_cached(first_fetch_s: float, second_fetch_s: float, *, seen_share: float, step_s: float) -> bool:
    """Whether data is cheaper to fetch the second time.

    Args:
        first_fetch_s: Seconds per batch on the first visit.
        second_fetch_s: Seconds per batch on the second visit.
        seen_share: Share of the data seen before the first visit, below 1.
        step_s: Seconds of a whole step.
    """
    cold_s = cold_fetch_s(first_fetch_s, second_fetch_s, seen_share=seen_share)
    gap_s = cold_s - second_fetch_s
    return second_fetch_s < CACHED_FETCH_RATIO * cold_s and gap_s > CACHED_STEP_SHARE * step_s


def cold_fetch_s(first_fetch_s: float, second_fetch_s: float, *, seen_share: float) -> float:
    """Seconds that fetching a batch takes on the very first visit.

    A share ``seen_share`` of the first visit's batches had been seen before and costs as much as on the second visit.

    >>> cold_fetch_s(0.6, 0.2, seen_share=0.5)
    1.0
    """
    return max(first_fetch_s, (first_fetch_s - seen_share * second_fetch_s) / (1.0 - seen_share))


def statistical_log_half_width(noise: Noise) -> float:
    """Log half-width of the mean cost due to the noise of the blocks alone."""
    from scipy.special import stdtrit

    quantile = float(stdtrit(noise.degrees_of_freedom, LEVEL))
    return quantile * noise.log_sd * math.sqrt(noise.correlation_factor / max(1, noise.block_count))


def is_precise(
    epochs: Sequence[EpochRecord], blocks: Sequence[BlockRecord], *, least_pass_count: int = LEAST_PASSES
) -> bool:
    """Whether more timed passes could not improve the estimate, because the machine's drift dominates."""
    timed = [record for record in epochs if record.phase == "timed"]
    if len(timed) < least_pass_count or math.fsum(record.duration_s for record in timed) < LEAST_PRECISE_S:
        return False
    noise = noise_of_blocks(epochs, blocks)
    return noise.block_count >= LEAST_BLOCKS and statistical_log_half_width(noise) < PRECISE_LOG_HALF_WIDTH


def fit_adaptive(
    log: BenchmarkLog, workload: Workload, *, drift: Drift | None = None, drift_model: DriftModel | None = None
) -> AdaptiveFit:
    """The fit of an adaptive log, with the uncertainty of the planned workload.

    Args:
        log: The benchmark log.
        workload: The planned run; its length determines how far fast noise averages out.
        drift: Drift learned from finished runs; the machine's prior when None.
        drift_model: Constants of that prior; those of its newest version when None.
    """
    noise = noise_of_blocks(log.epochs, log.blocks)
    cost = _epoch_cost(log, noise)
    prior = prior_drift(log, noise, drift_model or DriftModel())
    first, later = min(1.0, workload.epoch_count), max(0.0, workload.epoch_count - 1)
    total_s = cost.one_off_s + first * cost.first_epoch_s + later * cost.epoch_s
    if log.duration_s > 0.0 and total_s > FARTHEST_EXTRAPOLATION * log.duration_s:
        prior = dataclasses.replace(prior, log_sd=FAR_DRIFT_FACTOR * prior.log_sd)
    growth, fast = _growth(log), noise.without_drift(log.virtual_share)
    fit = AdaptiveFit(
        mode=cost.mode,
        sample_count=log.sample_count,
        steps_per_epoch=log.steps_per_epoch,
        one_off_s=cost.one_off_s,
        first_epoch_s=cost.first_epoch_s,
        epoch_s=cost.epoch_s,
        overhead_s=cost.overhead_s,
        step_s=cost.step_s,
        noise_log_sd=noise.log_sd,
        correlation_factor=fast.correlation_factor,
        block_count=noise.block_count,
        block_s=noise.block_s,
        structure_log_sd=cost.structure_log_sd,
        prior_drift_log_sd=prior.log_sd,
        contention_share=contention_by_others(log),
        spearman_rho=None if growth is None else growth.spearman_rho,
        affine_intercept_s=None if growth is None else growth.intercept_s,
        affine_slope_s=None if growth is None else growth.slope_s,
        affine_r2=None if growth is None else growth.r2,
        caveats=diagnose(log, workload, _findings(log, cost, noise, total_s, growth)),
    )
    return with_drift(fit, prior if drift is None else drift.for_prior(prior), fast.degrees_of_freedom, total_s)


def _findings(log: BenchmarkLog, cost: _EpochCost, noise: Noise, total_s: float, growth: Growth | None) -> FitFindings:
    return FitFindings(
        mode=cost.mode,
        one_off_s=cost.one_off_s,
        epoch_s=cost.epoch_s,
        overhead_s=cost.overhead_s,
        total_s=total_s,
        noise=noise,
        contention_share=contention_share(log),
        growth=growth,
        step_cv=_step_cv(log),
        is_from_first_steps=not log.epochs_of("timed"),
    )


def with_drift(fit: AdaptiveFit, drift: Drift, noise_freedom: float, total_s: float) -> AdaptiveFit:
    """The fit with another drift, its t quantile by Welch-Satterthwaite degrees of freedom."""
    from scipy.special import stdtrit

    noise_only = dataclasses.replace(fit, drift_log_sd=0.0, structure_log_sd=0.0)
    fast = noise_only.rate_log_sd(total_s) ** 2
    slow = drift.log_sd**2 + fit.structure_log_sd**2
    freedom = (fast + slow) ** 2 / (fast**2 / noise_freedom + slow**2 / drift.degrees_of_freedom)
    expected_drift = drift.expected_log_sd or fit.prior_drift_log_sd
    expected_sd = math.hypot(expected_drift, math.sqrt(fast + fit.structure_log_sd**2))
    return dataclasses.replace(
        fit,
        drift_log_sd=drift.log_sd,
        degrees_of_freedom=freedom,
        t_quantile=float(stdtrit(freedom, LEVEL)),
        bias_log=drift.bias_log,
        calibrated_on=drift.calibrated_on,
        conformal_log_half_width=None if drift.conformal_score is None else drift.conformal_score * expected_sd,
    )


def _epoch_cost(log: BenchmarkLog, noise: Noise) -> _EpochCost:
    first = next(iter(log.epochs_of("first-contact")), None)
    if first is None:
        raise BenchmarkError("the log has no first contact; it is not an adaptive benchmark")
    timed = log.epochs_of("timed")
    if not timed:
        return _cost_of_first_contact(log, first)
    whole = [record for record in timed if record.whole and record.sample_count == log.sample_count]
    startup = startup_of_passes(log.epochs, log.blocks)
    if startup is None and not whole:
        return _cost_of_sizes(log, timed)
    if startup is None:
        startup = Startup(0.0, math.fsum(r.duration_s for r in timed) / sum(r.step_count for r in timed))
    step_s, overhead_s = startup.step_s, startup.overhead_s
    cold_gap_s = _cold_gap_s(log, first)
    steps = log.sample_count / log.batch_size
    if len(whole) >= 2 or (whole and len(whole) == len(timed)):
        mode: Mode = "whole"
        warm = whole[1:] if cold_gap_s and len(whole) > 1 else whole
        excess = math.fsum(excess_s(log.blocks, record.epoch_index, step_s) for record in warm)
        epoch_s = (math.fsum(record.duration_s for record in warm) - excess) / len(warm)
    else:
        mode = "truncated"
        epoch_s = overhead_s + steps * step_s
    pace = noise.pace_to_expect
    step_s, epoch_s = step_s * pace, overhead_s + (epoch_s - overhead_s) * pace
    first_epoch_s = epoch_s + steps * cold_gap_s
    mode = "cached" if cold_gap_s else mode
    return _EpochCost(
        mode=mode,
        one_off_s=_one_off_s(log, step_s, overhead_s) + first_use_cost(log.blocks, step_s).total_s,
        first_epoch_s=first_epoch_s,
        epoch_s=epoch_s,
        overhead_s=overhead_s,
        step_s=step_s,
        structure_log_sd=STRUCTURE_LOG_SD[mode],
    )


def _cost_of_sizes(log: BenchmarkLog, timed: Sequence[EpochRecord]) -> _EpochCost:
    """The cost of an epoch that was neither run whole nor cut short, from epochs over smaller sizes.

    Extrapolates a straight line through the sizes, or a power of the largest ones where the growth bends upward.
    """
    size = timed[0].sample_count
    largest_s = math.fsum(record.duration_s for record in timed) / len(timed)
    growth, ratio = _growth(log), log.sample_count / size
    epoch_s, overhead_s = largest_s * ratio, 0.0
    if growth is not None and growth.is_bent:
        epoch_s = largest_s * ratio ** max(1.0, growth.exponent)
    elif growth is not None and 0.0 < growth.intercept_s < largest_s:
        overhead_s = growth.intercept_s
        epoch_s = overhead_s + (largest_s - overhead_s) * ratio
    return _EpochCost(
        mode="truncated",
        one_off_s=0.0,
        first_epoch_s=epoch_s,
        epoch_s=epoch_s,
        overhead_s=overhead_s,
        step_s=(epoch_s - overhead_s) / log.steps_per_epoch,
        structure_log_sd=STRUCTURE_LOG_SD["truncated"] + SIZE_LOG_SD * math.log(ratio),
    )


def _cold_gap_s(log: BenchmarkLog, first: EpochRecord) -> float:
    """Additional seconds per batch on the first visit; 0 when the data is not cached."""
    seen_share = min(0.9, first.step_count / log.steps_per_epoch)
    visits = [
        visible_wait_s(wait_s, _busy_s(first, log), log.worker_count) for wait_s in _waits_s(log.epochs_of("revisit"))
    ]
    if not visits and first.whole:  # the first contact was the first visit to all of the data
        visits, seen_share = [*_waits_s([first]), *_waits_s(log.epochs_of("timed"))], 0.0
    if len(visits) < 2:
        return 0.0
    if not is_cached(visits[0], visits[1], seen_share=seen_share, step_s=_steady_s(first, log)):
        return 0.0
    return cold_fetch_s(visits[0], visits[1], seen_share=seen_share) - visits[1]


def visible_wait_s(wait_s: float, busy_s: float, worker_count: int) -> float:
    """Seconds that a step waits for a batch when the loader alone yields one every ``wait_s`` seconds.

    Workers load while the step runs, so only the time beyond the step is spent waiting.

    Args:
        wait_s: Seconds per batch of the loader alone.
        busy_s: Seconds of a step without its batch.
        worker_count: Processes that load the data.

    >>> visible_wait_s(0.03, 0.02, 0), visible_wait_s(0.03, 0.02, 4), visible_wait_s(0.01, 0.02, 4)
    (0.03, 0.009999999999999998, 0.0)
    """
    return max(0.0, wait_s - busy_s) if worker_count else wait_s


def later_wait_s(wait_s: float, first_wait_s: float, step_count: int) -> float:
    """Seconds of getting a batch after the first one, which waits for a fresh iterator and its workers."""
    return (wait_s - first_wait_s) / (step_count - 1) if step_count > 1 else wait_s


def _waits_s(records: Sequence[EpochRecord]) -> list[float]:
    return [
        later_wait_s(record.data_wait_s, record.first_wait_s or 0.0, record.step_count)
        if record.first_wait_s is not None
        else record.data_wait_s / record.step_count
        for record in records
        if record.data_wait_s is not None
    ]


def _busy_s(first: EpochRecord, log: BenchmarkLog) -> float:
    """Seconds of a step without getting its batch."""
    waits = _waits_s([first])
    return max(0.0, _steady_s(first, log) - (waits[0] if waits else 0.0))


def _one_off_s(log: BenchmarkLog, step_s: float, overhead_s: float) -> float:
    """Excess seconds of the very first step over a later one and over the first step of any epoch."""
    steps = log.first_contact_steps_s
    if not steps:
        return 0.0
    later = sorted(steps[1:])
    usual_s = later[len(later) // 2] if later else step_s
    return max(0.0, steps[0] - usual_s - overhead_s)


def _cost_of_first_contact(log: BenchmarkLog, first: EpochRecord) -> _EpochCost:
    """The cost of an epoch when steps are so slow, or epochs so few, that nothing was timed after first contact."""
    step_s = _steady_s(first, log)
    one_off_s = _one_off_s(log, step_s, 0.0)
    if first.whole:
        epoch_s, delta = first.duration_s - one_off_s, STRUCTURE_LOG_SD["truncated"]
    else:
        epoch_s = log.sample_count / log.batch_size * step_s
        delta = FIRST_STEPS_ONLY_LOG_SD if first.step_count > 1 else SINGLE_STEP_LOG_SD
    return _EpochCost(
        mode="whole" if first.whole else "truncated",
        one_off_s=one_off_s,
        first_epoch_s=epoch_s,
        epoch_s=epoch_s,
        overhead_s=0.0,
        step_s=step_s,
        structure_log_sd=delta,
    )


def _steady_s(first: EpochRecord, log: BenchmarkLog) -> float:
    if first.step_count < 2 or not log.first_contact_steps_s:
        return first.duration_s / first.step_count
    return (first.duration_s - log.first_contact_steps_s[0]) / (first.step_count - 1)


def _growth(log: BenchmarkLog) -> Growth | None:
    records = [record for record in log.epochs_of("scaling", "timed") if record.phase == "scaling" or record.whole]
    return fit_growth([record.sample_count for record in records], [record.duration_s for record in records])


def _step_cv(log: BenchmarkLog) -> float | None:
    timed = [record for record in log.epochs_of("timed") if record.step_sd_s is not None]
    if not timed:
        return None
    squares = math.fsum((record.step_sd_s or 0.0) ** 2 for record in timed) / len(timed)
    mean_s = math.fsum(record.duration_s for record in timed) / sum(record.step_count for record in timed)
    return math.sqrt(squares) / mean_s


def fit_log(
    log: BenchmarkLog, workload: Workload, *, drift: Drift | None = None, drift_model: DriftModel | None = None
) -> Fit:
    """The fit of a benchmark log, by its method.

    Args:
        log: The benchmark log.
        workload: The planned run.
        drift: Drift learned from finished runs; the prior when None. The original's method has no drift.
        drift_model: Constants of that prior, from the dated table; those of its newest version when None.
    """
    if log.method == "original":
        return fit_original(log, workload)
    return fit_adaptive(log, workload, drift=drift, drift_model=drift_model)
