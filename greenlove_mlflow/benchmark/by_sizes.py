"""Benchmarks by whole epochs of growing sizes: of an ``EpochRunner``, and by the original's method.

runner = CallableRunner(lambda count: forest.fit(x[:count], y[:count]), sample_count=len(x))
log = run_benchmark(runner, BenchmarkPlan(epoch_count=1))

The original explores a representative size and times a grid of sizes around it. Source: the original's README,
"Choosing a Representative Sample Size" and "Sampling Strategy". Where it is silent: 0.3 s is the total of an
exploratory run; sizes lie between one batch and all samples; reaching all samples, or the smallest size at which no
epoch finishes, ends exploration; the whole benchmark ends after 90 s.
"""

from __future__ import annotations

import math
import time

from greenlove_mlflow.benchmark.passes import Limit, Pass
from greenlove_mlflow.benchmark.session import DEFAULT_BUDGET_S, HARD_CAP_S, Session
from greenlove_mlflow.core.records import Phase
from greenlove_mlflow.core.timing.adaptive_fit import is_precise

# Exploration starts with this share of the data, and grows by at most this factor from one size to the next.
FIRST_SHARE = 0.01
LARGEST_GROWTH = 4.0
# A whole epoch is timed if it fits this many times into the budget.
EPOCHS_IN_BUDGET = 4
SIZE_SHARES = (0.25, 0.5)


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


def run_original(session: Session) -> str:
    """Run the original's benchmark; return ``complete`` if the grid was walked to both ends, else ``cap``."""
    return _Original(session).run()


class _Original:
    """Exploration and grid of one benchmark, by the original's rules."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.plan = session.plan
        self.most = session.feed.sample_count
        self.least = min(session.feed.batch_size, self.most)
        self.deadline_s = session.begun_s + self.plan.cap_s
        session.planned_s = self.plan.cap_s

    def run(self) -> str:
        size = self._explore()
        total_s = self._run_size(size)
        if total_s is None or not self._walk(size, total_s, self.plan.growth):
            return "cap"
        return "complete" if self._walk(size, total_s, 1.0 / self.plan.growth) else "cap"

    def _explore(self) -> int:
        """Find the representative size."""
        size = max(self.least, min(self.plan.initial_sample_count, self.most))
        while True:
            completed, total_s = self._explore_once(size)
            if completed == 0:
                smaller = max(self.least, size // 10)
                if smaller == size or self._is_late():
                    return size
                size = smaller
            elif completed < self.plan.exploration_epoch_count:
                return min(size * completed, self.most)
            else:
                larger = int(size * self.plan.target_benchmark_s / max(total_s, 1e-9))
                if larger >= self.most or self._is_late():
                    return min(max(larger, self.least), self.most)
                size = max(larger, self.least)

    def _explore_once(self, size: int) -> tuple[int, float]:
        """Epochs completed within the exploration budget, and the seconds they took."""
        begun_s = time.perf_counter()
        until_s = begun_s + self.plan.exploration_budget_s
        for completed in range(self.plan.exploration_epoch_count):
            finished = self._run_epoch("exploration", size, until_s)
            now_s = time.perf_counter()
            if not finished or now_s > until_s:
                return completed, now_s - begun_s
        return self.plan.exploration_epoch_count, time.perf_counter() - begun_s

    def _walk(self, size: int, total_s: float, factor: float) -> bool:
        """Run ever larger or smaller sizes until a duration is out of range; return whether the cap allowed it."""
        growing, start, power = factor > 1.0, size, 1
        while self.plan.shortest_run_s <= total_s if not growing else total_s <= self.plan.longest_run_s:
            following = int(start * factor**power) if growing else int(start / self.plan.growth**power)
            following = min(self.most, max(self.least, following))
            if following == size:
                return True
            size, power = following, power + 1
            run_s = self._run_size(size)
            if run_s is None:
                return False
            total_s = run_s
        return True

    def _run_size(self, size: int) -> float | None:
        """Seconds of all epochs at one size; None if the cap cut them short."""
        begun_s = time.perf_counter()
        for epoch in range(self.plan.exploration_epoch_count):
            phase: Phase = "warm-up" if epoch < self.plan.warm_up_epoch_count else "steady"
            # The very first epoch is run to its end: without any record there would be nothing to estimate from.
            until_s = self.deadline_s if self._has_whole_record() else float("inf")
            if not self._run_epoch(phase, size, until_s):
                return None
            if self._is_late():
                return None
        return time.perf_counter() - begun_s

    def _run_epoch(self, phase: Phase, size: int, until_s: float) -> bool:
        """Run an epoch over ``size`` samples; return whether it finished."""
        feed = self.session.feed
        size = self._without_lone_sample(size)
        part = None if size >= self.most else feed.part(size, seed=self.plan.seed)
        steps = -(-size // feed.batch_size) if size < self.most else self.plan.steps_per_epoch
        limit = Limit(until_s=until_s, whole_step_count=steps if part is None else None)
        return self.session.run(phase, limit, batches=part, sample_count=size).whole

    def _without_lone_sample(self, size: int) -> int:
        """The size, avoiding a last batch of one sample (which cannot be normalised) unless training itself has one."""
        batch_size = self.session.feed.batch_size
        is_lone = size > batch_size > 1 and size % batch_size == 1
        return size - 1 if is_lone and self.most % batch_size != 1 else size

    def _has_whole_record(self) -> bool:
        return any(record.whole for record in self.session.epochs)

    def _is_late(self) -> bool:
        return time.perf_counter() >= self.deadline_s
