"""Schema of a table: its sidecar file, read, checked and written."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.errors import TableError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ColumnType = Literal["text", "number", "integer", "boolean", "date"]


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
