"""All laps and power samples of a run as Parquet: an explicit schema each, with units in the columns' metadata."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from greenlove_mlflow._version import __version__
from greenlove_mlflow.tracking.spool.events import LapEvent, PowerEvent

UNIT_KEY = "unit"
# Rows per batch: a week at ten a second is six million rows, so they are never all in memory.
_ROW_COUNT = 100_000

Row = TypeVar("Row")


def _field(name: str, kind: pa.DataType, unit: str = "") -> pa.Field:
    return pa.field(name, kind, metadata={UNIT_KEY: unit} if unit else None)


POWER_SCHEMA = pa.schema(
    [
        _field("timestamp_ms", pa.int64(), "ms since 1970-01-01 UTC"),
        _field("at_s", pa.float64(), "s"),
        _field("device", pa.string()),
        _field("power_w", pa.float64(), "W"),
    ]
)
LAP_SCHEMA = pa.schema(
    [
        _field("lap", pa.int64()),
        _field("timestamp_ms", pa.int64(), "ms since 1970-01-01 UTC"),
        _field("duration_s", pa.float64(), "s"),
        _field("energy_j", pa.float64(), "J"),
        _field("forecast_time_s", pa.float64(), "s"),
        _field("forecast_time_low_s", pa.float64(), "s"),
        _field("forecast_time_high_s", pa.float64(), "s"),
        _field("is_epoch", pa.bool_()),
    ]
)


def write_power(samples: Iterable[PowerEvent], path: Path) -> int:
    """Write power samples as they come and return how many there were."""
    return _write(samples, POWER_SCHEMA, _power_row, "power", path)


def write_laps(laps: Iterable[LapEvent], path: Path) -> int:
    """Write the laps of the real training as they come and return how many there were."""
    return _write(laps, LAP_SCHEMA, _lap_row, "epochs", path)


def _power_row(event: PowerEvent) -> tuple[object, ...]:
    return event.timestamp_ms, event.at_s, event.device, event.power_w


def _lap_row(event: LapEvent) -> tuple[object, ...]:
    forecast = event.forecast_s or (None, None, None)
    return event.index, event.timestamp_ms, event.duration_s, event.energy_j, *forecast, event.is_epoch


def _write(
    rows: Iterable[Row], schema: pa.Schema, as_row: Callable[[Row], tuple[object, ...]], name: str, path: Path
) -> int:
    """Write rows by way of a temporary file, since the schema at the start holds the digest of all rows."""
    count, as_of, digest = 0, "", hashlib.sha256()
    part = path.with_name(f"{path.name}.part")
    try:
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for chunk in _chunks(rows):
                columns = zip(*map(as_row, chunk), strict=True)
                arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
                batch = pa.record_batch(arrays, schema=schema)
                digest.update(batch.serialize())
                writer.write_batch(batch)
                count += len(chunk)
                as_of = as_of or _iso_utc(batch.column("timestamp_ms")[0].as_py())
        whole = schema.with_metadata(provenance(name, as_of, digest.hexdigest()))
        with pq.ParquetWriter(path, whole, compression="zstd") as writer:
            for batch in pq.ParquetFile(part).iter_batches(_ROW_COUNT):
                writer.write_batch(pa.record_batch(batch.columns, schema=whole))
    finally:
        part.unlink(missing_ok=True)
    return count


def provenance(name: str, as_of: str, sha256: str) -> dict[str, str]:
    """The schema metadata of a file of measurements."""
    return {
        "greenlove.table": name,
        "greenlove.version": __version__,
        "greenlove.as_of": as_of,
        "greenlove.source": f"measured by greenlove-mlflow {__version__}",
        "greenlove.sha256": sha256,
    }


def _iso_utc(timestamp_ms: int) -> str:
    try:
        return dt.datetime.fromtimestamp(timestamp_ms // 1000, dt.timezone.utc).isoformat()
    except (OverflowError, ValueError, OSError):
        return ""  # a damaged spool may hold any number


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rest = iter(rows)
    while chunk := list(islice(rest, _ROW_COUNT)):
        yield chunk
