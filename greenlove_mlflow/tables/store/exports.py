"""Table files for other programs: Parquet that keeps its provenance, and CSV that no spreadsheet evaluates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from greenlove_mlflow.files import whole_file
from greenlove_mlflow.tables.store.store import Table
from greenlove_mlflow.untrusted import spreadsheet_cell

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


def write_csv(frame: pd.DataFrame, path: Path, *, index: bool = False) -> None:
    """Write a table as CSV, with text cells that a spreadsheet does not evaluate.

    Args:
        frame: Any table; its text may be untrusted.
        path: Output path.
        index: Whether to write the index as a column.
    """
    safe_cells(frame).to_csv(path, index=index)


def safe_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before every text that a spreadsheet would evaluate as a formula."""
    texts = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    return frame.assign(**{name: frame[name].map(_safe, na_action="ignore") for name in texts})


def _safe(value: Any) -> Any:
    return spreadsheet_cell(value) if isinstance(value, str) else value
