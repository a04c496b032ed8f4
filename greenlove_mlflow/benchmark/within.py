"""StepRecorder: benchmark within training, over the first seconds of the real run.

The training loop reports its events; the recorder runs and changes nothing, so there is nothing to restore. It writes
the same records as the benchmark before training, and the same code evaluates them.

    recorder = StepRecorder(session, WindowPlan(total_step_count=10_000))
    recorder.begin()
    for batch in loader:
        train(batch)
        recorder.step()  # after each optimizer step
    recorder.lap()  # after each epoch
    recorder.end()
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from greenlove_mlflow.benchmark.adaptive import FIRST_CONTACT_S, FIRST_STEP_COUNT
from greenlove_mlflow.benchmark.passes import BLOCK_S, FIRST_STEPS_KEPT, Block, Pass
from greenlove_mlflow.core.timing.adaptive_fit import is_precise

if TYPE_CHECKING:
    from greenlove_mlflow.benchmark.session import Session
    from greenlove_mlflow.core.records import BlockRecord, EpochRecord, Phase, StepProfile

# The window ends this many seconds after the first step: on a quiet machine 5 s already meet the goals.
LONGEST_WINDOW_S = 10.0
# An estimate that arrives when most of the run is over is useless.
LARGEST_SHARE_OF_STEPS = 0.25
LEAST_WINDOW_STEPS = 2
PROFILED_STEP_COUNT = 2

_Stage = Literal["before", "first-contact", "timed", "profile", "closed"]


class StepProfiler(Protocol):
    """Profiles a few steps of the window from outside."""

    def start(self) -> None:
        """Called at a step boundary, with the device idle."""

    def step(self) -> None:
        """Called at the boundary between two steps."""

    def stop(self, step_count: int) -> StepProfile | None:
        """The profile of ``step_count`` steps; called at a step boundary, with the device idle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPlan:
    """Limits on the window.

    Args:
        total_step_count: Optimizer steps of the whole run; None if no end is known.
        longest_s: Seconds after the end of the first step.
    """

    total_step_count: int | None = None
    longest_s: float = LONGEST_WINDOW_S

    @property
    def largest_step_count(self) -> float:
        """Maximum steps of the window: a quarter of all steps, but at least two."""
        if self.total_step_count is None:
            return math.inf
        return max(LEAST_WINDOW_STEPS, int(self.total_step_count * LARGEST_SHARE_OF_STEPS))


