"""Parquet with provenance in its schema's metadata, which pandas alone would drop."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from greenlove_mlflow.files import whole_file
from greenlove_mlflow.tables.store.store import Table

PREFIX = "greenlove."


def parquet_metadata(table: Table) -> dict[str, str]:
    """Metadata for a Parquet copy of a table: ``greenlove.table``, ``.version``, ``.as_of``, ``.source``..."""
    notice = {f"{PREFIX}notice": table.notice} if table.notice else {}
    return notice | {
        f"{PREFIX}table": table.name,
        f"{PREFIX}version": table.version,
        f"{PREFIX}as_of": table.as_of,
        f"{PREFIX}source": table.source.url or table.source.title,
        f"{PREFIX}producer": table.source.producer,
        f"{PREFIX}licence": table.source.licence,
        f"{PREFIX}sha256": table.sha256,
    }


def write_parquet(frame: pd.DataFrame, path: Path, *, metadata: dict[str, str]) -> None:
    """Write a frame as Parquet with that metadata in its schema, atomically.

    Args:
        frame: The rows.
        path: Output path.
        metadata: Entries of the schema metadata.
    """
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    stated = {**(arrow.schema.metadata or {}), **{key.encode(): value.encode() for key, value in metadata.items()}}
    with whole_file(path) as temporary:
        pq.write_table(arrow.replace_schema_metadata(stated), temporary)


def read_parquet_metadata(path: Path) -> dict[str, str]:
    """The ``greenlove.`` entries of a Parquet file's schema metadata."""
    metadata = pq.read_schema(path).metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items() if key.startswith(PREFIX.encode())}
