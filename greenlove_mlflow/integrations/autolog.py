"""``autolog``: meter every torch run of this process through torch's global optimizer hooks, without changing it."""

from __future__ import annotations

import atexit
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.benchmark.ranks import world_size
from greenlove_mlflow.benchmark.subject.loop import is_busy
from greenlove_mlflow.benchmark.subject.optimizer_steps import told_of_steps
from greenlove_mlflow.environment import read_environment
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.pipeline.live.policy import Policy
from greenlove_mlflow.pipeline.options import make_options
from greenlove_mlflow.pipeline.running import running
from greenlove_mlflow.pipeline.undertaking import Keeping
from greenlove_mlflow.pipeline.watching import OPEN_LAP_STEPS, prepare_watched

if TYPE_CHECKING:
    from greenlove_mlflow.pipeline.tracked_training import TrackedTraining

# Interval for recording progress and checking whether the run's MLflow run is still active.
LOOK_S = 1.0


def autolog(*, disable: bool = False, **options: Any) -> None:
    """Meter every torch training run of this process from its first optimizer step on, in the active MLflow run.

    If none is active, a new one is started, which ends with the process or when another run becomes active. The end of
    training is unknown, so there is no estimate: the pace and energy of each 1,000 steps are recorded, and finally the
    outcome. Training under ``track``, ``watch`` or a callback is left to them. A second call replaces the first.

    Args:
        disable: Stop, and end the current run; no hook is left behind.
        **options: See ``greenlove_mlflow.pipeline.options.Options`` (country, prices, ...).

    Raises:
        InvalidInputError: If an option cannot be used.
    """
    make_options(None, {"steps": OPEN_LAP_STEPS, **options})
    _AutoLogger.replace(None if disable else _AutoLogger(options))


class _AutoLogger:
    """Follows the training runs of this process, one after the other."""

    _current: _AutoLogger | None = None

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._hooks = ExitStack()
        self._open = ExitStack()
        self._run: TrackedTraining | None = None
        self._run_id: str | None = None
        self._is_ours = False
        self._thread_id = 0
        self._counts: dict[int, int] = {}
        self._looked_s = 0.0
        self._is_opening = False

    @classmethod
    def replace(cls, new: _AutoLogger | None) -> None:
        """Make ``new`` the logger of this process, and end the previous one."""
        if cls._current is not None:
            cls._current.stop()
        cls._current = new
        if new is not None:
            new.start()

    def start(self) -> None:
        """Start counting steps."""
        self._hooks.enter_context(told_of_steps(self._on_step))
        atexit.register(self.stop)

    def stop(self) -> None:
        """Stop counting, and end the current run."""
        self._hooks.close()
        atexit.unregister(self.stop)
        self._guarded(self._end)

    def _on_step(self, optimizer: Any) -> None:
        if self._is_opening or (is_busy() and self._run is None):
            return
        if self._run is not None and threading.get_ident() != self._thread_id:
            return  # one run at a time: that of the thread which began it
        self._guarded(lambda: self._count(optimizer))

    def _count(self, optimizer: Any) -> None:
        now_s = time.perf_counter()
        if self._run is not None and now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            if self._is_another_active():
                self._end()
        if self._run is None:
            self._begin(optimizer)
        if self._run is None:
            return
        own = self._counts[id(optimizer)] = self._counts.get(id(optimizer), 0) + 1
        if own >= max(self._counts.values()):
            self._run.step()
            self._run.touch()

    def _begin(self, optimizer: Any) -> None:
        if world_size(read_environment().world_size) > 1:
            raise InvalidInputError("it follows one process; on several ranks, use greenlove.track or greenlove.watch")
        self._is_opening = True
        try:
            undertaking = prepare_watched(
                (optimizer,),
                {"summary": False, **self._options},
                policy=Policy(),
                keeping=Keeping(saved_view=False),
                tells_steps=True,
            )
            self._run = self._open.enter_context(running(undertaking, ends_at_last_touch=True))
        finally:
            self._is_opening = False
        self._run_id, self._is_ours = self._run.run_id, self._run.is_ours
        self._run.step_aside()
        self._thread_id = threading.get_ident()
        self._counts, self._looked_s = {}, time.perf_counter()

    def _is_another_active(self) -> bool:
        """Whether the active MLflow run changed: another one became active, or the one that we joined has ended."""
        active = _active_run_id()
        return active != self._run_id and not (active is None and self._is_ours)

    def _end(self) -> None:
        self._run = None
        self._open.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        """Error boundary: our failures must not reach training that did not call us."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever fails here, training must go on
            self._hooks.close()
            warnings.warn(f"greenlove.autolog stops: {type(error).__name__}: {error}", stacklevel=2)


def _active_run_id() -> str | None:
    import mlflow

    active = mlflow.active_run()
    return None if active is None else active.info.run_id
