"""Finds the loader that training really uses when only the data set is known."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

from torch.utils.data.dataloader import _BaseDataLoaderIter


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
