"""The original's benchmark: a representative size by exploration, then a grid of sizes around it.

Source: the original's README, "Choosing a Representative Sample Size" and "Sampling Strategy". Where it is silent:
0.3 s is the total of an exploratory run; sizes lie between one batch and all samples; reaching all samples, or the
smallest size at which no epoch finishes, ends exploration; the whole benchmark ends after 90 s.
"""

from __future__ import annotations

import time

from greenlove_mlflow.benchmark.passes import Limit
from greenlove_mlflow.benchmark.session import Session
from greenlove_mlflow.core.records import Phase


def run_original(session: Session) -> str:
    """Run the original's benchmark; return ``complete`` if the grid was walked to both ends, else ``cap``."""
    return _Seed(session).run()


class _Seed:
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
