"""New versions of the tables: the version before with the changes of a file, written, checked and read back.

``changes/<table>/<version>.csv`` (or several, ``<version>.<part>.csv``, one after another) says, a line each, what a
new version changes and why: ``add`` a row, ``set`` a cell, ``drop`` a row. Together with the version before it makes
the new one, so that anybody can build every table after the first versions from this repository alone.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import sys
from pathlib import Path
from typing import Any

import pandas as pd

DATA = Path(__file__).resolve().parent.parent
CHANGES = Path(__file__).resolve().parent / "changes"
sys.path.insert(0, str(DATA.parent))

KEY_SEPARATOR = "|"
CHANGE_COLUMNS = ("change", "row", "column", "value", "source")
Rows = dict[str, dict[str, str | None]]  # by key, None where a cell is empty
Change = dict[str, str]  # one line of a changes file


class UnusableChangeError(SystemExit):
    """A line of a changes file that fits no row, or says what the table says already."""


def add_row(row: str, source: str = "") -> Change:
    """The line that adds a row; its key's parts are joined by ``|``."""
    return {"change": "add", "row": row, "column": "", "value": "", "source": source}


def drop_row(row: str) -> Change:
    """The line that drops a row."""
    return {"change": "drop", "row": row, "column": "", "value": "", "source": ""}


def set_cell(row: str, column: str, value: str, source: str = "") -> Change:
    """The line that sets a cell; a source of its own is added to the row's."""
    return {"change": "set", "row": row, "column": column, "value": value, "source": source}


def versions_with_changes(name: str) -> tuple[str, ...]:
    """The versions of a table that its changes files make, oldest first."""
    return tuple(sorted({path.name[: len("2026-11-27")] for path in (CHANGES / name).glob("*.csv")}))


def read_changes(name: str, version: str, *, without: str = "") -> list[dict[str, str]]:
    """The lines of every changes file of that version but one part, in the order of the files' names."""
    lines: list[dict[str, str]] = []
    for path in sorted((CHANGES / name).glob(f"{version}*.csv")):
        if without and path.stem == f"{version}.{without}":
            continue
        with path.open(encoding="utf-8", newline="") as file:
            lines += list(csv.DictReader(file))
    return lines


def write_changes(name: str, version: str, part: str, lines: list[dict[str, str]]) -> None:
    """Keep lines as one part of a version's changes."""
    folder = CHANGES / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{version}.{part}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, CHANGE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def version_text(name: str, version: str) -> str:
    """The CSV of that version: the newest one before it with the lines of its changes."""
    return csv_text(version_rows(name, read_changes(name, version), version), schema_of(name))


def version_rows(name: str, lines: list[dict[str, str]], version: str) -> pd.DataFrame:
    """The rows of the newest version before that one, with the changes of those lines made."""
    schema = schema_of(name)
    return changed(version_before(name, version), lines, schema.key, [column.name for column in schema.columns])


def schema_of(name: str) -> Any:
    """The table's ``schema.toml``."""
    from greenlove_mlflow.tables.store.schema import read_sidecar

    return read_sidecar(DATA / name / "schema.toml")


def version_before(name: str, version: str) -> pd.DataFrame:
    """The rows of the newest version older than that one, as text; none when it is the first."""
    from greenlove_mlflow.tables.store.schema import read_cells

    older = sorted(path for path in (DATA / name).glob("*.csv") if path.stem < version)
    if not older:
        return pd.DataFrame(columns=[column.name for column in schema_of(name).columns], dtype=object)
    return read_cells(older[-1].read_bytes(), name=older[-1].name)


