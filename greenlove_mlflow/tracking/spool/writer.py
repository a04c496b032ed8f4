"""The background thread that sends a spool to MLflow while training runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from greenlove_mlflow.tracking.spool.boundary import Boundary
from greenlove_mlflow.tracking.spool.sender import RunGoneError, Sender, StoreDownError

INTERVAL_S = 5.0
# At the end, a store that accepts nothing for this long is given up; one that is merely slow gets up to a minute.
CLOSE_DEADLINE_S = 10
CLOSE_LIMIT_S = 60
# A pause waits this long for the current request to return; one to a server that just died may take minutes, and a
# thread that waits for an answer does not disturb a measurement.
_PAUSE_DEADLINE_S = 2.0

Job = Callable[[], object]


class Writer:
    """Sends spooled events every few seconds, and the rest at the end, from a daemon thread.

    Args:
        sender: Sender of the run's own spool.
        boundary: Error boundary.
        last: Called at the end when time is left, to recover the spools of earlier, interrupted runs.
        interval_s: Seconds between two rounds.
    """

    def __init__(
        self,
        sender: Sender,
        boundary: Boundary,
        *,
        last: Job = lambda: None,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._sender = sender
        self._boundary = boundary
        self._last = last
        self._interval_s = interval_s
        self._wake = threading.Event()
        self._turn = threading.Lock()
        self._is_paused = False
        self._is_closing = False
        self._is_done = False
        self._thread = threading.Thread(target=self._run, name="greenlove-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def must_stop(self) -> bool:
        """Whether the current round should end after its current request."""
        return self._is_paused and not self._is_closing

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """A block in which nothing is sent, for timed code; a current round ends first."""
        self._is_paused = True
        if self._turn.acquire(timeout=_PAUSE_DEADLINE_S):
            self._turn.release()
        try:
            yield
        finally:
            self._is_paused = False
            self._wake.set()

    def close(self) -> bool:
        """Send the rest and return whether all was sent; gives up when nothing is accepted for ten seconds."""
        self._is_closing = True
        self._wake.set()
        silent_s, request_count = 0, self._sender.request_count
        for _ in range(CLOSE_LIMIT_S):
            self._thread.join(1.0)
            silent_s = 0 if self._sender.request_count != request_count else silent_s + 1
            request_count = self._sender.request_count
            if not self._thread.is_alive() or silent_s >= CLOSE_DEADLINE_S:
                break
        return self._is_done

    def _run(self) -> None:
        while not self._is_closing:
            self._wake.wait(self._interval_s)
            self._wake.clear()
            if not self._is_closing:
                self._round(retry=False)
        self._round(retry=True)
        with self._boundary.guard("clearing the spool"):
            self._is_done = self._sender.is_whole
            if self._sender.is_done:
                self._sender.discard()
                self._last()
            else:
                self._sender.keep_rest()
                self._sender.spool.unlock()

    def _round(self, *, retry: bool) -> None:
        with self._turn, self._boundary.guard("sending to MLflow"):
            if self.must_stop:
                return
            place = self._sender.spool.place
            try:
                self._sender.send(retry=retry)
            except StoreDownError as error:
                self._boundary.warn(
                    f"MLflow does not answer ({error}); what is measured waits in {place} and is sent when it answers "
                    "again, at the latest by `greenlove recover`"
                )
            except RunGoneError as error:
                self._boundary.warn(
                    f"{error}; what is measured waits in {place}: restore the run, then `greenlove recover --refused`"
                )
