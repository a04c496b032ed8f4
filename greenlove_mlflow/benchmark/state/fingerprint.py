"""Fingerprint: a checksum of everything that training reaches, taken before and after to detect changes."""

from __future__ import annotations

import itertools
import pickle
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from greenlove_mlflow.benchmark.state.bits import (
    array_checksum,
    can_be_copied,
    checksum,
    objects_in,
    parts_of,
    position_of,
    shared_positions,
)
from greenlove_mlflow.benchmark.state.kinds import Kind
from greenlove_mlflow.benchmark.state.outside import LARGEST_COPY_BYTES
from greenlove_mlflow.benchmark.state.walk import Reached, attributes_of, contents_of, has_attributes, members_of

# Objects too large to copy are sampled: the number of places, and the bytes at each.
WATCHED_PLACES = 64
WATCHED_BYTES = 4096
# The fingerprint samples the items of longer containers; their keepers compare every item.
LONG = 100_000
_VALUES = frozenset({Kind.TENSOR, Kind.ARRAY, Kind.RANDOM, Kind.BYTES, Kind.MAP})


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Checksums of what was found, in order.

    Args:
        marks: For each object, by identity: where it was found, and a checksum of its content.
        shared: Positions of the process-wide random number generators.
    """

    marks: dict[int, tuple[Reached, Any]]
    shared: str


def take_fingerprint(found: Iterable[Reached], watched: set[int], device_type: str) -> Fingerprint:
    """Take the fingerprint of what a walk found.

    Args:
        found: The objects.
        watched: Those too large to be read completely, by id.
        device_type: Device type of the training.
    """
    items = list(found)
    marks = _settled([_mark(each, is_whole=id(each.thing) not in watched) for each in items])
    return Fingerprint(
        marks={id(each.thing): (each, mark) for each, mark in zip(items, marks, strict=True)},
        shared=shared_positions(device_type),
    )


def differing(before: Fingerprint, after: Fingerprint) -> tuple[list[str], list[str]]:
    """The paths that differ: first tensors, arrays and random numbers, then other objects."""
    values = [] if before.shared == after.shared else ["the random numbers of the process"]
    structure: list[str] = []
    for identity, (found, mark) in before.marks.items():
        if after.marks.get(identity, (found, None))[1] != mark:
            (values if found.kind in _VALUES else structure).append(found.path)
    return values, structure


def _settled(marks: list[Any]) -> list[Any]:
    """The marks, with those still on a GPU read back, in one transfer per device."""
    waiting: dict[torch.device, list[int]] = {}
    for number, mark in enumerate(marks):
        if isinstance(mark, torch.Tensor):
            waiting.setdefault(mark.device, []).append(number)
    for numbers in waiting.values():
        for number, value in zip(numbers, torch.stack([marks[each] for each in numbers]).tolist(), strict=True):
            marks[number] = value
    return marks


def _mark(found: Reached, *, is_whole: bool) -> Any:
    thing, kind = found.thing, found.kind
    if kind is Kind.TENSOR:
        return _tensor_mark(thing, is_whole=is_whole)
    if kind is Kind.ARRAY and not thing.dtype.hasobject:
        return array_checksum(thing if is_whole else _places(thing))
    has_own = kind not in (Kind.CLASS, Kind.TABLE) and has_attributes(thing)
    own = _identities(attributes_of(thing).values()) if has_own else ()
    return hash((own, id(type(thing)), _CONTENTS[kind](thing) if kind in _CONTENTS else None))


def _identities(items: Any) -> tuple[int, ...]:
    """Identities of the objects in a container; an evenly spread sample if there are very many."""
    if len(items) > LONG:
        items = list(itertools.islice(items, 0, None, len(items) // LONG))
    return tuple(map(id, items))


def _of_members(items: list[Any]) -> Any:
    return len(items), _identities(items)


def _bytes_mark(thing: Any) -> int:
    """A checksum of bytes; of very many, of a sample."""
    try:
        view = memoryview(thing)
    except ValueError:  # released
        return 0
    with view:
        if view.nbytes <= LARGEST_COPY_BYTES:
            return zlib.crc32(view)
        return array_checksum(_places(np.frombuffer(view, np.uint8)))


_CONTENTS: dict[Kind, Callable[[Any], Any]] = {
    Kind.ARRAY: lambda array: tuple(map(id, objects_in(array))),
    Kind.RANDOM: lambda generator: zlib.crc32(pickle.dumps(_plain(position_of(generator)))),
    Kind.BYTES: _bytes_mark,
    Kind.MAP: lambda mapped: None if mapped.closed else (mapped.tell(), _bytes_mark(mapped)),
    Kind.CELL: lambda cell: id(contents_of(cell)),
    Kind.CONTEXT: lambda variable: id(variable.get(None)),
    Kind.DICT: lambda table: (dict.__len__(table), _identities(dict.keys(table)), _identities(dict.values(table))),
    Kind.SET: lambda members: frozenset(map(id, members_of(members))),
    Kind.LIST: lambda items: _of_members(members_of(items)),
    Kind.DEQUE: lambda items: _of_members(members_of(items)),
}


def _tensor_mark(tensor: torch.Tensor, *, is_whole: bool) -> Any:
    if not can_be_copied(tensor):
        return hash(tuple(int(checksum(part)) for part in parts_of(tensor) or ()))
    if is_whole:
        return checksum(tensor)
    version = 0 if tensor.is_inference() else tensor._version
    return version if tensor.device.type != "cpu" else hash((version, tensor.data_ptr()))


def _places(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A sample of an array's bytes, spread over the whole array."""
    if not array.flags.c_contiguous:
        return array[:: max(1, len(array) // WATCHED_PLACES)][:WATCHED_PLACES] if array.ndim else array
    raw = array.reshape(-1).view(np.uint8)
    starts = np.linspace(0, max(0, raw.size - WATCHED_BYTES), WATCHED_PLACES, dtype=np.int64)
    return np.concatenate([raw[start : start + WATCHED_BYTES] for start in starts])


def _plain(position: Any) -> Any:
    return position.numpy().tobytes() if isinstance(position, torch.Tensor) else position
