"""Asides: lines of a spool that the store did not accept, kept to be retried or as refused."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from greenlove_mlflow.files import open_private, read_private
from greenlove_mlflow.tracking.spool.events import Event

LATER, REFUSED = "later.jsonl", "refused.jsonl"
_LIMIT_BYTES = 1 << 28


class Aside(NamedTuple):
    """A line that the store did not accept, and why; with its event if the line does not hold all of it."""

    line: bytes
    reason: str
    event: Event | None = None


class Asides:
    """The lines that a spool has set aside, in files of its folder or in memory.

    Args:
        folder: Folder of the spool; None for a spool in memory only.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._memory: dict[str, list[Aside]] = {LATER: [], REFUSED: []}

    def put(self, name: str, asides: Sequence[Aside]) -> None:
        """Keep lines in the file of that name; in memory if it cannot be written or a line lacks part of its event."""
        here = [aside for aside in asides if self.folder is None or aside.event is not None]
        there = [aside for aside in asides if aside not in here]
        try:
            if there:
                self._append(name, b"".join(_to_line(name, aside) for aside in there))
        except OSError:
            here = list(asides)
        self._memory[name] += here

    def read(self, name: str) -> list[Aside]:
        """The lines kept in the file of that name, then those kept in memory.

        Raises:
            OSError: If the file cannot be read or belongs to another user.
        """
        asides: list[Aside] = []
        if self.folder is not None:
            with contextlib.suppress(FileNotFoundError):
                content = read_private(self.folder / name, limit_bytes=_LIMIT_BYTES)
                asides = [_of_line(name, line) for line in content.splitlines(keepends=True)]
        return asides + self._memory[name]

    def replace(self, name: str, asides: Sequence[Aside]) -> None:
        """Replace what was kept under that name with these lines.

        Raises:
            OSError: If the file cannot be written.
        """
        self._memory[name] = []
        if self.folder is not None:
            (self.folder / name).unlink(missing_ok=True)
        self.put(name, asides)

    def has(self, name: str) -> bool:
        """Whether any lines are kept under that name."""
        return bool(self._memory[name]) or (self.folder is not None and os.path.lexists(self.folder / name))

    def _append(self, name: str, content: bytes) -> None:
        if self.folder is None:
            raise FileNotFoundError(name)
        descriptor = open_private(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            write_all_or_nothing(descriptor, content)
        finally:
            os.close(descriptor)


def write_all_or_nothing(descriptor: int, content: bytes) -> None:
    """Write all or nothing: a partial write on a full disk is undone.

    Raises:
        OSError: If not all of it could be written.
    """
    written = os.write(descriptor, content)
    if written != len(content):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise OSError(28, "only a part could be written")


def _to_line(name: str, aside: Aside) -> bytes:
    if name == LATER:
        return aside.line if aside.line.endswith(b"\n") else aside.line + b"\n"
    content = {"reason": aside.reason, "line": aside.line.decode("utf-8", "backslashreplace").rstrip("\n")}
    return json.dumps(content).encode() + b"\n"


def _of_line(name: str, line: bytes) -> Aside:
    if name == LATER:
        return Aside(line, "")
    try:
        content = json.loads(line)
        return Aside(content["line"].encode("utf-8", "surrogateescape") + b"\n", str(content["reason"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Aside(line, "")  # format of an earlier release: the line alone
