"""The fits that turn a benchmark log into the time of the planned training: ``adaptive`` (ours) and ``seed``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval, total
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import BenchmarkLog, Method
from greenlove_mlflow.core.workload import Workload

if TYPE_CHECKING:
    from greenlove_mlflow.core.timing.drift import Drift

# Compiling or tuning once more takes about as long, not just as long.
ONE_OFF_LOG_HALF_WIDTH = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingFit:
    """What a log says about time: enough to predict any plan, small enough for a tag.

    ``T = one_off_s + first_epoch_s + (epochs - 1) * epoch_s`` for ``adaptive``.

    Args:
        method: Which formulas made it.
        mode: Whether whole epochs were timed, or truncated ones, or a cache made the first epoch slower.
        sample_count: Samples of the epoch it predicts.
        steps_per_epoch: Batches of that epoch.
        one_off_s: Paid once: compilation, autotuning, lazy initialisation, seconds.
        first_epoch_s: The first epoch without the one-off cost, seconds.
        epoch_s: Any later epoch, seconds.
        overhead_s: Of an epoch, what does not grow with its steps (workers starting), seconds.
        step_s: Mean step, fetching its batch included, seconds.
        noise_log_sd: SD of the log cost of a block (s).
        correlation_factor: How many blocks carry the information of one (kappa).
        block_count: Blocks measured (m).
        block_s: Mean length of a block, seconds.
        drift_log_sd: Slow drift of the machine that a short benchmark cannot see (sigma_sys).
        structure_log_sd: What the plan of the benchmark extrapolates (delta).
        degrees_of_freedom: Of the t distribution (nu).
        t_quantile: Its 97.5 % quantile, kept so that a light reader needs no quantile function.
        bias_log: Added to log time: learned from finished runs where significant, else what the machine lets expect.
        seed_warm_up_s: ``seed``: the scaled warm-up epochs e1, e2, e3.
        seed_sigma_s: ``seed``: SD of the scaled steady epochs, ddof 1.
        spearman_rho: Rank correlation of size and time; None with fewer than three sizes.
        affine_intercept_s: Intercept of epoch time on samples; None without the scaling diagnostic.
        affine_slope_s: Seconds per sample of that fit.
        affine_r2: Its share of explained variance.
        calibrated_on: In words, what the drift was learned from.
        conformal_log_half_width: Half-width by past errors alone, once there are enough of them; else None.
        prior_drift_log_sd: The drift that this benchmark alone suggested, before past runs had their say.
        caveats: What the fit noticed.
    """

    method: Method
    mode: Literal["whole", "truncated", "cached", "seed"]
    sample_count: int
    steps_per_epoch: int
    one_off_s: float
    first_epoch_s: float
    epoch_s: float
    overhead_s: float = 0.0
    step_s: float = 0.0
    noise_log_sd: float = 0.0
    correlation_factor: float = 1.0
    block_count: int = 0
    block_s: float = 0.5
    drift_log_sd: float = 0.0
    structure_log_sd: float = 0.0
    degrees_of_freedom: float = 10.0
    t_quantile: float = 1.959963984540054
    bias_log: float = 0.0
    seed_warm_up_s: tuple[float, ...] = ()
    seed_sigma_s: float = 0.0
    spearman_rho: float | None = None
    affine_intercept_s: float | None = None
    affine_slope_s: float | None = None
    affine_r2: float | None = None
    calibrated_on: str = ""
    conformal_log_half_width: float | None = None
    prior_drift_log_sd: float = 0.0
    caveats: tuple[Caveat, ...] = ()


def fit_log(log: BenchmarkLog, workload: Workload, *, drift: Drift | None = None) -> ScalingFit:
    """The fit of a log, by the formulas of the method that made it.

    Args:
        log: What a benchmark measured.
        workload: The plan it is for.
        drift: The machine's drift as finished runs taught it; the prior when None. ``seed`` knows no drift.
    """
    # Fits need quantiles of scipy, which a light reader of fits does not have.
    if log.method == "seed":
        from greenlove_mlflow.core.timing.original_fit import fit_seed

        return fit_seed(log, workload)
    from greenlove_mlflow.core.timing.adaptive_fit import fit_adaptive

    return fit_adaptive(log, workload, drift=drift)


def predict_time_s(fit: ScalingFit, workload: Workload) -> Interval:
    """Seconds the planned training takes, validation and other stated extras included.

    The range holds the total of the training 95 % of the time. What one benchmark measured as a rate carries its
    relative error; the one-off cost carries an error of its own; seconds that the caller gave are taken as exact.
    """
    scale = workload.sample_count / fit.sample_count
    passes = workload.epoch_count // workload.validation_every_epochs
    given_s = workload.one_off_s + workload.epoch_count * workload.extra_per_epoch_s
    if fit.method == "seed":
        return _predict_seed_s(fit, workload, scale).shifted(given_s + passes * workload.validation_s)
    growing_s = (fit.epoch_s - fit.overhead_s) * scale + fit.overhead_s
    first_s = (fit.first_epoch_s - fit.overhead_s) * scale + fit.overhead_s
    later_count = max(0.0, workload.epoch_count - 1)
    rate_s = first_s * min(1.0, workload.epoch_count) + later_count * growing_s + passes * workload.validation_s
    log_half_width = fit.conformal_log_half_width or fit.t_quantile * rate_log_sd(fit, rate_s)
    running = Interval.from_log_width(rate_s * math.exp(fit.bias_log), log_half_width)
    if fit.one_off_s > 0.0:
        running = total(running, Interval.from_log_width(fit.one_off_s, ONE_OFF_LOG_HALF_WIDTH))
    return running.shifted(given_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeParts:
    """What the seconds of a planned training are spent on; together its predicted time.

    Args:
        steps_s: Training steps, fetching their batches included.
        validation_s: Validation passes.
        fixed_s: What no board makes faster: compilation, a cold cache, workers starting, stated extras.
    """

    steps_s: float
    validation_s: float
    fixed_s: float

    @property
    def total_s(self) -> float:
        """All of them."""
        return self.steps_s + self.validation_s + self.fixed_s


def time_parts(fit: ScalingFit, workload: Workload) -> TimeParts:
    """The point of ``predict_time_s`` taken apart; for ``seed``, which scales the whole time, all of it steps."""
    scale = workload.sample_count / fit.sample_count
    validation_s = (workload.epoch_count // workload.validation_every_epochs) * workload.validation_s
    given_s = workload.one_off_s + workload.epoch_count * workload.extra_per_epoch_s
    if fit.method == "seed":
        return TimeParts(
            steps_s=_predict_seed_s(fit, workload, scale).point + given_s + validation_s, validation_s=0.0, fixed_s=0.0
        )
    growing_s, first_s = fit.epoch_s - fit.overhead_s, fit.first_epoch_s - fit.overhead_s
    steady_s = min(first_s, growing_s) + (workload.epoch_count - 1) * growing_s
    beside_s = max(0.0, first_s - growing_s) * scale + workload.epoch_count * fit.overhead_s
    bias = math.exp(fit.bias_log)
    return TimeParts(
        steps_s=steady_s * scale * bias,
        validation_s=validation_s * bias,
        fixed_s=beside_s * bias + max(0.0, fit.one_off_s) + given_s,
    )


def rate_log_sd(fit: ScalingFit, duration_s: float) -> float:
    """SD of the log of ``duration_s`` seconds of steady training: fast noise, slow drift and what is extrapolated."""
    future_blocks = max(1.0, duration_s / fit.block_s)
    fast = fit.noise_log_sd**2 * fit.correlation_factor * (1.0 / max(1, fit.block_count) + 1.0 / future_blocks)
    return math.sqrt(fast + fit.drift_log_sd**2 + fit.structure_log_sd**2)


def _predict_seed_s(fit: ScalingFit, workload: Workload, scale: float) -> Interval:
    """The original's total and range: warm-up epochs apart, ``+- 1.96 sqrt(B) sigma`` about the rest."""
    epochs = workload.epoch_count
    warm_up = fit.seed_warm_up_s[: math.ceil(epochs)]
    point_s = (math.fsum(warm_up) + (epochs - len(warm_up)) * fit.epoch_s) * scale
    half_s = NORMAL_QUANTILE_95 * math.sqrt(epochs) * fit.seed_sigma_s * scale
    return Interval(point=point_s, low=max(0.0, point_s - half_s), high=point_s + half_s)
