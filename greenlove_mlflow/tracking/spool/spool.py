"""A spool: everything that is to reach MLflow, first in a file, so that no dead server and no kill -9 loses it.

One folder a run, readable by its user alone::

    <state folder>/spool/<id>/
        header.json     whose it is and where it goes
        events.jsonl    one event a line, in order; appended with one ``write`` each
        ack             how many bytes of it MLflow has taken
        later.jsonl     events that failed and will be tried again
        refused.jsonl   events that the store will never take, and lines that cannot be read, each with the reason
        files/<number>/ artifacts that wait, each version of one in a folder of its own

What cannot be written, because the disk is full or there is no folder, is kept in memory and sent from there.
"""

from __future__ import annotations

import contextlib
import dataclasses
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
from greenlove_mlflow.tracking.spool.asides import Asides, write_whole
from greenlove_mlflow.tracking.spool.events import (
    LINE_LIMIT_BYTES,
    ArtifactEvent,
    Event,
    ModelEvent,
    OddLine,
    is_inner_path,
    read_line,
    to_line,
)
from greenlove_mlflow.tracking.spool.header import Header, process_is_alive

try:
    import fcntl
except ImportError:  # Windows has no flock; liveness by process id alone has to do there
    fcntl = None  # type: ignore[assignment]

HEADER, EVENTS, ACK = "header.json", "events.jsonl", "ack"
FILES, LOCK = "files", "lock"
SPOOLS, REFUSED_SPOOLS = "spool", "refused"

# A spool of another host on a shared home cannot be judged by a process id: it is left alone this long after its
# writer, which touches the acknowledgement every few seconds, was last heard of.
FOREIGN_SILENCE_S = 600.0
# What a process keeps in memory when it cannot write; three and a half hours of ten readings a second.
MEMORY_COUNT_LIMIT = 125_000
# Events in memory come after those of the file, at offsets that no file reaches.
_MEMORY_OFFSET = 1 << 60
_CHUNK_BYTES = 1 << 20
_HEADER_LIMIT_BYTES = 1 << 20
_ODD_SHOWN_BYTES = 1000
# What the file is called that a model waits in.
MODEL_FILE = "model_facts.json"


