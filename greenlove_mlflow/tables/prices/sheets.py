"""Price sheets as GPU offers: a published, dated version, the user's own CSV, or one that the user added."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.offer import Offer, PriceSheet
from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.core.speed.gpu_names import boards_called, find_gpu
from greenlove_mlflow.core.speed.gpus import GpuSpec
from greenlove_mlflow.environment import prices_folder
from greenlove_mlflow.errors import InvalidInputError, TableError, UnknownGpuError
from greenlove_mlflow.tables.hardware import read_gpu_specs
from greenlove_mlflow.tables.store.adding import check_shown, keep_table
from greenlove_mlflow.tables.store.rows import kept, plain_rows, row_source, rows_of
from greenlove_mlflow.tables.store.schema import Sidecar, format_sidecar, read_sidecar
from greenlove_mlflow.tables.store.store import (
    NEWEST,
    Table,
    read_schema,
    read_table,
    read_table_file,
    table_names,
    table_versions,
)

PRICE_TABLE = "crusoe_prices"
CLOUD_TABLE = "cloud_prices"
# Producer and provider of a user's sheet that names none.
UNNAMED_PROVIDER = "the user"
# Column of a price sheet -> billing of that price.
BILLINGS = {
    "price_usd_per_hour": "on-demand",
    "spot_usd_per_hour": "spot",
    "reserved_6m_usd_per_hour": "reserved-6m",
    "reserved_1y_usd_per_hour": "reserved-1y",
    "reserved_3y_usd_per_hour": "reserved-3y",
}
ANY_PROVIDER = "any"
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ALL = "all"


def own_folder() -> Path:
    """The folder of added price sheets."""
    return prices_folder()


def own_versions(folder: Path | None = None) -> tuple[str, ...]:
    """The versions of added price sheets, sorted; empty if the folder cannot be read."""
    return tuple(sorted(path.stem for path in (folder or own_folder()).glob("*.csv")))


# Accepted as a price sheet: ``newest``, a version, the path of a CSV, or a sheet.
Prices = str | Path | PriceSheet


def read_price_sheet(
    prices: str | Path | PriceSheet = NEWEST,
    *,
    version: str | None = None,
    as_of: str | None = None,
    source: str | None = None,
) -> PriceSheet:
    """The offers of a price sheet (on demand, spot and reserved); the price is None if it is not public.

    Args:
        prices: ``newest``, a version of ``crusoe_prices``, ``cloud_prices`` (other clouds), a version added by
            ``greenlove tables add``, the path of your own CSV, or a sheet, which is returned unchanged.
        version: Version name for your own CSV; by default from its TOML, else the file name.
        as_of: Date of its prices, ISO 8601; by default from its TOML or its rows.
        source: Description of where its prices come from; by default from its TOML.

    Raises:
        InvalidInputError: If ``prices`` is of another type.
        TableError: If there is no such version or file, or a row cannot be used; the message names row and column.
    """
    if isinstance(prices, PriceSheet):
        return prices
    if not isinstance(prices, str | Path):
        raise InvalidInputError(f"prices must be a version, a path or a PriceSheet, got {prices!r}")
    if isinstance(prices, Path) or _is_path(prices):
        table = read_own_prices(Path(prices), version=version, as_of=as_of, source=source)
    elif prices == CLOUD_TABLE:
        table = read_table(CLOUD_TABLE)
    elif prices == NEWEST or prices in table_versions(PRICE_TABLE):
        table = read_table(PRICE_TABLE, prices)
    elif prices in own_versions():
        table = read_own_prices(own_folder() / f"{prices}.csv")
    else:
        known = (NEWEST, *table_versions(PRICE_TABLE), CLOUD_TABLE, *own_versions())
        raise TableError(f"no price sheet {prices!r}: neither a CSV file nor one of {', '.join(known)}")
    return price_sheet(table)


def sheet_of_version(version: str) -> PriceSheet | None:
    """The price sheet of that version, published or added by the user; None if there is none that can be read.

    The version may come from a run written by anyone, so a version that is a path is not accepted.
    """
    if not version or _is_path(version):
        return None
    try:
        return read_price_sheet(version)
    except TableError:
        return None


def price_sheet(table: Table) -> PriceSheet:
    """The offers in a table of prices."""
    offers = [offer for index, row in enumerate(plain_rows(table)) for offer in _offers(row, index, table)]
    return PriceSheet(version=table.version, as_of=table.as_of, offers=tuple(offers), source=table.source)


def read_own_prices(
    path: Path, *, version: str | None = None, as_of: str | None = None, source: str | None = None
) -> Table:
    """The price sheet in the user's own CSV, checked against the published columns.

    It needs the columns ``gpu`` and ``price_usd_per_hour`` (empty if there is no public price).

    Args:
        path: Path of the CSV.
        version: Version name; by default from its TOML, else the file name.
        as_of: Date of the prices, ISO 8601; by default from its TOML or its rows.
        source: Description of where the prices come from; by default from its TOML, else the file name.

    Raises:
        TableError: If the file cannot be used, or its prices have no date in the file, its TOML or the arguments.
    """
    schema = read_schema(PRICE_TABLE)
    stated = path.with_suffix(".toml")
    own = read_sidecar(stated) if stated.is_file() else Sidecar(source=Source(producer="", title=""), as_of="")
    source_of = dataclasses.replace(
        own.source,
        producer=own.source.producer or UNNAMED_PROVIDER,
        title=source or own.source.title or path.name,
        url=own.source.url,
        table="prices",
        version=version or own.source.version,
    )
    sidecar = dataclasses.replace(
        schema,
        source=source_of,
        as_of=as_of or own.as_of,
        # A GPU may be offered by several clouds, in several sizes, or at several dates.
        key=("provider", "gpu", "gpu_counts", "regions", "version", "as_of"),
        row_count=own.row_count,
        sha256=own.sha256,
    )
    return _dated(read_table_file(path, sidecar), is_titled=bool(source or own.source.title))


def _dated(table: Table, *, is_titled: bool) -> Table:
    """The table, with version and date from its rows if not stated elsewhere."""
    frame = table.frame
    dates = sorted(frame["as_of"].dropna()) if "as_of" in frame else []
    versions = sorted(frame["version"].dropna().unique()) if "version" in frame else []
    as_of = table.sidecar.as_of or (dates[-1] if dates else "")
    if not as_of:
        raise TableError(
            f"{table.path.name} does not date its prices; give as_of (2026-09-28) in a column, in "
            f"{table.path.with_suffix('.toml').name} beside it, or on the command line"
        )
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", as_of):
        raise TableError(f"{table.path.name} is dated {as_of!r}; write dates as 2026-09-28")
    version = table.source.version or (versions[0] if len(versions) == 1 else table.path.stem)
    title = table.source.title
    if not is_titled and "source" in frame and frame["source"].nunique() == 1:
        title = str(frame["source"].dropna().iloc[0])
    return dataclasses.replace(
        table, version=version, as_of=as_of, source=dataclasses.replace(table.source, version=version, title=title)
    )


def _is_path(prices: str) -> bool:
    return prices.lower().endswith((".csv", ".csv.gz")) or "/" in prices or "\\" in prices


def _offers(row: dict[str, Any], index: int, table: Table) -> Iterable[Offer]:
    """One offer per price in a row; one without a price if there is no public price."""
    gpu_id = row.get("gpu_id") or _gpu_id(row, index, table)
    spec = _specs().get(gpu_id)
    if spec is None:
        raise TableError(
            f"{table.path.name}, row {index + 2} ({row['gpu']}), column 'gpu_id': {gpu_id!r} is not a key of "
            "gpu_specs; leave it empty to find the GPU by its name"
        )
    memory = row.get("memory_gib") or spec.memory_gib
    if memory is None:
        raise TableError(
            f"{table.path.name}, row {index + 2} ({row['gpu']}), column 'memory_gib': it is empty, and the specs of "
            f"{gpu_id} give none either"
        )
    regions, note = row.get("regions") or row.get("region") or "", ""
    if not regions and (row.get("provider") or table.source.producer) == UNNAMED_PROVIDER:
        regions = _crusoe_regions().get(row["gpu"], "")
        note = f"; regions as in {PRICE_TABLE}" if regions else ""
    counts = str(row.get("gpu_counts") or row.get("gpu_count") or 1)
    offer = Offer(
        provider=row.get("provider") or table.source.producer,
        gpu=row["gpu"],
        gpu_id=gpu_id,
        memory_gib=float(memory),
        price_usd_per_hour=None,
        billing="contact-sales",
        gpu_counts=tuple(int(count) for count in counts.split("|")),
        form_factor=row.get("form_factor") or spec.form_factor,
        regions=tuple(regions.split("|")) if regions else (),
        version=row.get("version") or table.version,
        as_of=row.get("as_of") or table.as_of,
        evidence=row.get("evidence") or "",
        source=f"{row.get('source') or table.source.title}{note}",
    )
    priced = [
        dataclasses.replace(offer, price_usd_per_hour=row[column], billing=billing)
        for column, billing in BILLINGS.items()
        if row.get(column) is not None
    ]
    return priced or [offer]


def _gpu_id(row: dict[str, Any], index: int, table: Table) -> str:
    """The specs key of a GPU in the user's own sheet."""
    try:
        return _find(row["gpu"], row.get("memory_gib")).gpu_id
    except UnknownGpuError as error:
        raise TableError(
            f"{table.path.name}, row {index + 2}, column 'gpu': {error}; or fill the column gpu_id"
        ) from error


