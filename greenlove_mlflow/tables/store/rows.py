"""Rows of a table as plain dictionaries, with None for empty cells and the source of each; cached, and searchable."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.errors import TableError
from greenlove_mlflow.tables.store.own_tables import own_table_versions, read_own_tables
from greenlove_mlflow.tables.store.store import NEWEST, Table, read_table

_Function = TypeVar("_Function", bound=Callable[..., Any])
_KEPT: list[Any] = []
_ADDRESS = re.compile(r"https?://[^\s,;)]+")
# The columns in which a GPU, a CPU or a place is searched.
NAME_COLUMNS = ("gpu_id", "name", "aliases", "gpu", "cpu", "code", "region", "provider", "operator", "key")


def kept(function: _Function) -> _Function:
    """The function with its results cached until ``forget`` is called."""
    cached = functools.lru_cache(maxsize=64)(function)
    _KEPT.append(cached)
    return cached  # type: ignore[return-value]


def forget() -> None:
    """Clear the cache, so that everything is read again."""
    for function in _KEPT:
        function.cache_clear()


@kept
def rows_of(name: str, version: str = NEWEST) -> tuple[tuple[Table, dict[str, Any]], ...]:
    """Each row of a table, with its table; in the newest version, the user's own rows replace rows of the same key."""
    table = read_table(name, version)
    rows = [(table, row) for row in plain_rows(table)]
    if version != NEWEST or not own_table_versions(name):
        return tuple(rows)
    by_key = {_key(table, row): (table, row) for table, row in rows}
    for own in read_own_tables(name):
        by_key |= {_key(own, row): (own, row) for row in plain_rows(own)}
    return tuple(by_key.values())


def _key(table: Table, row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[part] for part in table.sidecar.key)


def plain_rows(table: Table) -> list[dict[str, Any]]:
    """The rows of a table as dictionaries, with None for empty cells."""
    frame = table.frame
    names = [str(name) for name in frame]
    columns = [
        [None if is_empty else value for value, is_empty in zip(series.tolist(), series.isna().tolist(), strict=True)]
        for _, series in frame.items()
    ]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def row_source(table: Table, row: dict[str, Any]) -> Source:
    """The source of one row: its own text, URL, date and licence, or the table's if it states none."""
    stated = str(row.get("source") or "")
    # A corrected row names its original source first, then that of its corrections.
    first, separator, corrections = stated.partition("; ")
    text = table.sidecar.row_sources.get(first, first) + separator + corrections
    address = _ADDRESS.search(text)
    return Source(
        producer=row.get("producer") or table.source.producer,
        title=text or table.source.title,
        url=address.group(0) if address else table.source.url,
        licence=row.get("licence") or table.source.licence,
        published=row.get("as_of") or table.source.published,
        accessed=table.source.accessed,
        table=table.name,
        version=table.version,
    )


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
