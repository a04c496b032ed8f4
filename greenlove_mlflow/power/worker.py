"""A daemon thread that makes all sensor calls, so that a hanging call blocks nothing else."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A reading takes about a millisecond; half a second without an answer counts as a hang, and training waits no longer.
ASK_TIMEOUT_S = 0.5
# How long closing waits for a call in progress; with the last reading, two seconds at most.
CLOSE_TIMEOUT_S = 1.5


class Worker:
    """A daemon thread that runs ``tick`` at an interval, and requested tasks in between.

    Args:
        tick: Called after ``interval_s`` without a request; exceptions are logged.
        interval_s: Seconds between ticks.
        at_end: Called on the thread before it ends.
    """

    def __init__(self, tick: Callable[[], object], interval_s: float, at_end: Callable[[], object]) -> None:
        self._tick, self.interval_s, self._at_end = tick, interval_s, at_end
        self._requests: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._overdue: Future[Any] | None = None
        self._thread = threading.Thread(target=self._run, name="greenlove-power", daemon=True)
        self._thread.start()

    @property
    def is_stuck(self) -> bool:
        """Whether a request is still unanswered after its timeout."""
        return self._overdue is not None and not self._overdue.done()

    def ask(self, task: Callable[[], T], timeout_s: float = ASK_TIMEOUT_S) -> T | None:
        """Run ``task`` on the thread and return its result; None if it raised or did not finish in time.

        While one request is overdue, later ones are skipped: a caller waits for a hang only once.
        """
        if self.is_stuck:
            return None
        answer: Future[T] = Future()
        self._requests.put((task, answer))
        try:
            return answer.result(timeout_s)
        except FutureTimeoutError:
            self._overdue = answer
            logger.info("a power meter did not answer within %.1f s", timeout_s)
        except Exception as error:  # noqa: BLE001 - a meter failure must not reach the training
            logger.info("a power meter failed: %s", error)
        return None

    def abandon(self) -> None:
        """Let the thread end by itself when its call returns, if ever."""
        self._requests.put(None)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Stop the thread; return whether it ended within ``timeout_s``. A hanging thread is left as a daemon."""
        self._requests.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while self._serve():
                pass
        finally:
            _quietly(self._at_end)

    def _serve(self) -> bool:
        """Handle one request or tick; return whether to go on."""
        try:
            request = self._requests.get(timeout=self.interval_s)
        except queue.Empty:
            _quietly(self._tick)
            return True
        if request is None:
            return False
        task, answer = request
        try:
            answer.set_result(task())
        except Exception as error:  # noqa: BLE001 - passed to the caller
            answer.set_exception(error)
        return True


def _quietly(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - the thread survives a meter failure
        logger.debug("a power meter failed: %s", error)
