"""The total of a training forecast again from the epochs that are done."""

from __future__ import annotations

import math
from collections.abc import Sequence

from greenlove_mlflow.core.estimate import Workload
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.scaling import ScalingFit, predict_time_s, rate_log_sd

LEAST_RECENT_EPOCHS = 3


def forecast_total_s(
    fit: ScalingFit, workload: Workload, epoch_durations_s: Sequence[float], elapsed_s: float
) -> Interval:
    """Seconds of the whole training: what has passed, and the epochs to come at the pace of the recent ones.

    The range holds the total 95 % of the time; only the epochs to come are uncertain, so it shrinks to a point.

    Args:
        fit: The promise; its drift says how far the pace may still move.
        workload: The plan.
        epoch_durations_s: Seconds of each finished epoch, all that an epoch takes included.
        elapsed_s: Seconds since the training began.
    """
    done = len(epoch_durations_s)
    left = workload.epoch_count - done
    if done == 0:
        return predict_time_s(fit, workload)
    if left <= 0:
        return Interval.exactly(elapsed_s)
    recent = epoch_durations_s[-max(LEAST_RECENT_EPOCHS, done // 2) :]
    if len(recent) > 1 and done <= LEAST_RECENT_EPOCHS:
        recent = recent[1:]  # the first epoch pays for compiling and cold data
    remaining_s = left * math.fsum(recent) / len(recent)
    log_half_width = fit.t_quantile * rate_log_sd(fit, remaining_s)
    return Interval.from_log_width(remaining_s, log_half_width).shifted(elapsed_s)
