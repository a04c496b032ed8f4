"""The two fits that predict the time of a planned run from a benchmark log: adaptive and the original's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval, total
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.workload import Workload

if TYPE_CHECKING:
    pass

# Compiling or tuning again takes about as long, not exactly as long.
ONE_OFF_LOG_HALF_WIDTH = 0.5
# A single epoch says little about the next ones: its SD on the log scale.
LONE_EPOCH_LOG_SD = 0.3

Mode = Literal["whole", "truncated", "cached"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeParts:
    """The parts of a planned run's predicted time.

    Args:
        steps_s: Seconds of training steps, including fetching their batches.
        validation_s: Seconds of validation passes.
        fixed_s: Seconds that no board speeds up: compilation, a cold cache, worker startup, stated extras.
    """

    steps_s: float
    validation_s: float
    fixed_s: float

    @property
    def total_s(self) -> float:
        """The sum of the parts, seconds."""
        return self.steps_s + self.validation_s + self.fixed_s


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveFit:
    """The fit of an adaptive benchmark's log: enough to predict any workload, small enough for a tag.

    ``T = one_off_s + first_epoch_s + (epochs - 1) * epoch_s``.

    Args:
        method: Which formulas were used.
        mode: Whether whole epochs were timed, or truncated ones, or a cache made the first epoch slower.
        sample_count: Samples of the epoch it predicts.
        steps_per_epoch: Batches of that epoch.
        one_off_s: One-off cost: compilation, autotuning, lazy initialisation, seconds.
        first_epoch_s: The first epoch without the one-off cost, seconds.
        epoch_s: Any later epoch, seconds.
        overhead_s: Part of an epoch that does not grow with its steps (worker startup), seconds.
        step_s: Mean step, including fetching its batch, seconds.
        noise_log_sd: SD of the log cost of a block (s).
        correlation_factor: How many blocks carry the information of one (kappa).
        block_count: Blocks measured (m).
        block_s: Mean length of a block, seconds.
        drift_log_sd: Slow drift of the machine that a short benchmark cannot see (sigma_sys).
        structure_log_sd: Extrapolation error of the benchmark's plan (delta).
        degrees_of_freedom: Degrees of freedom of the t distribution (nu).
        t_quantile: Its 97.5% quantile, kept so that a light reader needs no quantile function.
        bias_log: Added to log time: learned from finished runs where significant, else the prior's.
        spearman_rho: Rank correlation of size and time; None with fewer than three sizes.
        affine_intercept_s: Intercept of epoch time on samples; None without the scaling diagnostic.
        affine_slope_s: Seconds per sample of that fit.
        affine_r2: Its share of explained variance.
        calibrated_on: Text on what the drift was learned from.
        conformal_log_half_width: Half-width from past errors alone, once there are enough of them; else None.
        prior_drift_log_sd: The drift suggested by this benchmark alone, before past runs are taken into account.
        contention_share: Share of the timed passes in which the training was ready to run but others ran, 0 to 1.
        caveats: Caveats found by the fit.
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
    contention_share: float = 0.0
    caveats: tuple[Caveat, ...] = ()

    def predict(self, workload: Workload) -> Interval:
        """Seconds of the planned run, including validation and other stated extras.

        The range holds the actual total 95% of the time. Measured rates carry their relative error, the one-off cost
        has an error of its own, and seconds stated by the caller are taken as exact.
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
        """The point of ``predict``, split into parts."""
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
    """The fit of an original benchmark's log, by the original's formulas.

    Args:
        method: Which formulas were used; always written, so that a reader can distinguish the two fits.
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

    # Unknown to the original; neutral constants, so that both fits can share formulas.
    one_off_s: ClassVar[float] = 0.0
    overhead_s: ClassVar[float] = 0.0
    step_s: ClassVar[float] = 0.0
    noise_log_sd: ClassVar[float] = 0.0
    correlation_factor: ClassVar[float] = 1.0
    block_count: ClassVar[int] = 0
    block_s: ClassVar[float] = 0.5
    drift_log_sd: ClassVar[float] = 0.0
    structure_log_sd: ClassVar[float] = 0.0
    degrees_of_freedom: ClassVar[float] = 1e6
    t_quantile: ClassVar[float] = NORMAL_QUANTILE_95
    bias_log: ClassVar[float] = 0.0
    calibrated_on: ClassVar[str] = ""
    conformal_log_half_width: ClassVar[float | None] = None
    contention_share: ClassVar[float] = 0.0

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
        """The original's total and range, seconds: warm-up epochs apart, ``+- 1.96 sqrt(B) sigma`` for the rest."""
        scale = workload.sample_count / self.sample_count
        epochs = workload.epoch_count
        warm_up = self.warm_up_s[: math.ceil(epochs)]
        point_s = (math.fsum(warm_up) + (epochs - len(warm_up)) * self.epoch_s) * scale
        half_s = NORMAL_QUANTILE_95 * math.sqrt(epochs) * self.sigma_s * scale
        whole = Interval(point=point_s, low=max(0.0, point_s - half_s), high=point_s + half_s)
        return whole.shifted(_given_s(workload) + _validation_s(workload))

    def parts(self, workload: Workload) -> TimeParts:
        """The parts, with all of the time as steps: the original scales the whole time."""
        return TimeParts(steps_s=self.predict(workload).point, validation_s=0.0, fixed_s=0.0)

    @property
    def first_epoch_s(self) -> float:
        """Seconds of the first epoch, which the original treats like any other."""
        return self.epoch_s

    def rate_log_sd(self, duration_s: float) -> float:
        """0, as the original states a range for the whole run only."""
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
