"""The fits that turn a benchmark log into the time of the planned training: ``adaptive`` (ours) and ``seed``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from greenlove_mlflow.core.estimate import Caveat, Workload
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.records import Method


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
        bias_log: Correction learned from finished runs, added to log time; 0 when none is significant.
        seed_warm_up_s: ``seed``: the scaled warm-up epochs e1, e2, e3.
        seed_sigma_s: ``seed``: SD of the scaled steady epochs, ddof 1.
        spearman_rho: Rank correlation of size and time; None with fewer than three sizes.
        affine_intercept_s: Intercept of epoch time on samples; None without the scaling diagnostic.
        affine_slope_s: Seconds per sample of that fit.
        affine_r2: Its share of explained variance.
        calibrated_on: In words, what the drift was learned from.
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
    caveats: tuple[Caveat, ...] = ()


def predict_time_s(fit: ScalingFit, workload: Workload) -> Interval:
    """Seconds the planned training takes, validation and other stated extras included."""
    raise NotImplementedError
