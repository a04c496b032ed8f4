"""Marks that a training is already being estimated or tracked, so that nothing else counts its steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_DEPTH: ContextVar[int] = ContextVar("greenlove_busy", default=0)


def is_busy() -> bool:
    """Whether a benchmark or a tracked training is running in this thread."""
    return _DEPTH.get() > 0


@contextmanager
def busy() -> Iterator[None]:
    """A block that benchmarks or tracks a training."""
    _DEPTH.set(_DEPTH.get() + 1)
    try:
        yield
    finally:
        _DEPTH.set(_DEPTH.get() - 1)
