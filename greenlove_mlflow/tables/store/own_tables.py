"""The user's own tables: rows that extend the published tables, or replace rows with the same key.

They are stored in ``GREENLOVE_DATA``, by default in the user's data folder, as ``<table>/<version>.csv`` with a TOML,
pass the same checks as published tables, and are shown as the user's own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path

import pandas as pd

from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.environment import tables_folder
from greenlove_mlflow.errors import TableError
from greenlove_mlflow.tables.store.schema import Column, Sidecar, check_cells, read_cells, read_sidecar
from greenlove_mlflow.tables.store.store import Table, read_schema

OWN_PRODUCER = "your own"
# Evidence of a user's own row: only its owner has read its source.
OWN_EVIDENCE = "own"


def own_table_versions(name: str) -> tuple[str, ...]:
    """The versions of a table that the user added, sorted; may be empty."""
    return tuple(sorted(path.stem for path in (tables_folder() / name).glob("*.csv")))


def read_own_tables(name: str) -> tuple[Table, ...]:
    """All of the user's own tables of that name, in version order.

    Raises:
        TableError: If one fails a check or was edited after it was added.
    """
    return tuple(
        read_own_table(tables_folder() / name / f"{version}.csv", name) for version in own_table_versions(name)
    )


def read_own_table(
    path: Path, name: str, *, version: str | None = None, as_of: str | None = None, source: str | None = None
) -> Table:
    """The user's own table from a CSV, checked against the published schema.

    Columns that may be empty may be missing; ``as_of``, ``source``, ``evidence``, ``producer`` and ``licence`` are
    filled in if the file has none.

    Args:
        path: Path of the CSV.
        name: Table that the rows belong to.
        version: Version name; by default from its TOML, else the file name.
        as_of: Date of the figures, ISO 8601; by default from its TOML or its rows.
        source: Description of where the figures come from; by default from its TOML, else the file name.

    Raises:
        TableError: If the file cannot be read, fails a check, or its rows have no date.
    """
    schema = read_schema(name)
    stated = path.with_suffix(".toml")
    own = read_sidecar(stated) if stated.is_file() else Sidecar(source=Source(producer="", title=""), as_of="")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(content).hexdigest()
    if own.sha256 and own.sha256 != digest:
        raise TableError(f"{path} was edited after it was added; add it again under another --version")
    cells = read_cells(content, name=path.name)
    dated = as_of or own.as_of or (max(cells["as_of"].dropna(), default="") if "as_of" in cells else "")
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", dated):
        raise TableError(f"{path.name} does not date its rows; give as_of (2026-09-28) in a column or by --as-of")
    title = source or own.source.title or path.name
    filled = {"as_of": dated, "source": title, "evidence": OWN_EVIDENCE}
    filled |= {"producer": OWN_PRODUCER, "licence": OWN_PRODUCER}
    cells = _filled(cells, {column.name: filled[column.name] for column in schema.columns if column.name in filled})
    sidecar = dataclasses.replace(
        schema,
        source=_own_source(own, title, dated, table=name, version=version or own.source.version or path.stem),
        as_of=dated,
        columns=tuple(_own_column(column) for column in schema.columns),
        row_count=own.row_count,
        sha256=digest,
    )
    frame = check_cells(cells, sidecar, name=path.name).reindex(columns=[column.name for column in schema.columns])
    return Table(
        name=name,
        version=sidecar.source.version,
        as_of=dated,
        sha256=digest,
        source=sidecar.source,
        frame=frame,
        path=path,
        units=sidecar.units,
        sidecar=sidecar,
    )


def _own_source(own: Sidecar, title: str, dated: str, *, table: str, version: str) -> Source:
    return Source(
        producer=OWN_PRODUCER,
        title=title,
        url=own.source.url,
        licence=OWN_PRODUCER,
        published=dated,
        accessed=own.source.accessed or dated,
        table=table,
        version=version,
    )


def _own_column(column: Column) -> Column:
    """The column with its checks, optional if it may be empty; its evidence may be the user's own."""
    values = (*column.values, OWN_EVIDENCE) if column.name == "evidence" else column.values
    return dataclasses.replace(column, required=not column.blank, values=values)


def _filled(cells: pd.DataFrame, defaults: dict[str, str]) -> pd.DataFrame:
    """The cells, with the defaults of a user's own rows filled in."""
    cells = cells.copy()
    for name, value in defaults.items():
        cells[name] = cells[name].fillna(value) if name in cells else value
    return cells
