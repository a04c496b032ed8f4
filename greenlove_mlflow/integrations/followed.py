"""Followed: a run driven by a framework and reported by its events; the base of all callbacks."""

from __future__ import annotations

import atexit
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from greenlove_mlflow.benchmark.subject.loop import is_trained_already
from greenlove_mlflow.core.workload import Limits
from greenlove_mlflow.environment import set_variables
from greenlove_mlflow.errors import TrackingError
from greenlove_mlflow.pipeline.live.policy import Policy
from greenlove_mlflow.pipeline.options import make_options
from greenlove_mlflow.pipeline.running import running
from greenlove_mlflow.pipeline.undertaking import Keeping
from greenlove_mlflow.pipeline.watching import prepare_watched
from greenlove_mlflow.terminal import say_on_stderr

if TYPE_CHECKING:
    from greenlove_mlflow.pipeline.tracked_training import TrackedTraining
    from greenlove_mlflow.tracking.spool.header import RunToJoin

# The options of Keeping that a caller may set.
_KEEPING = ("experiment", "run_name", "nested", "log_model", "saved_view", "run_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """A training that a framework is about to run.

    Args:
        watched: Its model and optimizers, as far as known.
        plan: ``epochs`` or ``steps``, ``done``, ``batch_size``, ``steps_per_epoch`` or ``lap_steps``.
        key: An object of the framework that all callbacks of this training share, and no other training has.
        validations_per_lap: Validations in a lap; below 1 where several laps pass between two.
        join: An MLflow run that the framework's own logger has opened.
        resumed_run_id: The run named in the framework's checkpoint; used if no other was asked for.
    """

    watched: tuple[Any, ...]
    plan: dict[str, Any] = field(default_factory=dict)
    key: object = None
    validations_per_lap: float = 1.0
    join: RunToJoin | None = None
    resumed_run_id: str | None = None


class Followed:
    """Follows runs one after the other, each from ``begin`` to ``end``. A failure here never stops training.

    Args:
        limits: Limits of a run; one that has spent a limit is asked to stop.
        options: Options of ``track``, for the estimate (country, prices, ...) and the run (experiment, run_name, ...).

    Raises:
        InvalidInputError: If an option cannot be used.
    """

    # Those whose end has not been reported, of all threads.
    _unended: ClassVar[list[Followed]] = []

    def __init__(self, *, limits: Limits | None = None, **options: Any) -> None:
        self.run: TrackedTraining | None = None
        self._policy = Policy(limits=limits)
        self._keeping = {name: options.pop(name) for name in _KEEPING if name in options}
        self._options = options
        self._open = ExitStack()
        self._is_open, self._is_alone = False, True
        self._key: object = None
        self._error_before: BaseException | None = None
        self._thread_id = self._depth = 0
        # An unknown option is refused at construction, not when training begins.
        make_options(None, {"steps": 1, **options})

    def begin(self, read: Callable[[], Beginning]) -> None:
        """Begin to follow a run.

        Args:
            read: Reads what is known about it from the framework.
        """
        self.abandon()
        self._thread_id, self._depth = threading.get_ident(), _stack_depth()
        self._error_before = _last_error()
        self._guarded(lambda: self._begin_if_free(read))
        atexit.register(self.abandon)

    def has_broken(self, later: Followed) -> bool:
        """Whether this run can be over only by an error, as a later one begins no deeper in the calls of its thread."""
        return self._thread_id == later._thread_id and later._depth <= self._depth

    def follows(self, key: object) -> bool:
        """Whether it follows the training that has this key."""
        return key is not None and self._key is key

    def __getstate__(self) -> dict[str, Any]:
        """What a copy, or another process, begins with: the options, and no run."""
        return {"limits": self._policy.limits, **self._keeping, **self._options}

    def __setstate__(self, given: dict[str, Any]) -> None:
        """Make it anew from its options."""
        self.__init__(**given)  # type: ignore[misc]

    def ready(self) -> None:
        """Report that a batch has arrived."""
        if self._is_open and self.run is not None:
            self.run.ready()

    def step(self) -> bool:
        """Report the end of an optimizer step; return whether training must stop."""
        return self._told(_count_step)

    def lap(self) -> bool:
        """Report the end of an epoch; return whether training must stop. It counts if the run is planned by epochs."""
        return self._told(lambda run: run.lap() if run.plan.is_epoch else None)

    def pause(self, what: str = "") -> None:
        """Report that no training step follows for now."""
        self._told(lambda run: run.pause("validation" if what == "validation" else ""))

    def resume(self) -> None:
        """Report that training continues."""
        self._told(lambda run: run.resume())

    def end(self, error: BaseException | None = None) -> None:
        """End the run, with the error if there was one; a second call does nothing."""
        atexit.unregister(self.abandon)
        self._forget()
        opened, self._open = self._open, ExitStack()
        kind = None if error is None else type(error)
        self._guarded(lambda: opened.__exit__(kind, error, None if error is None else error.__traceback__), error)

    def abandon(self) -> None:
        """End, at its last step, a run whose end was never reported; does nothing if there is none.

        Some frameworks report no error to callbacks: a training that raised is noticed when the next one begins, by
        this callback or another one, or when the process ends.
        """
        run = self.run
        if run is None or not self._is_open:
            return
        if self._is_alone:  # several ranks first tell each other of the error
            self._guarded(lambda: run.end(at_last_touch=True))
        error = _last_error()
        if error is None or error is self._error_before:
            error = RuntimeError("the training raised an error that was not reported")
        self.end(error)

    def _begin_if_free(self, read: Callable[[], Beginning]) -> None:
        """Begin, unless another callback or a block around it tracks the same training."""
        try:
            beginning = read()
        finally:
            self.run = None
        others = [each for each in self._unended if each.has_broken(self)]
        is_followed = any(each.follows(beginning.key) for each in others)
        for other in () if is_followed else others:
            other.abandon()
        if is_followed or is_trained_already(beginning.watched):
            say_on_stderr(
                "this training is tracked already, by another callback or a block around it: this callback leaves it "
                "to that, and to the limits given there"
            )
            return
        self._key = beginning.key
        self._begin_or_anew(beginning)

    def _begin_or_anew(self, beginning: Beginning) -> None:
        """Begin in the run of the checkpoint, or in another one if that run is not in the store."""
        asked_for = self._keeping.get("run_id") or set_variables(("MLFLOW_RUN_ID",))
        if beginning.resumed_run_id is None or beginning.join is not None or asked_for:
            self._begin(beginning, self._keeping)
            return
        try:
            self._begin(beginning, {**self._keeping, "run_id": beginning.resumed_run_id})
        except TrackingError as error:
            say_on_stderr(f"the run of the checkpoint is not continued, another one begins: {error}")
            self._begin(beginning, self._keeping)

    def _begin(self, beginning: Beginning, keeping: dict[str, Any]) -> None:
        undertaking = prepare_watched(
            beginning.watched,
            {"summary": False, **beginning.plan, **self._options},
            policy=self._policy,
            keeping=Keeping(**keeping, join=beginning.join),
            tells_steps=True,
            validations_per_lap=beginning.validations_per_lap,
        )
        self.run = self._open.enter_context(running(undertaking))
        self._is_open, self._is_alone = True, undertaking.ranks is None
        self._unended.append(self)
        if undertaking.plan.is_epoch:
            self.run.take_over()
        else:
            self.run.take_over_steps()

    def _forget(self) -> None:
        self._is_open, self._key = False, None
        if self in self._unended:
            self._unended.remove(self)

    def _told(self, tell: Callable[[TrackedTraining], None]) -> bool:
        run = self.run
        if run is None or not self._is_open:
            return False
        self._guarded(lambda: tell(run))
        return bool(run.must_stop)

    def _guarded(self, work: Callable[[], object], error: BaseException | None = None) -> None:
        """Error boundary: our failures must not reach the framework's training."""
        try:
            work()
        except Exception as trouble:  # noqa: BLE001 - whatever fails here, training must go on
            if trouble is error:
                return
            self._forget()
            self._open.pop_all()
            if self.run is not None:
                self.run.leave_ranks()
            warnings.warn(
                f"greenlove no longer follows this training: {type(trouble).__name__}: {trouble}", stacklevel=3
            )


def _count_step(run: TrackedTraining) -> None:
    run.step()
    run.touch()


def _stack_depth() -> int:
    depth, frame = 0, sys._getframe()
    while (outer := frame.f_back) is not None:
        depth, frame = depth + 1, outer
    return depth


def _last_error() -> BaseException | None:
    """The last exception that reached the top of the program, or of a notebook's cell; None when there was none."""
    error = getattr(sys, "last_value", None)
    return error if isinstance(error, BaseException) else None
