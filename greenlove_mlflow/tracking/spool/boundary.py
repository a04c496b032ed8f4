"""Error boundary: MLflow failures become one warning, never an exception in the training."""

from __future__ import annotations

import contextlib
import logging
import re
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
# What MLflow puts before the message of a server's answer.
_ERROR_CODE = re.compile(r"^[A-Z][A-Z_]+: ")


class TrackingWarning(UserWarning):
    """MLflow did not accept something; training continues and the measurements are kept."""


class OutOfTimeError(Exception):
    """A call did not return before its deadline; it may still return in its own thread."""


class Boundary:
    """Turns failures of MLflow or the disk into one warning.

    Everything that tracking does once the run is open goes through a boundary, so that no failure of a server, a
    network or a disk reaches the training.

    Args:
        has_warned: Whether the caller has already been warned.
    """

    def __init__(self, *, has_warned: bool = False) -> None:
        self._has_warned = has_warned
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def guard(self, doing: str) -> Iterator[None]:
        """A block whose exceptions become a warning; ``doing`` names what was attempted."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the boundary: a store may raise anything, training continues
            self.warn(f"{doing} failed: {first_line(error)}", error)

    def warn(self, message: str, error: BaseException | None = None) -> None:
        """Warn the first time, log every time."""
        with self._lock:
            first, self._has_warned = not self._has_warned, True
        logger.debug("%s", message, exc_info=error)
        if first:
            say(f"{message}. Training continues; further problems of this kind are only logged.")


def say(message: str) -> None:
    """Show a warning even where warnings are errors, since no caller could catch it."""
    message = safe(message)
    try:
        warnings.warn(message, TrackingWarning, stacklevel=3)
    except TrackingWarning:
        logger.warning("%s", message)


def safe(message: str) -> str:
    """The message without passwords and without terminal control characters."""
    return printable(scrubbed(message, secret_values()), lines=True)


def first_line(error: BaseException) -> str:
    """The error's kind and the first line of its message, without passwords; of MLflow's errors the message alone."""
    text = safe(str(error).strip().split("\n", 1)[0][:2000])
    kind = type(error).__name__
    if text and kind in ("MlflowException", "RestException"):
        return _ERROR_CODE.sub("", text)[:300]
    return f"{kind}: {text[:300]}" if text else kind


def cause(error: BaseException) -> BaseException | None:
    """The error to chain to one of this package's; None if its message is not safe to show in a traceback."""
    text = str(error)
    return error if safe(text) == text else None


class Patience:
    """How long a call that makes several requests may go without an answer.

    Args:
        silent_s: Seconds without an answer after which the call is given up.
    """

    def __init__(self, silent_s: float) -> None:
        self.silent_s = silent_s
        self._since_s = time.perf_counter()

    def renew(self) -> None:
        """Reset the clock after an answer."""
        self._since_s = time.perf_counter()

    @property
    def is_over(self) -> bool:
        """Whether there has been no answer for too long."""
        return time.perf_counter() - self._since_s >= self.silent_s


def within(deadline_s: float, call: Callable[[], Result]) -> Result:
    """What ``call`` returns or raises within ``deadline_s`` seconds.

    Raises:
        OutOfTimeError: If it does not return in time.
    """
    return patiently(Patience(deadline_s), call)


def patiently(patience: Patience, call: Callable[[], Result]) -> Result:
    """What ``call`` returns or raises, unless ``patience`` runs out first.

    MLflow's HTTP calls retry for four minutes and cannot be told not to without changing the user's environment, so
    a call that must not hang runs in a daemon thread that can be abandoned.

    Raises:
        OutOfTimeError: If it does not return in time.
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
