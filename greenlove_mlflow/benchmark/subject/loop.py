"""The training loop of the user, seen from outside and left as it is: its optimizer steps, the loader it iterates."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data.dataloader import _BaseDataLoaderIter

# Wrappers store the wrapped optimizer under one of these names.
_INNER_NAMES = ("optimizer", "base_optimizer", "_optimizer")
_BUSY: ContextVar[int] = ContextVar("greenlove_busy", default=0)


class _Trainings:
    """The trainings of this process: all draw from its random numbers, so none may run while another is benchmarked."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget all of them."""
        self.benchmarking = threading.RLock()
        self.thread_ids: list[int] = []


_TRAININGS = _Trainings()
if hasattr(os, "register_at_fork"):
    # Other threads, and what they hold, do not exist in a forked process.
    os.register_at_fork(after_in_child=_TRAININGS.forget)


def find_optimizers(given: Any) -> tuple[torch.optim.Optimizer, ...]:
    """Every torch optimizer in ``given``: one, several in a list or mapping, or one inside a wrapper."""
    return tuple({id(each): each for each in _walk(given, depth=4)}.values())


def _walk(given: Any, depth: int) -> Iterator[torch.optim.Optimizer]:
    if depth == 0 or given is None:
        return
    if isinstance(given, torch.optim.Optimizer) and "_optimizer_step_post_hooks" in vars(given):
        yield given  # a wrapper that only poses as an optimizer (Accelerate's) has no hooks; the wrapped one has
    if isinstance(given, Mapping):
        members: Iterable[Any] = given.values()
    elif isinstance(given, (list, tuple, set)):
        members = given
    else:
        members = [vars(given)[name] for name in _INNER_NAMES if name in getattr(given, "__dict__", ())]
    for each in members:
        yield from _walk(each, depth - 1)


@contextmanager
def watched_steps(optimizers: Iterable[torch.optim.Optimizer], on_step: Callable[[], None]) -> Iterator[None]:
    """Call ``on_step`` after each step, inside the block, of the optimizer that steps most.

    With several optimizers (two in a GAN, one inside another) each batch steps all of them; only the one that has
    stepped most is counted, so that a batch counts once.
    """
    counts: dict[int, int] = {}
    most = 0

    def count(optimizer: Any, args: Any, kwargs: Any) -> None:
        nonlocal most
        del args, kwargs
        own = counts[id(optimizer)] = counts.get(id(optimizer), 0) + 1
        if own > most:
            most = own
            on_step()

    handles = [each.register_step_post_hook(count) for each in optimizers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


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
    return _BUSY.get() > 0


@contextmanager
def busy() -> Iterator[None]:
    """A block that benchmarks or tracks a training."""
    _BUSY.set(_BUSY.get() + 1)
    try:
        yield
    finally:
        _BUSY.set(_BUSY.get() - 1)


@contextmanager
def benchmarking() -> Iterator[bool]:
    """A block in which no tracked training of another thread begins; says whether one is running already."""
    with _TRAININGS.benchmarking:
        yield any(each != threading.get_ident() for each in _TRAININGS.thread_ids)


@contextmanager
def training() -> Iterator[None]:
    """A block in which a tracked training runs; begins when no benchmark is under way in another thread."""
    thread_id = threading.get_ident()
    with _TRAININGS.benchmarking:
        _TRAININGS.thread_ids.append(thread_id)
    try:
        yield
    finally:
        if thread_id in _TRAININGS.thread_ids:
            _TRAININGS.thread_ids.remove(thread_id)
