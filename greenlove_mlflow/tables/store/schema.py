"""Schema of a table, and the checks by it that every table must pass; an error names row and column."""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
import sys
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.errors import TableError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ColumnType = Literal["text", "number", "integer", "boolean", "date"]
_TRUTHS = {"true": True, "false": False}
# The first of those that are equally frequent counts.
_DELIMITERS = (",", ";", "\t")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
# 0,125 is no count of thousands.
_MAY_BE_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table.

    Args:
        name: Name in the file's header.
        type: ``text``, ``number``, ``integer``, ``boolean`` or ``date`` (ISO 8601).
        unit: Unit of its numbers; empty if there is none.
        required: Whether the column must be present.
        blank: Whether a cell may be empty.
        minimum: Minimum allowed number; None for no limit.
        maximum: Maximum allowed number; None for no limit.
        values: The allowed texts; empty if any is allowed.
        pattern: Regular expression that a text must fully match; empty if any text is allowed.
        reference: ``table.column`` that must contain every text; empty if there is none.
        description: Description of the column.
    """

    name: str
    type: ColumnType = "text"
    unit: str = ""
    required: bool = True
    blank: bool = False
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[str, ...] = ()
    pattern: str = ""
    reference: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """The content of the TOML next to a table's CSV.

    Args:
        source: Producer, title, address, licence and dates; its table and version name this one.
        as_of: Date the figures apply to, ISO 8601.
        description: What one row is.
        key: Columns that together identify a row.
        columns: The columns, in file order.
        row_count: Rows in the file; None if not stated.
        sha256: SHA-256 of the file's bytes, hexadecimal; empty if not stated.
        notes: Notes for readers: gaps, conflicts between sources, how figures were derived.
        max_age_days: Age in days after which its figures count as old; None if they do not age.
        kept_true: How the table's figures are fetched or checked again; stated by the schema alone.
        row_sources: Full texts for the short names in the column ``source``; empty if it holds full texts.
    """

    source: Source
    as_of: str
    description: str = ""
    key: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    row_count: int | None = None
    sha256: str = ""
    notes: tuple[str, ...] = ()
    max_age_days: int | None = None
    kept_true: str = ""
    row_sources: dict[str, str] = field(default_factory=dict)

    @property
    def units(self) -> dict[str, str]:
        """The unit of every column that has one."""
        return {column.name: column.unit for column in self.columns if column.unit}


def read_sidecar(path: Path) -> Sidecar:
    """The sidecar from a TOML file.

    Raises:
        TableError: If the file is missing, not valid TOML, or has an unknown key.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TableError(f"{path.name} is missing beside its table; it must say version, as_of and source") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TableError(f"{path.name} cannot be read as TOML: {error}") from error
    return parse_sidecar(content, name=path.name)


def parse_sidecar(content: dict[str, Any], *, name: str) -> Sidecar:
    """The sidecar from the content of a TOML file; ``name`` is used in errors."""
    try:
        source = Source(
            table=content.get("table", ""),
            version=str(content.get("version", "")),
            published=str(content.get("published", "")),
            accessed=str(content.get("accessed", "")),
            **content.get("source", {"producer": "", "title": ""}),
        )
        return Sidecar(
            source=source,
            as_of=str(content.get("as_of", "")),
            description=content.get("description", ""),
            key=tuple(content.get("key", ())),
            columns=tuple(_column(column, entry) for column, entry in content.get("columns", {}).items()),
            row_count=content.get("rows"),
            sha256=content.get("sha256", ""),
            notes=tuple(content.get("notes", ())),
            max_age_days=content.get("max_age_days"),
            kept_true=content.get("kept_true", ""),
            row_sources=dict(content.get("row_sources", {})),
        )
    except TypeError as error:
        raise TableError(f"{name} holds an entry that no sidecar has: {error}") from error


def _column(name: str, entry: dict[str, Any]) -> Column:
    fields = {**entry, "values": tuple(entry.get("values", ()))}
    if fields.get("type", "text") not in get_args(ColumnType):
        raise TypeError(f"column {name!r} has the unknown type {fields['type']!r}")
    return Column(
        name=name,
        minimum=fields.pop("min", None),
        maximum=fields.pop("max", None),
        **fields,
    )


