"""The one boundary between MLflow's trouble and the training: a warning once, never an exception."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

from greenlove_mlflow.environment import secret_values
from greenlove_mlflow.untrusted import printable, scrubbed

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_POLL_S = 0.2


class TrackingWarning(UserWarning):
    """MLflow did not take something; the training goes on and what was measured is kept."""


class OutOfTimeError(Exception):
    """A call did not come back before its deadline; it may still do so, in its own thread."""


class Boundary:
    """Lets trouble with MLflow or the disk cost one warning.

    Everything that tracking does after the run was opened goes through one of these, so that no failure of a server, a
    network or a disk reaches the training.

    Args:
        has_warned: Whether the caller was warned of this trouble already.
    """

    def __init__(self, *, has_warned: bool = False) -> None:
        self._has_warned = has_warned
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def guard(self, doing: str) -> Iterator[None]:
        """A block whose exceptions become a warning; ``doing`` says what was tried."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the named boundary: a store may raise anything, the training goes on
            self.warn(f"{doing} failed: {first_line(error)}", error)

    def warn(self, message: str, error: BaseException | None = None) -> None:
        """Warn the first time, log it every time."""
        with self._lock:
            first, self._has_warned = not self._has_warned, True
        logger.debug("%s", message, exc_info=error)
        if first:
            say(f"{message}. Training goes on; further trouble of this kind is only logged.")


def say(message: str) -> None:
    """Show a warning, also where warnings are turned into errors and nobody could catch them."""
    message = safe(message)
    try:
        warnings.warn(message, TrackingWarning, stacklevel=3)
    except TrackingWarning:
        logger.warning("%s", message)


def safe(message: str) -> str:
    """The message without passwords and without characters that a terminal would obey."""
    return printable(scrubbed(message, secret_values()), lines=True)


def first_line(error: BaseException) -> str:
    """The error's kind and the first line of its message, without passwords."""
    text = safe(str(error).strip().split("\n", 1)[0][:2000])
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def cause(error: BaseException) -> BaseException | None:
    """The error as the cause of one of ours; None where its words, which a traceback shows, are not safe to show."""
    text = str(error)
    return error if safe(text) == text else None


class Patience:
    """How long a call that asks several questions may go without an answer.

    Args:
        silent_s: Seconds without an answer after which it is given up.
    """

    def __init__(self, silent_s: float) -> None:
        self.silent_s = silent_s
        self._since_s = time.perf_counter()

    def renew(self) -> None:
        """An answer came."""
        self._since_s = time.perf_counter()

    @property
    def is_over(self) -> bool:
        """Whether no answer came for too long."""
        return time.perf_counter() - self._since_s >= self.silent_s


def within(deadline_s: float, call: Callable[[], Result]) -> Result:
    """What ``call`` returns, or its exception, if it comes within so many seconds.

    Raises:
        OutOfTimeError: If it does not come back in time.
    """
    return patiently(Patience(deadline_s), call)


def patiently(patience: Patience, call: Callable[[], Result]) -> Result:
    """What ``call`` returns, or its exception, unless ``patience`` ends first.

    MLflow's HTTP calls retry for four minutes and cannot be told not to without changing the user's environment, so
    a call that must not hang runs in a daemon thread that is left behind.

    Raises:
        OutOfTimeError: If it does not come back in time.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - handed over to the waiting thread
            errors.append(error)

    thread = threading.Thread(target=work, name="greenlove-within", daemon=True)
    thread.start()
    while thread.is_alive() and not patience.is_over:
        thread.join(min(_POLL_S, patience.silent_s))
    if errors:
        raise errors[0]
    if not results:
        raise OutOfTimeError(f"no answer within {patience.silent_s:g} s")
    return results[0]
