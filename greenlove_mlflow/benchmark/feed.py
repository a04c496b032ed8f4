"""Feed: the user's own data as batches, with epoch sizes and a way to take a part of the data."""

from __future__ import annotations

import copy
import itertools
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    default_collate,
)

from greenlove_mlflow.errors import BenchmarkError, InvalidInputError

DEFAULT_BATCH_SIZE = 64
# Where a loader over a stream stores the length it last reported.
_NOTED_LENGTH = "_IterableDataset_len_called"
# Number of items of a list that are inspected from its beginning, besides its last.
_LOOKED_AT = 8
_MOST_COLUMNS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Batches of one epoch, as real training draws them.

    Args:
        loader: Iterated once per epoch.
        sample_count: Samples in one epoch.
        batch_size: Samples in a full batch.
        steps_per_epoch: Batches in one epoch.
        worker_count: Number of loader processes.
        prefetch_steps: Batches prefetched when an epoch begins; their cost is paid before the first step.
        keeps_workers: Whether workers outlive an epoch.
    """

    loader: Any
    sample_count: int
    batch_size: int
    steps_per_epoch: int
    worker_count: int = 0
    prefetch_steps: int = 0
    keeps_workers: bool = False

    def samples_in(self, step_count: int) -> int:
        """Samples processed by the first ``step_count`` steps of an epoch."""
        if step_count >= self.steps_per_epoch:
            return self.sample_count
        return max(1, min(self.sample_count, step_count * self.batch_size))

    def steps_in(self, step_count: int, sample_count: int) -> int:
        """Steps that a pass of that many batches and samples counts as."""
        del sample_count
        return step_count

    def part(self, sample_count: int, *, seed: int = 0) -> Any:
        """A loader over ``sample_count`` fixed samples, otherwise like the user's; None without an index."""
        loader = self.loader
        # A user's class may do work in __iter__, and a user's sampler may leave samples out.
        if type(loader) is not DataLoader or isinstance(loader.dataset, IterableDataset):
            return None
        if loader.batch_size is None or type(loader.batch_sampler) is not BatchSampler:
            return None
        if type(loader.sampler) not in (RandomSampler, SequentialSampler):
            return None
        total = len(loader.dataset)  # type: ignore[arg-type]
        order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))[: min(sample_count, total)]
        return DataLoader(
            Subset(loader.dataset, order.tolist()),
            batch_size=loader.batch_size,
            shuffle=True,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            drop_last=loader.drop_last and sample_count >= loader.batch_size,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=False,
        )

    def close(self) -> None:
        """Stop the workers that iterating left running."""
        iterator = getattr(self.loader, "_iterator", None)
        if self.keeps_workers and iterator is not None:
            iterator._shutdown_workers()
            self.loader._iterator = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerFeed(Feed):
    """The feed of a runner: one batch per epoch, which is its number of samples."""

    def part(self, sample_count: int, *, seed: int = 0) -> Any:
        """A feed of that many samples."""
        del seed
        return [sample_count]

    def steps_in(self, step_count: int, sample_count: int) -> int:
        """Steps of the runner's batch size that cover ``sample_count`` samples."""
        del step_count
        return max(1, math.ceil(sample_count / self.batch_size))


def feed_of_runner(runner: Any, batch_size: int | None = None) -> RunnerFeed:
    """The feed of an ``EpochRunner``.

    Raises:
        InvalidInputError: If the given batch size differs from the runner's.
    """
    if batch_size not in (None, runner.batch_size):
        raise InvalidInputError(f"batch_size={batch_size}, but the runner's own is {runner.batch_size}")
    count = runner.sample_count
    return RunnerFeed(
        loader=[count],
        sample_count=count,
        batch_size=runner.batch_size,
        steps_per_epoch=max(1, math.ceil(count / runner.batch_size)),
    )


