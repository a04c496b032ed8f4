"""What a step changes outside attributes and containers: caches, tables, mapped files, databases, the process."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import decimal
import functools
import gc
import io
import mmap
import operator
import os
import sqlite3
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory
from typing import Any, TypeVar

import numpy as np
import torch

from greenlove_mlflow.benchmark.state.bits import hold_same_bits, write_bits
from greenlove_mlflow.environment import keep_variables
from greenlove_mlflow.errors import StateNotRestoredError

Result = TypeVar("Result")

# Of opaque libraries, yet with a state that training reads: a flag, a count, memory.
WALKED = (threading.Event, threading.Semaphore, SharedMemory, asyncio.Queue)
# Mapped files with more bytes are watched, not copied.
LARGEST_COPY_BYTES = 64 * 2**20
_OF_EVERY_MODULE = ("training", "_is_full_backward_hook")
_ON_DISK = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom, io.FileIO)
PANDAS_THAT_COPIES_ON_WRITE = 3
_ABOUT_THE_CLASS = frozenset(
    {
        "__dict__", "__weakref__", "__doc__", "__annotations__", "__annotate__", "__annotate_func__",
        "__annotations_cache__", "__slotnames__", "_abc_impl", "__abstractmethods__",
    }
)  # fmt: skip


def run_in_own_context(function: Callable[[], Result]) -> Result:
    """What ``function`` returns; context variables that it sets, those of NumPy and decimal too, stay unset outside."""

    def run() -> Result:
        decimal.setcontext(decimal.getcontext().copy())
        return function()

    return contextvars.copy_context().run(run)


def keep_process() -> list[tuple[str, Callable[[], object]]]:
    """The name of each setting of the process, with a function that restores it."""
    kept: list[tuple[str, Callable[[], object]]] = [("the environment's variables", keep_variables())]
    was_collecting, depth = gc.isenabled(), sys.getrecursionlimit()
    kept.append(("the collection of garbage", gc.enable if was_collecting else gc.disable))
    kept.append(("the recursion limit", lambda: sys.setrecursionlimit(depth)))
    errors = np.geterr()  # a variable of the context from NumPy 2 on, one of the thread before
    kept.append(("NumPy's handling of floating-point errors", lambda: np.seterr(**errors)))
    with contextlib.suppress(OSError):  # the folder is gone
        folder = os.getcwd()  # noqa: PTH109 - as text, the way it is set again
        kept.append(("the working folder", lambda: os.chdir(folder)))
    return kept


def class_content(kind: type) -> dict[str, Any]:
    """Everything that a class holds by name: counters, methods, descriptors."""
    return {name: value for name, value in vars(kind).items() if name not in _ABOUT_THE_CLASS}


def cached_by(wrapper: Any) -> Iterator[tuple[str, Any]]:
    """The table of a cache without a limit, or the results that one with a limit holds."""
    if not isinstance(wrapper, functools._lru_cache_wrapper):
        return
    for each in gc.get_referents(wrapper) if wrapper.cache_info().currsize else ():
        is_own = each is wrapper.__wrapped__ or each is vars(wrapper) or isinstance(each, type)
        if not is_own and not _is_linked_table(each):
            yield "'s cache", each


def _is_linked_table(thing: Any) -> bool:
    """Whether this is the table of a cache with a limit, which belongs to a list in C and is left alone."""
    return type(thing) is dict and any(type(each).__name__ == "_lru_list_elem" for each in thing.values())


class KeptCache:
    """A function's cache that was empty."""

    __slots__ = ("_size", "_wrapper")

    def __init__(self, wrapper: Any) -> None:
        self._wrapper, self._size = wrapper, wrapper.cache_info().currsize

    def put_back(self) -> bool:  # noqa: D102
        if self._size or not self._wrapper.cache_info().currsize:
            return False
        self._wrapper.cache_clear()
        return True


def is_writable(view: memoryview) -> bool:
    """Whether the bytes behind a view can be written to, in one piece, and are few enough to be copied."""
    try:
        return not view.readonly and view.contiguous and view.nbytes <= LARGEST_COPY_BYTES
    except ValueError:  # released
        return False


class KeptScript:
    """The attributes of a scripted module that are neither parameters nor buffers: numbers, texts, lists, tensors."""

    __slots__ = ("_kept", "_module")

    def __init__(self, module: Any) -> None:
        self._module = module
        names = [name for name in module._concrete_type.get_attributes() if name not in _OF_EVERY_MODULE]
        self._kept = {name: (getattr(module, name), copy.deepcopy(getattr(module, name))) for name in names}

    def put_back(self) -> bool:  # noqa: D102
        changed = False
        for name, (value, kept) in self._kept.items():
            now = getattr(self._module, name)
            if isinstance(kept, torch.Tensor):
                is_same = now.data_ptr() == value.data_ptr() and hold_same_bits(now, kept)
                if not is_same:
                    write_bits(value, kept)
                    setattr(self._module, name, value)
            else:
                is_same = now == kept
                if not is_same:
                    setattr(self._module, name, copy.deepcopy(kept))
            changed |= not is_same
        return changed


