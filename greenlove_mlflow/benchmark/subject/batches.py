"""Classifies data that is not a loader: samples, ready batches, or neither, by its items."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from greenlove_mlflow.errors import InvalidInputError

# Number of items of a list that are inspected from its beginning, besides its last.
_LOOKED_AT = 8
_MOST_COLUMNS = 4


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
