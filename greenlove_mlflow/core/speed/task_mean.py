"""Prediction of the log ratio of an unpublished workload from published tasks (universal kriging).

Tasks are correlated within groups, so the best prediction weights the workload's own group more the more the groups
differ, and near-duplicates do not count twice. Its range is that of a new workload, not of the mean.

Source: best linear unbiased prediction with an unknown mean (universal kriging), e.g. Cressie, RunFacts for Spatial
Data, section 3.4; the scale by a scaled inverse chi-squared prior, which gives a t distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenlove_mlflow.core.speed.model import TaskModel, group_of_task
from greenlove_mlflow.core.speed.published import LogRatio


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A log ratio, its SD, and the degrees of freedom of its t distribution."""

    log_ratio: float
    log_sd: float
    degrees_of_freedom: float

    def log_half_width(self, extra_log_sd: float = 0.0) -> float:
        """Half-width of the 95 % range on the log scale, with an additional independent SD."""
        return t_quantile_975(self.degrees_of_freedom) * math.hypot(self.log_sd, extra_log_sd)


def predict_new_workload(
    found: Sequence[LogRatio], model: TaskModel, *, group: str | None = None, log_memory_ratio: float = 0.0
) -> Prediction:
    """The log ratio of a new workload, from the published tasks of two GPUs.

    Args:
        found: Published log ratios, one per task, at least one.
        model: The task model.
        group: The group of tasks that the workload belongs to; None for any.
        log_memory_ratio: Log of the offer's memory over home's; 0 when unknown.
    """
    groups = [group_of_task(each.task) for each in found]
    logs = np.array([each.log_ratio for each in found])
    least_variance = max(model.prior_log_sd(0.0, log_memory_ratio) ** 2, 1e-6)
    shared = model.group_variance * np.array([[float(one == two) for two in groups] for one in groups])
    # The SD of a bridge is absolute; the prior's scale converts it to the model's units.
    own = [model.noise_of(each.task) + each.bridge_log_sd**2 / least_variance for each in found]
    inverse = np.linalg.inv(shared + np.diag(own))
    weights = inverse.sum(axis=0)
    precision = float(weights.sum())
    mean = float(weights @ logs) / precision
    residual = logs - mean
    prior = model.prior_log_sd(mean, log_memory_ratio) ** 2
    freedom = len(logs) - 1
    squares = float(residual @ inverse @ residual)
    scale = (model.prior_weight * prior + squares) / (model.prior_weight + freedom)
    towards = model.group_variance * np.array([float(each == group) for each in groups])
    log_ratio = mean + float(towards @ inverse @ residual)
    left = model.group_variance + 1.0 - float(towards @ inverse @ towards)
    left += (1.0 - float(towards @ weights)) ** 2 / precision
    return Prediction(
        log_ratio=log_ratio,
        log_sd=math.sqrt(scale * left),
        degrees_of_freedom=model.prior_weight + freedom,
    )


def t_quantile_975(degrees_of_freedom: float) -> float:
    """The 97.5 % quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, 0.975))
