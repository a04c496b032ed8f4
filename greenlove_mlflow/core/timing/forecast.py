"""The forecast of a run's total time from its finished epochs.

The pace of the remaining epochs is that of the recent ones combined with the estimate, weighted by precision; an
estimate that contradicts the observed pace loses weight. Elapsed time is exact, so the range shrinks to a point.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.timing.fit import LONE_EPOCH_LOG_SD, Fit
from greenlove_mlflow.core.workload import Workload

LEVEL = 0.975
LEAST_RECENT_EPOCHS = 3
# More epochs add nothing beyond the machine's drift, and would cost ever more time after each epoch.
MOST_RECENT_EPOCHS = 100
# Epochs of one run differ by a percent even where nothing disturbs them.
LEAST_EPOCH_LOG_SD = 0.01
# How many epochs the scatter that the benchmark suggests is worth: two epochs alone say little about their scatter.
EXPECTED_SCATTER_FREEDOM = 2.0


@dataclass(frozen=True, slots=True)
class _Observed:
    """The recent epochs without validation.

    Args:
        epoch_s: Their mean, seconds.
        log_sd: SD of the log of that mean.
        scatter: SD of the log of a single epoch.
        degrees_of_freedom: Degrees of freedom of the scatter.
    """

    epoch_s: float
    log_sd: float
    scatter: float
    degrees_of_freedom: float


def forecast_total_s(fit: Fit, workload: Workload, epoch_durations_s: Sequence[float], elapsed_s: float) -> Interval:
    """Seconds of the whole run: the elapsed time, plus the remaining epochs at the pace of the recent ones.

    The range holds the total 95% of the time; only the remaining epochs are uncertain, so it shrinks to a point. Their
    mean differs from the true pace by the drift and by their own scatter over the square root of their number.

    Args:
        fit: The fit of the estimate; its drift determines how far the pace may still move.
        workload: The planned run.
        epoch_durations_s: Seconds of each finished epoch, including validation and everything else in it.
        elapsed_s: Seconds since the run began.
    """
    from scipy.special import stdtrit

    done = len(epoch_durations_s)
    left = workload.epoch_count - done
    if done == 0:
        return fit.predict(workload)
    if left <= 0:
        return Interval.exactly(elapsed_s)
    promised_s, promise_sd = fit.pace(workload)
    observed = _observe(fit, workload, epoch_durations_s, promised_s)
    gap = math.log(observed.epoch_s / promised_s)
    doubt = _doubt(gap, promise_sd, observed)
    promise_sd *= doubt
    share = promise_sd**2 / (promise_sd**2 + observed.log_sd**2)
    remaining_s = left * promised_s * math.exp(share * gap)
    remaining_s += _validations(workload, done, workload.epoch_count) * workload.validation_s
    # What follows from the scatter of a few epochs has their degrees of freedom; the rest has those of the fit.
    by_scatter = (share * observed.log_sd) ** 2 + observed.scatter**2 / max(1.0, left)
    # Where promise and epochs contradict each other, either may be wrong: the variance of a mixture of two.
    either = share * (1.0 - share) * gap * gap * (1.0 - 1.0 / doubt)
    by_fit = ((1.0 - share) * promise_sd) ** 2 + fit.drift_log_sd**2 + either
    freedom = (by_scatter + by_fit) ** 2 / (
        by_scatter**2 / observed.degrees_of_freedom + by_fit**2 / fit.degrees_of_freedom
    )
    log_half_width = float(stdtrit(freedom, LEVEL)) * math.sqrt(by_scatter + by_fit)
    return Interval.from_log_width(remaining_s, log_half_width).shifted(elapsed_s)


def _observe(fit: Fit, workload: Workload, durations_s: Sequence[float], promised_s: float) -> _Observed:
    done = len(durations_s)
    # The first epoch counts only while there is no other: it pays for cold data, compiling and new workers.
    known = [
        max(1e-9, durations_s[index] - _validations(workload, index, index + 1) * workload.validation_s)
        for index in range(min(max(1, done - MOST_RECENT_EPOCHS), done - 1), done)
    ]
    recent = known[-max(LEAST_RECENT_EPOCHS, done // 2) :]
    mean_s = math.fsum(recent) / len(recent)
    expected = max(LEAST_EPOCH_LOG_SD, fit.noise_log_sd * math.sqrt(fit.correlation_factor * fit.block_s / promised_s))
    # Half the mean square of successive differences is the variance of a series without its drift.
    squares = math.fsum(math.log(later / earlier) ** 2 / 2.0 for earlier, later in itertools.pairwise(known))
    freedom = EXPECTED_SCATTER_FREEDOM + len(known) - 1.0
    scatter = math.sqrt((EXPECTED_SCATTER_FREEDOM * expected**2 + squares) / freedom)
    # The variance of Student's t: a scatter known from few epochs makes their mean less certain.
    log_sd = scatter * math.sqrt((freedom + 2.0) / freedom / len(recent))
    return _Observed(
        epoch_s=mean_s,
        log_sd=LONE_EPOCH_LOG_SD if done == 1 else log_sd,
        scatter=scatter,
        degrees_of_freedom=freedom,
    )


def _doubt(gap: float, promise_sd: float, observed: _Observed) -> float:
    """How many times less certain the promised pace becomes by the epochs that contradict it, at least 1."""
    if observed.log_sd >= LONE_EPOCH_LOG_SD:
        return 1.0
    return max(1.0, gap * gap / (promise_sd**2 + observed.log_sd**2))


def _validations(workload: Workload, start: int, end: float) -> float:
    """Validation passes that follow the epochs from ``start`` up to ``end``."""
    every = workload.validation_every_epochs
    return end // every - start // every
