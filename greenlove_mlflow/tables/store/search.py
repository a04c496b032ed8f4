"""Searches the rows of any table by words of a name or by a column's text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from greenlove_mlflow.errors import TableError
from greenlove_mlflow.tables.store.rows import plain_rows
from greenlove_mlflow.tables.store.store import Table

# The columns in which a GPU, a CPU or a place is searched.
NAME_COLUMNS = ("gpu_id", "name", "aliases", "gpu", "cpu", "code", "region", "provider", "operator", "key")


def find_rows(
    table: Table, *, words: Iterable[str] = (), equal: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """The rows whose names contain all given words as whole words, and whose columns have the given texts.

    For display only: ``H100`` finds every H100. No estimate uses the result.

    Args:
        table: Table to search.
        words: Words that the names of a row must contain.
        equal: Column -> text that it must equal, ignoring case.

    Raises:
        TableError: If a column is not in the table.
    """
    equal = equal or {}
    unknown = [name for name in equal if name not in table.frame]
    if unknown:
        raise TableError(f"{table.name} has no column {unknown[0]!r}; it has {', '.join(table.frame.columns)}")
    asked = {word for text in words for word in _words(text)}
    return [
        row
        for row in plain_rows(table)
        if all(str(row[name]).lower() == text.lower() for name, text in equal.items()) and asked <= _row_words(row)
    ]


def _row_words(row: dict[str, Any]) -> set[str]:
    return {word for name in NAME_COLUMNS for word in _words(str(row.get(name) or ""))}


def _words(text: str) -> set[str]:
    # A name matches by its parts and as a whole: "US-VA", "us", "va".
    return {word for word in re.split(r"[\s|]+", text.lower()) if word} | set(re.findall(r"[^\W_]+", text.lower()))