class KeptMap:
    """The position in a mapped file, and its bytes where they can be written and are few enough."""

    __slots__ = ("_kept", "_map", "_position")

    def __init__(self, mapped: mmap.mmap) -> None:
        self._map, self._kept, self._position = mapped, None, None
        if mapped.closed:
            return
        self._position = mapped.tell()
        with memoryview(mapped) as view:
            if not view.readonly and len(mapped) <= LARGEST_COPY_BYTES:
                self._kept = bytes(view)

    def put_back(self) -> bool:  # noqa: D102
        if self._position is None or self._map.closed:
            return False
        changed = self._map.tell() != self._position
        self._map.seek(self._position)
        if self._kept is not None and self._map[:] != self._kept:
            self._map[:] = self._kept
            changed = True
        return changed


class KeptFrame:
    """A table of pandas, or a column of one."""

    __slots__ = ("_frame", "_is_deep", "_kept", "_parts")

    def __init__(self, frame: Any) -> None:
        # From pandas 3 on, a table copies what it writes to while a shallow copy of it lives.
        self._is_deep = int(sys.modules["pandas"].__version__.partition(".")[0]) < PANDAS_THAT_COPIES_ON_WRITE
        self._frame, self._kept, self._parts = frame, frame.copy(deep=self._is_deep), _parts_of_frame(frame)

    def put_back(self) -> bool:  # noqa: D102
        now = _parts_of_frame(self._frame)
        is_same = len(now) == len(self._parts) and all(map(operator.is_, now, self._parts))
        if is_same and not (self._is_deep and not self._frame.equals(self._kept)):
            return False
        self._frame._update_inplace(self._kept)
        return True


def is_frame(kind_of: type) -> bool:
    """Whether objects of a type are tables of pandas, or columns of one."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and issubclass(kind_of, (getattr(pandas, "DataFrame", ()), getattr(pandas, "Series", ())))


def _parts_of_frame(frame: Any) -> list[Any]:
    return [*frame._mgr.arrays, *frame._mgr.axes]


class KeptDatabase:
    """A database of SQLite in memory: its content. One in a file: whether it is changed."""

    __slots__ = ("_change_count", "_connection", "_copy")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection, self._copy = connection, None
        self._change_count = connection.total_changes
        if is_in_memory(connection):
            self._copy = sqlite3.connect(":memory:")
            connection.backup(self._copy)

    def put_back(self) -> bool:  # noqa: D102
        if self._connection.total_changes == self._change_count:
            return False
        if self._copy is None:
            raise StateNotRestoredError("it has been written to, and its file may be others' too")
        self._connection.rollback()
        self._copy.backup(self._connection)
        return True


def is_in_memory(connection: sqlite3.Connection) -> bool:
    """Whether a connection is to a database in memory alone, with no change waiting to be committed."""
    if connection.in_transaction:
        return False
    cursor = connection.cursor()
    cursor.row_factory = None
    return all(not file for _, _, file in cursor.execute("PRAGMA database_list").fetchall())


def is_open(connection: sqlite3.Connection) -> bool:
    """Whether a connection can be used, from this thread."""
    try:
        return connection.total_changes >= 0
    except sqlite3.Error:
        return False


def is_written_outside(thing: Any) -> bool:
    """Whether an object stands for content of another process, or of a file of HDF5 that is open for writing."""
    if type(thing).__module__ == "multiprocessing.managers":
        return True
    file = getattr(thing, "file", None) if type(thing).__module__.startswith("h5py.") else None
    return bool(file) and getattr(file, "mode", "r") != "r"


def is_outside(kind_of: type) -> bool:
    """Whether objects of a type may stand for such content."""
    module = kind_of.__module__
    is_proxy = module == "multiprocessing.managers" and hasattr(kind_of, "_callmethod")
    return is_proxy or (module.startswith("h5py.") and kind_of.__name__ in ("File", "Group", "Dataset"))


def is_read(file: Any) -> bool:
    """Whether an open file is being read and its position can be restored."""
    try:
        if isinstance(file, (io.BytesIO, io.StringIO)):
            return not file.closed
        return not file.closed and file.readable() and not file.writable() and file.seekable() and file.tell() >= 0
    except (OSError, ValueError):  # closed meanwhile, or being iterated
        return False


def is_written(file: Any) -> bool:
    """Whether a file on disk is open for writing, and is not one that a process writes its output to."""
    is_output = any(file is each for each in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__))
    if is_output or not isinstance(file, _ON_DISK):
        return False
    try:
        is_open = not file.closed and file.writable() and file.fileno() > 2
        return is_open and stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (OSError, ValueError):  # closed meanwhile, or in memory
        return False


def may_read(file: Any) -> bool:
    """Whether an open file is read, though not one whose position can be restored."""
    try:
        return not file.closed and file.readable() and not file.writable() and file.fileno() > 2
    except (OSError, ValueError):
        return False
