"""Adds the user's own price sheet under a version, after checks, so that ``prices=VERSION`` finds it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from greenlove_mlflow.errors import TableError
from greenlove_mlflow.tables.prices.sheets import PRICE_TABLE, price_sheet, read_own_prices
from greenlove_mlflow.tables.prices.user_folder import own_folder
from greenlove_mlflow.tables.store.adding import check_shown, keep_table
from greenlove_mlflow.tables.store.schema import format_sidecar
from greenlove_mlflow.tables.store.store import NEWEST, Table, table_names, table_versions

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ALL = "all"


def add_price_sheet(
    path: Path,
    *,
    version: str | None = None,
    as_of: str | None = None,
    source: str | None = None,
    folder: Path | None = None,
) -> Table:
    """Add a price sheet and return its table: the CSV unchanged, with a TOML for version, date, source and digest.

    Args:
        path: A CSV with at least ``gpu`` and ``price_usd_per_hour``.
        version: Version name; by default from its TOML or rows, else the file name.
        as_of: Date of the prices, ISO 8601; by default from its TOML or rows.
        source: Description of where the prices come from.
        folder: Folder for sheets; by default the user's data folder.

    Raises:
        TableError: If the sheet fails a check, or that version already exists with other content.
    """
    table = read_own_prices(path, version=version, as_of=as_of, source=source)
    price_sheet(table)  # Raises unless every row makes an offer.
    check_shown(table)
    _check_version(table.version)
    folder = folder or own_folder()
    target = folder / f"{table.version}.csv"
    content = path.read_bytes()
    if target.exists() and target.read_bytes() != content:
        raise TableError(f"version {table.version!r} was added before with other prices; give another --version")
    sidecar = dataclasses.replace(
        table.sidecar,
        source=dataclasses.replace(table.source, accessed=table.source.accessed or table.as_of),
        as_of=table.as_of,
        row_count=len(table.frame),
        sha256=table.sha256,
        columns=(),
        key=(),
    )
    keep_table(target, content, format_sidecar(sidecar), lambda trial: price_sheet(read_own_prices(trial)))
    return read_own_prices(target)


def _check_version(version: str) -> None:
    if not _VERSION.fullmatch(version):
        raise TableError(f"version {version!r} cannot name a file; use letters, digits, dots and dashes: --version")
    if version in (NEWEST, ALL, *table_names(), *table_versions(PRICE_TABLE)):
        raise TableError(f"version {version!r} is taken by the published tables; give another --version")
