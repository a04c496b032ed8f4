"""The fits that turn a benchmark log into the time of the planned training: ours, and the original's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval, total
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.workload import Workload

if TYPE_CHECKING:
    pass

# Compiling or tuning once more takes about as long, not just as long.
ONE_OFF_LOG_HALF_WIDTH = 0.5
# One epoch tells little of the next ones: its SD on the log scale.
LONE_EPOCH_LOG_SD = 0.3

Mode = Literal["whole", "truncated", "cached"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveFit:
    """What a log of the adaptive benchmark says about time: enough to predict any plan, small enough for a tag.

    ``T = one_off_s + first_epoch_s + (epochs - 1) * epoch_s``.

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
        spearman_rho: Rank correlation of size and time; None with fewer than three sizes.
        affine_intercept_s: Intercept of epoch time on samples; None without the scaling diagnostic.
        affine_slope_s: Seconds per sample of that fit.
        affine_r2: Its share of explained variance.
        calibrated_on: In words, what the drift was learned from.
        conformal_log_half_width: Half-width by past errors alone, once there are enough of them; else None.
        prior_drift_log_sd: The drift that this benchmark alone suggested, before past runs had their say.
        caveats: What the fit noticed.
    """

    mode: Mode
    sample_count: int
    steps_per_epoch: int
    one_off_s: float
    first_epoch_s: float
    epoch_s: float
    method: Literal["adaptive"] = "adaptive"
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
    spearman_rho: float | None = None
    affine_intercept_s: float | None = None
    affine_slope_s: float | None = None
    affine_r2: float | None = None
    calibrated_on: str = ""
    conformal_log_half_width: float | None = None
    prior_drift_log_sd: float = 0.0
    caveats: tuple[Caveat, ...] = ()

    def predict(self, workload: Workload) -> Interval:
        """Seconds the planned training takes, validation and other stated extras included.

        The range holds the total of the training 95 % of the time. What one benchmark measured as a rate carries its
        relative error; the one-off cost carries an error of its own; seconds that the caller gave are taken as exact.
        """
        first_s, later_s = self._epochs_s(workload)
        later_count = max(0.0, workload.epoch_count - 1)
        rate_s = first_s * min(1.0, workload.epoch_count) + later_count * later_s + _validation_s(workload)
        log_half_width = self.conformal_log_half_width or self.t_quantile * self.rate_log_sd(rate_s)
        running = Interval.from_log_width(rate_s * math.exp(self.bias_log), log_half_width)
        if self.one_off_s > 0.0:
            running = total(running, Interval.from_log_width(self.one_off_s, ONE_OFF_LOG_HALF_WIDTH))
        return running.shifted(_given_s(workload))

    def parts(self, workload: Workload) -> TimeParts:
        """The point of ``predict`` taken apart."""
        scale = workload.sample_count / self.sample_count
        growing_s, first_s = self.epoch_s - self.overhead_s, self.first_epoch_s - self.overhead_s
        steady_s = min(first_s, growing_s) + (workload.epoch_count - 1) * growing_s
        beside_s = max(0.0, first_s - growing_s) * scale + workload.epoch_count * self.overhead_s
        bias = math.exp(self.bias_log)
        return TimeParts(
            steps_s=steady_s * scale * bias,
            validation_s=_validation_s(workload) * bias,
            fixed_s=beside_s * bias + max(0.0, self.one_off_s) + _given_s(workload),
        )

    def pace(self, workload: Workload) -> tuple[float, float]:
        """One epoch without validation, seconds, and the SD of its logarithm."""
        _, later_s = self._epochs_s(workload)
        return later_s * math.exp(self.bias_log) + workload.extra_per_epoch_s, self.rate_log_sd(later_s)

    def rate_log_sd(self, duration_s: float) -> float:
        """SD of the log of ``duration_s`` seconds of steady training: fast noise, slow drift, what is extrapolated."""
        future_blocks = max(1.0, duration_s / self.block_s)
        fast = self.noise_log_sd**2 * self.correlation_factor * (1.0 / max(1, self.block_count) + 1.0 / future_blocks)
        return math.sqrt(fast + self.drift_log_sd**2 + self.structure_log_sd**2)

    def _epochs_s(self, workload: Workload) -> tuple[float, float]:
        """The first epoch and a later one of the planned size, seconds."""
        scale = workload.sample_count / self.sample_count
        first_s, later_s = (
            (epoch_s - self.overhead_s) * scale + self.overhead_s for epoch_s in (self.first_epoch_s, self.epoch_s)
        )
        return first_s, later_s


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalFit:
    """What a log of the original's benchmark says about time, by the original's formulas.

    Args:
        method: Which formulas made it; always written, so that a reader can tell the two fits apart.
        sample_count: Samples of the epoch it predicts.
        steps_per_epoch: Batches of that epoch.
        epoch_s: Mean of the scaled steady epochs, seconds.
        warm_up_s: The scaled warm-up epochs e1, e2, e3, seconds.
        sigma_s: SD of the scaled steady epochs, ddof 1, seconds.
        spearman_rho: Rank correlation of size and time; None with fewer than three sizes.
        affine_intercept_s: Intercept of epoch time on samples; None without the scaling diagnostic.
        affine_slope_s: Seconds per sample of that fit.
        affine_r2: Its share of explained variance.
        caveats: What the fit noticed.
    """

    # What the original does not know; as constants they leave the formulas that both fits share as they are.
    one_off_s: ClassVar[float] = 0.0
    overhead_s: ClassVar[float] = 0.0
    step_s: ClassVar[float] = 0.0
    noise_log_sd: ClassVar[float] = 0.0
    correlation_factor: ClassVar[float] = 1.0
    block_count: ClassVar[int] = 0
    block_s: ClassVar[float] = 0.5
    drift_log_sd: ClassVar[float] = 0.0
    structure_log_sd: ClassVar[float] = 0.0
    t_quantile: ClassVar[float] = NORMAL_QUANTILE_95
    bias_log: ClassVar[float] = 0.0
    calibrated_on: ClassVar[str] = ""
    conformal_log_half_width: ClassVar[float | None] = None

    method: Literal["original"]
    sample_count: int
    steps_per_epoch: int
    epoch_s: float
    warm_up_s: tuple[float, ...] = ()
    sigma_s: float = 0.0
    spearman_rho: float | None = None
    affine_intercept_s: float | None = None
    affine_slope_s: float | None = None
    affine_r2: float | None = None
    caveats: tuple[Caveat, ...] = ()

    def predict(self, workload: Workload) -> Interval:
        """The original's total and range: warm-up epochs apart, ``+- 1.96 sqrt(B) sigma`` about the rest, seconds."""
        scale = workload.sample_count / self.sample_count
        epochs = workload.epoch_count
        warm_up = self.warm_up_s[: math.ceil(epochs)]
        point_s = (math.fsum(warm_up) + (epochs - len(warm_up)) * self.epoch_s) * scale
        half_s = NORMAL_QUANTILE_95 * math.sqrt(epochs) * self.sigma_s * scale
        whole = Interval(point=point_s, low=max(0.0, point_s - half_s), high=point_s + half_s)
        return whole.shifted(_given_s(workload) + _validation_s(workload))

    def parts(self, workload: Workload) -> TimeParts:
        """All of the time counts as steps: the original scales the whole of it."""
        return TimeParts(steps_s=self.predict(workload).point, validation_s=0.0, fixed_s=0.0)

    @property
    def first_epoch_s(self) -> float:
        """The first epoch is as long as any other, seconds."""
        return self.epoch_s

    def rate_log_sd(self, duration_s: float) -> float:
        """0: the original states a range for the whole training alone."""
        del duration_s
        return 0.0

    def pace(self, workload: Workload) -> tuple[float, float]:
        """One epoch without validation, seconds, and the SD of its logarithm."""
        return self.epoch_s * workload.sample_count / self.sample_count + workload.extra_per_epoch_s, LONE_EPOCH_LOG_SD


Fit = AdaptiveFit | OriginalFit


def _validation_s(workload: Workload) -> float:
    return (workload.epoch_count // workload.validation_every_epochs) * workload.validation_s


def _given_s(workload: Workload) -> float:
    return workload.one_off_s + workload.epoch_count * workload.extra_per_epoch_s
