"""Adaptive benchmark: runs only as long as more measurements still narrow the estimate."""

from __future__ import annotations

import math
import time
from typing import Any

from greenlove_mlflow.benchmark.feed import Feed
from greenlove_mlflow.benchmark.passes import Limit, Pass
from greenlove_mlflow.benchmark.session import DEFAULT_BUDGET_S, HARD_CAP_S, SLOW_BUDGET_S, SLOW_STEP_S, Session
from greenlove_mlflow.benchmark.subject.profile import profile_cost_s
from greenlove_mlflow.core.timing.adaptive_fit import is_cached, is_precise, later_wait_s, visible_wait_s
from greenlove_mlflow.core.timing.noise import noise_of_blocks

# Steps of the first contact: the first, and at least four more that show the cost of a step after warm-up.
FIRST_STEP_COUNT = 5
FIRST_CONTACT_S = 0.4
REVISIT_S = 0.5
# Minimum total duration of the timed passes, so that ten percent of a short run is always enough to measure.
LEAST_TIMED_S = 3.0
# Shortest steady window that a board's energy counter needs.
LEAST_METERED_S = 5.0
# How far a slow step may exceed its expected duration when it falls into a burst.
STEP_RESERVE_S = 2.0
# Truncated passes: long compared with their startup cost, short enough to stop in time.
LONGEST_TRUNCATED_S = 2.5
# If the machine slows down during the benchmark, the benchmark is extended once.
DRIFT_EXTENSION_S = 10.0
LARGEST_SHARE_OF_TOTAL = 0.10
SCALING_S = 1.0
SCALING_SHARES = (0.25, 0.5, 1.0)
SCALING_REPEATS = 2


def run_adaptive(session: Session, *, reserve_s: float = 0.0) -> str:
    """Run the adaptive benchmark; return why it stopped: ``complete``, ``precise``, ``budget`` or ``cap``.

    Args:
        session: The benchmark to run.
        reserve_s: Seconds of the hard cap to leave for later phases.
    """
    return _Adaptive(session, reserve_s=reserve_s).run()