class Spool:
    """One spool, to write or to read.

    Args:
        folder: Of this spool; None for one that is kept in memory alone.
        header: What its header says.
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
            OSError: If the folder cannot be written, or is not this user's alone.
        """
        folder = make_private_folders(state.parent, state.name, SPOOLS, header.spool_id)
        spool = cls(folder, header)
        try:
            make_private_folders(folder, FILES)
            spool.write_header()
            spool.lock()
            spool._descriptor = open_private(folder / EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        except OSError:
            spool.remove()
            raise
        spool._is_open = True
        return spool

    @classmethod
    def in_memory(cls, header: Header) -> Spool:
        """A new spool that lasts no longer than this process."""
        spool = cls(None, header)
        spool._is_open = True
        return spool

    @classmethod
    def read(cls, folder: Path) -> Spool:
        """The spool in a folder.

        Raises:
            OSError: If it is not this user's alone, or cannot be read.
            OddHeaderError: If its header is none.
        """
        check_private_folder(folder)
        return cls(folder, Header.from_json(read_private(folder / HEADER, limit_bytes=_HEADER_LIMIT_BYTES)))

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return "memory" if self.folder is None else str(self.folder)

    @property
    def is_in_memory(self) -> bool:
        """Whether some of it could not be written."""
        return self.folder is None or bool(self._memory)

    @property
    def forgotten_count(self) -> int:
        """Readings that neither the disk nor the memory had room for."""
        return self._forgotten_count

    def write_header(self) -> None:
        """Write the header, whole or not at all."""
        if self.folder is not None:
            write_private(self.folder / HEADER, self.header.to_json())

    def reopen(self) -> None:
        """Make a spool that was read writable, to add the events that its dead process no longer can."""
        if self.folder is None:
            return
        self._descriptor = open_private(self.folder / EVENTS, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")  # ends a torn line, which then counts as one unreadable event
        self._is_open = True

    def append(self, event: Event) -> OSError | None:
        """Append one event, by one write; nothing happens once the spool is closed.

        Returns:
            Why it could only be kept in memory, the first time that it could; None otherwise.
        """
        if not self._is_open:
            return None
        with self._lock:
            if self._memory or self._descriptor is None or getattr(event, "waits_at", None) is not None:
                self._remember(event)
                return None
            try:
                write_whole(self._descriptor, to_line(event))
            except OSError as error:
                self._remember(event)
                return error
        return None

    def keep_rest(self, offset: int) -> bool:
        """Whether what is in memory and has not been sent could be written after all, for a later process."""
        rest = self._memory[max(0, offset - _MEMORY_OFFSET) :]
        rest = [event for event in rest if getattr(event, "waits_at", None) is None]
        if self.folder is None or not rest:
            return not rest
        try:
            descriptor = open_private(self.folder / EVENTS, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            try:
                write_whole(descriptor, b"".join(map(to_line, rest)))
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return True

    def waiting(self, event: ArtifactEvent | ModelEvent) -> Path | None:
        """The file that an event speaks of; None when it is not there any more.

        Raises:
            UnsafePathError: If it is not a plain file of this user's inside the spool.
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
        """Where to write an artifact that is to wait, its folder made, and the number for its event.

        Raises:
            OSError: If there is no folder, or it cannot be written.
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
        """Where to write an artifact that cannot wait in the spool: a new private folder, gone with this process.

        Raises:
            OSError: If no temporary folder can be written either.
        """
        with self._lock:
            if self._scratch is None:
                self._scratch = Path(tempfile.mkdtemp(prefix="greenlove-"))
            self._file_count += 1
            target = self._scratch / str(self._file_count) / path
        target.parent.mkdir(parents=True)
        return target

    def close(self) -> None:
        """Stop writing; what was written stays."""
        self._is_open = False
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def remove(self) -> None:
        """Remove it, its files included."""
        self.close()
        self.unlock()
        for folder in (self._scratch, self.folder):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def move(self, to: str) -> Path | None:
        """Move it among the refused spools or back; where it then is."""
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
        """Whether this process now is the one that may send it; true where the file system cannot lock."""
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
        """Let another process send it."""
        if self._lock_descriptor is not None:
            descriptor, self._lock_descriptor = self._lock_descriptor, None
            os.close(descriptor)

    def set_run_id(self, run_id: str) -> None:
        """Remember the run that was created from it; where that cannot be written, its tag finds it again."""
        self.header = dataclasses.replace(self.header, run_id=run_id)
        with contextlib.suppress(OSError):
            self.write_header()

    @property
    def acknowledged(self) -> int:
        """How many bytes of the events MLflow has taken; 0, so that all is sent again, where that cannot be right."""
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
        """Remember that MLflow has everything before that byte; forgetting it only makes work, as all is sent again."""
        if self.folder is None or offset >= _MEMORY_OFFSET:
            return
        with contextlib.suppress(OSError):
            write_private(self.folder / ACK, str(offset))

    def events(self, offset: int = 0) -> Iterator[tuple[int, Event | OddLine]]:
        """Each event from an offset on, with the offset after it; a line that cannot be read comes as an ``OddLine``.

        A last line that breaks off is left out while the spool may still be written.
        """
        if offset < _MEMORY_OFFSET:
            yield from self._events_of_file(offset)
        for index in range(max(0, offset - _MEMORY_OFFSET), len(self._memory)):
            yield _MEMORY_OFFSET + index + 1, self._memory[index]

    @property
    def size(self) -> int:
        """The offset after everything written so far, a torn last line included."""
        if self._memory:
            return _MEMORY_OFFSET + len(self._memory)
        if self.folder is not None:
            with contextlib.suppress(OSError):
                return (self.folder / EVENTS).lstat().st_size
        return 0

    @property
    def writer_is_alive(self) -> bool:
        """Whether the process that writes it still runs."""
        alive = process_is_alive(self.header)
        return time.time() - self._last_sign_s() < FOREIGN_SILENCE_S if alive is None else alive

    def _events_of_file(self, offset: int) -> Iterator[tuple[int, Event | OddLine]]:
        if self.folder is None:
            return
        try:
            descriptor = open_private(self.folder / EVENTS, os.O_RDONLY)
        except FileNotFoundError:
            return
        with os.fdopen(descriptor, "rb") as file:
            file.seek(offset)
            while line := file.readline(LINE_LIMIT_BYTES + 1):
                if line.endswith(b"\n"):
                    offset += len(line)
                    yield offset, read_line(line)
                    continue
                if len(line) <= LINE_LIMIT_BYTES:
                    return  # still being written, or torn
                offset += len(line) + _skip_line(file)
                yield offset, OddLine(line=line[:_ODD_SHOWN_BYTES], reason="the line is too long for an event")

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


def _skip_line(file: BinaryIO) -> int:
    """Bytes up to the end of the line that the file stands in, which are passed over."""
    count = 0
    while rest := file.readline(_CHUNK_BYTES):
        count += len(rest)
        if rest.endswith(b"\n"):
            break
    return count
