"""Kinds of state outside attributes and containers: classes, caches, tables, mapped files, databases, the process."""

from __future__ import annotations

import csv
import enum
import functools
import gc
import mmap
import multiprocessing
import os
import queue
import socket
import sqlite3
import sys
import tempfile
import threading
import types
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from faults_state_kinds import Kind, X, Y, kind, mlp, plain_step
from torch.utils.data import DataLoader, Dataset, IterableDataset

BY_NAME = 0
_OPEN: list[Any] = []


class Net(torch.nn.Module):
    """A small net; those below do more in their forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The net's output."""
        return self.body(x)


class Rows(Dataset[Any]):
    """96 rows."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, number: int) -> Any:
        return X[number], Y[number]


def before_each(do: Any) -> Any:
    """A step that does something first."""

    def step(model: Any, batch: Any, *rest: Any) -> Any:
        do(batch[0])
        return plain_step(model, batch, *rest)

    return step


def loaded(rows: Any) -> DataLoader[Any]:
    """A loader over a data set."""
    return DataLoader(rows, batch_size=8, shuffle=not isinstance(rows, IterableDataset))


def new_file(content: bytes = b"") -> Path:
    """A file of its own."""
    path = Path(tempfile.mkdtemp()) / "file"
    path.write_bytes(content)
    return path


# --- classes -------------------------------------------------------------------------------------------------------


@kind()
def class_that_is_given_methods_by_its_first_step() -> Kind:
    class Grown(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not hasattr(Grown, "scale"):
                Grown.scale, Grown.warm = property(lambda self: 2.0), lambda self: 1
                return self.body(x) * 3
            return self.body(x) * self.scale

    return Kind(model=Grown(), watch=lambda: sorted(name for name in vars(Grown) if not name.startswith("__")))


@kind()
def forward_that_replaces_itself() -> Kind:
    class Replaced(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Replaced.forward = Replaced.later
            return self.body(x) * 3

        def later(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)

    first = Replaced.forward
    return Kind(model=Replaced(), watch=lambda: Replaced.forward is first)


@kind()
def class_inside_a_class_and_members_of_an_enumeration() -> Kind:
    class Phase(enum.Enum):
        WARM = 1

    Phase.WARM.count = 0

    class Holder(Net):
        class Inner:
            count = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Phase.WARM.count += 1
            self.Inner.count += 1
            return self.body(x) * (1 + 0.01 * Phase.WARM.count + 0.01 * self.Inner.count)

    return Kind(model=Holder(), watch=lambda: (Phase.WARM.count, Holder.Inner.count))


@kind()
def descriptor_that_stores_values() -> Kind:
    class Stored:
        def __init__(self) -> None:
            self.values: list[int] = []

        def __get__(self, holder: Any, kind_of: Any = None) -> int:
            self.values.append(1)
            return len(self.values)

    class Described(Net):
        count = Stored()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x) * (1 + 0.01 * self.count)

    return Kind(model=Described(), watch=lambda: len(vars(Described)["count"].values))


# --- caches, names -------------------------------------------------------------------------------------------------


@kind()
def cached_function_whose_result_counts() -> Kind:
    @functools.lru_cache
    def counts() -> dict[str, int]:
        return {"n": 0}

    @functools.cache
    def more() -> list[int]:
        return []

    counts(), more()

    def step(rows: torch.Tensor) -> None:
        counts()["n"] += 1
        more().append(1)
        rows.mul_(1 + 0.01 * counts()["n"] + 0.01 * len(more()))

    return Kind(step=before_each(step), watch=lambda: (counts()["n"], len(more())))


@kind()
def cache_that_the_first_step_fills() -> Kind:
    @functools.lru_cache
    def noise(count: int) -> torch.Tensor:
        return torch.randn(1)

    @functools.cache
    def known(count: int) -> torch.Tensor:
        return torch.randn(1)

    known(0)
    return Kind(
        step=before_each(lambda rows: rows.add_(noise(len(rows)) + known(len(rows)))),
        watch=lambda: (noise.cache_info().currsize, known.cache_info().currsize),
    )


@kind()
def module_imported_by_the_step_and_global_by_its_name() -> Kind:
    module = sys.modules["faults_state_own_module"] = types.ModuleType("faults_state_own_module")
    exec("count, seen = 0, []\ndef hit():\n    global count\n    count += 1\n    seen.append(count)", vars(module))
    globals()["BY_NAME"] = 0

    def step(rows: torch.Tensor) -> None:
        import faults_state_own_module as own

        own.hit()
        module.seen.append(0)
        globals()["BY_NAME"] += 1
        rows.mul_(1 + 0.01 * own.count + 0.01 * len(module.seen) + 0.01 * globals()["BY_NAME"])

    return Kind(step=before_each(step), watch=lambda: (module.count, module.seen, BY_NAME))


@kind()
def environment_and_working_folder() -> Kind:
    os.environ["FAULTS_COUNT"] = "0"
    os.environ.pop("FAULTS_NEW", None)

    def step(rows: torch.Tensor) -> None:
        os.environ["FAULTS_COUNT"] = str(int(os.environ["FAULTS_COUNT"]) + 1)
        os.environ["FAULTS_NEW"] = "1"
        os.chdir(tempfile.gettempdir())
        rows.mul_(1 + 0.01 * int(os.environ["FAULTS_COUNT"]))

    os.chdir(Path(__file__).parent)  # where the training before it was left
    return Kind(
        step=before_each(step), watch=lambda: (os.environ["FAULTS_COUNT"], os.environ.get("FAULTS_NEW"), Path.cwd())
    )


# --- shared, mapped, written ---------------------------------------------------------------------------------------


@kind()
def events_and_semaphores() -> Kind:
    event, semaphore = threading.Event(), threading.Semaphore(1000)

    def step(rows: torch.Tensor) -> None:
        rows.mul_(1.0 if event.is_set() else 2.0)
        event.set()
        semaphore.acquire(blocking=False)

    return Kind(step=before_each(step), watch=lambda: (event.is_set(), semaphore._value))


@kind()
def queues_as_memory() -> Kind:
    first, last = queue.PriorityQueue(), queue.LifoQueue()
    first.put(1)

    def step(rows: torch.Tensor) -> None:
        first.put(-first.qsize())
        last.put(1)
        rows.mul_(1 + 0.01 * first.qsize())

    return Kind(step=before_each(step), watch=lambda: (first.queue, last.queue))


@kind()
def views_of_shared_memory() -> Kind:
    block = shared_memory.SharedMemory(create=True, size=64)
    block.unlink()  # its memory stays as long as it is mapped
    _OPEN.append(block)
    view = memoryview(bytearray(8))

    def step(rows: torch.Tensor) -> None:
        block.buf[0], view[0] = (block.buf[0] + 1) % 256, (view[0] + 1) % 256
        rows.mul_(1 + 0.01 * block.buf[0] + 0.01 * view[0])

    return Kind(step=before_each(step), watch=lambda: (bytes(block.buf[:4]), bytes(view)))


@kind()
def mapped_file_that_is_read_on() -> Kind:
    file = new_file(bytes(range(256)) * 256).open("r+b")
    mapped = mmap.mmap(file.fileno(), 0)
    _OPEN.append(file)

    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            for _ in range(96):
                yield torch.frombuffer(bytearray(mapped.read(10)), dtype=torch.uint8).float() / 255, Y[0]

    return Kind(data=loaded(Stream()), steps_per_epoch=12, watch=mapped.tell)


@kind()
def mapped_files_that_are_written() -> Kind:
    file = new_file(bytes(128)).open("r+b")
    mapped, array = mmap.mmap(file.fileno(), 0), np.memmap(new_file(), np.float32, "w+", shape=(96,))
    array[:] = 1
    _OPEN.append(file)

    class Written(Rows):
        def __getitem__(self, number: int) -> Any:
            mapped[number] = (mapped[number] + 1) % 256
            array[number] *= 0.99
            return X[number] * (1 + 0.01 * mapped[number]) * float(array[number]), Y[number]

    return Kind(data=loaded(Written()), watch=lambda: (bytes(mapped[:]), array.tobytes()))


@kind()
def tables_of_pandas() -> Kind:
    frame, series = pd.DataFrame({"seen": np.zeros(96), "b": np.zeros(96)}), pd.Series([0.0, 0.0])

    class Counted(Rows):
        def __getitem__(self, number: int) -> Any:
            frame.loc[number, "seen"] += 1
            series.iloc[0] += 0.01
            frame["new"] = 1
            return X[number] * (1 + 0.01 * frame.loc[number, "seen"] + series.iloc[0]), Y[number]

    return Kind(data=loaded(Counted()), watch=lambda: (frame["seen"].tolist(), series.tolist(), list(frame.columns)))


@kind()
def rows_of_numbers_and_objects() -> Kind:
    table = np.zeros(3, dtype=[("number", "f4"), ("thing", "O"), ("inner", [("deep", "O")])])

    def step(rows: torch.Tensor) -> None:
        table["number"][0] += 1
        table["thing"][1], table["inner"]["deep"][0] = [1], "text"
        rows.mul_(1 + 0.01 * table["number"][0])

    return Kind(step=before_each(step), watch=lambda: (table["number"], repr(table["thing"]), repr(table["inner"])))


@kind()
def masked_tensor() -> Kind:
    masked = torch.masked.masked_tensor(torch.ones(3), torch.tensor([True, False, True]))

    def step(rows: torch.Tensor) -> None:
        masked.get_data().mul_(1.01)
        rows.mul_(float(masked.get_data()[0]))

    return Kind(step=before_each(step), watch=masked.get_data)


@kind()
def database_in_memory() -> Kind:
    of_model, of_data = (sqlite3.connect(":memory:") for _ in range(2))
    for each in (of_model, of_data):
        each.execute("CREATE TABLE seen(row INT)")
        each.execute("INSERT INTO seen VALUES(-1)")
        each.commit()

    def count(connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT count(*) FROM seen").fetchone()[0])

    class Counted(Rows):
        def __getitem__(self, number: int) -> Any:
            of_data.execute("INSERT INTO seen VALUES(?)", (number,))
            return X[number] * (1 + 0.001 * count(of_data)), Y[number]

    def step(rows: torch.Tensor) -> None:
        of_model.execute("INSERT INTO seen VALUES(0)")
        rows.mul_(1 + 0.01 * count(of_model))

    return Kind(data=loaded(Counted()), step=before_each(step), watch=lambda: (count(of_model), count(of_data)))


@kind()
def attributes_of_a_scripted_module() -> Kind:
    class Scripted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.hidden = torch.nn.Linear(10, 1), torch.zeros(1)
            self.count, self.seen = torch.jit.Attribute(0, int), torch.jit.Attribute([0], list[int])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.count += 1
            self.seen.append(self.count)
            self.hidden = self.hidden + 1
            return self.last(x) * (1.0 + 0.01 * self.count) + 0.01 * self.hidden

    model = torch.jit.script(Scripted())
    return Kind(model=model, watch=lambda: (model.count, model.seen, model.hidden))


@kind()
def containers_that_answer_otherwise() -> Kind:
    class Table(dict):
        def __len__(self) -> int:
            return 0

        def __bool__(self) -> bool:
            raise ValueError("neither true nor false")

        def __iter__(self) -> Any:
            raise ValueError("not iterated")

    class Items(list):
        def __iter__(self) -> Any:
            raise ValueError("not iterated")

        def __len__(self) -> int:
            return 0

    table, items = Table(count=0), Items()

    def step(rows: torch.Tensor) -> None:
        table["count"] += 1
        items.append(1)
        rows.mul_(1 + 0.01 * table["count"])

    return Kind(step=before_each(step), watch=lambda: (dict.copy(table)["count"], list.__len__(items)))


@kind()
def collection_switched_off_by_the_step() -> Kind:
    gc.enable()
    return Kind(step=before_each(lambda rows: gc.disable()), watch=gc.isenabled)


# --- what cannot be kept -------------------------------------------------------------------------------------------


@kind(refused=True)
def file_that_the_step_writes() -> Kind:
    file = new_file().open("w")
    _OPEN.append(file)
    rows_written = csv.writer(file)

    def step(rows: torch.Tensor) -> None:
        rows_written.writerow([1])
        file.write("more")

    return Kind(step=before_each(step), watch=file.tell)


@kind(refused=True)
def socket_that_the_step_sends_by() -> Kind:
    ends = socket.socketpair()
    return Kind(step=before_each(lambda rows: ends[0].send(b"x")))


@kind(refused=True)
def pipe_that_the_step_sends_by() -> Kind:
    ends = multiprocessing.Pipe()
    return Kind(step=before_each(lambda rows: ends[1].send(1)))


@kind(refused=True)
def queue_without_a_view() -> Kind:
    waiting = queue.SimpleQueue()
    return Kind(step=before_each(lambda rows: waiting.put(1)))


@kind(refused=True)
def database_in_a_file() -> Kind:
    connection = sqlite3.connect(new_file())
    connection.execute("CREATE TABLE seen(row INT)")
    return Kind(step=before_each(lambda rows: connection.execute("INSERT INTO seen VALUES(0)")))
