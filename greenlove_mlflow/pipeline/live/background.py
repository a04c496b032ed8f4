"""Background work during training: one job in a low-priority thread."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
# The lowest priority: on a busy machine the training's threads come first.
NICENESS = 19


class Background(Generic[Result]):
    """A job that starts at once in its own thread, or at the end of the process, when there are no new ones, here.

    Args:
        work: The job.
        name: Name of the thread.
    """

    def __init__(self, work: Callable[[], Result], *, name: str) -> None:
        self._work = work
        self._results: list[Result] = []
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run_aside, name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            logger.debug("no thread can be started any more: %s is done in this one", name)
            self._run()

    @property
    def is_done(self) -> bool:
        """Whether the job has ended."""
        return self._done.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait up to ``timeout_s`` seconds and return whether the job has ended."""
        return self._done.wait(timeout_s)

    def result(self) -> Result:
        """Wait for the job and return its result, or raise its exception."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run_aside(self) -> None:
        _give_way()
        self._run()

    def _run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised again by ``result``
            self._error = error
        finally:
            self._done.set()


def _give_way() -> None:
    """Give this thread the lowest priority where the system has priorities per thread; else do nothing."""
    if hasattr(os, "setpriority") and hasattr(threading, "get_native_id"):
        with contextlib.suppress(OSError, ValueError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
