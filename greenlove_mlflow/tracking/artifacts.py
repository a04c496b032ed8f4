"""A run's inputs (its data, the tables behind its estimate) and its artifacts (Parquet, CSV, figures, report page)."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.codec import from_plain, to_plain
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow
from greenlove_mlflow.core.offers.offer import PriceSheet
from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.core.quantity import known_figures
from greenlove_mlflow.core.records import BenchmarkLog, BlockRecord, EpochRecord, PowerSample
from greenlove_mlflow.errors import RunDataError
from greenlove_mlflow.tables import (
    Table,
    parquet_metadata,
    read_parquet_metadata,
    read_table,
    table_names,
    table_versions,
    write_parquet,
)
from greenlove_mlflow.tables.store.exports import write_csv
from greenlove_mlflow.tables.store.own_tables import read_own_tables
from greenlove_mlflow.tables.store.schema import Sidecar
from greenlove_mlflow.tables.store.store import table_source
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.spool.measurements import provenance
from greenlove_mlflow.tracking.values import started_ms
from greenlove_mlflow.units import G_PER_KG

# Metadata key for the log's fields other than its rows, which are the columns.
LOG_KEY = "greenlove.log"
_ROWS = ("epochs", "blocks", "power_samples")
NEWEST = "newest"
TRAINING_DATA = "training_data"
# Table -> the context under which MLflow shows it; any other table is shown by its own name.
CONTEXTS = {
    "crusoe_prices": "prices",
    "cloud_prices": "prices",
    "prices": "prices",
    "gpu_throughput": "throughput",
    "gpu_throughput_bridge": "throughput",
    "mlperf": "throughput",
    "speed_ratio_model": "throughput",
    "carbon_intensity": "grid",
    "electricity_prices": "grid",
    "electricity_maps_zones": "grid",
    "crusoe_regions": "grid",
    "gpu_specs": "hardware",
    "cpu_tdp": "hardware",
    "kernel_factors": "hardware",
    "drift_model": "time",
    "ram_power": "hardware",
    "pue": "hardware",
}
# The tables behind an offer's time, energy and CO2e.
_OF_COMPARISONS = (
    "gpu_specs",
    "gpu_throughput",
    "gpu_throughput_bridge",
    "mlperf",
    "speed_ratio_model",
    "crusoe_regions",
)
# Device whose power is modelled -> table behind the model.
_OF_MODELS = {"cpu": "cpu_tdp", "ram": "ram_power", "gpu_0": "gpu_specs"}
# MLflow accepts a digest of at most 36 characters.
DIGEST_LENGTH = 36


def write_table_parquet(table: Table, path: Path) -> None:
    """Write a table with its provenance in the Parquet schema."""
    write_parquet(table.frame, path, metadata=parquet_metadata(table))


def write_notice(table: Table, path: Path) -> None:
    """Write the notice that must travel with every copy of a table."""
    path.write_text(table.notice, encoding="utf-8")


def write_table_csv(table: Table, path: Path) -> None:
    """Write the CSV that a table came from; MLflow's page can show CSV but not Parquet."""
    if table.path.is_file():
        shutil.copyfile(table.path, path)
    else:
        write_csv(table.frame, path)


def write_epochs(log: BenchmarkLog, parquet: Path) -> None:
    """Write the log's epochs, one row each, with its other fields in the schema's metadata."""
    _write_records(log.epochs, EpochRecord, log, "benchmark", parquet)


def write_epochs_csv(log: BenchmarkLog, path: Path) -> None:
    """Write the log's epochs as CSV, for reading by eye."""
    write_csv(_frame(log.epochs, EpochRecord), path)


def write_blocks(log: BenchmarkLog, parquet: Path) -> None:
    """Write the log's blocks of steps, one row each."""
    _write_records(log.blocks, BlockRecord, log, "blocks", parquet)


def write_estimates(estimate: Estimate, comparison: Comparison | None, path: Path) -> None:
    """Write all estimates in the format of MLflow's ``log_table``, home first.

    MLflow's page groups by the first column and compares the second across runs, so the order is GPU, cost, time, CO2.

    Args:
        estimate: The estimate at home.
        comparison: The comparison with offers; None when there is none.
        path: The file to write.
    """
    rows = [_estimate_row("local", estimate, None)]
    if comparison is not None:
        rows += [_estimate_row(names.offer_slug(row), row.estimate, row) for row in comparison.rows]
    columns = list(rows[0])
    # Not by pandas, which cuts a number after its tenth decimal.
    content = {"columns": columns, "data": [[row[name] for name in columns] for row in rows]}
    path.write_text(json.dumps(content, allow_nan=False, default=lambda each: each.item()), encoding="utf-8")