class StepRecorder:
    """Times the first steps of a run from the events that its loop reports.

    The loop calls ``begin`` before it requests its first batch, ``step`` after each optimizer step, ``lap`` after each
    epoch, ``pause`` and ``resume`` around everything that is not a training step (validation, checkpoints), and ``end``
    when it is over. It may call ``ready`` when the next batch has arrived; the wait for data is then known. All calls
    come from the training thread. After the window has closed, a step costs one comparison.

    Args:
        session: Stores the records; its feed gives the length of an epoch.
        plan: Limits on the window.
        synchronize: Waits until the device is idle; called at the edges of blocks only.
        profiler: Profiles two steps after the timed ones; they are left out of the timing.
        on_close: Called once, in the training thread, when the window closes.
        leader_reason: On a rank other than 0: why rank 0's window has closed; empty until then. This one closes then,
            rather than by its own clock.

    Attributes:
        step_count: Steps reported so far, including those after the window.
        stop_reason: Why the window closed: ``precise``, ``budget``, ``share``, ``complete``; empty while it is open.
    """

    def __init__(
        self,
        session: Session,
        plan: WindowPlan,
        *,
        synchronize: Callable[[], None] = lambda: None,
        profiler: StepProfiler | None = None,
        on_close: Callable[[], None] = lambda: None,
        leader_reason: Callable[[], str] | None = None,
    ) -> None:
        self.session = session
        self.plan = plan
        self.step_count = 0
        self.stop_reason = ""
        self._synchronize = synchronize
        self._profiler = profiler
        self._on_close = on_close
        self._leader_reason = leader_reason
        self._stage: _Stage = "before"
        self._window = ExitStack()
        self._paused_for: str | None = None
        self._pause_start_s = 0.0
        self._energy_read_s = -math.inf
        self._before_j: float | None = None
        self._pass = Pass(start_s=0.0)
        self._block = Block(start_s=0.0, step_count=0, duration_s=0.0, data_wait_s=0.0, cpu_s=0.0)
        self._block_steps = math.inf
        self._edge_s = self._last_s = self._cpu_s = self._squares_s2 = 0.0
        self._first_end_s = self._judged_s = 0.0
        self._profiled_count = 0
        self._knows_wait = False
        self._begins_fresh = True
        self._largest_count = plan.largest_step_count

    @property
    def is_open(self) -> bool:
        """Whether the window is open; False before ``begin`` and once it has closed."""
        return self._stage not in ("before", "closed")

    @property
    def has_closed(self) -> bool:
        """Whether the window has closed, so that an estimate can be made."""
        return self._stage == "closed"

    def begin(self) -> None:
        """Report that the first batch is about to be requested; may be repeated until a step has ended."""
        if self._stage not in ("before", "first-contact") or self.step_count:
            return
        self._begin()

    def _begin(self) -> None:
        self._stage = "first-contact"
        self.session.begun_s = time.perf_counter()
        self._synchronize()
        self._open_pass(fresh=True)
        self.session.read_signals("first-contact")

    def ready(self) -> None:
        """Report that the next batch has arrived; the wait for it began when the last step ended."""
        if self._stage in ("first-contact", "timed") and self._paused_for is None:
            self._block.data_wait_s += time.perf_counter() - self._last_s
            self._knows_wait = True

    def step(self) -> None:
        """Report that an optimizer step has ended."""
        self.step_count += 1
        if self._stage == "closed" or self._paused_for is not None:
            return
        if self._stage == "before":
            self._begin()
            return
        if self._stage == "profile":
            self._step_of_profile()
            return
        self._count_step(time.perf_counter())

    def pause(self, what: Literal["validation", ""] = "") -> None:
        """Report that no training step follows for now; ``validation`` is timed separately."""
        if not self.is_open or self._paused_for is not None:
            return
        if self._stage == "profile":
            self._end_profile()
            return
        self._settle_block()
        self._window.close()
        self._paused_for = what
        self._pause_start_s = time.perf_counter()

    def resume(self) -> None:
        """Report that training continues."""
        if self._paused_for is None:
            return
        what, self._paused_for = self._paused_for, None
        self._synchronize()
        if what == "validation" and self.is_open:
            self.session.validation_s = time.perf_counter() - self._pause_start_s
        if self._stage == "timed":
            self._meter_window()
        if self.is_open:
            self._open_block()

    def lap(self) -> None:
        """Report that an epoch has ended; the next step is the first of a new pass over the data."""
        if self._stage == "first-contact":
            self._end_first_contact_if_enough(at_lap=True)
        elif self._stage == "timed":
            self._settle_block()
            if self._pass.step_count:
                self._close_pass("timed", whole=self._begins_fresh)
            self._open_pass(fresh=True)
            self._close_if_enough(self._last_s)

    def end(self) -> None:
        """Report that training is over; a window that is still open closes now."""
        if self._stage == "before":
            self._stage, self.stop_reason = "closed", "complete"
            return
        if self.is_open:
            self._paused_for = None
            if self._stage == "profile":
                self._end_profile()
            else:
                self._settle_block()
                self._close("complete")

    def _count_step(self, now_s: float) -> None:
        block = self._block
        block.step_count += 1
        gap_s = now_s - self._last_s
        self._squares_s2 += gap_s * gap_s
        self._last_s = now_s
        if now_s < self._edge_s and block.step_count < self._block_steps and self.step_count < self._largest_count:
            return
        self._settle_block()
        if self._stage == "first-contact":
            self._end_first_contact_if_enough()
        else:
            self._close_if_enough(now_s)
        if self.is_open and self._stage != "profile":
            self._open_block()

    def _end_first_contact_if_enough(self, *, at_lap: bool = False) -> None:
        if at_lap:
            self._settle_block()
        done = self._pass
        beyond_s = self._last_s - done.first_end_s
        enough = done.step_count >= FIRST_STEP_COUNT and beyond_s >= FIRST_CONTACT_S
        if self.step_count >= self._largest_count:
            self._close("share")
        elif self._leader_reason is not None and self._leader_reason():
            self._close(self._leader_reason())
        elif enough:
            self.session.first_steps_s = done.first_steps_s
            is_whole = at_lap and done.step_count == self.session.feed.steps_per_epoch
            self._close_pass("first-contact", whole=is_whole)
            self._stage = "timed"
            self._open_window()
            self._open_pass(fresh=at_lap)
        elif at_lap:
            self._open_block()

    def _close_if_enough(self, now_s: float) -> None:
        """Close the window at its limit, or once more steps would not help."""
        if self.step_count >= self._largest_count:
            self._finish("share")
        elif self._leader_reason is not None:
            reason = self._leader_reason()
            if reason:
                self._finish(reason)
        elif now_s - self._first_end_s >= self.plan.longest_s:
            self._finish("budget")
        elif now_s - self._judged_s >= BLOCK_S:
            self._judged_s = now_s
            if self._is_precise():
                self._finish("precise")

    def _is_precise(self) -> bool:
        """Whether machine drift dominates the remaining uncertainty, by the passes so far and the current one."""
        epochs, blocks = self.session.epochs, self.session.blocks
        if self._pass.step_count:
            record, own = self._records("timed")
            epochs, blocks = [*epochs, record], [*blocks, *own]
        return is_precise(epochs, blocks, least_pass_count=1)

    def _finish(self, reason: str) -> None:
        """End the timed part; the profiler gets two more steps if the run has them."""
        total = self.plan.total_step_count
        if self._profiler is None or (total is not None and self.step_count + PROFILED_STEP_COUNT >= total):
            self._close(reason)
            return
        self.stop_reason = reason
        self._close_timed()
        self._stage, self._profiled_count = "profile", 0
        self._profiler.start()

    def _step_of_profile(self) -> None:
        self._profiled_count += 1
        if self._profiled_count >= PROFILED_STEP_COUNT:
            self._end_profile()
        elif self._profiler is not None:
            self._profiler.step()

    def _end_profile(self) -> None:
        self._synchronize()
        if self._profiler is not None and self._profiled_count:
            self.session.profile = self._profiler.stop(self._profiled_count)
        self._shut(self.stop_reason)

    def _close(self, reason: str) -> None:
        self._close_timed()
        self._shut(reason)

    def _close_timed(self) -> None:
        phase: Phase = "timed" if self._stage == "timed" else "first-contact"
        if phase == "first-contact":
            self.session.first_steps_s = self._pass.first_steps_s
        if self._pass.step_count:
            self._close_pass(phase, whole=False)
        self._window.close()
        self.session.read_signals(phase)

    def _shut(self, reason: str) -> None:
        self._stage, self.stop_reason = "closed", reason
        self.session.end()
        self._on_close()

    def _open_window(self) -> None:
        self._judged_s = self._last_s
        self._first_end_s = self._pass.first_end_s
        self._meter_window()
        self.session.read_signals("timed")

    def _meter_window(self) -> None:
        if self.session.meter is not None:
            self._window.enter_context(self.session.meter.window())

    def _open_pass(self, *, fresh: bool) -> None:
        self._begins_fresh = fresh
        self._pass = Pass(start_s=time.perf_counter())
        self._knows_wait = False
        self._before_j = self._energy_j()
        self._open_block()

    def _energy_j(self) -> float | None:
        """Joules so far; None if just read, because reading a board takes longer than a tiny epoch."""
        now_s = time.perf_counter()
        if now_s - self._energy_read_s < BLOCK_S:
            return None
        self._energy_read_s = now_s
        return self.session.energy_j()

    def _open_block(self) -> None:
        now_s, done = time.perf_counter(), self._pass
        self._block = Block(start_s=now_s, step_count=0, duration_s=0.0, data_wait_s=0.0, cpu_s=0.0)
        self._cpu_s, self._last_s, self._squares_s2 = time.process_time(), now_s, 0.0
        self._edge_s = now_s + BLOCK_S
        self._block_steps = math.inf
        if self._stage == "first-contact" and len(done.blocks) < FIRST_STEPS_KEPT:
            self._block_steps = 1
        elif self._begins_fresh and not done.blocks:
            self._block_steps = self.session.feed.prefetch_steps + 1

    def _settle_block(self) -> None:
        """End the current block: the device is idle and its duration is known."""
        block, done = self._block, self._pass
        self._synchronize()
        now_s = time.perf_counter()
        block.duration_s, block.cpu_s = now_s - block.start_s, time.process_time() - self._cpu_s
        if block.step_count > 1 and done.blocks:
            spread_s = self._last_s - block.start_s
            done.scatter_s2 += max(0.0, self._squares_s2 - spread_s * spread_s / block.step_count)
            done.scatter_count += block.step_count - 1
        self._last_s = now_s
        done.append(block, now_s)

    def _close_pass(self, phase: Phase, *, whole: bool) -> None:
        after_j = self._energy_j() if self._before_j is not None else None
        energy_j = None if self._before_j is None or after_j is None else max(0.0, after_j - self._before_j)
        self._pass.whole = whole
        self.session.keep(*self._records(phase, energy_j))

    def _records(self, phase: Phase, energy_j: float | None = None) -> tuple[EpochRecord, tuple[BlockRecord, ...]]:
        return self.session.records_of(
            phase, self._pass, energy_j=energy_j, begins_fresh=self._begins_fresh, knows_wait=self._knows_wait
        )
