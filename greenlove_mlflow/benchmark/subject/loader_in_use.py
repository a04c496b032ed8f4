"""The loader that a training really uses, found where only its data set is known."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

from torch.utils.data.dataloader import _BaseDataLoaderIter


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderInUse:
    """A loader over the training's data that is being iterated.

    Args:
        batch_size: Its own; None where its sampler decides.
        batch_count: Batches of an epoch; None when it has no length.
        drawn_count: Batches drawn from it in the epoch under way; None when it does not say.
        worker_count: Processes that load.
    """

    batch_size: int | None
    batch_count: int | None
    drawn_count: int | None
    worker_count: int


def find_loader_in_use(data: Any) -> LoaderInUse | None:
    """The one loader over that data set that is being iterated now; None when there is none, or more than one.

    Nothing is iterated, called or kept: torch's loader iterators that live in this process are looked at. It takes some
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
