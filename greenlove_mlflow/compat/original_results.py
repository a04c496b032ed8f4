"""The results of the original's ``estimate()``, under its names, built from this package's records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.run_facts import home_power_w
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.choice import best_value, fastest
from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow
from greenlove_mlflow.core.provenance import Caveat, Source
from greenlove_mlflow.core.records import BenchmarkLog
from greenlove_mlflow.core.timing.fit import Fit
from greenlove_mlflow.pipeline.options import Options
from greenlove_mlflow.units import G_PER_KG


@dataclass(frozen=True, slots=True, kw_only=True)
class CrusoeGPUEstimate:
    """The run on one Crusoe GPU, under the original's names; None where unknown."""

    name: str
    vram_gb: float
    speedup: float
    est_time_s: float
    est_time_lower_s: float
    est_time_upper_s: float
    on_demand_rate: float | None
    on_demand_cost: float | None
    on_demand_cost_lower: float | None
    on_demand_cost_upper: float | None
    est_energy_kwh: float | None
    est_co2_kg: float | None
    scale_note: str = ""
    is_best_value: bool = False
    is_fastest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResults:
    """The benchmark's results, under the original's names; None where unknown.

    ``local``, ``comparison`` and ``log`` are the same results as this package's records.
    """

    local: Estimate
    comparison: Comparison | None
    log: BenchmarkLog
    report_path: Path
    sample_sizes_used: tuple[int, ...]
    sample_epoch_data: Mapping[int, tuple[float, ...]]
    full_dataset_size: int
    total_epochs: int
    benchmark_epochs: int
    warmup_epochs: int
    spearman_rho: float | None
    warmup_epoch_estimates: tuple[float, ...]
    steady_epoch_estimate: float
    steady_epoch_std: float
    est_full_epoch_time: float
    est_total_time_s: float
    est_total_time_lower_s: float
    est_total_time_upper_s: float
    mean_power_w: float | None
    est_total_energy_kwh: float | None
    est_total_cost_usd: float | None
    est_total_co2_kg: float | None
    carbon_intensity_gco2_kwh: float | None
    carbon_intensity_source: str
    electricity_price_kwh: float | None
    electricity_price_source: str
    country_code: str
    gpu_name: str
    precision: str
    benchmark_task: str | None
    crusoe_estimates: tuple[CrusoeGPUEstimate, ...]

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """The caveats of these numbers."""
        return (*self.local.caveats, *(self.comparison.caveats if self.comparison is not None else ()))


def make_results(
    local: Estimate,
    comparison: Comparison | None,
    log: BenchmarkLog,
    options: Options,
    report_path: Path,
    *,
    precision: str,
) -> BenchmarkResults:
    """The results of a benchmark under the original's names."""
    statistics = local.statistics
    assert statistics is not None, "an estimate of a measured training carries its statistics"  # noqa: S101
    fit, grid = statistics.fit, local.grid
    by_size = _epochs_by_size(log)
    return BenchmarkResults(
        local=local,
        comparison=comparison,
        log=log,
        report_path=report_path,
        sample_sizes_used=tuple(sorted(by_size)),
        sample_epoch_data=by_size,
        full_dataset_size=log.sample_count,
        total_epochs=round(local.workload.epoch_count),
        benchmark_epochs=int(options.plan["exploration_epoch_count"]),
        warmup_epochs=int(options.plan["warm_up_epoch_count"]),
        spearman_rho=fit.spearman_rho,
        **_times(local, fit),
        mean_power_w=_point(home_power_w(statistics)),
        est_total_energy_kwh=_point(local.energy_kwh),
        est_total_cost_usd=_point(local.cost_usd),
        est_total_co2_kg=_kilograms(local.co2_g),
        carbon_intensity_gco2_kwh=_point(grid.intensity_g_per_kwh),
        carbon_intensity_source=_source(grid.intensity_source, grid.basis),
        electricity_price_kwh=_point(grid.price_usd_per_kwh),
        electricity_price_source=_source(grid.price_source, grid.basis),
        country_code=grid.code,
        gpu_name=comparison.home_name if comparison is not None else log.machine.processor_name,
        precision=precision,
        benchmark_task=statistics.task,
        crusoe_estimates=_offers(comparison),
    )


def _times(local: Estimate, fit: Fit) -> dict[str, Any]:
    return {
        "warmup_epoch_estimates": getattr(fit, "warm_up_s", ()),
        "steady_epoch_estimate": fit.epoch_s,
        "steady_epoch_std": getattr(fit, "sigma_s", 0.0),
        "est_full_epoch_time": fit.epoch_s,
        "est_total_time_s": local.time_s.point,
        "est_total_time_lower_s": local.time_s.low,
        "est_total_time_upper_s": local.time_s.high,
    }


def _epochs_by_size(log: BenchmarkLog) -> dict[int, tuple[float, ...]]:
    """Seconds of every exploration epoch, by sample size."""
    by_size: dict[int, list[float]] = {}
    for record in log.epochs_of("warm-up", "steady"):
        by_size.setdefault(record.sample_count, []).append(record.duration_s)
    return {size: tuple(durations) for size, durations in by_size.items()}


def _offers(comparison: Comparison | None) -> tuple[CrusoeGPUEstimate, ...]:
    if comparison is None:
        return ()
    best, first = best_value(comparison), fastest(comparison)
    best_row, first_row = (None if choice is None else choice.row for choice in (best, first))
    rows = sorted(comparison.rows, key=lambda row: _point(row.estimate.cost_usd) or math.inf)
    return tuple(_offer(row, is_best=best_row is row, is_fastest=first_row is row) for row in rows)


def _offer(row: ComparisonRow, *, is_best: bool, is_fastest: bool) -> CrusoeGPUEstimate:
    cost = row.estimate.cost_usd
    return CrusoeGPUEstimate(
        name=row.offer.gpu,
        vram_gb=row.offer.memory_gib,
        speedup=row.speed_ratio.ratio.point,
        est_time_s=row.estimate.time_s.point,
        est_time_lower_s=row.estimate.time_s.low,
        est_time_upper_s=row.estimate.time_s.high,
        on_demand_rate=row.offer.price_usd_per_hour,
        on_demand_cost=_point(cost),
        on_demand_cost_lower=None if cost is None else cost.low,
        on_demand_cost_upper=None if cost is None else cost.high,
        est_energy_kwh=_point(row.estimate.energy_kwh),
        est_co2_kg=_kilograms(row.estimate.co2_g),
        scale_note=f"{row.speed_ratio.basis}: {row.speed_ratio.detail}",
        is_best_value=is_best,
        is_fastest=is_fastest,
    )


def _point(value: Interval | None) -> float | None:
    return None if value is None else value.point


def _kilograms(value_g: Interval | None) -> float | None:
    return None if value_g is None else value_g.point / G_PER_KG


def _source(source: Source | None, basis: str) -> str:
    return basis if source is None else f"{source.producer}, {source.title} ({basis})"
