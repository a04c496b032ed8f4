"""BenchmarkPlan: how a run is benchmarked; one frozen record for both methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from greenlove_mlflow.core.records import Method
from greenlove_mlflow.core.timing.timeline import KernelFactors
from greenlove_mlflow.errors import InvalidInputError

DEFAULT_BATCH_SIZE = 64
# On a quiet machine 5 s already meet the goals and 20 s add nothing; with first contact the total is 12 s.
DEFAULT_BUDGET_S = 11.5
# With worker startup and steps longer than a second, 12 s hold too few independent blocks.
SLOW_BUDGET_S = 20.0
SLOW_STEP_S = 1.0
# Hard limit on the wait for an answer, counted from the end of the first step.
HARD_CAP_S = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkPlan:
    """How long and by which rules a run is benchmarked.

    Args:
        method: ``adaptive``, or ``original`` for the original's exploration and grid of sizes.
        epoch_count: Epochs of the full run, at least 1.
        batch_size: Samples in a batch if the data is a dataset; with a loader it must equal the loader's.
        steps_per_epoch: Batches in an epoch, for data without a length.
        budget_s: Maximum seconds of timed passes; None uses the plan's default.
        kernel_factors: Factors from operators to kernels; without them no step is profiled.
        driver_subscriber: Name of a tool already subscribed to the GPU driver, so that no trace can be taken.
        seed: Seed for choosing samples when part of the data is timed.
        exploration_epoch_count: ``original``: epochs at each size.
        warm_up_epoch_count: ``original``: how many of them are modelled separately.
        target_benchmark_s: ``original``: seconds that the representative size should take.
        initial_sample_count: ``original``: size at which exploration starts.
        exploration_budget_s: ``original``: maximum total seconds of one exploratory run.
        growth: ``original``: ratio of neighbouring sizes.
        longest_run_s: ``original``: sizes grow until a run takes longer than this.
        shortest_run_s: ``original``: sizes shrink until a run takes less than this.
        cap_s: ``original``: hard cap of the whole benchmark.
    """

    method: Method = "adaptive"
    epoch_count: int = 1
    batch_size: int | None = None
    steps_per_epoch: int | None = None
    budget_s: float | None = None
    kernel_factors: KernelFactors | None = None
    driver_subscriber: str | None = None
    seed: int = 0
    exploration_epoch_count: int = 30
    warm_up_epoch_count: int = 3
    target_benchmark_s: float = 10.0
    initial_sample_count: int = 1000
    exploration_budget_s: float = 0.3
    growth: float = 1.5
    longest_run_s: float = 20.0
    shortest_run_s: float = 1.0
    cap_s: float = 90.0

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise InvalidInputError(f"method must be one of {', '.join(get_args(Method))}, got {self.method!r}")
        for name in ("epoch_count", "exploration_epoch_count", "initial_sample_count"):
            _check_whole(name, getattr(self, name), 1)
        _check_whole("warm_up_epoch_count", self.warm_up_epoch_count, 0)
        for name in ("batch_size", "steps_per_epoch"):
            if getattr(self, name) is not None:
                _check_whole(name, getattr(self, name), 1)
        for name in ("target_benchmark_s", "exploration_budget_s", "longest_run_s", "shortest_run_s", "cap_s"):
            if not getattr(self, name) > 0.0:
                raise InvalidInputError(f"{name} must be above 0 s, got {getattr(self, name)!r}")
        if self.budget_s is not None and not self.budget_s > 0.0:
            raise InvalidInputError(f"budget_s must be above 0 s, got {self.budget_s!r}")
        if not self.growth > 1.0:
            raise InvalidInputError(f"growth must be above 1, got {self.growth!r}")


def _check_whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInputError(f"{name} must be a whole number of at least {least}, got {value!r}")
