"""TrackedTraining: the object that ``track`` yields, a live training with loops that report to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any, Literal, TypeVar

from greenlove_mlflow.benchmark.subject.optimizer_steps import watched_steps
from greenlove_mlflow.core.account.laps import is_whole
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.pipeline.live.commentary import Commentary
from greenlove_mlflow.pipeline.live.live_training import LiveTraining
from greenlove_mlflow.tracking.spool.run_events import is_pruned
from greenlove_mlflow.words.summary import live_line, summary
from greenlove_mlflow.words.verdict import ending_sentence

Batch = TypeVar("Batch")
# A loop left later than this share of an epoch, judged by earlier epochs, counts the epoch as done.
LEAST_SHARE_OF_LAP = 0.5


class _Loop:
    """A loop of the user's over epochs or steps.

    Args:
        name: What it iterates: ``epochs`` or ``steps``.
        begun_at: Steps that had been counted when the first loop of the training began.

    Attributes:
        is_under_way: Whether it waits for the loop's body.
    """

    def __init__(self, name: Literal["epochs", "steps"], begun_at: int) -> None:
        self.name = name
        self.begun_at = begun_at
        self.is_under_way = False


class TrackedTraining(LiveTraining):
    """A training with its estimate.

    The body is metered from beginning to end. Laps are inferred from the optimizers' steps, or reported by the loop of
    ``epochs``, ``steps`` or ``train``.

    Attributes:
        estimate: The estimate from before training.
        comparison: The comparison with offers; None when it could not be made.
        log: The benchmark's log.
        approved: False when ``confirm`` returned False or a limit is exceeded; ``epochs()`` is then empty.
        refusal: Why the training is not approved; empty when it is.
        must_stop: Why training has to end now; empty when it need not.
        forecast: The estimate updated from the epochs done so far.
        outcome: The outcome so far; None before the first epoch has ended.
    """

    def __init__(
        self,
        *,
        optimizers: Iterable[Any] = (),
        runner: Any = None,
        commentary: Commentary | None = None,
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        self._optimizers = tuple(optimizers)
        self._runner = runner
        self._commentary = commentary or Commentary(False)
        self._ended = ""
        self._counts_steps = bool(self._optimizers)
        self._hooks = ExitStack()
        self._longest_lap_steps = 0
        self._loop: _Loop | None = None
        self._other_step_count = 0

    @property
    def run_id(self) -> str | None:
        """Id of the MLflow run; None while the server cannot be reached."""
        return self._tracked.run_id

    @property
    def is_ours(self) -> bool:
        """Whether the run was started here, and ends with the training."""
        return self._tracked.is_ours

    def step_aside(self) -> None:
        """Let other runs become MLflow's active one while this training goes on."""
        self._tracked.step_aside()

    @property
    def url(self) -> str | None:
        """URL of the run's page; None when the store has no pages."""
        return self._tracked.url

    @property
    def how_to_open(self) -> str:
        """A URL or a command that shows the run."""
        return self._tracked.how_to_open

    def begin(self) -> None:
        """Begin the training: start metering and counting the optimizers' steps."""
        if not self._has_begun:
            self._hooks.enter_context(watched_steps(self._optimizers, self.step, self._count_other_step))
        super().begin()

    def step(self) -> None:
        """Report that an optimizer step has ended.

        Raises:
            LimitReached, TrainingRefused: If the caller asked for them.
        """
        super().step()
        if self._commentary.is_due:
            self._show_progress()

    def end(self, *, at_last_touch: bool = False) -> None:
        """End the training; a second call does nothing."""
        self._hooks.close()
        self._commentary.close_line()
        if not self._has_ended and self._laps_by == "caller":
            self._end_lap_under_way(by_time=False)
        super().end(at_last_touch=at_last_touch)

    def lap(self) -> None:
        """Report that a lap has ended."""
        self._longest_lap_steps = max(self._longest_lap_steps, self._laps.steps_in_lap(self.step_count))
        super().lap()
        if not self.must_stop and self.lap_count < (self.plan.left_count or math.inf):
            self._show_progress()

    def epochs(self) -> Iterator[int]:
        """Iterate over the epochs, each timed and metered from its start to the start of the next.

        Empty when the training is not approved; ends early when a limit is reached. You may leave the loop early, and
        the outcome then says so. The first epoch is 0, or ``done=`` of a resumed training. A second loop goes on where
        the first was left, and repeats an epoch that was left in its middle.

        Raises:
            InvalidInputError: If all epochs have been trained, another loop goes on, or the ``with`` block is over.
        """
        if self._may_not_run():
            return
        if self.plan.lap_count is None or not self.plan.is_epoch:
            raise InvalidInputError("this training is planned by steps: iterate run.steps()")
        loop, last = self._open_loop("epochs", self.take_over), math.ceil(self.plan.lap_count)
        for epoch in self._left("epochs", self.plan.first_lap + self.lap_count, last):
            loop.is_under_way = True
            try:
                yield epoch
            except GeneratorExit:
                self._leave_epoch(loop)
                raise
            self._refuse_if_replaced(loop)
            loop.is_under_way = False
            self.lap()
            if self.must_stop:
                return
        self._commentary.close_line()

    def steps(self) -> Iterator[int]:
        """Iterate over the optimizer steps, metered in laps of several; empty when the training is not approved.

        The first step is 0, or ``done=`` of a resumed training. Ends early when a limit is reached. A second loop goes
        on after the step with which the first was left.

        Raises:
            InvalidInputError: If all steps have been trained, another loop goes on, or the ``with`` block is over.
        """
        if self._may_not_run():
            return
        left, per_lap = self.plan.left_step_count, self.plan.steps_per_lap
        if left is None or per_lap is None:
            raise InvalidInputError("this training has no planned number of steps: pass steps=, or epochs= with data")
        loop = self._open_loop("steps", self.take_over_steps)
        first = round(self.plan.done_count * per_lap)
        for step in self._left("steps", first + self.step_count - loop.begun_at, first + left):
            loop.is_under_way = True
            try:
                yield step
            except GeneratorExit:
                # The loop was left after a step; steps are too many for one to matter if it was left before.
                if loop is self._loop and not self._has_ended:
                    self.step()
                loop.is_under_way = False
                raise
            self._refuse_if_replaced(loop)
            self.step()
            if self.must_stop:
                return
        self._commentary.close_line()

    def over(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Iterate over batches and measure the wait for them."""
        for batch in batches:
            self.ready()
            yield batch

    def train(self) -> None:
        """Run the epochs of the ``EpochRunner`` that is tracked."""
        if self._runner is None:
            raise InvalidInputError("train() runs the epochs of an EpochRunner; this training has a loop of its own")
        for _ in self.epochs():
            self._runner.run_epoch(self._runner.sample_count)

    def say_estimate(self) -> None:
        """Print the summary of the estimate, and where the run is stored, if the caller wants to see it."""
        if self.estimate is not None and self.plan.lap_count is not None:
            kept = f"\nKept in MLflow: {self.url}" if self.url else ""
            self._commentary.say(f"{summary(self.estimate, self.comparison, steps=self._planned_steps)}{kept}")

    def say_end(self, error: BaseException | None) -> None:
        """Print in one line what the training took, if the caller wants to see it.

        Args:
            error: What ended it; None when it ended by itself.
        """
        if error is not None:
            failed = "failed" if isinstance(error, Exception) else "interrupted"
            self._ended = "pruned" if is_pruned(error) else failed
        if error is None and self.outcome is None and not self.step_count:
            self._say_nothing_seen()
        estimate, outcome = self.estimate, self.outcome
        if estimate is not None and outcome is not None and self.plan.lap_count is not None:
            self._commentary.say(ending_sentence(estimate, outcome, ended=self._what_ended_it))

    def __str__(self) -> str:
        if self.estimate is None:
            return "no estimate yet: it is made of the first seconds of the training"
        return summary(
            self.estimate,
            self.comparison,
            refusal="" if self.has_trained else self.refusal,
            outcome=self.outcome,
            ended=self._what_ended_it,
            is_running=not self._has_ended,
            steps=self._planned_steps,
        )

    def _repr_html_(self) -> str:
        from greenlove_mlflow.words.html import format_training_html

        if self.estimate is None:
            return "<p>No estimate yet: it is made of the first seconds of the training.</p>"
        return format_training_html(
            self.estimate,
            self.comparison,
            self.outcome,
            how_to_open=self.how_to_open,
            refusal=self.refusal,
            is_running=not self._has_ended,
        )

    @property
    def _planned_steps(self) -> int | None:
        """Optimizer steps of a training planned by them, earlier parts included; None for one planned by epochs."""
        plan = self.plan
        if plan.is_epoch or plan.lap_count is None or plan.steps_per_lap is None:
            return None
        return round(plan.lap_count * plan.steps_per_lap)

    @property
    def _what_ended_it(self) -> str:
        """What ended the training, if not its plan: a limit that is spent as it comes to its end does not."""
        is_whole = self.outcome is not None and self.outcome.completed
        return f"stopped: {self.must_stop}" if self.must_stop and not is_whole else self._ended

    def _take_made(self) -> None:
        super()._take_made()
        self.say_estimate()

    def _open_line(self) -> None:
        self._commentary.open_line()
        self._show_progress()

    def _show_progress(self) -> None:
        """Show how far the training is and what is left, on the live line if there is one."""
        if not self._commentary.line.is_open:
            return
        plan, steps = self.plan, self._planned_steps
        if steps is not None and plan.steps_per_lap is not None:
            done, planned, what = round(plan.done_count * plan.steps_per_lap) + self.step_count, steps, "step"
        else:
            done, planned, what = plan.first_lap + self.lap_count, math.ceil(plan.lap_count or 1), "epoch"
        self._commentary.redraw(
            live_line(
                f"{what} {min(done + 1, planned):,} of {planned:,}",
                done / planned,
                elapsed_s=self.elapsed_s,
                forecast=self.forecast,
                so_far=self._account.settle(plan, with_laps=False) if self.lap_count else None,
            )
        )

    def _say_nothing_seen(self) -> None:
        """Say why a training has no outcome, if it seems to have trained something else than it was given."""
        if self._other_step_count or self.lap_count:
            others = f", but {self._other_step_count:,} of another one" if self._other_step_count else ""
            self.say(
                f"no step of the given optimizer was seen{others}: this training has no outcome. Pass the model and "
                "optimizer that are trained"
            )

    def _count_other_step(self) -> None:
        self._other_step_count += 1

    def _may_not_run(self) -> bool:
        return bool(self.refusal or self.must_stop)

    def _open_loop(self, name: Literal["epochs", "steps"], take_over: Callable[[], None]) -> _Loop:
        """Begin a loop over the training, or go on with it where an earlier one was left."""
        earlier = self._loop
        if self._has_ended:
            raise InvalidInputError(f"this training has ended: iterate run.{name}() inside its with block")
        if earlier is not None and earlier.name != name:
            raise InvalidInputError(
                f"this training is counted by run.{earlier.name}(), so run.{name}() cannot count it as well: iterate "
                "one of them"
            )
        if earlier is None:
            if name == "steps":
                self._hooks.close()
            take_over()
        elif name == "epochs":
            self._leave_epoch(earlier)
            self._laps.begin_lap(self.step_count)
        self._loop = _Loop(name, self.step_count if earlier is None else earlier.begun_at)
        return self._loop

    def _left(self, name: str, first: int, last: int) -> range:
        """What is left of the plan for a loop that begins now."""
        if first >= last:
            raise InvalidInputError(
                f"run.{name}() has counted all {last} {name} of this training: open another track() for another "
                f"training, or pass {name}= for a longer one"
            )
        self._open_line()
        return range(first, last)

    def _refuse_if_replaced(self, loop: _Loop) -> None:
        if loop is not self._loop:
            raise InvalidInputError(
                f"another loop over run.{loop.name}() has begun inside this one: a training is counted by one at a time"
            )

    def _leave_epoch(self, loop: _Loop) -> None:
        """Count the epoch that a loop was left in, if it is complete; nothing if the loop has been replaced."""
        if loop is self._loop and loop.is_under_way:
            self._end_lap_under_way(by_time=True)
        loop.is_under_way = False

    def _end_lap_under_way(self, *, by_time: bool) -> None:
        """End the current lap if it is complete, by its steps or, if none were seen, by its time."""
        if self._has_ended:
            return
        steps = self._laps.steps_in_lap(self.step_count)
        usual = self._longest_lap_steps or (self.plan.steps_per_lap if steps else None)
        if usual and self.step_count:
            whole = is_whole(steps, usual)
        else:
            # No epoch to judge by: where steps could have been seen and none was, nothing has been trained.
            usual_s = math.inf if self._optimizers else 0.0
            if self.lap_count:
                usual_s = sum(self._laps.durations_s) / self.lap_count
            whole = by_time and self._laps.lap_s >= LEAST_SHARE_OF_LAP * usual_s
        if whole:
            self._laps.end_lap(self.step_count)
            self._settle_lap()
