"""The tables that an estimate rests on, as the run's inputs: which version, from where, with which content."""

from __future__ import annotations

import warnings
from typing import Any

from greenlove_mlflow.core.compare import Comparison
from greenlove_mlflow.core.estimate import Estimate
from greenlove_mlflow.tables import Table, read_table, table_names, table_versions

# Table -> the context under which MLflow shows it. What is not listed is shown by its own name.
CONTEXTS = {
    "crusoe_prices": "prices",
    "cloud_prices": "prices",
    "prices": "prices",
    "gpu_throughput": "throughput",
    "gpu_throughput_bridge": "throughput",
    "mlperf": "throughput",
    "carbon_intensity": "grid",
    "electricity_prices": "grid",
    "electricity_maps_zones": "grid",
    "crusoe_regions": "grid",
    "gpu_specs": "hardware",
    "cpu_tdp": "hardware",
    "ram_power": "hardware",
    "pue": "hardware",
}
# An offer's time, energy and CO2e always pass through these.
_OF_EVERY_COMPARISON = ("gpu_specs", "gpu_throughput", "crusoe_regions", "pue")
# MLflow takes a digest of at most 36 characters.
DIGEST_LENGTH = 36


def tables_used(estimate: Estimate, comparison: Comparison | None) -> tuple[Table, ...]:
    """The tables behind an estimate and its comparison, each once, in the version that was used."""
    wanted: dict[str, str] = {}
    for source in (estimate.grid.intensity_source, estimate.grid.price_source):
        if source is not None and source.table:
            wanted[source.table] = source.version
    if comparison is not None:
        sheet = comparison.prices
        wanted[sheet.source.table or "crusoe_prices"] = sheet.version
        for name in _OF_EVERY_COMPARISON:
            wanted.setdefault(name, "newest")
        for row in comparison.rows:
            source = row.speed_ratio.source
            if source is not None and source.table:
                wanted.setdefault(source.table, source.version)
    known = table_names()
    return tuple(
        read_table(name, version)
        for name, version in wanted.items()
        if name in known and (version == "newest" or version in table_versions(name))
    )


def context_of(table: Table) -> str:
    """Under which context MLflow shows the table."""
    return CONTEXTS.get(table.name, table.name)


def input_of(table: Table) -> dict[str, Any]:
    """The table as an MLflow dataset, in plain values; its digest is that of the content, not of a file."""
    import mlflow.data

    source = table.source.url.split()[0] if table.source.url.startswith("http") else str(table.path)
    with warnings.catch_warnings():
        # MLflow hints at whole-number columns that may be missing at serving time; no model is served from these.
        warnings.simplefilter("ignore")
        dataset = mlflow.data.from_pandas(  # type: ignore[attr-defined]
            table.frame, source=source, name=table.name, digest=table.sha256[:DIGEST_LENGTH]
        ).to_dict()
    return {
        "dataset": dataset,
        "context": context_of(table),
        "tags": {"greenlove.version": table.version, "greenlove.as_of": table.as_of},
    }
