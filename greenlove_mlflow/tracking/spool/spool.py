"""A spool: everything for MLflow is first written to a file, so that neither a dead server nor a kill -9 loses it.

One folder per run, readable only by its user::

    <state folder>/spool/<id>/
        header.json     owner and destination
        events.jsonl    one event per line, in order; each appended by a single ``write``
        ack             how many bytes of events.jsonl MLflow has received
        later.jsonl     events that failed and will be retried
        refused.jsonl   events that the store will never accept and unreadable lines, each with the reason
        files/<number>/ waiting artifacts, each version in its own folder

What cannot be written, because the disk is full or no folder is writable, is kept in memory and sent from there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from greenlove_mlflow.files import (
    UnsafePathError,
    check_private_folder,
    make_private_folders,
    open_private,
    private_subfolders,
    read_private,
    write_private,
)
from greenlove_mlflow.tracking.spool.asides import Asides, write_all_or_nothing
from greenlove_mlflow.tracking.spool.events import (
    LINE_LIMIT_BYTES,
    ArtifactEvent,
    Event,
    ModelEvent,
    OddLine,
    is_inner_path,
    read_line,
    skip_line,
    to_line,
)
from greenlove_mlflow.tracking.spool.header import Header, process_is_alive

try:
    import fcntl
except ImportError:  # Windows has no flock; liveness is judged by process id alone there
    fcntl = None  # type: ignore[assignment]

HEADER, EVENTS, ACK = "header.json", "events.jsonl", "ack"
FILES, LOCK = "files", "lock"
SPOOLS, REFUSED_SPOOLS = "spool", "refused"

# The process id says nothing about a spool of another host on a shared home: it is left alone for this long after its
# writer, which touches the acknowledgement every few seconds, was last active.
FOREIGN_SILENCE_S = 600.0
# The most events kept in memory when the disk cannot be written: 3.5 hours of ten readings a second.
MEMORY_COUNT_LIMIT = 125_000
# Events in memory follow those of the file, at offsets that no file reaches.
_MEMORY_OFFSET = 1 << 60
_HEADER_LIMIT_BYTES = 1 << 20
_ODD_SHOWN_BYTES = 1000
# Name of the file in which a model's facts wait.
MODEL_FILE = "model_facts.json"


class Spool:
    """One spool, to write or to read.

    Args:
        folder: Folder of the spool; None for a spool in memory only.
        header: Its header.
    """

    def __init__(self, folder: Path | None, header: Header) -> None:
        self.folder = folder
        self.header = header
        self._memory: list[Event] = []
        self.asides = Asides(folder)
        self._forgotten_count = 0
        self._scratch: Path | None = None
        self._file_count = 0
        self._lock = threading.Lock()
        self._is_open = False
        self._descriptor: int | None = None
        self._lock_descriptor: int | None = None

    @classmethod
    def create(cls, state: Path, header: Header) -> Spool:
        """A new spool in a state folder, open for writing.

        Raises:
            OSError: If the folder cannot be written, or other users can access it.
        """
        folder = make_private_folders(state.parent, state.name, SPOOLS, header.spool_id)
        spool = cls(folder, header)
        try:
            make_private_folders(folder, FILES)
            spool.write_header()
            spool.lock()
            spool._descriptor = open_private(folder / EVENTS, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        except OSError:
            spool.remove()
            raise
        spool._is_open = True
        return spool

    @classmethod
    def in_memory(cls, header: Header) -> Spool:
        """A new spool that lasts only as long as this process."""
        spool = cls(None, header)
        spool._is_open = True
        return spool

    @classmethod
    def read(cls, folder: Path) -> Spool:
        """The spool in a folder.

        Raises:
            OSError: If it cannot be read, or other users can access it.
            OddHeaderError: If its header is not valid.
        """
        check_private_folder(folder)
        return cls(folder, Header.from_json(read_private(folder / HEADER, limit_bytes=_HEADER_LIMIT_BYTES)))

    @property
    def place(self) -> str:
        """Where the spool is, as text."""
        return "memory" if self.folder is None else str(self.folder)

    @property
    def is_in_memory(self) -> bool:
        """Whether some events could not be written to disk."""
        return self.folder is None or bool(self._memory)

    @property
    def forgotten_count(self) -> int:
        """Number of readings dropped because neither disk nor memory had room."""
        return self._forgotten_count

    def write_header(self) -> None:
        """Write the header atomically."""
        if self.folder is not None:
            write_private(self.folder / HEADER, self.header.to_json())

    def reopen(self) -> None:
        """Make a spool that was read writable, to add the events that its dead process could not."""
        if self.folder is None:
            return
        self._descriptor = open_private(self.folder / EVENTS, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")  # ends a truncated line, which then counts as one unreadable event
        self._is_open = True

    def append(self, event: Event) -> OSError | None:
        """Append one event by a single write; does nothing once the spool is closed.

        Returns:
            The reason why it had to be kept in memory, the first time that this happens; None otherwise.
        """
        if not self._is_open:
            return None
        with self._lock:
            if self._memory or self._descriptor is None or getattr(event, "waits_at", None) is not None:
                self._remember(event)
                return None
            try:
                write_all_or_nothing(self._descriptor, to_line(event))
            except OSError as error:
                self._remember(event)
                return error
        return None

    def keep_rest(self, offset: int) -> bool:
        """Write unsent events from memory to disk for a later process, and return whether that worked."""
        rest = self._memory[max(0, offset - _MEMORY_OFFSET) :]
        rest = [event for event in rest if getattr(event, "waits_at", None) is None]
        if self.folder is None or not rest:
            return not rest
        try:
            descriptor = open_private(self.folder / EVENTS, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            try:
                write_all_or_nothing(descriptor, b"".join(map(to_line, rest)))
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return True

    def waiting(self, event: ArtifactEvent | ModelEvent) -> Path | None:
        """The file of an event; None when it no longer exists.

        Raises:
            UnsafePathError: If it is not a plain file inside the spool that belongs to this user.
        """
        if event.waits_at is not None:
            return event.waits_at if event.waits_at.is_file() else None
        if self.folder is None:
            return None
        path = event.path if isinstance(event, ArtifactEvent) else MODEL_FILE
        files = self.folder / FILES
        target = files / str(event.number) / path
        if not os.path.lexists(target):
            return None
        if not is_inner_path(path) or not target.resolve().is_relative_to(files.resolve()):
            raise UnsafePathError(f"{target} leads out of the spool")
        os.close(open_private(target, os.O_RDONLY))
        return target

    def new_file(self, path: str) -> tuple[Path, int]:
        """Where to write an artifact (its folder is created), and the number for its event.

        Raises:
            OSError: If there is no folder or it cannot be written.
        """
        if self.folder is None:
            raise FileNotFoundError("this spool is kept in memory")
        files = self.folder / FILES
        with self._lock:
            if not self._file_count:
                names = [each.name for each in private_subfolders(files)]
                self._file_count = max([0, *(int(name) for name in names if name.isdecimal())])
            self._file_count += 1
            number = self._file_count
        target = files / str(number) / path
        make_private_folders(files, str(number), *Path(path).parts[:-1])
        return target, number

    def scratch_file(self, path: str) -> Path:
        """Where to write an artifact that cannot wait in the spool: a new private folder, removed with this process.

        Raises:
            OSError: If no temporary folder is writable either.
        """
        with self._lock:
            if self._scratch is None:
                self._scratch = Path(tempfile.mkdtemp(prefix="greenlove-"))
            self._file_count += 1
            target = self._scratch / str(self._file_count) / path
        target.parent.mkdir(parents=True)
        return target

    def close(self) -> None:
        """Stop writing; what has been written stays, readable also where somebody has removed its file."""
        self._is_open = False
        is_removed = self.folder is not None and not os.path.lexists(self.folder / EVENTS)
        if self._descriptor is not None and not is_removed:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def remove(self) -> None:
        """Remove the spool with its files."""
        self.close()
        self.unlock()
        for folder in (self._scratch, self.folder):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def move(self, to: str) -> Path | None:
        """Move the spool to the refused ones or back, and return its new folder."""
        self.close()
        self.unlock()
        if self.folder is None:
            return None
        state = self.folder.parent.parent
        target = make_private_folders(state.parent, state.name, to) / self.folder.name
        if target.exists():
            target = target.with_name(f"{target.name}-{time.time_ns()}")
        self.folder.replace(target)
        self.folder = self.asides.folder = target
        return target

    def lock(self) -> bool:
        """Lock the spool for sending and return whether that worked; true where the file system has no locks."""
        if fcntl is None or self.folder is None or self._lock_descriptor is not None:
            return True
        descriptor = open_private(self.folder / LOCK, os.O_RDWR | os.O_CREAT)
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
        """Release the lock, so that another process may send it."""
        if self._lock_descriptor is not None:
            descriptor, self._lock_descriptor = self._lock_descriptor, None
            os.close(descriptor)

    def set_run_id(self, run_id: str) -> None:
        """Store the id of the run created from it; if that cannot be written, the run is found again by its tag."""
        self.header = dataclasses.replace(self.header, run_id=run_id)
        with contextlib.suppress(OSError):
            self.write_header()

    @property
    def acknowledged(self) -> int:
        """How many bytes of the events MLflow has received; 0 if the record is invalid, so that all is sent again."""
        if self.folder is None:
            return 0
        try:
            offset = int(read_private(self.folder / ACK, limit_bytes=100))
            with os.fdopen(open_private(self.folder / EVENTS, os.O_RDONLY), "rb") as file:
                if offset < 1 or offset > os.fstat(file.fileno()).st_size:
                    return 0
                file.seek(offset - 1)
                return offset if file.read(1) == b"\n" else 0
        except (OSError, ValueError):
            return 0

    def acknowledge(self, offset: int) -> None:
        """Record that MLflow has everything before that byte; if this is lost, events are only sent again."""
        if self.folder is None or offset >= _MEMORY_OFFSET:
            return
        with contextlib.suppress(OSError):
            write_private(self.folder / ACK, str(offset))

    def events(self, offset: int = 0) -> Iterator[tuple[int, Event | OddLine]]:
        """Yield the events from an offset on, each with the offset after it; an unreadable line is an ``OddLine``.

        An incomplete last line is left out while the spool may still be written.
        """
        if offset < _MEMORY_OFFSET:
            yield from self._events_of_file(offset)
        for index in range(max(0, offset - _MEMORY_OFFSET), len(self._memory)):
            yield _MEMORY_OFFSET + index + 1, self._memory[index]

    @property
    def size(self) -> int:
        """The offset after everything written so far, including an incomplete last line."""
        if self._memory:
            return _MEMORY_OFFSET + len(self._memory)
        if self._descriptor is not None:
            return os.fstat(self._descriptor).st_size
        if self.folder is not None:
            with contextlib.suppress(OSError):
                return (self.folder / EVENTS).lstat().st_size
        return 0

    @property
    def writer_is_alive(self) -> bool:
        """Whether the process that writes the spool is still running."""
        alive = process_is_alive(self.header)
        return time.time() - self._last_sign_s() < FOREIGN_SILENCE_S if alive is None else alive

    def _events_of_file(self, offset: int) -> Iterator[tuple[int, Event | OddLine]]:
        file = self._open_events(offset)
        if file is None:
            return
        with file:
            while line := file.readline(LINE_LIMIT_BYTES + 1):
                if line.endswith(b"\n"):
                    offset += len(line)
                    yield offset, read_line(line)
                    continue
                if len(line) <= LINE_LIMIT_BYTES:
                    return  # still being written, or truncated
                offset += len(line) + skip_line(file)
                yield offset, OddLine(line=line[:_ODD_SHOWN_BYTES], reason="the line is too long for an event")

    def _open_events(self, offset: int) -> BinaryIO | None:
        """The file of the events from an offset on; one that was removed lasts as long as its writer has it open."""
        if self.folder is None:
            return None
        try:
            file = os.fdopen(open_private(self.folder / EVENTS, os.O_RDONLY), "rb")
        except FileNotFoundError:
            written = None if self._descriptor is None else os.pread(self._descriptor, self.size - offset, offset)
            return None if written is None else io.BytesIO(written)
        file.seek(offset)
        return file

    def _remember(self, event: Event) -> None:
        if len(self._memory) < MEMORY_COUNT_LIMIT:
            self._memory.append(event)
        else:
            self._forgotten_count += 1

    def _last_sign_s(self) -> float:
        if self.folder is None:
            return time.time()
        times = []
        for name in (EVENTS, ACK, HEADER):
            with contextlib.suppress(OSError):
                times.append((self.folder / name).lstat().st_mtime)
        return max(times, default=0.0)