def changed(
    frame: pd.DataFrame, changes: list[dict[str, str]], key: tuple[str, ...], columns: list[str]
) -> pd.DataFrame:
    """The rows with every change made, each in the order of the file.

    Args:
        frame: Rows as text, None where a cell is empty.
        changes: Lines with ``change`` (add, set, drop), ``row`` (the key, its parts joined by ``|``), ``column``,
            ``value`` and ``source``.
        key: Columns that together name a row.
        columns: Columns that a row may have.

    Raises:
        UnusableChangeError: If a line names a row that is not there, one that is there already, or no column.
    """
    rows: Rows = {}
    for record in frame.to_dict("records"):
        rows[KEY_SEPARATOR.join(str(record[part]) for part in key)] = {column: record.get(column) for column in columns}
    cited: dict[tuple[str, str], list[str]] = {}
    for line in changes:
        _make(rows, line, key, columns)
        if line["change"] == "set" and line["source"]:
            cited.setdefault((line["row"], line["source"]), []).append(line["column"])
    for (row, source), names in cited.items():
        if row in rows:
            before = rows[row].get("source")
            rows[row]["source"] = f"{before}; {', '.join(names)}: {source}" if before else source
    return pd.DataFrame(list(rows.values()), columns=columns, dtype=object)


def _make(
    rows: dict[str, dict[str, str | None]], line: dict[str, str], key: tuple[str, ...], columns: list[str]
) -> None:
    change, row, column, value = line["change"], line["row"], line["column"], line["value"] or None
    if change == "add":
        if row in rows:
            raise UnusableChangeError(f"the row {row!r} is there already")
        parts = row.split(KEY_SEPARATOR)
        rows[row] = dict.fromkeys(columns) | dict(zip(key, parts, strict=True))
        rows[row]["source"] = line["source"]
    elif row not in rows:
        raise UnusableChangeError(f"no row {row!r} to {change}")
    elif change == "drop":
        del rows[row]
    elif column not in columns:
        raise UnusableChangeError(f"no column {column!r} to {change} in {row!r}")
    else:
        rows[row][column] = value


def csv_text(frame: pd.DataFrame, schema: Any) -> str:
    """The rows as the table's CSV: the columns of the schema, sorted by key, numbers in their shortest form."""
    rows = frame.reindex(columns=[column.name for column in schema.columns])
    for column in schema.columns:
        if column.type == "integer":
            rows[column.name] = pd.to_numeric(rows[column.name]).astype("Int64")
        elif column.type == "boolean":
            rows[column.name] = rows[column.name].map(lambda value: str(value).lower(), na_action="ignore")
        elif column.type == "number":
            rows[column.name] = pd.to_numeric(rows[column.name]).astype(float)
    return rows.sort_values(list(schema.key)).to_csv(index=False, lineterminator="\n")


def write_version(name: str, version: str, text: str, *, published: str, accessed: str) -> Path:
    """Write ``<version>.csv`` and its TOML, then read both back through every check."""
    from greenlove_mlflow.tables.store.schema import format_sidecar
    from greenlove_mlflow.tables.store.store import read_table_file

    schema = schema_of(name)
    path = DATA / name / f"{version}.csv"
    path.write_text(text, encoding="utf-8", newline="\n")
    older = sorted(other for other in (DATA / name).glob("*.toml") if other.stem < version)
    sidecar = dataclasses.replace(
        schema,
        source=dataclasses.replace(schema.source, version=version, published=published, accessed=accessed),
        as_of=newest_row(text) or version,
        row_count=sum(1 for _ in csv.reader(text.splitlines())) - 1,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        row_sources=_row_sources(older[-1]) if older else {},
    )
    path.with_suffix(".toml").write_text(format_sidecar(sidecar), encoding="utf-8", newline="\n")
    read_table_file(path)
    return path


def newest_row(text: str) -> str:
    """The date of the newest row: figures do not get younger by being sorted out or sourced anew."""
    return max((row.get("as_of") or "" for row in csv.DictReader(text.splitlines())), default="")


def _row_sources(path: Path) -> dict[str, str]:
    from greenlove_mlflow.tables.store.schema import read_sidecar

    return dict(read_sidecar(path).row_sources)
