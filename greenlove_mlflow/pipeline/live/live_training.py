"""LiveTraining: times, meters and forecasts a real training while it runs, and holds it to its limits.

Any kind of loop reports by plain calls; ``run.epochs()``, optimizer hooks and framework callbacks all end here:

    live.begin()           before the first batch is requested
    live.step()            after an optimizer step
    live.lap()             after an epoch
    live.pause(); live.resume()    around anything other than a training step
    live.end()             when training is over, whatever ended it

After ``step`` and ``lap``, ``live.must_stop`` is the reason why training has to end, or empty.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from greenlove_mlflow.core.account.laps import LapPlan, is_whole
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.timing.drift import Trained
from greenlove_mlflow.errors import GreenloveError
from greenlove_mlflow.numbers import format_laps
from greenlove_mlflow.pipeline.live.lap_meter import StepLaps
from greenlove_mlflow.pipeline.live.policy import Stopping
from greenlove_mlflow.pipeline.live.running_estimate import Account, Estimated
from greenlove_mlflow.terminal import say_on_stderr

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import EarlierParts, Outcome
    from greenlove_mlflow.core.offers.compare import Comparison
    from greenlove_mlflow.core.records import BenchmarkLog
    from greenlove_mlflow.pipeline.live.lap_meter import LapMeter
    from greenlove_mlflow.pipeline.live.policy import Policy
    from greenlove_mlflow.pipeline.live.rank_link import RankLink
    from greenlove_mlflow.pipeline.live.running_estimate import Background
    from greenlove_mlflow.pipeline.live.window import Window
    from greenlove_mlflow.tracking import TrackedRun

logger = logging.getLogger(__name__)

# By this step the training's loader has started and its first epoch is not over.
LOOK_AT_LOADER_STEP = 3


class LiveTraining:
    """A training while it runs.

    Args:
        tracked: The run it is recorded in.
        laps: Times and meters it.
        plan: Length and number of its laps.
        policy: What it is allowed to take.
        estimated: Benchmark and estimate from before it; None when its own first seconds are the benchmark.
        window: The benchmark within the training; None when the benchmark ran before.
        see_plan: Called once at an early step for a plan that fits the observed loader better, or None.
        earlier: Totals of its earlier parts; outcome and limits include them.
        on_lap: Called after each lap with laps done, laps planned and the forecast.
        link: Its tie to other ranks; None when it trains alone.
        say_departure: Tells the user that the forecast has left the estimate's range; ``say`` when None.

    Attributes:
        step_count: Optimizer steps so far.
        say: Prints a line that the user must see, on rank 0.
    """

    def __init__(
        self,
        *,
        tracked: TrackedRun,
        laps: LapMeter,
        plan: LapPlan,
        policy: Policy,
        estimated: Estimated | None = None,
        window: Window | None = None,
        see_plan: Callable[[int], LapPlan | None] | None = None,
        earlier: EarlierParts | None = None,
        on_lap: Callable[[int, int, Estimate], None] | None = None,
        link: RankLink | None = None,
        say_departure: Callable[[str], None] | None = None,
    ) -> None:
        self.plan = plan
        self.step_count = 0
        self._tracked = tracked
        self._laps = laps
        self._link = link
        self.say = say_on_stderr if link is None or link.is_leader else logger.info
        self._stopping = Stopping(policy, tracked, link)
        self._window = window
        self._recorder = None if window is None else window.recorder
        self._making: Background[Estimated] | None = None
        self._see_plan = see_plan
        self._account = Account(laps, earlier, say=say_departure or self.say)
        self._on_lap = on_lap
        self._has_begun = self._has_ended = False
        self._counts_steps = True
        self._laps_by: Literal["steps", "caller"] = "steps"
        self._step_laps = StepLaps(plan, laps)
        self._next_event = LOOK_AT_LOADER_STEP if see_plan is not None else 1
        if window is not None:
            window.on_close = self._make_estimate
        if estimated is not None:
            self._take(estimated)

    @property
    def _estimated(self) -> Estimated | None:
        return self._account.estimated

    @property
    def refusal(self) -> str:
        """Why the training was refused; empty when it was approved or not decided yet."""
        return self._stopping.refusal

    @refusal.setter
    def refusal(self, reason: str) -> None:
        self._stopping.refusal = reason

    @property
    def must_stop(self) -> str:
        """Why the training has to end now; empty when it need not."""
        return self._stopping.must_stop

    @property
    def forecast(self) -> Estimate | None:
        """The estimate updated from the laps done so far; None before there is an estimate."""
        return self._account.forecast

    @property
    def estimate(self) -> Estimate | None:
        """The estimate from before training; None while a benchmark within it is still running."""
        return None if self._estimated is None else self._estimated.estimate

    @property
    def comparison(self) -> Comparison | None:
        """The comparison with offers; None before there is an estimate, or when it could not be made."""
        return None if self._estimated is None else self._estimated.comparison

    @property
    def log(self) -> BenchmarkLog | None:
        """The benchmark's log; None before it has ended."""
        return None if self._estimated is None else self._estimated.log

    @property
    def approved(self) -> bool | None:
        """Whether the training may run; None before there is an estimate to decide by."""
        return None if self._estimated is None and not self.refusal else not self.refusal

    @property
    def lap_count(self) -> int:
        """Laps done so far."""
        return len(self._laps.durations_s)

    @property
    def outcome(self) -> Outcome | None:
        """The outcome up to the last lap, or the total after the end; None before a lap or step has ended.

        Also None on ranks other than 0, which know only their own part.
        """
        if self._link is not None and not self._link.is_leader:
            return None
        if self._estimated is None or not (self.lap_count or (self._has_ended and self.has_trained)):
            return None
        return self._account.settle(self.plan)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the training began; 0 before."""
        return self._laps.elapsed_s if self._has_begun else 0.0

    @property
    def has_trained(self) -> bool:
        """Whether any step or lap has ended."""
        return self.step_count > 0 or self.lap_count > 0

    @property
    def laps_cut_again(self) -> tuple[tuple[float, ...], tuple[float | None, ...]] | None:
        """Seconds and joules of each lap if the training followed another plan; None if the plan held."""
        if not self._step_laps.differs:
            return None
        return tuple(self._laps.durations_s), tuple(self._laps.energies_j)

    @property
    def trained(self) -> Trained:
        """The part of the training done so far."""
        before = () if self._account.earlier is None else self._account.earlier.lap_durations_s
        return Trained(
            lap_count=len(before) + self.lap_count,
            laps_s=math.fsum((*before, *self._laps.durations_s)),
            step_count=self.step_count if self._counts_steps or self.step_count else None,
            differs=self._step_laps.differs,
        )

    def begin(self) -> None:
        """Begin the training and its metering."""
        if not self._has_begun:
            self._has_begun = True
            self._laps.open()
        if self._window is not None:
            self._window.begin(self._laps.meter)

    def take_over(self, plan: LapPlan | None = None) -> None:
        """From now on laps are reported by ``lap``, not inferred from steps; training can be stopped between them."""
        self.begin()
        self.plan = plan or self.plan
        self._laps_by, self._stopping.can_stop = "caller", True
        self._step_laps.stop()
        self._laps.forget_laps(self.step_count)

    def take_over_steps(self) -> None:
        """From now on steps are reported by ``step`` only; training can be stopped between them."""
        self.begin()
        self._stopping.can_stop, self._see_plan = True, None
        self._step_laps.restart(self.step_count)
        self._next_event = self.step_count + 1
        self._laps.forget_laps(self.step_count)

    def ready(self) -> None:
        """Report that the next batch has arrived, so that the wait for data is measured."""
        if self._recorder is not None:
            self._recorder.ready()

    def step(self) -> None:
        """Report that an optimizer step has ended.

        Raises:
            LimitReached, TrainingRefused: If the caller asked for them.
        """
        self.step_count += 1
        if self._recorder is not None:
            self._recorder.step()
        if self.step_count >= self._next_event:
            self._look()

    def pause(self, what: Literal["validation", ""] = "") -> None:
        """Pause the timing of steps (for ``validation`` or a checkpoint); the time still counts for the lap."""
        if self._recorder is not None:
            self._recorder.pause(what)

    def resume(self) -> None:
        """Resume the timing of steps."""
        if self._recorder is not None:
            self._recorder.resume()

    def lap(self) -> None:
        """Report that a lap has ended.

        Raises:
            LimitReached, TrainingRefused: If the caller asked for them.
        """
        if self._recorder is not None:
            self._recorder.lap()
        self._laps.end_lap(self.step_count)
        self._take_if_made()
        self._settle_lap()
        self._stop_if_spent()
        self._stopping.end_lap(self.lap_count)

    def touch(self) -> None:
        """Report that training is still going on; ``end`` may go back to this moment."""
        self._laps.touch()

    def end(self, *, at_last_touch: bool = False) -> None:
        """End the training: settle its totals, make the estimate if there is none yet, close the meter.

        A second call does nothing. ``confirm`` is no longer called.

        Args:
            at_last_touch: Whether it ended at its last report rather than now.
        """
        if self._has_ended:
            return
        self._has_ended = True
        if self._has_begun:
            if at_last_touch:
                self._laps.end_at_last_touch(self.step_count)
            else:
                self._laps.end(self.step_count)
            if self._recorder is not None:
                self._recorder.end()
            if self._laps_by == "steps" and self.plan.lap_count is not None and self._step_laps.finish(self.step_count):
                self._settle_lap()
        if self._making is not None:
            self._take_made()
        if self._step_laps.differs:
            self._account.add_caveat(Caveat.of("plan-differs", steps=self.step_count))
        self._laps.close()

    def left_early(self) -> None:
        """Record the reason why it had to end, if it has by itself and before its plan."""
        if self.plan.left_step_count is None or not is_whole(self.step_count, self.plan.left_step_count):
            self._stopping.left_early()

    def leave_ranks(self) -> None:
        """Let the other ranks go on without waiting for this one."""
        if self._link is not None:
            self._link.end()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait up to ``timeout_s`` seconds for the estimate, return whether it is done; the next step takes it over."""
        return self._making is None or self._making.wait(timeout_s)

    def wait_for_page(self) -> None:
        """Wait until the estimate's figures and report page are recorded."""
        if self._estimated is not None and self._estimated.rest is not None:
            self._estimated.rest.wait()

    def _look(self) -> None:
        """Do what is not due at every step: check the plan once, mark steps, end laps, take a finished estimate."""
        count = self.step_count
        if self._see_plan is not None and count >= LOOK_AT_LOADER_STEP:
            self._adopt_plan(self._see_plan)
        self._take_if_made()
        if self._laps_by == "steps":
            if count >= self._laps.next_mark:
                self._laps.mark_step(count)
            if count >= self._step_laps.edge:
                self._lap_by_steps()
        self._stopping.look(count, laps_by_caller=self._laps_by == "caller")
        marks = self._laps.next_mark if self._laps_by == "steps" else math.inf
        edges = [self._step_laps.edge, marks, self._stopping.next_look(count)]
        waiting = self._window is not None and self._estimated is None
        self._next_event = count + 1 if waiting or self._see_plan is not None else int(min(*edges, 2**62))

    def _adopt_plan(self, see_plan: Callable[[int], LapPlan | None]) -> None:
        self._see_plan = None
        if self._laps_by != "steps":
            return
        self.pause()
        seen, planned = see_plan(self.step_count), self._step_laps.plan.steps_per_lap
        self.resume()
        if seen is not None and seen.steps_per_lap != planned:
            self.say(
                f"an epoch takes {seen.steps_per_lap} optimizer steps, not the planned {planned}; laps follow the "
                "steps taken. Pass batch_size=, steps_per_epoch= or accumulation= for an estimate to match"
            )
            self._step_laps.adopt(seen, self.step_count)
        elif seen is not None:
            self._step_laps.plan = seen

    def _lap_by_steps(self) -> None:
        if self._recorder is not None:
            self._recorder.lap()
        if self._step_laps.end_lap(self.step_count) == "lap":
            self._settle_lap()
        self._stop_if_spent()

    def _make_estimate(self) -> None:
        """Make the estimate in the background once the window has closed."""
        if self._window is not None and self._window.has_steps:
            self._making = self._window.make_estimate()
        self._recorder = None

    def _take_if_made(self) -> None:
        if self._making is not None and self._making.is_done:
            self._take_made()
            if self.estimate is not None and not self._has_ended:
                self._stopping.ask(self.of_all_parts(self.estimate), self.step_count)

    def _take_made(self) -> None:
        making, self._making = self._making, None
        try:
            if making is not None:
                self._take(making.result())
        except GreenloveError as error:
            self.say(f"no estimate could be made of this training: {error}")

    def _take(self, estimated: Estimated) -> None:
        self._account.take(estimated)

    def of_all_parts(self, estimate: Estimate) -> Estimate:
        """The estimate of the whole training, including earlier parts."""
        return self._account.of_all_parts(estimate)

    def _stop_if_spent(self) -> None:
        if self._stopping.has_limits and self._estimated is not None:
            after = format_laps(self.lap_count, is_epoch=self.plan.is_epoch)
            self._stopping.check_spent(self._account.settle(self.plan, with_laps=False), after, self.step_count)

    def _settle_lap(self) -> None:
        """Update the forecast after a lap, report when it leaves the estimate's range, and record the lap."""
        laps, lap = self._laps, self.lap_count
        forecast_s = None
        try:
            forecast_s = self._account.forecast_again(self.plan)
        except (ArithmeticError, ValueError) as error:
            # A clock glitch must not end the user's training.
            logger.warning("lap %d is not in the forecast: %s", lap, error)
            self.say(f"lap {lap} is not in the forecast: {error}")
        index, is_epoch = self.plan.first_lap + lap - 1, self.plan.is_epoch
        self._tracked.log_epoch(index, laps.durations_s[-1], laps.energies_j[-1], forecast_s, is_epoch=is_epoch)
        self._tracked.log_progress(self.estimate, self.comparison, lambda: self.outcome)
        if self._on_lap is not None and self.forecast is not None:
            self._on_lap(lap, math.ceil(self.plan.left_count or lap), self.forecast)
