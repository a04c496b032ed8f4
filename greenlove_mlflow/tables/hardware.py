"""GPUs, their published training speeds, and the power of CPUs, memory and data centres, as core records."""

from __future__ import annotations

import functools
import re
import statistics
from dataclasses import dataclass
from typing import Literal

from greenlove_mlflow.core.energy.power import MODELLED_POWER_LOG_SD
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval
from greenlove_mlflow.core.provenance import Caveat, Source
from greenlove_mlflow.core.speed.gpus import GpuSpec, MlperfRow, SuiteBridge, ThroughputRow
from greenlove_mlflow.tables.store.rows import row_source, rows_of

# Watts per core of an unknown CPU: cores differ by a factor of about two either way.
UNKNOWN_CPU_LOG_SD = 0.40
GB_PER_GIB = 1.073741824


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuPower:
    """The power of the CPU cores a process may use.

    Args:
        interval_w: Watts under full load.
        note: Where it comes from, in words ("TDP 280 W, AMD EPYC 7R32, 16 of 96 threads").
        caveat: What the reader must know when it is a substitute; None when the CPU is in the table.
    """

    interval_w: Interval
    note: str
    caveat: Caveat | None = None
    source: Source | None = None


@functools.lru_cache(maxsize=1)
def read_gpu_specs() -> tuple[GpuSpec, ...]:
    """Every GPU of the newest specs table."""
    return tuple(
        GpuSpec(
            gpu_id=row["gpu_id"],
            name=row["name"],
            aliases=tuple(row["aliases"].split("|")),
            alias_is_ambiguous=row["alias_ambiguous"],
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


@functools.lru_cache(maxsize=1)
def read_throughput() -> tuple[ThroughputRow, ...]:
    """Every published training throughput that its log bears out."""
    return tuple(
        ThroughputRow(
            suite=row["suite"],
            task=row["task"],
            precision=row["precision"],
            gpu_id=row["gpu_id"],
            gpu_count=row["gpu_count"],
            throughput=row["throughput"],
            unit=row["unit"],
        )
        for _, row in rows_of("gpu_throughput")
    )


@functools.lru_cache(maxsize=1)
def read_suite_bridges() -> tuple[SuiteBridge, ...]:
    """How much faster the same GPUs are in a newer suite."""
    names = ("from_suite", "to_suite", "task", "precision", "gpu_count", "ratio_median", "ratio_min", "ratio_max")
    return tuple(SuiteBridge(**{name: row[name] for name in names}) for _, row in rows_of("gpu_throughput_bridge"))


@functools.lru_cache(maxsize=1)
def read_mlperf() -> tuple[MlperfRow, ...]:
    """The best time of each round, benchmark, GPU and count: what the makers' own tuning reaches."""
    best: dict[tuple[str, str, str, int], float] = {}
    for _, row in rows_of("mlperf"):
        key = (row["round"], row["benchmark"], row["gpu_id"], row["gpu_count"])
        best[key] = min(row["minutes"], best.get(key, row["minutes"]))
    return tuple(
        MlperfRow(round=key[0], benchmark=key[1], gpu_id=key[2], accelerator_count=key[3], minutes=minutes)
        for key, minutes in best.items()
    )


def read_default_pue(kind: Literal["local", "cloud"]) -> tuple[Interval, Source]:
    """Power usage effectiveness where nobody stated one, and the table's source.

    ``local`` is 1 by definition: the meter is the machine. ``cloud`` is the median of the operators' fleets, from the
    best of them to the mean of all data centres surveyed, because the offers' own is not published.
    """
    rows = [(table, row) for table, row in rows_of("pue") if row["pue"] is not None]
    if kind == "local":
        table, row = next((table, row) for table, row in rows if row["kind"] == "local")
        return Interval.exactly(row["pue"]), row_source(table, row)
    fleets = [row["pue"] for _, row in rows if row["kind"] == "cloud"]
    surveys = [(row["data_year"], row["pue"]) for _, row in rows if row["operator"] == "global"]
    interval = Interval(point=statistics.median(fleets), low=min(fleets), high=max(surveys)[1])
    return interval, rows[0][0].source


def read_cpu_power(cpu_name: str | None, visible_cpu_count: int) -> CpuPower:
    """The power of a CPU under full load, in watts, scaled to the threads this process may use.

    Args:
        cpu_name: As the system names it ("Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz"); None when unknown.
        visible_cpu_count: Threads this process may use, at least 1.
    """
    found = _find_cpu(cpu_name) if cpu_name else None
    if found is None:
        return _unknown_cpu(cpu_name, visible_cpu_count)
    power_w, threads, name, source = found
    threads = threads or _threads_in(cpu_name)
    if threads is None and power_w / visible_cpu_count > _most_w_per_thread():
        # Fewer threads than that chip can have: a share of it, of a size that nothing states.
        return _unknown_cpu(cpu_name, visible_cpu_count)
    share = min(1.0, visible_cpu_count / threads) if threads else 1.0
    part = f", {visible_cpu_count} of {threads} threads" if share < 1.0 else ""
    return CpuPower(
        interval_w=Interval.from_log_width(power_w * share, NORMAL_QUANTILE_95 * MODELLED_POWER_LOG_SD),
        note=f"TDP {power_w:g} W, {name}{part}",
        source=source,
    )


def _threads_in(cpu_name: str | None) -> int | None:
    """The threads of a CPU whose name states its cores ("64-Core"), two to a core; None when it does not."""
    stated = re.search(r"\b(\d+)-core\b", (cpu_name or "").lower())
    return 2 * int(stated.group(1)) if stated else None


@functools.lru_cache(maxsize=1)
def _most_w_per_thread() -> float:
    """The most watts per thread of any CPU whose threads the table gives."""
    return max(float(row["tdp_w"] / row["thread_count"]) for _, row in rows_of("cpu_tdp") if row["thread_count"])


def _unknown_cpu(cpu_name: str | None, visible_cpu_count: int) -> CpuPower:
    per_core = [row["tdp_w"] / row["core_count"] for _, row in rows_of("cpu_tdp") if row["core_count"] is not None]
    w_per_core = statistics.median(per_core)
    named = f"no table tells the power per core of {cpu_name!r}" if cpu_name else "the CPU has no name"
    return CpuPower(
        interval_w=Interval.from_log_width(w_per_core * visible_cpu_count, NORMAL_QUANTILE_95 * UNKNOWN_CPU_LOG_SD),
        note=f"{w_per_core:.1f} W per core, the median of {len(per_core)} CPUs, times {visible_cpu_count} cores",
        caveat=Caveat.of("cpu-power-unknown", why=named, w_per_core=w_per_core, count=visible_cpu_count),
        source=rows_of("cpu_tdp")[0][0].source,
    )


def _find_cpu(cpu_name: str) -> tuple[float, int | None, str, Source] | None:
    """Design power, threads, name and source of a CPU by its plain name, the greatest power where several have it."""
    plain = _plain_cpu(cpu_name)
    words = plain.split()
    found = [
        (row["tdp_w"], row["thread_count"], row["cpu"], row_source(table, row))
        for table, row in rows_of("cpu_tdp")
        # Most rows lack one of the words: theirs need no reading.
        if all(word in row["cpu"].lower() for word in words) and _plain_cpu(row["cpu"]) == plain
    ]
    return max(found, key=lambda cpu: cpu[0], default=None)


def _plain_cpu(name: str) -> str:
    """A CPU's name without marks, clock, core count and the words that say nothing.

    >>> _plain_cpu("Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz")
    'intel xeon platinum 8380'
    >>> _plain_cpu("AMD EPYC 7V13 64-Core Processor")
    'amd epyc 7v13'
    """
    name = re.sub(r"\((r|tm|c)\)|[®™]", " ", name.lower())
    name = re.sub(r"\s@.*|\bwith radeon.*|\bw/ radeon.*", " ", name)
    name = re.sub(r"\b(\d+|dual|quad|six|eight|twelve|sixteen)-core\b|\b(cpu|processor|\d+th gen)\b", " ", name)
    return " ".join(name.split())


def read_ram_w_per_gib() -> Interval:
    """Power of memory in watts per GiB: the median of the rules other tools use, none of which measures it."""
    rules = [row["w_per_unit"] for _, row in rows_of("ram_power") if row["unit"] == "W per GB"]
    return Interval.from_log_width(statistics.median(rules) * GB_PER_GIB, NORMAL_QUANTILE_95 * MODELLED_POWER_LOG_SD)