def make_feed(data: Any, *, batch_size: int | None = None, steps_per_epoch: int | None = None) -> Feed:
    """The feed of a dataset, a ``DataLoader`` or any loader that can be iterated repeatedly.

    Args:
        data: Dataset, ``DataLoader``, loader, or a list of samples or of ready batches.
        batch_size: Samples in a batch of a dataset; a loader's own must match.
        steps_per_epoch: Batches in an epoch, for data without a length.

    Raises:
        InvalidInputError: If the data is empty, has no length and no ``steps_per_epoch``, or contradicts the arguments.
    """
    if isinstance(data, type):
        raise InvalidInputError(f"data is the class {data.__name__}; pass an object of it: {data.__name__}(...)")
    if isinstance(data, DataLoader):
        return _feed_of_loader(data, batch_size, steps_per_epoch)
    if isinstance(data, Dataset) or (hasattr(data, "__getitem__") and not hasattr(data, "batch_size")):
        if not isinstance(data, Dataset):
            refuse_what_is_no_data(data)
            rows = None if batch_size is not None else rows_of_batches(data)
            if rows is not None:
                return _feed_of_batches(data, rows, steps_per_epoch)
        return _feed_of_dataset(data, batch_size or DEFAULT_BATCH_SIZE, steps_per_epoch)
    if not isinstance(data, Iterable) or _is_read_once(data):
        raise InvalidInputError(
            f"data must be a Dataset, a DataLoader or a loader that can be iterated anew each epoch, "
            f"got {type(data).__name__}"
        )
    own = getattr(data, "batch_size", None)
    size = own if isinstance(own, int) and own > 0 else batch_size or 1
    _check_batch_size(batch_size, size)
    steps = _steps(_length(data), steps_per_epoch, type(data).__name__)
    dataset = getattr(data, "dataset", None)
    samples = (None if dataset is None else _length(dataset)) or steps * size
    return Feed(
        loader=data,
        sample_count=min(samples, steps * size),
        batch_size=size,
        steps_per_epoch=steps,
        worker_count=max(0, int(getattr(data, "num_workers", 0) or 0)),
    )


def _is_read_once(data: Any) -> bool:
    """Whether data is its own iterator, checked without creating one; a loader that returns itself has a length."""
    return hasattr(type(data), "__next__") and _length(data) is None


def _feed_of_batches(batches: Any, rows: int, steps_per_epoch: int | None) -> Feed:
    warnings.warn(
        f"data is a {type(batches).__name__} of {len(batches)} items of {rows} rows each, taken for batches that are "
        "ready; say batch_size= if they are samples",
        stacklevel=2,
    )
    steps = _steps(len(batches), steps_per_epoch, type(batches).__name__)
    return Feed(loader=batches, sample_count=count_rows(batches[:steps]), batch_size=rows, steps_per_epoch=steps)


def _feed_of_dataset(dataset: Any, batch_size: int, steps_per_epoch: int | None) -> Feed:
    iterable = isinstance(dataset, IterableDataset)
    if not iterable and _length(dataset) is None:
        why = _why_no_length(dataset)
        raise InvalidInputError(f"{type(dataset).__name__} has no length{why}; give it __len__ or pass a DataLoader")
    if _length(dataset) == 0:
        raise InvalidInputError("the data is empty: there is nothing to train on")
    loader: DataLoader[Any] = DataLoader(
        dataset, batch_size=batch_size, shuffle=None if iterable else True, collate_fn=_into_a_batch
    )
    return _feed_of_loader(loader, None, steps_per_epoch)


def _feed_of_loader(loader: DataLoader[Any], batch_size: int | None, steps_per_epoch: int | None) -> Feed:
    own = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None)
    samples = _length(loader.dataset)
    if samples == 0:
        raise InvalidInputError("the data is empty: there is nothing to train on")
    length = _length(loader)
    if length == 0 and _length(loader.sampler) == 0:
        raise InvalidInputError(f"the data is empty: its {type(loader.sampler).__name__} draws no sample")
    if length == 0:
        raise InvalidInputError(
            f"drop_last leaves no batch: {samples} samples are fewer than batch_size={own}; lower the batch size"
        )
    steps = _steps(length, steps_per_epoch, type(loader.dataset).__name__)
    ready = None if own else rows_of_batches(loader.dataset)
    if ready is not None:
        samples = count_rows(loader.dataset)  # type: ignore[arg-type]
    size = own or ready or (1 if samples is None else max(1, round(samples / steps)))
    _check_batch_size(batch_size, size)
    # The sampler may draw fewer or more samples than the data holds.
    drawn = None if ready or isinstance(loader.dataset, IterableDataset) else _length(loader.sampler)
    epoch_samples = steps * size if steps != length or loader.drop_last else (drawn or samples or steps * size)
    return Feed(
        loader=_private_copy(loader),
        sample_count=min(epoch_samples, steps * size) if own else epoch_samples,
        batch_size=size,
        steps_per_epoch=steps,
        worker_count=loader.num_workers,
        prefetch_steps=loader.num_workers * (loader.prefetch_factor or 0),
        keeps_workers=loader.persistent_workers and loader.num_workers > 0,
    )


def _private_copy(loader: DataLoader[Any]) -> DataLoader[Any]:
    """The same loader with its own workers, so that the user's loader and its workers are not touched."""
    if not loader.persistent_workers:
        return loader
    private = copy.copy(loader)
    private._iterator = None
    return private


