"""Rows of a table as plain dictionaries, with None for empty cells, and the source of each row."""

from __future__ import annotations

import re
from typing import Any

from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.tables.store.cache import kept
from greenlove_mlflow.tables.store.own_tables import own_table_versions, read_own_tables
from greenlove_mlflow.tables.store.store import NEWEST, Table, read_table

_ADDRESS = re.compile(r"https?://[^\s,;)]+")


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
    frame = table.frame.astype(object)
    rows = frame.where(frame.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


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
