"""LiveTraining: a real training while it runs. What it reports is timed, metered, forecast and held to its limits.

The training reports by plain calls, whatever kind of loop it is; ``run.epochs()``, optimizer hooks and the callbacks of
frameworks all end here:

    live.begin()           before the first batch is asked for
    live.step()            after an optimizer step
    live.lap()             after an epoch
    live.pause(); live.resume()    around what is no training step
    live.end()             when the training is over, whatever ended it

After ``step`` and ``lap``, ``live.must_stop`` says in words why the training has to end; it is empty while it need not.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from greenlove_mlflow.core.account.laps import LapPlan
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.timing.drift import Trained
from greenlove_mlflow.errors import GreenloveError, LimitReached, TrainingRefused
from greenlove_mlflow.pipeline.live.account import Account, Promise
from greenlove_mlflow.pipeline.live.step_laps import StepLaps
from greenlove_mlflow.terminal import say_on_stderr
from greenlove_mlflow.tracking.names import STATUS_STOPPED

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import EarlierParts, Outcome
    from greenlove_mlflow.core.offers.compare import Comparison
    from greenlove_mlflow.core.records import BenchmarkLog
    from greenlove_mlflow.pipeline.live.background import Background
    from greenlove_mlflow.pipeline.live.lap_meter import LapMeter
    from greenlove_mlflow.pipeline.live.policy import Policy
    from greenlove_mlflow.pipeline.live.window import Window
    from greenlove_mlflow.tracking import TrackedRun

logger = logging.getLogger(__name__)

# By this step the loader of the training is under way, and its first epoch is not over.
LOOK_AT_LOADER_STEP = 3


class LiveTraining:
    """A training while it runs.

    Args:
        tracked: Where it is kept.
        laps: Times and meters it.
        plan: What a lap is and how many there shall be.
        policy: What it may take.
        promise: What the benchmark before it gave; None when the benchmark is its own first seconds.
        window: Those seconds; None when the benchmark ran before.
        see_plan: Asked once, at an early step, for a plan that fits what is seen better; None when there is none.
        earlier: What earlier parts of it took; its outcome and its limits are of all of them.
        on_lap: Called after each lap with laps done, laps planned and the forecast.

    Attributes:
        refusal: Why the training was not approved, in words; empty when it was, or nobody has been asked yet.
        must_stop: Why it has to end now, in words; empty while it need not.
        step_count: Optimizer steps so far.
    """

    def __init__(
        self,
        *,
        tracked: TrackedRun,
        laps: LapMeter,
        plan: LapPlan,
        policy: Policy,
        promise: Promise | None = None,
        window: Window | None = None,
        see_plan: Callable[[int], LapPlan | None] | None = None,
        earlier: EarlierParts | None = None,
        on_lap: Callable[[int, int, Estimate], None] | None = None,
    ) -> None:
        self.plan = plan
        self.refusal = ""
        self.must_stop = ""
        self.step_count = 0
        self._tracked = tracked
        self._laps = laps
        self._policy = policy
        self._window = window
        self._recorder = None if window is None else window.recorder
        self._making: Background[Promise] | None = None
        self._see_plan = see_plan
        self._account = Account(laps, earlier)
        self._on_lap = on_lap
        self._has_begun = self._has_ended = False
        self._counts_steps = True
        self._laps_by: Literal["steps", "caller"] = "steps"
        self._can_stop = False
        self._step_laps = StepLaps(plan, laps)
        self._next_event = LOOK_AT_LOADER_STEP if see_plan is not None else 1
        if window is not None:
            window.on_close = self._make_promise
        if promise is not None:
            self._take(promise)

    @property
    def _promise(self) -> Promise | None:
        return self._account.promise

    @property
    def forecast(self) -> Estimate | None:
        """The estimate made again from the laps done so far; None before there is an estimate."""
        return self._account.forecast

    @property
    def estimate(self) -> Estimate | None:
        """What the training was estimated to take; None while its own first seconds are still being measured."""
        return None if self._promise is None else self._promise.estimate

    @property
    def comparison(self) -> Comparison | None:
        """The same training on each offer; None before there is an estimate, or when it could not be made."""
        return None if self._promise is None else self._promise.comparison

    @property
    def log(self) -> BenchmarkLog | None:
        """What the benchmark measured; None before it has ended."""
        return None if self._promise is None else self._promise.log

    @property
    def approved(self) -> bool | None:
        """Whether the training may run; None while there is no estimate to decide by."""
        return None if self._promise is None and not self.refusal else not self.refusal

    @property
    def lap_count(self) -> int:
        """Laps done so far."""
        return len(self._laps.durations_s)

    @property
    def outcome(self) -> Outcome | None:
        """What really happened up to the last lap, and in the end altogether; None before a lap or step has ended."""
        if self._promise is None or not (self.lap_count or (self._has_ended and self.has_trained)):
            return None
        return self._account.settle(self.plan)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the training began; 0 before."""
        return self._laps.elapsed_s if self._has_begun else 0.0

    @property
    def has_trained(self) -> bool:
        """Whether a step or a lap has ended."""
        return self.step_count > 0 or self.lap_count > 0

    @property
    def laps_cut_again(self) -> tuple[tuple[float, ...], tuple[float | None, ...]] | None:
        """Seconds and joules of each lap where the plan turned out to be another; None where it held."""
        if not self._step_laps.differs:
            return None
        return tuple(self._laps.durations_s), tuple(self._laps.energies_j)

    @property
    def trained(self) -> Trained:
        """What of the training was really trained by now."""
        earlier = self._account.earlier
        before = () if earlier is None else earlier.lap_durations_s
        return Trained(
            lap_count=len(before) + self.lap_count,
            laps_s=math.fsum((*before, *self._laps.durations_s)),
            step_count=self.step_count if self._counts_steps or self.step_count else None,
            differs=self._step_laps.differs,
        )

    def begin(self) -> None:
        """The training begins: from now on it is metered."""
        if not self._has_begun:
            self._has_begun = True
            self._laps.open()
        if self._window is not None:
            self._window.begin(self._laps.meter)

    def take_over(self, plan: LapPlan | None = None) -> None:
        """Laps are told by ``lap`` from now on, not by steps; the training can be stopped between them."""
        self.begin()
        self.plan = plan or self.plan
        self._laps_by, self._can_stop = "caller", True
        self._step_laps.stop()
        self._laps.forget_laps(self.step_count)

    def take_over_steps(self) -> None:
        """Steps are told by ``step`` alone from now on, and the training can be stopped between them."""
        self.begin()
        self._can_stop, self._see_plan = True, None
        self._step_laps.restart(self.step_count)
        self._next_event = self.step_count + 1
        self._laps.forget_laps(self.step_count)

    def ready(self) -> None:
        """The next batch has come; whoever calls this lets the wait for data be known."""
        if self._recorder is not None:
            self._recorder.ready()

    def step(self) -> None:
        """An optimizer step has ended.

        Raises:
            LimitReached, TrainingRefused: If the caller asked for them.
        """
        self.step_count += 1
        if self._recorder is not None:
            self._recorder.step()
        if self.step_count >= self._next_event:
            self._look()

    def pause(self, what: Literal["validation", ""] = "") -> None:
        """What follows is no training step (``validation``, a checkpoint); it counts for the lap, not for the steps."""
        if self._recorder is not None:
            self._recorder.pause(what)

    def resume(self) -> None:
        """The training goes on."""
        if self._recorder is not None:
            self._recorder.resume()

    def lap(self) -> None:
        """A lap has ended.

        Raises:
            LimitReached, TrainingRefused: If the caller asked for them.
        """
        if self._recorder is not None:
            self._recorder.lap()
        self._laps.end_lap(self.step_count)
        self._take_if_made()
        self._settle_lap()
        self._stop_if_spent()

    def touch(self) -> None:
        """The training is still going on; ``end`` may have to go back to this moment."""
        self._laps.touch()

    def end(self, *, at_last_touch: bool = False) -> None:
        """The training is over: settle its time so far, make the estimate if there is none yet; then close the meter.

        A second call does nothing. Nobody is asked any more.

        Args:
            at_last_touch: Whether it ended when it last reported, some time ago.
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

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether the estimate was made within so many seconds; it is taken at the next step or lap."""
        return self._making is None or self._making.wait(timeout_s)

    def wait_for_page(self) -> None:
        """Wait until pictures and page of the promise are kept."""
        if self._promise is not None and self._promise.rest is not None:
            self._promise.rest.wait()

    def _look(self) -> None:
        """What is not done at every step: the plan looked at once, marks, laps by steps, an estimate that is ready."""
        count = self.step_count
        if self._see_plan is not None and count >= LOOK_AT_LOADER_STEP:
            self._adopt_plan(self._see_plan)
        self._take_if_made()
        if self._laps_by == "steps":
            if count >= self._laps.next_mark:
                self._laps.mark_step(count)
            if count >= self._step_laps.edge:
                self._lap_by_steps()
        edges = [self._step_laps.edge, self._laps.next_mark if self._laps_by == "steps" else math.inf]
        waiting = self._window is not None and self._promise is None
        self._next_event = count + 1 if waiting or self._see_plan is not None else int(min(*edges, 2**62))

    def _adopt_plan(self, see_plan: Callable[[int], LapPlan | None]) -> None:
        self._see_plan = None
        if self._laps_by != "steps":
            return
        self.pause()
        seen = see_plan(self.step_count)
        self.resume()
        planned = self._step_laps.plan.steps_per_lap
        if seen is not None and seen.steps_per_lap != planned:
            say_on_stderr(
                f"the training takes {seen.steps_per_lap} optimizer steps to an epoch, {planned} were planned; laps "
                "follow what is seen. State batch_size=, steps_per_epoch= or accumulation= for an estimate of the same"
            )
            self._step_laps.adopt(seen, self.step_count)

    def _lap_by_steps(self) -> None:
        if self._recorder is not None:
            self._recorder.lap()
        if self._step_laps.end_lap(self.step_count) == "lap":
            self._settle_lap()
        self._stop_if_spent()

    def _make_promise(self) -> None:
        """The window has closed: the estimate is made beside the training."""
        if self._window is not None and self._window.has_steps:
            self._making = self._window.make_promise()
        self._recorder = None

    def _take_if_made(self) -> None:
        if self._making is not None and self._making.is_done:
            self._take_made()
            if self._promise is not None and not self._has_ended:
                self._ask(self._promise.estimate)

    def _take_made(self) -> None:
        making, self._making = self._making, None
        if making is None:
            return
        try:
            self._take(making.result())
        except GreenloveError as error:
            say_on_stderr(f"no estimate could be made of this training: {error}")

    def _take(self, promise: Promise) -> None:
        self._account.take(promise)

    def _ask(self, estimate: Estimate) -> None:
        """Ask limits and caller of an estimate that came while the training runs."""
        reason = self._policy.refusal(self.of_all_parts(estimate))
        if reason:
            self.refusal = reason
            self._stop(f"{reason}, after {self.step_count} steps", by_refusal=True)

    def of_all_parts(self, estimate: Estimate) -> Estimate:
        """The estimate of the training as a whole, earlier parts included."""
        return self._account.of_all_parts(estimate)

    def _stop_if_spent(self) -> None:
        if self._policy.limits is not None and not self.must_stop and self._promise is not None:
            spent = self._policy.spent(self._account.settle(self.plan, with_laps=False))
            if spent:
                self._stop(f"{spent} after {self.lap_count} {'epochs' if self.plan.is_epoch else 'laps'}")

    def _stop(self, reason: str, *, by_refusal: bool = False) -> None:
        self.must_stop = reason
        raises = self._policy.on_refusal if by_refusal else self._policy.on_limit
        if self._can_stop or raises == "raise":
            self._tracked.say_status(STATUS_STOPPED, reason)
            say_on_stderr(f"training stopped: {reason}")
        else:
            say_on_stderr(
                f'{reason}. A loop of your own cannot be ended from here: on_limit="raise" and on_refusal="raise" end '
                "it by an exception"
            )
        if raises == "raise":
            raise TrainingRefused(reason) if by_refusal else LimitReached(reason)

    def _settle_lap(self) -> None:
        """Renew the forecast after a lap, say so when the promise no longer holds, and keep the lap."""
        laps, lap = self._laps, self.lap_count
        forecast_s = None
        try:
            forecast_s = self._account.forecast_again(self.plan)
        except (ArithmeticError, ValueError) as error:
            # An odd clock must not end the training that it was to time.
            logger.warning("lap %d is not in the forecast: %s", lap, error)
            say_on_stderr(f"lap {lap} is not in the forecast: {error}")
        self._tracked.log_epoch(
            self.plan.first_lap + lap - 1,
            laps.durations_s[-1],
            laps.energies_j[-1],
            forecast_s,
            is_epoch=self.plan.is_epoch,
        )
        if self._on_lap is not None and self.forecast is not None:
            self._on_lap(lap, math.ceil(self.plan.left_count or lap), self.forecast)
