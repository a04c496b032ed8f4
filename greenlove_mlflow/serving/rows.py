"""Reads price rows: numbers parsed, text kept as written, and problems of each row as messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from greenlove_mlflow.core.interval import FloatArray
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.serving.signature import REQUIRED_INPUTS


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRows:
    """The columns of a price table; an empty cell is NaN in a number column and empty text in a text column.

    ``problems`` holds a list of messages per row.
    """

    gpu: Sequence[str]
    price_usd_per_hour: FloatArray
    spot_usd_per_hour: FloatArray
    memory_gib: FloatArray
    version: Sequence[str]
    statistics: Sequence[str]
    problems: Sequence[list[str]]

    def __len__(self) -> int:
        return len(self.gpu)


def read_price_rows(frame: pd.DataFrame) -> PriceRows:
    """Read the rows of a price table.

    Raises:
        InvalidInputError: If a needed column is missing.
    """
    missing = [name for name in REQUIRED_INPUTS if name not in frame.columns]
    if missing:
        raise InvalidInputError(
            f"a price table needs the columns {' and '.join(REQUIRED_INPUTS)}; {' and '.join(missing)} is missing "
            f"among {', '.join(map(str, frame.columns)) or 'none'}"
        )
    problems: list[list[str]] = [[] for _ in range(len(frame))]
    return PriceRows(
        gpu=_read_texts(frame, "gpu"),
        price_usd_per_hour=_read_numbers(frame, "price_usd_per_hour", problems),
        spot_usd_per_hour=_read_numbers(frame, "spot_usd_per_hour", problems),
        memory_gib=_read_numbers(frame, "memory_gib", problems),
        version=_read_texts(frame, "version"),
        statistics=_read_texts(frame, "statistics"),
        problems=problems,
    )


def _read_numbers(frame: pd.DataFrame, name: str, problems: Sequence[list[str]]) -> FloatArray:
    """A column as numbers of at least 0; any other non-empty cell becomes NaN and is added to the problems."""
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    column = frame[name]
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    is_blank = np.array([_is_blank(cell) for cell in column], dtype=bool)
    is_bad = ~is_blank & ~(np.isfinite(numbers) & (numbers >= 0.0))
    for index in np.flatnonzero(is_bad):
        problems[int(index)].append(f"{name} is {str(column.iloc[index])!r}, not a number of at least 0")
    return np.where(is_bad | is_blank, np.nan, numbers)


def _read_texts(frame: pd.DataFrame, name: str) -> list[str]:
    """A column as text; a version parsed as the number 2026.01 is written back as such."""
    if name not in frame.columns:
        return [""] * len(frame)
    return ["" if _is_blank(cell) else str(cell).strip() for cell in frame[name]]


def _is_blank(cell: object) -> bool:
    return not cell.strip() if isinstance(cell, str) else bool(pd.isna(cell))  # type: ignore[call-overload]
