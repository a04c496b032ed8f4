"""Checks that every table must pass before its figures are used; an error names row and column."""

from __future__ import annotations

import csv
import io
import math
import re
from datetime import date
from typing import Any

import pandas as pd

from greenlove_mlflow.errors import TableError
from greenlove_mlflow.tables.store.schema import Column, Sidecar

_TRUTHS = {"true": True, "false": False}


def read_cells(content: bytes, *, name: str) -> pd.DataFrame:
    """The cells of a CSV as text, None for empty cells.

    Raises:
        TableError: If the bytes are not a UTF-8 CSV with one header.
    """
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{name} cannot be read as CSV: {error}") from error
    if not rows or not any(rows[0]):
        raise TableError(f"{name} cannot be read as CSV: it has no header")
    header = [column.strip() for column in rows[0]]
    if len(header) == 1 and ";" in header[0]:
        raise TableError(f"{name} seems to have ; between cells: separate them with commas, and write 3.90 for 3,90")
    doubled = [column for index, column in enumerate(header) if column in header[:index]]
    if doubled:
        raise TableError(f"{name} has the column {doubled[0]!r} twice")
    for index, row in enumerate(rows[1:]):
        if row and len(row) != len(header):
            raise TableError(f"{name}, row {index + 2}: {len(row)} cells, but the header has {len(header)} columns")
    # Read without pandas, which treats the country code of Namibia (NA) as missing and renames a duplicate column.
    cells = [[cell.strip() or None for cell in row] for row in rows[1:] if row]
    return pd.DataFrame(cells, columns=header, dtype=object)


def check_cells(cells: pd.DataFrame, sidecar: Sidecar, *, name: str) -> pd.DataFrame:
    """The table with typed columns, after checking each cell against its column.

    Args:
        cells: The cells as text.
        sidecar: The columns and the key.
        name: Name of the table for messages.

    Raises:
        TableError: On a missing or unknown column, a cell of the wrong type or out of range, a duplicate key, or a
            row count that differs from the sidecar. The message names row and column; the header is row 1.
    """
    _check_columns(list(cells.columns), sidecar, name=name)
    typed: dict[str, Any] = {}
    for column in sidecar.columns:
        if column.name in cells:
            typed[column.name] = _typed(cells[column.name].tolist(), column, cells, sidecar, name)
    frame = pd.DataFrame(typed, columns=[column.name for column in sidecar.columns if column.name in cells])
    _check_key(frame, sidecar, name=name)
    if sidecar.row_count is not None and len(frame) != sidecar.row_count:
        raise TableError(f"{name} has {len(frame)} rows; its TOML states {sidecar.row_count}")
    return frame


def _check_columns(found: list[str], sidecar: Sidecar, *, name: str) -> None:
    known = [column.name for column in sidecar.columns]
    missing = [column.name for column in sidecar.columns if column.required and column.name not in found]
    unknown = [column for column in found if column not in known]
    if missing:
        raise TableError(f"{name} lacks the column {missing[0]!r}; it has {', '.join(found)}")
    if unknown:
        raise TableError(f"{name} has the unknown column {unknown[0]!r}; the known ones are {', '.join(known)}")


def _typed(
    values: list[str | None], column: Column, cells: pd.DataFrame, sidecar: Sidecar, name: str
) -> pd.Series[Any]:
    # Columns repeat values: each distinct cell is checked and parsed once.
    parsed: dict[str | None, Any] = {}
    for value in dict.fromkeys(values):
        problem = _problem(value, column)
        if problem:
            index = values.index(value)
            raise TableError(f"{name}, {_row(cells, index, sidecar)}, column {column.name!r}: {problem}")
        parsed[value] = _parsed(value, column)
    typed = [parsed[value] for value in values]
    if column.type == "number":
        return pd.Series(typed, dtype="float64")
    if column.type == "integer":
        return pd.Series(typed, dtype="Int64")
    return pd.Series(typed, dtype=object)


def _parsed(value: str | None, column: Column) -> Any:
    if value is None:
        return math.nan if column.type == "number" else None
    if column.type == "number":
        return float(value)
    if column.type == "integer":
        return int(float(value))
    return _TRUTHS[value.lower()] if column.type == "boolean" else value


def _problem(value: str | None, column: Column) -> str:
    """The problem with a cell; empty if there is none."""
    if value is None:
        return "" if column.blank else "the cell is empty"
    if column.type in ("number", "integer"):
        return _number_problem(value, column)
    return _text_problem(value, column)


def _text_problem(value: str, column: Column) -> str:
    if column.type == "boolean" and value.lower() not in _TRUTHS:
        return f"{value!r} is neither true nor false"
    if column.type == "date" and not _is_date(value):
        return f"{value!r} is not a date like 2026-09-28"
    if column.values and value not in column.values:
        return f"{value!r} is not one of {', '.join(column.values)}"
    if column.pattern and not re.fullmatch(column.pattern, value):
        return f"{value!r} does not have the form {column.pattern}"
    return ""


def _number_problem(value: str, column: Column) -> str:
    try:
        number = float(value)
    except ValueError:
        return f"{value!r} is not a number"
    if not math.isfinite(number):
        return f"{value!r} is not a finite number"
    if column.type == "integer" and number != int(number):
        return f"{value!r} is not a whole number"
    unit = f" {column.unit}" if column.unit else ""
    if column.minimum is not None and number < column.minimum:
        return f"{value} is below {column.minimum:g}{unit}"
    if column.maximum is not None and number > column.maximum:
        return f"{value} is above {column.maximum:g}{unit}"
    return ""


def _is_date(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return len(value) == len("2026-09-28")


def _check_key(frame: pd.DataFrame, sidecar: Sidecar, *, name: str) -> None:
    key = [column for column in sidecar.key if column in frame]
    if not key:
        return
    doubled = frame[frame.duplicated(key)]
    if len(doubled):
        index = int(doubled.index[0])
        raise TableError(f"{name}, {_row(frame, index, sidecar)}, column {key[0]!r}: this key occurs twice")


def _row(frame: pd.DataFrame, index: int, sidecar: Sidecar) -> str:
    # The header is row 1, as a spreadsheet counts.
    named = [str(frame[column].iloc[index]) for column in sidecar.key if column in frame]
    return f"row {index + 2}" + (f" ({', '.join(named)})" if named else "")