def format_sidecar(sidecar: Sidecar) -> str:
    """The sidecar as TOML, in the format that ``read_sidecar`` reads."""
    source = sidecar.source
    lines = [
        f"table = {_toml(source.table)}",
        f"version = {_toml(source.version)}",
        f"as_of = {_toml(sidecar.as_of)}",
        f"published = {_toml(source.published)}",
        f"accessed = {_toml(source.accessed)}",
        f"description = {_toml(sidecar.description)}",
        f"key = {_toml(sidecar.key)}",
    ]
    if sidecar.row_count is not None:
        lines.append(f"rows = {sidecar.row_count}")
    if sidecar.sha256:
        lines.append(f"sha256 = {_toml(sidecar.sha256)}")
    if sidecar.max_age_days is not None:
        lines.append(f"max_age_days = {sidecar.max_age_days}")
    if sidecar.notes:
        lines += ["notes = [", *(f"  {_toml(note)}," for note in sidecar.notes), "]"]
    lines += ["", "[source]"]
    lines += [f"{name} = {_toml(getattr(source, name))}" for name in ("producer", "title", "url", "licence")]
    if sidecar.row_sources:
        lines += ["", "[row_sources]"]
        lines += [f"{_toml(short)} = {_toml(text)}" for short, text in sidecar.row_sources.items()]
    for column in sidecar.columns:
        lines += ["", f"[columns.{_toml(column.name)}]", *_column_lines(column)]
    return "\n".join(lines) + "\n"


def _column_lines(column: Column) -> list[str]:
    plain = Column(name=column.name)
    names = {"minimum": "min", "maximum": "max"}
    stated = ("type", "unit", "required", "blank", "minimum", "maximum", "values", "pattern", "reference")
    lines = [
        f"{names.get(name, name)} = {_toml(getattr(column, name))}"
        for name in (*stated, "description")
        if getattr(column, name) != getattr(plain, name)
    ]
    return lines or ['type = "text"']


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{text}"'


def read_cells(content: bytes, *, name: str) -> pd.DataFrame:
    """The cells of a CSV as text, None for empty cells.

    The text is UTF-8, or UTF-16 with a byte order mark; cells are separated by commas, semicolons or tabs.

    Raises:
        TableError: If the bytes are not such a CSV with one header.
    """
    text = _decoded(content, name=name)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True))
    except csv.Error as error:
        raise TableError(f"{name} cannot be read as CSV: {error}") from error
    if not rows or not any(rows[0]):
        raise TableError(f"{name} cannot be read as CSV: it has no header")
    header = [column.strip() for column in rows[0]]
    doubled = [column for index, column in enumerate(header) if column in header[:index]]
    if doubled:
        raise TableError(f"{name} has the column {doubled[0]!r} twice")
    for index, row in enumerate(rows[1:]):
        if row and len(row) != len(header):
            raise TableError(f"{name}, row {index + 2}: {len(row)} cells, but the header has {len(header)} columns")
    # Read without pandas, which treats the country code of Namibia (NA) as missing and renames a duplicate column.
    cells = [[cell.strip() or None for cell in row] for row in rows[1:] if row]
    return pd.DataFrame(cells, columns=header, dtype=object)


def _decoded(content: bytes, *, name: str) -> str:
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise TableError(f"{name} cannot be read as CSV: {error}; save it as CSV in UTF-8") from error


def _delimiter(text: str) -> str:
    """What separates the cells: the names of columns hold none of the three, so the header tells."""
    header = text.partition("\n")[0]
    return max(_DELIMITERS, key=header.count)


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
        return float(_with_point(value))
    if column.type == "integer":
        return int(float(_with_point(value)))
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


def _with_point(value: str) -> str:
    """The number with a decimal point for a decimal comma."""
    return value.replace(",", ".") if _DECIMAL_COMMA.fullmatch(value) else value


def _number_problem(value: str, column: Column) -> str:
    if _MAY_BE_THOUSANDS.fullmatch(value):
        return f"{value!r} may mean {_with_point(value)} or {value.replace(',', '')}; write one of them"
    try:
        number = float(_with_point(value))
    except ValueError:
        return f"{value!r} is not a number"
    return f"{value!r} is not a finite number" if not math.isfinite(number) else _range_problem(value, number, column)


def _range_problem(value: str, number: float, column: Column) -> str:
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
