"""EpochRunner: benchmark training without a PyTorch step, in any framework that can run epochs of a given size.

runner = CallableRunner(lambda count: forest.fit(x[:count], y[:count]), sample_count=len(x))
log = run_benchmark(runner, BenchmarkPlan(epoch_count=1))
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from greenlove_mlflow.benchmark.feed import Feed
from greenlove_mlflow.benchmark.passes import Limit, Pass
from greenlove_mlflow.benchmark.session import DEFAULT_BUDGET_S, HARD_CAP_S, BenchmarkPlan, Session
from greenlove_mlflow.core.records import Phase
from greenlove_mlflow.core.timing.adaptive_fit import is_precise
from greenlove_mlflow.errors import InvalidInputError

# Exploration starts with this share of the data, and grows by at most this factor from one size to the next.
FIRST_SHARE = 0.01
LARGEST_GROWTH = 4.0
# A whole epoch is timed if it fits this many times into the budget.
EPOCHS_IN_BUDGET = 4
SIZE_SHARES = (0.25, 0.5)


@runtime_checkable
class EpochRunner(Protocol):
    """Training that can run an epoch over part of its data.

    Attributes:
        sample_count: Samples of a whole epoch.
        batch_size: Samples of one step; 1 where there are no batches.
    """

    sample_count: int
    batch_size: int

    def run_epoch(self, sample_count: int) -> object:
        """Train for one epoch over ``sample_count`` samples; return when it is done."""


@dataclass(slots=True, kw_only=True)
class CallableRunner:
    """A function as an ``EpochRunner``.

    Args:
        run: ``run(sample_count)`` trains for one epoch over that many samples.
        sample_count: Samples of a whole epoch.
        batch_size: Samples of one step; 1 where there are no batches.
    """

    run: Callable[[int], Any]
    sample_count: int
    batch_size: int = 1

    def __post_init__(self) -> None:
        if self.sample_count < 1 or self.batch_size < 1:
            raise InvalidInputError(
                f"a runner needs samples and a batch size of at least 1, got {self.sample_count} and {self.batch_size}"
            )

    def run_epoch(self, sample_count: int) -> Any:
        """Run the function and return its result."""
        return self.run(sample_count)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerFeed(Feed):
    """The feed of a runner: one batch per epoch, which is its number of samples."""

    def part(self, sample_count: int, *, seed: int = 0) -> Any:
        """A feed of that many samples."""
        del seed
        return [sample_count]

    def steps_in(self, step_count: int, sample_count: int) -> int:
        """Steps of the runner's batch size that cover ``sample_count`` samples."""
        del step_count
        return max(1, math.ceil(sample_count / self.batch_size))


def feed_of_runner(runner: EpochRunner, plan: BenchmarkPlan) -> RunnerFeed:
    """The feed of a runner.

    Raises:
        InvalidInputError: If the plan's batch size differs from the runner's.
    """
    if plan.batch_size not in (None, runner.batch_size):
        raise InvalidInputError(f"batch_size={plan.batch_size}, but the runner's own is {runner.batch_size}")
    count = runner.sample_count
    return RunnerFeed(
        loader=[count],
        sample_count=count,
        batch_size=runner.batch_size,
        steps_per_epoch=max(1, math.ceil(count / runner.batch_size)),
    )


def run_by_sizes(session: Session) -> str:
    """Benchmark a runner; return why it stopped: ``complete``, ``precise``, ``budget`` or ``cap``.

    An epoch cannot be cut short, so sizes grow until a whole one fits, or until a larger one would not.
    """
    plan, most = session.plan, session.feed.sample_count
    budget_s = plan.budget_s or DEFAULT_BUDGET_S
    size = max(min(most, session.feed.batch_size), int(most * FIRST_SHARE), 1)
    _time(session, "first-contact", size)
    begun_s = time.perf_counter()
    deadline_s = begun_s + (budget_s if plan.budget_s else min(budget_s, HARD_CAP_S))
    session.planned_s = deadline_s - session.begun_s
    sizes, seconds = [size], [_time(session, "scaling", size).duration_s]
    while sizes[-1] < most:
        size = min(most, max(sizes[-1] + 1, int(sizes[-1] * LARGEST_GROWTH)))
        if seconds[-1] * (size / sizes[-1]) ** _exponent(sizes, seconds) > budget_s / EPOCHS_IN_BUDGET:
            break
        sizes.append(size)
        seconds.append(_time(session, "scaling", size).duration_s)
    return _repeat(session, sizes[-1], seconds[-1], deadline_s)


def _repeat(session: Session, size: int, duration_s: float, deadline_s: float) -> str:
    whole_count = 1 if size == session.feed.sample_count else 0
    smaller = [max(1, int(size * share)) for share in SIZE_SHARES]
    while True:
        if whole_count >= session.plan.epoch_count:
            return "complete"
        if time.perf_counter() + duration_s * (1.0 + sum(SIZE_SHARES)) > deadline_s:
            return "budget"
        duration_s = _time(session, "timed", size).duration_s
        whole_count += size == session.feed.sample_count
        for part in smaller:
            _time(session, "scaling", part)
        if is_precise(session.epochs, session.blocks):
            return "precise"


def _time(session: Session, phase: Phase, size: int) -> Pass:
    return session.run(phase, Limit(), batches=[size], sample_count=size)


def _exponent(sizes: list[int], seconds: list[float]) -> float:
    """Exponent of the growth in time over the last two sizes; at least 1."""
    if len(sizes) < 2:
        return 2.0  # still unknown, and kernel methods are quadratic
    return max(1.0, math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2]))