def gpu_id_of_name(name: str, memory_gib: float | None = None) -> str | None:
    """The specs key of a GPU by its name in a published price sheet, its key, name or alias; None if unknown.

    A name that matches several GPUs is resolved by memory; None if that is not enough.
    """
    try:
        return _find(name, memory_gib).gpu_id
    except UnknownGpuError:
        return None


def _find(name: str, memory_gib: float | None) -> GpuSpec:
    """The GPU with a given name, including the names in all published price sheets."""
    keys = _sheet_names().get(" ".join(name.lower().split()), set())
    if len(keys) == 1:
        return _specs()[next(iter(keys))]
    # Another cloud's H100 may not be the board that Crusoe sells under that name.
    return find_gpu(name, _specs().values(), memory_gib=memory_gib, offer_names=_crusoe_names(), offers_settle=False)


@kept
def _crusoe_names() -> dict[str, str]:
    return {row["gpu"]: row["gpu_id"] for _, row in rows_of(PRICE_TABLE)}


@kept
def _crusoe_regions() -> dict[str, str]:
    """Regions by name in the newest published sheet: whoever prices Crusoe's name anew keeps its grid."""
    return {row["gpu"]: row["regions"] or "" for _, row in rows_of(PRICE_TABLE)}


@kept
def _specs() -> dict[str, GpuSpec]:
    return {spec.gpu_id: spec for spec in read_gpu_specs()}


