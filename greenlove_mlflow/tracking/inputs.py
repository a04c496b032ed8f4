"""The run's inputs: the data that it trains on, then the tables behind its estimate."""

from __future__ import annotations

import functools
import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.codec import to_plain
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.offers.offer import PriceSheet
from greenlove_mlflow.tables import Table, read_table, table_names, table_versions
from greenlove_mlflow.tables.store.own_tables import read_own_tables
from greenlove_mlflow.tables.store.schema import Sidecar

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


def tables_used(estimate: Estimate, comparison: Comparison | None) -> tuple[Table, ...]:
    """The tables behind an estimate and its comparison, without duplicates, in the version that was used."""
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
    asked = [_table(name, version) for name, version in wanted.items()]
    found = [table for table in asked if table is not None]
    return tuple(found) if comparison is None else (_price_table(comparison.prices), *found)


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