def read_log(epochs: Path, blocks: Path | None = None, power: Path | None = None) -> BenchmarkLog:
    """Read back a log written by ``write_epochs``, ``write_blocks`` and ``measurements.write_power``.

    Args:
        epochs: Parquet file of the epochs.
        blocks: Parquet file of the blocks of steps; None without one.
        power: Parquet file of the power samples; None without one.

    Raises:
        RunDataError: If a file was not written by this package.
    """
    stated = read_parquet_metadata(epochs).get(LOG_KEY)
    if stated is None:
        raise RunDataError(f"{epochs.name} does not name the log it belongs to")
    try:
        content = json.loads(stated)
        content["epochs"] = _read_rows(epochs)
        content["blocks"] = _read_rows(blocks) if blocks else []
        log: BenchmarkLog = from_plain(BenchmarkLog, content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunDataError(f"the log in {epochs.name} is broken: {error}") from error
    end_ms = started_ms(log) + math.ceil(log.duration_s * 1000.0)
    return dataclasses.replace(log, power_samples=tuple(read_power_samples(power, end_ms)) if power else ())


def read_power_samples(path: Path, end_ms: int) -> Iterator[PowerSample]:
    """The power samples of a file up to a time, in order; the benchmark's come before those of the real training."""
    for batch in pq.ParquetFile(path).iter_batches():
        for row in batch.to_pylist():
            if row.pop("timestamp_ms") <= end_ms:
                yield PowerSample(**row)


def _write_records(records: Sequence[Any], kind: type, log: BenchmarkLog, name: str, parquet: Path) -> None:
    frame = _frame(records, kind)
    content = frame.to_csv(index=False).encode()
    stated = {key: value for key, value in to_plain(log).items() if key not in _ROWS}
    metadata = provenance(name, log.started_at, hashlib.sha256(content).hexdigest())
    write_parquet(frame, parquet, metadata={**metadata, LOG_KEY: json.dumps(stated, separators=(",", ":"))})


def _frame(records: Sequence[Any], kind: type) -> pd.DataFrame:
    columns = [field.name for field in dataclasses.fields(kind)]
    return pd.DataFrame([[getattr(record, each) for each in columns] for record in records], columns=columns)


def _read_rows(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def _estimate_row(gpu: str, estimate: Estimate, row: ComparisonRow | None) -> dict[str, Any]:
    known = {quantity.column: interval for quantity, interval in known_figures(estimate)}
    cells: dict[str, Any] = {"gpu": gpu}
    for name in ("cost_usd", "time_h", "co2_kg", "energy_kwh"):
        cells[name] = _end(known.get(name), "point")
    for name in ("cost_usd", "time_h", "co2_kg", "energy_kwh"):
        cells[f"{name}_lo"], cells[f"{name}_hi"] = _end(known.get(name), "low"), _end(known.get(name), "high")
    market = None if row is None or row.co2_market_g is None else row.co2_market_g.scaled(1.0 / G_PER_KG)
    return {
        **cells,
        "co2_market_kg": _end(market, "point"),
        "speed_ratio": None if row is None else row.speed_ratio.ratio.point,
        "time_ratio": None if row is None else _end(row.time_ratio, "point"),
        "basis": "benchmark" if row is None else row.speed_ratio.basis,
        "usd_per_hour": None if row is None else row.offer.price_usd_per_hour,
        "billing": "" if row is None else row.offer.billing,
        "bound_by": "" if row is None else row.bound_by or "",
        "rented_gpu_count": 1 if row is None else row.rented_gpu_count,
        "used_gpu_count": 1 if row is None else row.used_gpu_count,
        "fits_memory": None if row is None else row.fits_memory,
        "prices_version": "" if row is None else row.offer.version,
        "gpu_name": "" if row is None else row.offer.gpu,
    }


def _end(interval: Interval | None, end: str) -> float | None:
    return None if interval is None else float(getattr(interval, end))


def tables_used(estimate: Estimate, comparison: Comparison | None) -> tuple[Table, ...]:
    """The tables behind an estimate and its comparison, without duplicates, in the version that was used."""
    asked = [_table(name, version) for name, version in _versions_used(estimate, comparison).items()]
    found = [table for table in asked if table is not None]
    return tuple(found) if comparison is None else (_price_table(comparison.prices), *found)


def sources_used(estimate: Estimate, comparison: Comparison | None) -> tuple[Source, ...]:
    """The sources of ``tables_used``, for which no row of the bundled tables is read."""
    asked = [_source(name, version) for name, version in _versions_used(estimate, comparison).items()]
    found = [source for source in asked if source is not None]
    return tuple(found) if comparison is None else (comparison.prices.source, *found)


def _versions_used(estimate: Estimate, comparison: Comparison | None) -> dict[str, str]:
    wanted: dict[str, str] = {"pue": NEWEST}
    for source in (estimate.grid.intensity_source, estimate.grid.price_source):
        if source is not None and source.table:
            wanted[source.table] = source.version
    if estimate.statistics is not None and estimate.statistics.fit.method == "adaptive":
        wanted["drift_model"] = NEWEST
    for reading in () if estimate.statistics is None else estimate.statistics.power:
        if reading.source == "modelled" and reading.device in _OF_MODELS:
            wanted.setdefault(_OF_MODELS[reading.device], NEWEST)
    if comparison is not None:
        wanted.update(dict.fromkeys(_OF_COMPARISONS, NEWEST))
    return wanted


def _source(name: str, version: str) -> Source | None:
    if _is_known(name, version):
        return table_source(name, version)
    table = _table(name, version)
    return None if table is None else table.source


def _table(name: str, version: str) -> Table | None:
    """A version of a bundled or user table; None if it no longer exists."""
    if _is_known(name, version):
        return read_table(name, version)
    own = read_own_tables(name) if name in table_names() else ()
    return next((table for table in own if table.version == version), None)


def _is_known(name: str, version: str) -> bool:
    return name in table_names() and (version == NEWEST or version in table_versions(name))


def _price_table(sheet: PriceSheet) -> Table:
    """The table of a price sheet; for a user's sheet, its offers as they were parsed."""
    name = sheet.source.table or "prices"
    if _is_known(name, sheet.version):
        return read_table(name, sheet.version)
    frame = pd.DataFrame([to_plain(offer) for offer in sheet.offers])
    content = frame.to_csv(index=False).encode()
    sha256 = hashlib.sha256(content).hexdigest()
    return Table(
        name="prices",
        version=sheet.version,
        as_of=sheet.as_of,
        sha256=sha256,
        source=sheet.source,
        frame=frame.astype({column: str for column in frame if frame[column].dtype == object}),
        path=Path("prices.csv"),
        units={"price_usd_per_hour": "USD per GPU and hour", "memory_gib": "GiB"},
        sidecar=Sidecar(source=sheet.source, as_of=sheet.as_of),
    )


def training_input(statistics: RunFacts) -> dict[str, Any]:
    """The data that the run trains on, as an MLflow dataset: how many samples, and which workload it belongs to."""
    workload = statistics.workload
    profile = {"num_rows": workload.sample_count, "batch_size": workload.batch_size}
    fingerprint = statistics.workload_fingerprint or f"{workload.sample_count}-samples"
    dataset = {
        "name": TRAINING_DATA,
        "digest": fingerprint[:DIGEST_LENGTH],
        "source_type": "code",
        "source": json.dumps({"tags": {"mlflow.source.name": "greenlove.track"}}),
        "profile": json.dumps(profile),
    }
    return {"dataset": dataset, "context": "training", "tags": {}}


def context_of(table: Table) -> str:
    """The context under which MLflow shows the table."""
    return CONTEXTS.get(table.name, table.name)


def input_of(table: Table) -> dict[str, Any]:
    """The table as an MLflow dataset, in plain values; its digest is of the content, not of a file."""
    is_known = _is_known(table.name, table.version) and read_table(table.name, table.version) is table
    return {
        "dataset": dict(_known_dataset(table.name, table.version) if is_known else _dataset_of(table)),
        "context": context_of(table),
        "tags": {"greenlove.version": table.version, "greenlove.as_of": table.as_of},
    }


@functools.lru_cache(maxsize=64)
def _known_dataset(name: str, version: str) -> dict[str, Any]:
    """The dataset of a published table, cached: MLflow inspects every cell, and the next run uses the same table."""
    return _dataset_of(read_table(name, version))


def _dataset_of(table: Table) -> dict[str, Any]:
    import mlflow.data

    source = table.source.url.split()[0] if table.source.url.startswith("http") else table.path.name
    with warnings.catch_warnings():
        # MLflow warns of integer columns that may have missing values at serving time; no model is served from these.
        warnings.simplefilter("ignore")
        dataset: dict[str, Any] = mlflow.data.from_pandas(  # type: ignore[attr-defined]
            table.frame, source=source, name=table.name, digest=table.sha256[:DIGEST_LENGTH]
        ).to_dict()
    return dataset
