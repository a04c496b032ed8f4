"""The trainings of this process, seen from outside and left as they are: which are under way, the loader in use."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch.utils.data.dataloader import _BaseDataLoaderIter

from greenlove_mlflow.benchmark.subject.optimizer_steps import find_optimizers
from greenlove_mlflow.errors import InvalidInputError

# Seconds after which a thread that waits for a benchmark looks whether it waits in vain.
WAIT_S = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class _UnderWay:
    """A benchmark or a tracked training under way, with the ids of the parameters that it trains."""

    parameter_ids: frozenset[int]


_BUSY: ContextVar[tuple[_UnderWay, ...]] = ContextVar("greenlove_busy", default=())

_BEGUN_INSIDE = (
    "a training was begun inside the benchmark of another one, by its train_step, data or run_epoch: these train on "
    "their own, and track, watch or estimate stands outside of them"
)


class _Trainings:
    """The trainings of this process: all draw from its random numbers, so none may run while another is benchmarked."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget all of them."""
        self.benchmarking = threading.RLock()
        self.benchmarking_id: int | None = None
        self.thread_ids: list[int] = []

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A block in which no other thread is.

        Raises:
            InvalidInputError: If the thread in the block waits for this one, so that neither could go on.
        """
        while not self.benchmarking.acquire(timeout=WAIT_S):
            self.refuse_if_waited_for()
        outer, self.benchmarking_id = self.benchmarking_id, threading.get_ident()
        try:
            yield
        finally:
            self.benchmarking_id = outer
            self.benchmarking.release()

    def refuse_if_waited_for(self) -> None:
        """Refuse a training in a thread that another training's benchmark waits for, as it would wait for that one."""
        if self.benchmarking_id is not None and _waits_for_this_thread(self.benchmarking_id):
            raise InvalidInputError(_BEGUN_INSIDE)


def _waits_for_this_thread(thread_id: int) -> bool:
    """Whether that thread is in the ``join`` of this one, or waits for the future that this one works on."""
    work: list[Any] = [frame.f_locals.get("self") for frame in _frames_of(sys._getframe(), "concurrent.futures.thread")]
    mine = [threading.current_thread(), *(each.future for each in work if hasattr(each, "future"))]
    waits = _frames_of(sys._current_frames().get(thread_id), "threading", "concurrent.futures._base")
    return any(frame.f_locals.get("self") is each for frame in waits for each in mine)


def _frames_of(frame: FrameType | None, *modules: str) -> Iterator[FrameType]:
    """The frames below this one whose code is of these modules."""
    while frame is not None:
        if frame.f_globals.get("__name__") in modules:
            yield frame
        frame = frame.f_back


_TRAININGS = _Trainings()
if hasattr(os, "register_at_fork"):
    # Other threads, and what they hold, do not exist in a forked process.
    os.register_at_fork(after_in_child=_TRAININGS.forget)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderInUse:
    """A loader over the training's data that is being iterated.

    Args:
        batch_size: Its batch size; None if its sampler decides.
        batch_count: Batches in an epoch; None if it has no length.
        drawn_count: Batches drawn from it in the current epoch; None if not reported.
        worker_count: Number of loader processes.
    """

    batch_size: int | None
    batch_count: int | None
    drawn_count: int | None
    worker_count: int


def find_loader_in_use(data: Any) -> LoaderInUse | None:
    """The only loader over that data set being iterated now; None if there is none, or more than one.

    Nothing is iterated, called or kept: torch's live loader iterators in this process are inspected, which takes some
    tens of milliseconds in a large process.
    """
    ours = [each for each in gc.get_objects() if issubclass(type(each), _BaseDataLoaderIter) and each._dataset is data]
    if len(ours) != 1:
        return None
    iterator: Any = ours[0]
    sampler = getattr(iterator, "_index_sampler", None)
    return LoaderInUse(
        batch_size=getattr(sampler, "batch_size", None),
        batch_count=_length(sampler),
        drawn_count=getattr(iterator, "_num_yielded", None),
        worker_count=getattr(iterator, "_num_workers", 0),
    )


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except (TypeError, NotImplementedError):  # data without a length
        return None


def is_busy() -> bool:
    """Whether a benchmark or a tracked training is running in this thread."""
    return bool(_BUSY.get())


def is_trained_already(given: Iterable[Any]) -> bool:
    """Whether a tracked training of this thread trains a parameter of these models or optimizers."""
    own = _parameter_ids(given)
    return any(own & other.parameter_ids for other in _BUSY.get())


@contextmanager
def busy(*trained: Any) -> Iterator[None]:
    """A block that benchmarks or tracks a training of these models and optimizers."""
    own = _UnderWay(_parameter_ids(trained))
    _BUSY.set((*_BUSY.get(), own))
    try:
        yield
    finally:
        # A notebook may leave a block in another context than it entered it.
        _BUSY.set(tuple(each for each in _BUSY.get() if each is not own))


def _parameter_ids(given: Iterable[Any]) -> frozenset[int]:
    models = [each for each in given if isinstance(each, torch.nn.Module)]
    groups = [group for each in find_optimizers(given) for group in each.param_groups]
    found = [*(parameter for model in models for parameter in model.parameters())]
    found += [parameter for group in groups for parameter in group["params"]]
    return frozenset(map(id, found))


def refuse_inside_benchmark() -> None:
    """Refuse a training that is begun by what a benchmark runs: it would be tracked again and again, or wait for ever.

    Raises:
        InvalidInputError: If this thread is benchmarking, or a benchmark waits for it.
    """
    if _TRAININGS.benchmarking_id == threading.get_ident():
        raise InvalidInputError(_BEGUN_INSIDE)
    _TRAININGS.refuse_if_waited_for()


@contextmanager
def benchmarking() -> Iterator[bool]:
    """A block in which no tracked training of another thread begins; says whether one is running already."""
    with _TRAININGS.alone():
        yield any(each != threading.get_ident() for each in _TRAININGS.thread_ids)


@contextmanager
def training() -> Iterator[None]:
    """A block in which a tracked training runs; begins when no benchmark is under way in another thread."""
    thread_id = threading.get_ident()
    with _TRAININGS.alone():
        _TRAININGS.thread_ids.append(thread_id)
    try:
        yield
    finally:
        if thread_id in _TRAININGS.thread_ids:
            _TRAININGS.thread_ids.remove(thread_id)
