"""Adds and removes the user's own tables; every reference must resolve to a row."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from greenlove_mlflow.environment import tables_folder
from greenlove_mlflow.errors import TableError
from greenlove_mlflow.files import write_whole
from greenlove_mlflow.tables.store.own_tables import own_table_versions, read_own_table
from greenlove_mlflow.tables.store.rows import forget, plain_rows, rows_of
from greenlove_mlflow.tables.store.schema import format_sidecar
from greenlove_mlflow.tables.store.store import Table, table_names, table_versions
from greenlove_mlflow.untrusted import is_printable

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_references(table: Table) -> None:
    """Check that every cell of a referring column is found in the newest version of the table it refers to.

    Raises:
        TableError: If one is not found; the message names row and column.
    """
    for column in table.sidecar.columns:
        if not column.reference or column.name not in table.frame:
            continue
        other, name = column.reference.split(".")
        known = {row[name] for _, row in rows_of(other)}
        for index, row in enumerate(plain_rows(table)):
            value = row[column.name]
            if value is not None and value not in known:
                raise TableError(
                    f"{table.name} {table.version}, row {index + 2}, column {column.name!r}: {value!r} is not in "
                    f"{other}.{name}"
                )


def add_table(
    path: Path, name: str, *, version: str | None = None, as_of: str | None = None, source: str | None = None
) -> Table:
    """Add the user's own table permanently: ``read_own_tables`` finds its rows from now on.

    Args:
        path: Path of the CSV.
        name: Table that the rows belong to.
        version: Version name; by default from its TOML, else the file name.
        as_of: Date of the figures, ISO 8601; by default from its TOML or its rows.
        source: Description of where the figures come from; by default from its TOML, else the file name.

    Raises:
        TableError: If the file fails a check, or its version already exists with other rows.
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
    check_shown(table)
    keep_table(target, content, format_sidecar(sidecar), lambda trial: read_own_table(trial, name))
    forget()
    return read_own_table(target, name)


def remove_table(name: str, version: str) -> Path:
    """Remove the user's own table; return the path it had.

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


def keep_table(target: Path, content: bytes, sidecar: str, read: Callable[[Path], object]) -> None:
    """Write a table and its sidecar after ``read`` has read them next to the target; on failure, leave nothing behind.

    Args:
        target: Path of the CSV to write.
        content: Content of the CSV.
        sidecar: Content of the TOML.
        read: Reads and checks the table at a path.

    Raises:
        TableError: If ``read`` cannot read the table as written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".adding-", dir=target.parent) as scratch:
        trial = Path(scratch) / target.name
        trial.write_bytes(content)
        trial.with_suffix(".toml").write_text(sidecar, encoding="utf-8")
        read(trial)
    # The TOML first, so that a visible CSV always has its provenance.
    write_whole(target.with_suffix(".toml"), sidecar)
    try:
        write_whole(target, content)
    except OSError:
        target.with_suffix(".toml").unlink(missing_ok=True)
        raise


def check_shown(table: Table) -> None:
    """Check that a table has rows, a date, and only printable text.

    Raises:
        TableError: If a check fails.
    """
    if table.frame.empty:
        raise TableError("the table has no rows, so there is nothing to add")
    try:
        dt.date.fromisoformat(table.as_of)
    except ValueError as error:
        raise TableError(f"{table.as_of!r} is not a date; pass --as-of such as 2026-09-30") from error
    source = table.source
    texts = [table.version, source.producer, source.title, source.url, source.licence]
    texts += [value for column in table.frame for value in table.frame[column] if isinstance(value, str)]
    for text in texts:
        if not is_printable(text.replace("\n", " ").replace("\t", " ")):
            raise TableError(f"the table holds a character that no terminal can show: {ascii(text)[:60]}")
