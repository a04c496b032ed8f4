"""Locates tables and their versions, reads one as a checked, typed table, and warns of old ones."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path

import pandas as pd

from greenlove_mlflow.core.provenance import Caveat, Source
from greenlove_mlflow.errors import TableError
from greenlove_mlflow.tables.store.schema import Sidecar, check_cells, read_cells, read_sidecar

NEWEST = "newest"
SCHEMA_FILE = "schema.toml"
NOTICE_FILE = "NOTICE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One version of one table.

    Args:
        name: Name of the table ("gpu_specs").
        version: Its date, or the version in its sidecar.
        as_of: Date the figures apply to, ISO 8601.
        sha256: SHA-256 of the CSV's bytes, hexadecimal.
        source: Producer, title, address, licence and dates.
        frame: The rows, typed; empty cells are NaN or None.
        path: Path of the CSV.
        units: The unit of every column that has one.
        sidecar: The content of its TOML.
    """

    name: str
    version: str
    as_of: str
    sha256: str
    source: Source
    frame: pd.DataFrame
    path: Path
    units: dict[str, str]
    sidecar: Sidecar

    @property
    def notice(self) -> str:
        """Notice that every copy of the table must include; empty if its licence requires none."""
        path = self.path.parent / NOTICE_FILE
        return path.read_text(encoding="utf-8") if path.is_file() else ""


@functools.lru_cache(maxsize=1)
def data_root() -> Path:
    """The folder of the tables: ``data`` of a checkout or an editable install, else the one inside the wheel.

    Raises:
        TableError: If there is neither.
    """
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "data", package.parent / "data"):
        if (folder / "gpu_specs" / SCHEMA_FILE).is_file():
            return folder
    raise TableError("the data tables are missing from this installation; install the package again")


@functools.lru_cache(maxsize=1)
def table_names() -> tuple[str, ...]:
    """The names of all tables that have a version, sorted."""
    folders = [path.parent for path in data_root().glob(f"*/{SCHEMA_FILE}")]
    return tuple(sorted(folder.name for folder in folders if next(folder.glob("*.csv"), None)))


@functools.lru_cache(maxsize=64)
def table_versions(name: str) -> tuple[str, ...]:
    """The versions of a table, oldest first.

    Raises:
        TableError: If there is no such table.
    """
    if name not in table_names():
        raise TableError(f"no table {name!r}; the tables are {', '.join(table_names())}")
    return tuple(sorted(path.stem for path in (data_root() / name).glob("*.csv")))


@functools.lru_cache(maxsize=64)
def read_schema(name: str) -> Sidecar:
    """The columns and the key of every version of a table."""
    path = data_root() / name / SCHEMA_FILE
    if not path.is_file():
        raise TableError(f"no table {name!r}; the tables are {', '.join(table_names())}")
    return read_sidecar(path)


@functools.lru_cache(maxsize=64)
def read_table(name: str, version: str = NEWEST) -> Table:
    """One version of a table, after passing every check.

    Args:
        name: One of ``table_names``.
        version: One of ``table_versions``, or ``newest``.

    Raises:
        TableError: If there is no such table or version, or the file fails a check.
    """
    return read_table_file(_path_of(name, version))


@functools.lru_cache(maxsize=64)
def table_source(name: str, version: str = NEWEST) -> Source:
    """The source of one version of a table, without reading its rows.

    Args:
        name: One of ``table_names``.
        version: One of ``table_versions``, or ``newest``.

    Raises:
        TableError: If there is no such table or version.
    """
    return read_sidecar(_path_of(name, version).with_suffix(".toml")).source


def _path_of(name: str, version: str) -> Path:
    versions = table_versions(name)
    version = versions[-1] if version == NEWEST else version
    if version not in versions:
        raise TableError(f"table {name!r} has no version {version!r}; it has {', '.join(versions)}")
    return data_root() / name / f"{version}.csv"


def read_table_file(path: Path, sidecar: Sidecar | None = None) -> Table:
    """The table from a CSV, checked against its sidecar, by default the TOML of the same name next to it."""
    sidecar = sidecar or read_sidecar(path.with_suffix(".toml"))
    name = f"{path.parent.name}/{path.name}" if sidecar.source.table == path.parent.name else path.name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(content).hexdigest()
    if sidecar.sha256 and digest != sidecar.sha256:
        raise TableError(
            f"{name} was edited after its publication: sha256 {digest[:12]}..., its TOML states "
            f"{sidecar.sha256[:12]}...; a correction is a new version"
        )
    frame = check_cells(read_cells(content, name=name), sidecar, name=name)
    return Table(
        name=sidecar.source.table or path.stem,
        version=sidecar.source.version or path.stem,
        as_of=sidecar.as_of,
        sha256=digest,
        source=sidecar.source,
        frame=frame,
        path=path,
        units=sidecar.units,
        sidecar=sidecar,
    )


def age_days(as_of: str, today: date) -> int:
    """Days from a date (ISO 8601) to today.

    >>> age_days("2026-11-20", date(2026, 11, 27))
    7
    """
    return (today - date.fromisoformat(as_of)).days


def today_utc() -> date:
    """The current date in UTC."""
    return datetime.now(tz=timezone.utc).date()


def is_stale(name: str, as_of: str, today: date) -> bool:
    """Whether figures of that date exceed their table's maximum age.

    Args:
        name: Name of the table.
        as_of: Date of the figures, ISO 8601.
        today: The current date.
    """
    limit = read_schema(name).max_age_days
    return limit is not None and age_days(as_of, today) > limit


def stale_caveats(names: Iterable[str], today: date | None = None) -> tuple[Caveat, ...]:
    """A caveat for each of these tables whose newest version exceeds its maximum age."""
    now = today or today_utc()
    tables = [read_table(name) for name in names]
    return tuple(
        Caveat.of("stale-table", table=table.name, as_of=table.as_of, age_days=age_days(table.as_of, now))
        for table in tables
        if is_stale(table.name, table.as_of, now)
    )
