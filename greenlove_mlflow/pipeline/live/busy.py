"""Whether this process is estimating or tracking a training already, so that nothing else counts its steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_DEPTH: ContextVar[int] = ContextVar("greenlove_busy", default=0)


def is_busy() -> bool:
    """Whether a benchmark or a tracked training is under way in this thread."""
    return _DEPTH.get() > 0


@contextmanager
def busy() -> Iterator[None]:
    """A block in which a training is benchmarked or tracked."""
    _DEPTH.set(_DEPTH.get() + 1)
    try:
        yield
    finally:
        _DEPTH.set(_DEPTH.get() - 1)
