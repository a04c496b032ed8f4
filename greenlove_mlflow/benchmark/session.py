"""Session: a running benchmark, which times passes and writes their records, and the plan that it follows."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, get_args

from greenlove_mlflow.benchmark.feed import Feed
from greenlove_mlflow.benchmark.machine.signals import summarise_board
from greenlove_mlflow.benchmark.passes import Agree, FirstUses, Limit, Pass, Step, run_pass
from greenlove_mlflow.core.records import BlockRecord, EpochRecord, Method, Phase, StepProfile
from greenlove_mlflow.core.timing.timeline import KernelFactors
from greenlove_mlflow.errors import BenchmarkError, InvalidInputError

Progress = Callable[[str, float, float], None]
# Blocks describe steady steps; in other phases they add nothing to the epoch record.
_PHASES_WITH_BLOCKS = frozenset({"timed", "steady"})
# On a quiet machine 5 s already meet the goals and 20 s add nothing; with first contact the total is 12 s.
DEFAULT_BUDGET_S = 11.5
# With worker startup and steps longer than a second, 12 s hold too few independent blocks.
SLOW_BUDGET_S = 20.0
SLOW_STEP_S = 1.0
# Hard limit on the wait for an answer, counted from the end of the first step.
HARD_CAP_S = 25.0


class Meter(Protocol):
    """What a session needs from a power meter."""

    def energy_j(self) -> float | None:
        """Energy of all counted devices since the meter opened, joules."""

    def window(self) -> AbstractContextManager[object]:
        """Context manager that marks a steady segment to be metered."""


class Signals(Protocol):
    """A reader of machine signals."""

    def read(self) -> Mapping[str, float]:
        """Readings by name; counters rise, gauges do not. See ``benchmark.machine.signals``."""


class Session:
    """A running benchmark.

    Attributes:
        feed: The data.
        step: The training step as a function of the batch.
        plan: The benchmark's plan.
        epochs: The records so far.
        blocks: The blocks so far.
        first_steps_s: Durations of the first steps of the first contact.
        stated_steps_per_epoch: Stated batches per epoch, if the data turned out to hold another number.
        duration_s: Duration of the whole benchmark, once it has ended, seconds.
        validation_s: One whole validation pass, seconds; 0 until it is timed.
        profile: Where the time of a step goes; None until it is profiled.
        validation_profile: The same for a validation step.
        loss_is_finite: False once a pass ended with a non-finite loss; None until a step returns one.
        agree: Agrees on a value with the other ranks of the training; None when it trains alone.
    """

    def __init__(
        self,
        feed: Feed,
        step: Step,
        plan: BenchmarkPlan,
        *,
        synchronize: Callable[[], None],
        host_sees_steps: bool = True,
        meter: Meter | None = None,
        progress: Progress | None = None,
        signals: Signals | None = None,
        agree: Agree | None = None,
    ) -> None:
        self.agree = agree
        self.feed = feed
        self.step = step
        self.plan = plan
        self.epochs: list[EpochRecord] = []
        self.blocks: list[BlockRecord] = []
        self.first_steps_s: list[float] = []
        self.readings: list[tuple[Phase, Mapping[str, float]]] = []
        self.loss_is_finite: bool | None = None
        self.stated_steps_per_epoch: int | None = None
        self.validation_s = 0.0
        self.profile: StepProfile | None = None
        self.validation_profile: StepProfile | None = None
        self.duration_s = 0.0
        self.begun_s = time.perf_counter()
        self.planned_s = math.inf
        self.meter = meter
        self._synchronize = synchronize
        self._host_sees_steps = host_sees_steps
        # On a CPU too little is built per shape to justify checking each batch.
        # On several ranks the shapes differ, but blocks must not.
        self._first_uses = None if host_sees_steps or agree is not None else FirstUses()
        self._progress = progress
        self.signals = signals

    @property
    def elapsed_s(self) -> float:
        """Seconds since the benchmark began."""
        return time.perf_counter() - self.begun_s

    def run(
        self,
        phase: Phase,
        limit: Limit,
        *,
        batches: Any = None,
        sample_count: int | None = None,
        step: Step | None = None,
    ) -> Pass:
        """Time and record one pass over the user's loader, or over ``batches`` of ``sample_count`` samples.

        Args:
            phase: Phase of the benchmark that the pass belongs to.
            limit: Where it ends at the latest.
            batches: Used instead of the user's loader.
            sample_count: Samples of the pass if it runs to its end.
            step: Used instead of the training step.

        Raises:
            BenchmarkError: If there was no batch.
        """
        self.show_progress(phase)
        before_j = self.energy_j()
        done = self._time(phase, limit, self.feed.loader if batches is None else batches, step or self.step)
        after_j = self.energy_j()
        if not done.step_count:
            raise BenchmarkError("the data gave no batch; check the loader's sampler and drop_last")
        if phase == "first-contact":
            self.first_steps_s = done.first_steps_s
        if batches is None and sample_count is None and done.whole:
            self._settle_epoch(done.step_count)
        self._check_loss(done)
        # A meter that did not advance in such a short pass, or whose readings were corrected in it, counted nothing.
        energy_j = None if before_j is None or after_j is None or after_j <= before_j else after_j - before_j
        self.keep(*self.records_of(phase, done, sample_count=sample_count, energy_j=energy_j))
        return done

    def _time(self, phase: Phase, limit: Limit, batches: Any, step: Step) -> Pass:
        window = self.meter.window() if self.meter is not None and phase == "timed" else nullcontext()
        self.read_signals(phase)
        with window:
            done = run_pass(
                batches,
                step,
                limit,
                synchronize=self._synchronize,
                at_block_edge=None if self._progress is None else lambda _: self.show_progress(phase),
                first_uses=self._first_uses if step is self.step else None,
                agree=self.agree,
            )
        self.read_signals(phase)
        return done

    def energy_j(self) -> float | None:
        """Joules of all metered devices so far; None without a meter."""
        return None if self.meter is None else self.meter.energy_j()

    def is_agreed(self, is_so: bool) -> bool:
        """Whether it is so on any rank of the training, which all of them ask."""
        return is_so if self.agree is None else self.agree(float(is_so)) > 0.0

    def least_of_all(self, count: int) -> int:
        """The smallest of the counts that all ranks of the training give."""
        return count if self.agree is None else int(-self.agree(-float(count)))

    @property
    def is_slowing(self) -> bool:
        """Whether the board's clock has been falling during the timed passes; heat alone does not change the pace."""
        timed = [reading for phase, reading in self.readings if phase == "timed"]
        return summarise_board(timed).is_clock_falling

    def end(self) -> None:
        """Record how long the benchmark took."""
        self.duration_s = self.elapsed_s

    def show_progress(self, phase: str) -> None:
        """Report progress to the caller."""
        if self._progress is not None:
            self._progress(phase, self.elapsed_s, self.planned_s)

    def _settle_epoch(self, step_count: int) -> None:
        """Correct the epoch length if an epoch ended earlier or later than stated."""
        if step_count != self.feed.steps_per_epoch:
            self.stated_steps_per_epoch = self.feed.steps_per_epoch
            sample_count = max(1, round(self.feed.sample_count * step_count / self.feed.steps_per_epoch))
            self.feed = dataclasses.replace(self.feed, steps_per_epoch=step_count, sample_count=sample_count)

    def keep(self, record: EpochRecord, blocks: Sequence[BlockRecord]) -> None:
        """Store the records of a pass."""
        self.epochs.append(record)
        if record.phase in _PHASES_WITH_BLOCKS:
            self.blocks += blocks

    def records_of(
        self,
        phase: Phase,
        done: Pass,
        *,
        sample_count: int | None = None,
        energy_j: float | None = None,
        begins_fresh: bool = True,
        knows_wait: bool = True,
    ) -> tuple[EpochRecord, tuple[BlockRecord, ...]]:
        """The records of a pass, with the next free index.

        Args:
            phase: Phase of the benchmark that the pass belongs to.
            done: The timed pass.
            sample_count: Samples of the pass when it came to its end; of an epoch when None.
            energy_j: Energy drawn during the pass, joules.
            begins_fresh: Whether it began by requesting a first batch from the loader.
            knows_wait: Whether the wait for data was timed separately from the steps.
        """
        index = len(self.epochs)
        if sample_count is None or not done.whole:
            sample_count = self.feed.sample_count if done.whole else self.feed.samples_in(done.step_count)
        record = EpochRecord(
            epoch_index=index,
            phase=phase,
            sample_count=sample_count,
            step_count=self.feed.steps_in(done.step_count, sample_count),
            duration_s=max(done.duration_s, 1e-9),  # a coarse clock may show no time at all
            whole=done.whole,
            start_s=done.start_s - self.begun_s,
            data_wait_s=done.data_wait_s if knows_wait else None,
            cpu_s=done.cpu_s,
            energy_j=energy_j,
            close_s=done.close_s,
            step_sd_s=_step_sd_s(done) if self._host_sees_steps else None,
            begins_fresh=begins_fresh,
            first_wait_s=done.first_wait_s if knows_wait else None,
        )
        blocks = (
            BlockRecord(
                epoch_index=index,
                phase=phase,
                start_s=block.start_s - self.begun_s,
                step_count=self.feed.steps_in(block.step_count, sample_count),
                duration_s=block.duration_s,
                data_wait_s=block.data_wait_s,
                cpu_s=block.cpu_s,
                is_first_use=block.is_first_use,
            )
            for block in done.blocks
        )
        return record, tuple(blocks)

    def read_signals(self, phase: Phase) -> None:
        """Record the current machine signals."""
        if self.signals is not None:
            self.readings.append((phase, dict(self.signals.read())))

    def _check_loss(self, done: Pass) -> None:
        loss, done.last_loss = done.last_loss, None
        if loss is None or self.loss_is_finite is False:
            return
        finite = _is_finite(loss)
        if finite is not None:
            self.loss_is_finite = finite


def _step_sd_s(done: Pass) -> float | None:
    return math.sqrt(done.scatter_s2 / done.scatter_count) if done.scatter_count else None


def _is_finite(loss: Any) -> bool | None:
    """Whether a step's result is finite; None if it is not a number."""
    if hasattr(loss, "detach"):
        return bool(loss.detach().isfinite().all().item())
    if isinstance(loss, (int, float)):
        return math.isfinite(loss)
    return None


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
