"""The forecast of a run's total time from its finished epochs.

The pace of the remaining epochs is that of the recent ones combined with the estimate, weighted by precision; an
estimate that contradicts the observed pace loses weight. Elapsed time is exact, so the range shrinks to a point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.timing.fit import LONE_EPOCH_LOG_SD, Fit
from greenlove_mlflow.core.workload import Workload

LEAST_RECENT_EPOCHS = 3
# More epochs add nothing beyond the machine's drift, and would cost ever more time after each epoch.
MOST_RECENT_EPOCHS = 100
# Epochs of one run differ by a percent even where nothing disturbs them.
LEAST_EPOCH_LOG_SD = 0.01
# A first epoch pays for cold data, compiling and new workers; it says little about the others.


def forecast_total_s(fit: Fit, workload: Workload, epoch_durations_s: Sequence[float], elapsed_s: float) -> Interval:
    """Seconds of the whole run: the elapsed time, plus the remaining epochs at the pace of the recent ones.

    The range holds the total 95 % of the time; only the remaining epochs are uncertain, so it shrinks to a point.

    Args:
        fit: The fit of the estimate; its drift determines how far the pace may still move.
        workload: The planned run.
        epoch_durations_s: Seconds of each finished epoch, including validation and everything else in it.
        elapsed_s: Seconds since the run began.
    """
    done = len(epoch_durations_s)
    left = workload.epoch_count - done
    if done == 0:
        return fit.predict(workload)
    if left <= 0:
        return Interval.exactly(elapsed_s)
    promised_s, promise_sd = fit.pace(workload)
    observed_s, observed_sd = _observed_epoch_s(workload, epoch_durations_s)
    pace_s, pace_sd = _mix(promised_s, promise_sd, observed_s, observed_sd)
    remaining_s = left * pace_s + _validations(workload, done, workload.epoch_count) * workload.validation_s
    log_half_width = fit.t_quantile * math.hypot(pace_sd, fit.drift_log_sd)
    return Interval.from_log_width(remaining_s, log_half_width).shifted(elapsed_s)


def _observed_epoch_s(workload: Workload, durations_s: Sequence[float]) -> tuple[float, float]:
    """One recent epoch without validation, seconds, and the SD of the log of that mean."""
    done = len(durations_s)
    count = min(max(LEAST_RECENT_EPOCHS, done // 2), MOST_RECENT_EPOCHS)
    # The first epoch counts only while there is no other.
    recent = [
        max(1e-9, durations_s[index] - _validations(workload, index, index + 1) * workload.validation_s)
        for index in range(min(max(1, done - count), done - 1), done)
    ]
    if done == 1:
        return recent[0], LONE_EPOCH_LOG_SD
    mean_s = math.fsum(recent) / len(recent)
    spread = math.sqrt(math.fsum((value / mean_s - 1.0) ** 2 for value in recent) / max(1, len(recent) - 1))
    return mean_s, max(LEAST_EPOCH_LOG_SD, spread) / math.sqrt(len(recent))


def _mix(promised_s: float, promise_sd: float, observed_s: float, observed_sd: float) -> tuple[float, float]:
    """Precision-weighted mean on the log scale and its SD; a contradicted estimate weighs less."""
    gap = math.log(observed_s / promised_s)
    contradiction = gap * gap / (promise_sd**2 + observed_sd**2) if observed_sd < LONE_EPOCH_LOG_SD else 1.0
    promise_weight = 1.0 / (promise_sd**2 * max(1.0, contradiction**2))
    observed_weight = 1.0 / observed_sd**2
    share = observed_weight / (observed_weight + promise_weight)
    return promised_s * math.exp(share * gap), 1.0 / math.sqrt(observed_weight + promise_weight)


def _validations(workload: Workload, start: int, end: float) -> float:
    """Validation passes that follow the epochs from ``start`` up to ``end``."""
    every = workload.validation_every_epochs
    return end // every - start // every