class _Adaptive:
    """State shared by the phases of one adaptive benchmark."""

    def __init__(self, session: Session, *, reserve_s: float) -> None:
        self.reserve_s = reserve_s
        self.session = session
        self.plan = session.plan
        self.whole_count = 0
        self.extended = False

    @property
    def feed(self) -> Feed:
        """The data, with the epoch length found while running."""
        return self.session.feed

    def run(self) -> str:
        """Run all phases; return why the benchmark stopped."""
        first = self._first_contact()
        if first.whole and self.plan.epoch_count <= self.whole_count:
            return "complete"
        self._set_deadline(first)
        if self._agreed(time.perf_counter() + self.step_s >= self.deadline_s):
            return "cap"
        warm_part = self._probe_revisit(first)
        reason = self._run_timed(warm_part)
        self._run_scaling()
        return reason

    def _first_contact(self) -> Pass:
        first = self.session.run(
            "first-contact",
            Limit(
                beyond_first_s=HARD_CAP_S - self.reserve_s,
                reserve_s=STEP_RESERVE_S,
                enough_step_count=FIRST_STEP_COUNT,
                enough_s=FIRST_CONTACT_S,
                whole_step_count=self.plan.steps_per_epoch,
                each_step_apart=True,
                second_is_run=True,
            ),
        )
        self.whole_count += first.whole
        self.step_s = first.steady_step_s
        self.startup_s = max(0.0, first.blocks[0].data_wait_s - self.step_s) if self.feed.worker_count else 0.0
        return first

    def _set_deadline(self, first: Pass) -> None:
        """Set the clock time at which the benchmark ends: by its budget, and by the cap after the first step."""
        slow = self.feed.worker_count > 0 or self.step_s > SLOW_STEP_S
        self.budget_s = self.plan.budget_s or (SLOW_BUDGET_S if slow else DEFAULT_BUDGET_S)
        self.begun_s = time.perf_counter()
        cap_s = max(HARD_CAP_S, self.budget_s) if self.plan.budget_s else HARD_CAP_S
        profile_s = 0.0 if self.plan.kernel_factors is None else profile_cost_s(self.step_s)
        self.cap_s = first.first_end_s + cap_s - self.reserve_s - profile_s
        self.deadline_s = min(self.begun_s + self.budget_s, self.cap_s)
        self.session.planned_s = self.deadline_s - self.session.begun_s

    def _probe_revisit(self, first: Pass) -> Any:
        """A loader over samples that are cached by now, if the data turns out to be cached; else None."""
        # On several ranks a cached part of the data would be another one on each.
        if first.whole or self.session.agree is not None:
            return None
        count = int(min(max(2.0, REVISIT_S / max(self.step_s, 1e-9)), self.feed.steps_per_epoch))
        part = self.feed.part(count * self.feed.batch_size, seed=self.plan.seed)
        if part is None or time.perf_counter() + 2 * self.startup_s + REVISIT_S > self.deadline_s:
            return None
        samples = min(count * self.feed.batch_size, self.feed.sample_count)
        visits = [self._fetch(part, samples, first) for _ in range(2)]
        seen_share = min(0.9, first.step_count / self.feed.steps_per_epoch)
        if not is_cached(visits[0], visits[1], seen_share=seen_share, step_s=self.step_s):
            return None
        return part, samples

    def _fetch(self, part: Any, samples: int, first: Pass) -> float:
        """Seconds that training would wait for one batch of ``part``; no step is run."""
        done = self.session.run(
            "revisit",
            Limit(until_s=self.deadline_s),
            batches=part,
            sample_count=samples,
            step=lambda _: None,
        )
        wait_s = later_wait_s(done.data_wait_s, done.first_wait_s or 0.0, done.step_count)
        busy_s = self.step_s - later_wait_s(first.data_wait_s, first.first_wait_s or 0.0, first.step_count)
        return visible_wait_s(wait_s, max(0.0, busy_s), self.feed.worker_count)

    def _run_timed(self, warm_part: Any) -> str:
        epoch_s = self.startup_s + self.feed.steps_per_epoch * self.step_s
        whole = warm_part is None and not self._agreed(epoch_s > self.budget_s / 4.0)
        while True:
            self._narrow_deadline()
            now_s = time.perf_counter()
            until_s = self.deadline_s - self._scaling_s()
            if self._agreed(now_s + self._least_pass_s() > until_s):
                if self._extend():
                    continue
                return "cap" if self.deadline_s >= self.cap_s else "budget"  # only a word: ranks may differ
            done = self._time_once(whole, warm_part, until_s)
            self.whole_count += done.whole and warm_part is None
            self._learn(done)
            if self.whole_count >= self.plan.epoch_count:
                return "complete"
            if self._is_precise() and not self._extend():
                return "precise"

    def _time_once(self, whole: bool, warm_part: Any, until_s: float) -> Pass:
        now_s = time.perf_counter()
        left_s = until_s - now_s
        head = self.feed.prefetch_steps + 1
        if whole:
            limit = Limit(
                until_s=until_s,
                reserve_s=STEP_RESERVE_S,
                whole_step_count=self.plan.steps_per_epoch,
                head_step_count=head,
            )
            return self.session.run("timed", limit)
        # Skip the batches prefetched at the start: the first fetches are slower or faster than steady ones.
        length_s = min(max(1.0, left_s / 4.0), LONGEST_TRUNCATED_S) + self.startup_s
        length_s += self.feed.prefetch_steps * self.step_s
        least_s = (head + 1) * self.step_s + self.startup_s
        limit = Limit(
            until_s=min(until_s, now_s + max(length_s, least_s)),
            reserve_s=STEP_RESERVE_S,
            whole_step_count=self.plan.steps_per_epoch,
            head_step_count=head,
        )
        if warm_part is None:
            return self.session.run("timed", limit)
        return self.session.run("timed", limit, batches=warm_part[0], sample_count=warm_part[1])

    def _learn(self, done: Pass) -> None:
        body = [block for block in done.blocks[1:] if not block.is_first_use] or done.blocks
        steps = sum(block.step_count for block in body)
        self.step_s = sum(block.duration_s for block in body) / steps
        head = done.blocks[0]
        self.startup_s = max(0.0, head.duration_s - head.step_count * self.step_s) if len(done.blocks) > 1 else 0.0

    def _narrow_deadline(self) -> None:
        """Limit the benchmark to a tenth of the run's expected duration, once there is enough data to predict it."""
        total_s = self.plan.epoch_count * (self.startup_s + self.feed.steps_per_epoch * self.step_s)
        most_s = max(LEAST_TIMED_S, LARGEST_SHARE_OF_TOTAL * total_s)
        self.deadline_s = min(self.deadline_s, self.begun_s + most_s)
        if self.plan.budget_s is None:
            self.deadline_s = max(self.deadline_s, min(self.cap_s, self._metered_until_s()))

    def _metered_until_s(self) -> float:
        """Clock time at which the energy meter has seen enough steady passes; a past time without a meter."""
        meter = self.session.meter
        if meter is None or meter.energy_j() is None:
            return -math.inf
        metered_s = math.fsum(record.duration_s for record in self.session.epochs if record.phase == "timed")
        short_s = LEAST_METERED_S - metered_s
        if short_s <= 0.0:
            return -math.inf
        # The last pass ends early, by one step and its startup cost.
        return time.perf_counter() + short_s + self._scaling_s() + self._least_pass_s()

    def _least_pass_s(self) -> float:
        """Seconds of the shortest informative pass, plus the allowance for a slow step."""
        head_s = self.startup_s + self.step_s * self.feed.prefetch_steps
        return head_s + self.step_s + min(self.step_s, STEP_RESERVE_S)

    def _extend(self) -> bool:
        """Whether the machine's pace is drifting, so that the benchmark is extended; at most once."""
        moving = noise_of_blocks(self.session.epochs, self.session.blocks).is_drifting or self.session.is_slowing
        if self.extended or not self._agreed(moving):
            return False
        self.extended = True
        self.deadline_s = min(time.perf_counter() + DRIFT_EXTENSION_S, self.cap_s)
        return True

    def _is_precise(self) -> bool:
        return not self.extended and not self._agreed(not is_precise(self.session.epochs, self.session.blocks))

    def _agreed(self, is_so: bool) -> bool:
        return self.session.is_agreed(is_so)

    def _scaling_counts(self) -> list[int]:
        """Steps of a quarter, a half and all of the data, or of what fits in a second; empty if too few."""
        room_s = SCALING_S - SCALING_REPEATS * len(SCALING_SHARES) * self.startup_s
        most = min(
            self.feed.steps_per_epoch,
            int(room_s / SCALING_REPEATS / sum(SCALING_SHARES) / max(self.step_s, 1e-9)),
        )
        counts = sorted({max(1, round(share * most)) for share in SCALING_SHARES})
        return counts if most >= 1 and len(counts) == len(SCALING_SHARES) else []

    def _scaling_s(self) -> float:
        counts = self._scaling_counts()
        return SCALING_REPEATS * (sum(counts) * self.step_s + len(counts) * self.startup_s)

    def _run_scaling(self) -> None:
        """Run short epochs at three sizes, to check how time grows with the data."""
        if self.session.agree is not None or time.perf_counter() + self._scaling_s() > self.cap_s:
            return
        steps = self.feed.steps_per_epoch
        # The sizes alternate, so that a burst does not affect only one of them.
        for count in SCALING_REPEATS * self._scaling_counts():
            whole = count == steps
            samples = self.feed.sample_count if whole else count * self.feed.batch_size
            part = None if whole else self.feed.part(samples, seed=self.plan.seed)
            limit = Limit(until_s=self.cap_s, whole_step_count=count if part is None else None)
            self.session.run("scaling", limit, batches=part, sample_count=samples)
