"""GPUs, their published training speeds, CPUs, memory and data centres, and fitted constants, as core records."""

from __future__ import annotations

import math
import statistics
from typing import Literal

from greenlove_mlflow.core.energy.cpu_power import CpuModel, CpuPower, cpu_power
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.core.speed.gpus import GpuSpec, MlperfRow, SuiteBridge, ThroughputRow
from greenlove_mlflow.core.timing.drift_prior import DriftModel
from greenlove_mlflow.core.timing.timeline import KernelFactors
from greenlove_mlflow.tables.store.own_tables import OWN_EVIDENCE
from greenlove_mlflow.tables.store.rows import kept, row_source, rows_of
from greenlove_mlflow.units import US_PER_S

GB_PER_GIB = 1.073741824


@kept
def read_gpu_specs() -> tuple[GpuSpec, ...]:
    """Every GPU of the newest specs table."""
    return tuple(
        GpuSpec(
            gpu_id=row["gpu_id"],
            name=row["name"],
            aliases=tuple(row["aliases"].split("|")),
            alias_is_ambiguous=row["alias_ambiguous"],
            is_own=row["evidence"] == OWN_EVIDENCE,
            **{
                name: row[name]
                for name in (
                    "vendor",
                    "architecture",
                    "segment",
                    "form_factor",
                    "memory_gib",
                    "memory_bandwidth_gb_per_s",
                    "fp32_tflops",
                    "tf32_tflops",
                    "fp16_tflops",
                    "bf16_tflops",
                    "fp16_nontensor_tflops",
                    "tdp_w",
                    "tdp_max_w",
                    "idle_w",
                    "compute_capability",
                    "release_year",
                    "source",
                )
            },
        )
        for _, row in rows_of("gpu_specs")
    )


@kept
def read_throughput() -> tuple[ThroughputRow, ...]:
    """Every published training throughput that is confirmed by its log."""
    return tuple(
        ThroughputRow(
            suite=row["suite"],
            task=row["task"],
            precision=row["precision"],
            gpu_id=row["gpu_id"],
            gpu_count=row["gpu_count"],
            throughput=row["throughput"],
            unit=row["unit"],
            uses_tf32=row["uses_tf32"],
        )
        for _, row in rows_of("gpu_throughput")
    )


@kept
def read_suite_bridges() -> tuple[SuiteBridge, ...]:
    """Speedups of the same GPUs between an older and a newer benchmark suite."""
    names = ("from_suite", "to_suite", "task", "precision", "gpu_count", "ratio_median", "ratio_min", "ratio_max")
    return tuple(SuiteBridge(**{name: row[name] for name in names}) for _, row in rows_of("gpu_throughput_bridge"))


@kept
def read_mlperf() -> tuple[MlperfRow, ...]:
    """The best time per round, benchmark, GPU and GPU count, as tuned by the vendors."""
    best: dict[tuple[str, str, str, int], float] = {}
    for _, row in rows_of("mlperf"):
        key = (row["round"], row["benchmark"], row["gpu_id"], row["gpu_count"])
        best[key] = min(row["minutes"], best.get(key, row["minutes"]))
    return tuple(
        MlperfRow(round=key[0], benchmark=key[1], gpu_id=key[2], accelerator_count=key[3], minutes=minutes)
        for key, minutes in best.items()
    )


def read_default_pue(kind: Literal["local", "cloud"]) -> tuple[Interval, Source]:
    """The default power usage effectiveness (PUE), and the table's source.

    ``local`` is 1 by definition: the machine itself is metered. ``cloud`` is the median of the operators' fleets, with
    a range from the best fleet to the mean of all surveyed data centres, because no offer's own PUE is published.
    """
    rows = [(table, row) for table, row in rows_of("pue") if row["pue"] is not None]
    if kind == "local":
        table, row = next((table, row) for table, row in rows if row["kind"] == "local")
        return Interval.exactly(row["pue"]), row_source(table, row)
    fleets = [row["pue"] for _, row in rows if row["kind"] == "cloud"]
    surveys = [(row["data_year"], row["pue"]) for _, row in rows if row["operator"] == "global"]
    interval = Interval(point=statistics.median(fleets), low=min(fleets), high=max(surveys)[1])
    return interval, rows[0][0].source


def read_cpu_power(cpu_name: str | None, visible_cpu_count: int, *, system_cpu_count: int | None = None) -> CpuPower:
    """Power of the CPU threads that this process may use, computed by ``core.energy.cpu_power``.

    Args:
        cpu_name: CPU name reported by the system; None if unknown.
        visible_cpu_count: Threads this process may use, at least 1.
        system_cpu_count: Threads of the whole system; None if unknown.
    """
    return cpu_power(cpu_name, visible_cpu_count, read_cpu_models(), system_cpu_count=system_cpu_count)


@kept
def read_cpu_models() -> tuple[CpuModel, ...]:
    """Every CPU of the newest table."""
    return tuple(
        CpuModel(
            name=row["cpu"],
            tdp_w=row["tdp_w"],
            turbo_w=row["turbo_w"],
            thread_count=row["thread_count"],
            source=row_source(table, row),
        )
        for table, row in rows_of("cpu_tdp")
    )


def read_ram_w_per_gib() -> Interval:
    """Power of memory in watts per GiB, by rules from other tools, none of which is a measurement.

    A rule per GB suits small modules; a rule per module implies a tenth of that per GB for large modules. The modules
    behind a virtual machine's memory are unknown, so the range covers both rules.
    """
    rules = [row["w_per_unit"] * GB_PER_GIB for _, row in rows_of("ram_power") if row["unit"] == "W per GB"]
    return Interval(point=math.sqrt(min(rules) * max(rules)), low=min(rules), high=max(rules))


@kept
def read_kernel_factors() -> KernelFactors:
    """The factors of the newest table."""
    values = {row["key"]: row["value"] for _, row in rows_of("kernel_factors")}
    return KernelFactors(
        per_operator=values["per_operator"],
        per_recurrent_step=values["per_recurrent_step"],
        tracer_s=values["tracer_us"] / US_PER_S,
    )


@kept
def read_drift_model() -> DriftModel:
    """The constants of the newest table."""
    return DriftModel(**{row["parameter"]: row["value"] for _, row in rows_of("drift_model")})