@kept
def _sheet_names() -> dict[str, set[str]]:
    """The specs keys for every name used in a published price sheet.

    A name that several boards share means one of them on another cloud's sheet only, not on the user's.
    """
    found: dict[str, set[str]] = {}
    own = [row for version in table_versions(PRICE_TABLE) for _, row in rows_of(PRICE_TABLE, version)]
    others = [row for _, row in rows_of(CLOUD_TABLE) if len(boards_called(row["gpu"], _specs().values())) < 2]
    for row in (*own, *others):
        found.setdefault(" ".join(row["gpu"].lower().split()), set()).add(row["gpu_id"])
    return found


def read_instance_start(provider: str = ANY_PROVIDER) -> tuple[Interval, Source]:
    """Seconds from requesting a GPU instance to its first command, with the table's source.

    Args:
        provider: Name as in price sheets ("AWS"); one that is not in the table gets the pooled figures of all.

    Returns:
        The median and the 10 and 90% quantiles, in seconds; ``level`` is 0.8.
    """
    rows = {row["provider"]: (table, row) for table, row in rows_of("instance_start")}
    table, row = rows.get(provider, rows[ANY_PROVIDER])
    seconds = Interval(point=row["start_s"], low=row["low_s"], high=row["high_s"], level=0.8)
    return seconds, row_source(table, row)


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


def remove_price_sheet(version: str) -> Path:
    """Remove an added price sheet; return the path it had.

    Raises:
        TableError: If no such version was added.
    """
    if version not in own_versions():
        raise TableError(f"no price sheet {version!r} was added; there are {', '.join(own_versions()) or 'none'}")
    path = own_folder() / f"{version}.csv"
    path.unlink()
    path.with_suffix(".toml").unlink(missing_ok=True)
    return path


def _check_version(version: str) -> None:
    if not _VERSION.fullmatch(version):
        raise TableError(f"version {version!r} cannot name a file; use letters, digits, dots and dashes: --version")
    if version in (NEWEST, ALL, *table_names(), *table_versions(PRICE_TABLE)):
        raise TableError(f"version {version!r} is taken by the published tables; give another --version")
