"""Another plan for the same training: more epochs, other data of the same kind."""

from __future__ import annotations

import dataclasses
import math

from greenlove_mlflow.core.estimate import Workload


def replan(workload: Workload, *, epoch_count: int | None = None, sample_count: int | None = None) -> Workload:
    """The workload with another number of epochs or samples; batches, validation and extras stay as they are.

    A last short batch is dropped or kept as it was; a loader whose steps follow another rule keeps its steps per
    sample.

    Args:
        workload: The plan to start from.
        epoch_count: Epochs, at least 1; unchanged when None.
        sample_count: Samples in one epoch, at least 1; unchanged when None.

    Raises:
        InvalidInputError: If a count is below 1.

    >>> plan = Workload(sample_count=100, batch_size=32, epoch_count=5, steps_per_epoch=3)
    >>> replan(plan, sample_count=1000).steps_per_epoch
    31
    """
    samples = workload.sample_count if sample_count is None else sample_count
    epochs = workload.epoch_count if epoch_count is None else epoch_count
    steps = workload.steps_per_epoch if samples == workload.sample_count else _steps(workload, samples)
    return dataclasses.replace(workload, epoch_count=epochs, sample_count=samples, steps_per_epoch=steps)


def _steps(workload: Workload, sample_count: int) -> int:
    whole = workload.sample_count / workload.batch_size
    if workload.steps_per_epoch == math.ceil(whole):
        return math.ceil(sample_count / workload.batch_size)
    if workload.steps_per_epoch == math.floor(whole):
        return max(1, sample_count // workload.batch_size)
    return max(1, math.ceil(sample_count * workload.steps_per_epoch / workload.sample_count))
