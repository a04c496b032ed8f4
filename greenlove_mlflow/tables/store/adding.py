"""Tables of the user's own: added for good after every check, and taken back."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

from greenlove_mlflow.environment import tables_folder
from greenlove_mlflow.errors import TableError
from greenlove_mlflow.tables.store.cache import forget
from greenlove_mlflow.tables.store.own_tables import own_table_versions, read_own_table
from greenlove_mlflow.tables.store.references import check_references
from greenlove_mlflow.tables.store.schema import format_sidecar
from greenlove_mlflow.tables.store.store import Table, table_names, table_versions

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def add_table(
    path: Path, name: str, *, version: str | None = None, as_of: str | None = None, source: str | None = None
) -> Table:
    """Keep a table of the user's own: its rows are used from now on, as ``read_own_tables`` finds them.

    Raises:
        TableError: If the file fails a check, or its version is taken by other rows.
    """
    table = read_own_table(path, name, version=version, as_of=as_of, source=source)
    check_references(table)
    if not _VERSION.fullmatch(table.version):
        raise TableError(f"version {table.version!r} cannot name a file; use letters, digits, dots and dashes")
    if table.version in table_versions(name):
        raise TableError(f"version {table.version!r} of {name} is published; give another --version")
    target = tables_folder() / name / f"{table.version}.csv"
    content = path.read_bytes()
    if target.exists() and target.read_bytes() != content:
        raise TableError(f"version {table.version!r} of {name} was added before with other rows; give another one")
    sidecar = dataclasses.replace(table.sidecar, row_count=len(table.frame), columns=(), key=(), notes=())
    target.parent.mkdir(parents=True, exist_ok=True)
    # The TOML first: a CSV that is seen has its provenance beside it.
    write_whole(target.with_suffix(".toml"), format_sidecar(sidecar).encode())
    write_whole(target, content)
    forget()
    return read_own_table(target, name)


def remove_table(name: str, version: str) -> Path:
    """Take back a table of the user's own; the path it lay at.

    Raises:
        TableError: If no such version was added.
    """
    path = tables_folder() / name / f"{version}.csv"
    if name not in table_names() or not path.is_file():
        own = ", ".join(own_table_versions(name)) or "none"
        raise TableError(f"no version {version!r} of {name} was added; there are {own}")
    path.unlink()
    path.with_suffix(".toml").unlink(missing_ok=True)
    forget()
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Write to a temporary name and rename, so that nothing half-written is left."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
