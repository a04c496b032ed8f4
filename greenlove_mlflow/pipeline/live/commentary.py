"""Commentary: what ``track`` prints on stderr: the summary, a live line with what is left, and a line at the end."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.terminal import bars_shown, can_redraw, encodable, is_terminal, width_of, write_on_stderr
from greenlove_mlflow.untrusted import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

# Seconds between two versions of the live line.
REDRAW_S = 1.0
_USUAL_WIDTH = 80


class LiveLine:
    """One line on stderr that is rewritten in place; nothing where stderr is no terminal.

    What others print to the terminal while it is shown scrolls above it. It rests while another line is unfinished,
    such as that of a tqdm bar. Leaving the block removes the line and restores ``sys.stdout`` and ``sys.stderr``.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._streams: dict[str, _Above] = {}
        self._shown = ""
        self._is_free = True

    @property
    def is_open(self) -> bool:
        """Whether there is a terminal to show it on."""
        return bool(self._streams)

    def __enter__(self) -> LiveLine:
        if not self._streams and can_redraw(sys.stderr) and not bars_shown():
            for name in ("stdout", "stderr"):
                if is_terminal(getattr(sys, name)):
                    self._streams[name] = _Above(getattr(sys, name), self)
                    setattr(sys, name, self._streams[name])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hide()
        for name, wrapped in self._streams.items():
            if getattr(sys, name) is wrapped:  # else somebody else's wrapper holds it, and it only passes text on
                setattr(sys, name, wrapped.stream)
        self._streams = {}

    def show(self, text: str) -> None:
        """Show this text in place of the one before, cut to the terminal's width."""
        with self._lock:
            if self.is_open and self._is_free and not bars_shown():
                stream = self._streams["stderr"].stream
                columns = width_of(stream) or _USUAL_WIDTH
                self._replace(encodable(_whole_parts(printable(text), columns - 1), stream))

    def hide(self) -> None:
        """Remove the line until it is shown again."""
        with self._lock:
            if self._shown:
                self._replace("")

    def pass_on(self, stream: Any, text: str) -> Any:
        """Write what others print to the stream of theirs, above the line."""
        with self._lock:
            self.hide()
            if text:
                self._is_free = text.endswith(("\n", "\r"))
            return stream.write(text)

    def _replace(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
            stream = self._streams["stderr"].stream
            blank = " " * max(0, len(self._shown) - len(text))
            stream.write(f"\r{text}{blank}" if text else f"\r{blank}\r")
            stream.flush()
        self._shown = text


def _whole_parts(text: str, columns: int) -> str:
    """The text without those of its last parts, between commas, that have no room."""
    while len(text) > columns and ", " in text:
        text = text.rpartition(", ")[0]
    return text[: max(0, columns)]


class _Above:
    """A stream of the terminal that clears the live line before each write."""

    def __init__(self, stream: Any, line: LiveLine) -> None:
        self.stream = stream
        self._line = line

    def write(self, text: str) -> Any:
        """Write the text where the live line was."""
        return self._line.pass_on(self.stream, text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write the lines where the live line was."""
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class Commentary:
    """What ``track`` says on stderr while a training runs.

    Args:
        wanted: Whether to say anything; None for only where stderr is a terminal, which the live line always needs.
    """

    def __init__(self, wanted: bool | None = None) -> None:
        self.line = LiveLine()
        self._speaks = is_terminal(sys.stderr) if wanted is None else wanted
        self._redrawn_s = -math.inf

    @property
    def is_due(self) -> bool:
        """Whether a live line is shown and is a second old."""
        return self.line.is_open and time.perf_counter() - self._redrawn_s >= REDRAW_S

    def say(self, text: str) -> None:
        """Print one or more lines."""
        if self._speaks:
            write_on_stderr(printable(text, lines=True))

    def open_line(self) -> None:
        """Begin to show a live line."""
        if self._speaks:
            self.line.__enter__()

    def close_line(self) -> None:
        """Remove the live line."""
        self.line.__exit__(None, None, None)

    def redraw(self, text: str) -> None:
        """Show this text as the live line."""
        self._redrawn_s = time.perf_counter()
        self.line.show(text)
