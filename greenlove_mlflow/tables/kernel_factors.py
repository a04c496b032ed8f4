"""Factors relating a step's operators, GPU kernels and the host overhead of tracing."""

from __future__ import annotations

from greenlove_mlflow.core.timing.timeline import KernelFactors
from greenlove_mlflow.tables.store.cache import kept
from greenlove_mlflow.tables.store.rows import rows_of
from greenlove_mlflow.units import US_PER_S


@kept
def read_kernel_factors() -> KernelFactors:
    """The factors of the newest table."""
    values = {row["key"]: row["value"] for _, row in rows_of("kernel_factors")}
    return KernelFactors(
        per_operator=values["per_operator"],
        per_recurrent_step=values["per_recurrent_step"],
        tracer_s=values["tracer_us"] / US_PER_S,
    )
