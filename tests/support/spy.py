"""Spy: what a step notes down for its test; unlike a list in a closure, it is not put back after a benchmark."""

from __future__ import annotations

import queue
from typing import Any


class Spy(queue.SimpleQueue):  # type: ignore[type-arg]
    """A queue: nothing that a training reads, so the benchmark leaves it alone."""

    def noted(self) -> list[Any]:
        """What was put since it was last asked."""
        return [self.get() for _ in range(self.qsize())]