def _steps(length: int | None, given: int | None, name: str) -> int:
    if length is None and given is None:
        raise InvalidInputError(f"{name} has no length; pass steps_per_epoch= (batches in one epoch)")
    if length is not None and given is not None and given > length:
        raise InvalidInputError(f"steps_per_epoch={given}, but one epoch of the data has {length} batches")
    if length == 0:
        raise InvalidInputError("the data is empty: there is nothing to train on")
    return given or length or 1


def _length(data: Any) -> int | None:
    """The length that the data reports; None if it reports none or raises (as many streams do)."""
    noted = vars(data).get(_NOTED_LENGTH) if isinstance(data, DataLoader) else None
    try:
        return len(data)
    except Exception:  # noqa: BLE001 - __len__ is the user's code, and an unknown length is not an error
        return None
    finally:
        if isinstance(data, DataLoader):
            vars(data)[_NOTED_LENGTH] = noted  # a loader records that its length was asked for


def _why_no_length(data: Any) -> str:
    """What a length that exists raised; empty where there is none."""
    try:
        len(data)
    except Exception as error:  # noqa: BLE001 - __len__ is the user's code
        return f" ({type(error).__name__}: {error})" if hasattr(type(data), "__len__") else ""
    return ""


def _into_a_batch(samples: list[Any]) -> Any:
    """Samples as one batch, the way that torch's loader does it when it is not told how."""
    try:
        return default_collate(samples)
    except (RuntimeError, TypeError) as error:
        raise BenchmarkError(
            f"the samples of the data do not go into one batch ({type(error).__name__}: {error}); pass a "
            "DataLoader with your own collate_fn="
        ) from error


def _check_batch_size(given: int | None, own: int) -> None:
    if given is not None and given != own:
        raise InvalidInputError(
            f"batch_size={given}, but the loader's own is {own}; leave batch_size out or make them equal"
        )


def refuse_what_is_no_data(data: Any) -> None:
    """Refuse an object with length and items that is neither samples nor a loader; the message says what to pass.

    Raises:
        InvalidInputError: For text, mappings, tables and a pair of arrays.
    """
    name = type(data).__name__
    if isinstance(data, (str, bytes, bytearray)):
        raise InvalidInputError(f"data must be a Dataset or a loader, got {name} {data!r:.60}")
    if isinstance(data, Mapping) or (hasattr(data, "keys") and hasattr(data, "values")):
        keys = ", ".join(map(repr, itertools.islice(data, 4)))
        raise InvalidInputError(
            f"data must be a Dataset or a loader, got {name} with the keys {keys}; pass one of its values, or a "
            "DataLoader over the rows"
        )
    if type(data) in (list, tuple) and data and all(isinstance(each, (DataLoader, Dataset)) for each in data):
        raise InvalidInputError(
            f"data is a {name} of {len(data)} loaders or data sets; pass the one to train on, and validation= another"
        )
    if type(data) in (list, tuple) and 2 <= len(data) <= _MOST_COLUMNS and _are_columns(data):
        raise InvalidInputError(
            f"data is a {name} of {len(data)} arrays of {len(data[0])} rows each, which are no samples; pass "
            "TensorDataset(*map(torch.as_tensor, data)), or a DataLoader over it"
        )


def rows_of_batches(data: Any) -> int | None:
    """Rows of each item of a list, if the items look like ready batches of one size; else None."""
    if type(data) not in (list, tuple) or not data:
        return None
    looked_at = [_rows_of(item) for item in data[:_LOOKED_AT]]
    first, last = looked_at[0], _rows_of(data[-1])
    inner = looked_at[:-1] if len(data) <= _LOOKED_AT else looked_at
    if first is None or last is None or first < 2 or last > first or any(each != first for each in inner):
        return None
    return first


def count_rows(data: Sequence[Any]) -> int:
    """Total rows of all ready batches."""
    return sum(_rows_of(item) or 1 for item in data)


def _rows_of(item: Any) -> int | None:
    """Rows common to the arrays of an item, if there are several arrays and one of them is not a vector."""
    parts = list(item.values()) if isinstance(item, Mapping) else item
    if not isinstance(parts, (list, tuple)):
        return None
    arrays = [part for part in parts if _is_array(part)]
    if len(arrays) < 2 or all(len(part.shape) < 2 for part in arrays):
        return None
    rows = {int(part.shape[0]) if len(part.shape) else 0 for part in arrays}
    return rows.pop() if len(rows) == 1 else None


def _are_columns(data: Sequence[Any]) -> bool:
    if not all(_is_array(part) and len(part.shape) >= 1 for part in data):
        return False
    lengths = {int(part.shape[0]) for part in data}
    return len(lengths) == 1 and lengths.pop() > len(data)


def _is_array(part: Any) -> bool:
    return isinstance(part, (torch.Tensor, np.ndarray))
