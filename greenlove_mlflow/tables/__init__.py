"""The dated, sourced tables in ``data/``, read, checked and returned as core records."""

from __future__ import annotations

from greenlove_mlflow.core.energy.cpu_power import CpuPower
from greenlove_mlflow.tables.hardware import (
    read_cpu_models,
    read_cpu_power,
    read_default_pue,
    read_drift_model,
    read_gpu_specs,
    read_kernel_factors,
    read_mlperf,
    read_ram_w_per_gib,
    read_suite_bridges,
    read_throughput,
)
from greenlove_mlflow.tables.places.grid import find_grid, read_equivalences, read_regions
from greenlove_mlflow.tables.places.index import country_of_time_zone
from greenlove_mlflow.tables.prices.sheets import (
    gpu_id_of_name,
    price_sheet,
    read_instance_start,
    read_own_prices,
    read_price_sheet,
)
from greenlove_mlflow.tables.store.exports import parquet_metadata, read_parquet_metadata, write_parquet
from greenlove_mlflow.tables.store.store import Table, data_root, read_table, table_names, table_versions

__all__ = [
    "CpuPower",
    "Table",
    "country_of_time_zone",
    "data_root",
    "find_grid",
    "gpu_id_of_name",
    "parquet_metadata",
    "price_sheet",
    "read_cpu_models",
    "read_cpu_power",
    "read_default_pue",
    "read_drift_model",
    "read_equivalences",
    "read_gpu_specs",
    "read_instance_start",
    "read_kernel_factors",
    "read_mlperf",
    "read_own_prices",
    "read_parquet_metadata",
    "read_price_sheet",
    "read_ram_w_per_gib",
    "read_regions",
    "read_suite_bridges",
    "read_table",
    "read_throughput",
    "table_names",
    "table_versions",
    "write_parquet",
]
