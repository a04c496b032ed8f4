"""A program on a pseudo-terminal, and what a person would then see on the screen."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.warm import warm_python


@dataclass(frozen=True)
class Screen:
    """What was written, and the lines that are left of it."""

    raw: str
    exit_code: int

    @property
    def lines(self) -> list[str]:
        """The lines as a terminal shows them: a carriage return goes back to the first column."""
        return [line for line in (_shown(each) for each in self.raw.split("\n")) if line]


def _shown(line: str) -> str:
    cells: list[str] = []
    at = 0
    for char in line:
        if char == "\r":
            at = 0
            continue
        cells[at:] = [char, *cells[at + 1 :]] if at < len(cells) else [char]
        at += 1
    return "".join(cells).rstrip()


def run_on_terminal(
    command: Sequence[str], *, cwd: Path, environ: Mapping[str, str] | None = None, columns: int = 80
) -> Screen:
    """Run ``python COMMAND``, whose standard streams are a terminal of so many columns, until it ends."""
    import fcntl
    import pty
    import termios

    terminal, theirs = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    program = warm_python().start(command, folder=cwd, environment=dict(environ or os.environ), terminal=theirs)
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while part := os.read(terminal, 65536):
            written += part
    os.close(terminal)
    text = written.decode("utf-8", "replace").replace("\r\n", "\n")
    return Screen(raw=text, exit_code=program.wait())
