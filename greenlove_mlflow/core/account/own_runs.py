"""The speed ratio of two machines from your own runs of the same workload on both."""

from __future__ import annotations

import math

from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval


def is_same_workload(one: RunFacts, other: RunFacts) -> bool:
    """Whether two runs trained the same model structure with the same batch, precision and data shape."""
    return bool(one.workload_fingerprint) and one.workload_fingerprint == other.workload_fingerprint


def measured_ratio(home: RunFacts, other: RunFacts) -> Interval | None:
    """How many times faster the other machine takes a step than home; None for another workload.

    Compares the time per step of a later epoch on each machine. The range combines the noise and the slow drift of both
    benchmarks on the log scale; the spread between two boards of one model is added where the ratio is used.
    """
    if not is_same_workload(home, other):
        return None
    seconds = [each.fit.epoch_s / each.fit.steps_per_epoch for each in (home, other)]
    if min(seconds) <= 0.0:
        return None
    width = NORMAL_QUANTILE_95 * math.hypot(_log_sd(home), _log_sd(other))
    return Interval.from_log_width(seconds[0] / seconds[1], width)


def _log_sd(statistics: RunFacts) -> float:
    fit = statistics.fit
    noise = fit.noise_log_sd * math.sqrt(fit.correlation_factor / max(1, fit.block_count))
    return math.hypot(noise, fit.drift_log_sd)
