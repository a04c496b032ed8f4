"""A spool: everything that is to reach MLflow, first in a file, so that no dead server and no kill -9 loses it.

One folder a run::

    <state folder>/greenlove/spool/<id>/
        header.json     whose it is and where it goes
        events.jsonl    one event a line, in order; appended with one ``write`` each
        ack             how many bytes of it MLflow has taken
        later.jsonl     events that failed and will be tried again
        refused.jsonl   events that the store will never take
        files/<number>/ artifacts that wait, each version of one in a folder of its own
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from greenlove_mlflow.tracking.spool.header import Header, fallback_state, process_is_alive, spool_root

try:
    import fcntl
except ImportError:  # Windows has no flock; liveness by process id alone has to do there
    fcntl = None  # type: ignore[assignment]

# Event kinds, the first item of every line.
METRIC = "metric"  # key, value, timestamp_ms, step
POWER = "power"  # device, at_s, power_w, timestamp_ms, step
PARAMS = "params"  # {key: value}
TAGS = "tags"  # {key: value}
EXPERIMENT_TAGS = "experiment-tags"  # {key: value}
INPUTS = "inputs"  # [{dataset fields, context, tags}]
ARTIFACT = "artifact"  # path in the run, number of the file that waits
TABLE = "table"  # the same, shown as a table
END = "end"  # status or None, end_ms

HEADER, EVENTS, ACK = "header.json", "events.jsonl", "ack"
LATER, REFUSED, FILES, LOCK = "later.jsonl", "refused.jsonl", "files", "lock"

# A spool of another host on a shared home cannot be judged by a process id: it is left alone this long after its
# writer, which touches the acknowledgement every few seconds, was last heard of.
FOREIGN_SILENCE_S = 600.0
_CHUNK_BYTES = 1 << 20

Event = tuple[Any, ...]


class Spool:
    """One spool folder, to write or to read.

    Args:
        folder: Of this spool.
        header: What its header says.
    """

    def __init__(self, folder: Path, header: Header) -> None:
        self.folder = folder
        self.header = header
        self._file_count = 0
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._lock_descriptor: int | None = None

    @classmethod
    def create(cls, root: Path, header: Header) -> Spool:
        """A new spool, open for writing; below the temporary folder when the user's own cannot be written."""
        try:
            folder = _make_folder(root, header)
        except OSError:
            folder = _make_folder(spool_root(fallback_state()), header)
        spool = cls(folder, header)
        spool.lock()
        spool._descriptor = os.open(folder / EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return spool

    @classmethod
    def read(cls, folder: Path) -> Spool:
        """The spool in a folder.

        Raises:
            OSError, ValueError, TypeError, KeyError: If its header cannot be read.
        """
        return cls(folder, Header(**json.loads((folder / HEADER).read_text(encoding="utf-8"))))

    def reopen(self) -> None:
        """Make a spool that was read writable, to add the events that its dead process no longer can."""
        self._descriptor = os.open(self.folder / EVENTS, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")  # ends a torn line, which then counts as one unreadable event

    def append(self, *event: Any) -> None:
        """Append one event, by one write; nothing happens once the spool is closed."""
        if self._descriptor is not None:
            os.write(self._descriptor, json.dumps(event, separators=(",", ":")).encode() + b"\n")

    def file(self, path: str, number: int) -> Path:
        """Where an artifact waits."""
        return self.folder / FILES / str(number) / path

    def new_file(self, path: str) -> tuple[Path, int]:
        """Where to write an artifact that is to wait, its folder made, and the number for its event."""
        with self._lock:
            taken = [int(each.name) for each in (self.folder / FILES).glob("*/")] if not self._file_count else []
            self._file_count = max([self._file_count, *taken]) + 1
            number = self._file_count
        target = self.file(path, number)
        target.parent.mkdir(parents=True)
        return target, number

    def close(self) -> None:
        """Stop writing; what was written stays."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def lock(self) -> bool:
        """Whether this process now is the one that may send it; true where the file system cannot lock."""
        if fcntl is None or self._lock_descriptor is not None:
            return True
        descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            os.close(descriptor)
            return True
        self._lock_descriptor = descriptor
        return True

    def unlock(self) -> None:
        """Let another process send it."""
        if self._lock_descriptor is not None:
            descriptor, self._lock_descriptor = self._lock_descriptor, None
            os.close(descriptor)

    def set_run_id(self, run_id: str) -> None:
        """Remember the run that was created from it."""
        self.header = dataclasses.replace(self.header, run_id=run_id)
        write_whole(self.folder / HEADER, json.dumps(dataclasses.asdict(self.header)))

    @property
    def acknowledged(self) -> int:
        """How many bytes of the events MLflow has taken."""
        try:
            return int((self.folder / ACK).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def acknowledge(self, offset: int) -> None:
        """Remember that MLflow has everything before that byte."""
        write_whole(self.folder / ACK, str(offset))

    def events(self, offset: int = 0) -> Iterator[tuple[int, Event]]:
        """Each whole event from a byte on, with the byte after it; a torn or unreadable line is passed over."""
        try:
            file = (self.folder / EVENTS).open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(offset)
            while chunk := file.readlines(_CHUNK_BYTES):
                for line in chunk:
                    if not line.endswith(b"\n"):
                        return
                    offset += len(line)
                    if (event := parse_event(line)) is not None:
                        yield offset, event

    @property
    def size(self) -> int:
        """Bytes of events written so far, a torn last line included."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / EVENTS).stat().st_size
        return 0

    @property
    def writer_is_alive(self) -> bool:
        """Whether the process that writes it still runs."""
        alive = process_is_alive(self.header)
        return time.time() - self._last_sign_s() < FOREIGN_SILENCE_S if alive is None else alive

    def _last_sign_s(self) -> float:
        paths = [self.folder / name for name in (EVENTS, ACK, HEADER)]
        return max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)


def parse_event(line: bytes) -> Event | None:
    """The event of one line; None when the line is damaged."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return tuple(event) if isinstance(event, list) and event else None


def find_spools(root: Path) -> list[Spool]:
    """All spools below a root, oldest first; a folder whose header cannot be read is passed over."""
    spools = []
    for folder in root.glob("*/"):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            spools.append(Spool.read(folder))
    return sorted(spools, key=lambda spool: spool.header.created_ms)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader finds the old text or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _make_folder(root: Path, header: Header) -> Path:
    folder = root / header.spool_id
    (folder / FILES).mkdir(parents=True, mode=0o700)
    write_whole(folder / HEADER, json.dumps(dataclasses.asdict(header)))
    return folder
