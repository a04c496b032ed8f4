"""Many runs on many offers at once: columns of runs, and one figure per row of run and offer.

The comparison of one run, the served model and the re-estimation of an experiment all use this module, so that their
numbers agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.interval import FloatArray, Interval, Intervals
from greenlove_mlflow.core.offers.board_power import BoardPowers, board_powers, instance_power_w
from greenlove_mlflow.core.offers.figures import offer_figures
from greenlove_mlflow.core.offers.memory import USABLE_MEMORY_SHARE
from greenlove_mlflow.core.offers.times import TimesOnOffers, times_on_offers
from greenlove_mlflow.core.speed.gpus import GpuSpec, SpeedRatio

IndexArray = NDArray[np.intp]
TextArray = NDArray[np.object_]
RatioOf = Callable[[RunFacts, str], "SpeedRatio | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunColumns:
    """Runs as columns, and their figures on each GPU as arrays of runs x GPUs.

    Args:
        home_time_s: Seconds at home, one per run.
        times: Times on each GPU, as shares of the time at home; NaN where no ratio is known.
        basis: Basis of each ratio; empty where there is none.
        powers: Power of the boards of each GPU, and of the host.
        peak_memory_gib: Measured peak, one per run, GiB; NaN where none was measured.
        used_gpu_count: GPUs in use, one number per run.
    """

    home_time_s: Intervals
    times: TimesOnOffers
    basis: TextArray
    powers: BoardPowers
    peak_memory_gib: FloatArray
    used_gpu_count: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferRows:
    """Rows to estimate: which run on which GPU, and that offer's price and grid.

    Args:
        run_index: Index of the run.
        gpu_index: Index of the GPU.
        rented_gpu_count: GPUs of the rented instance; NaN where no instance has enough.
        price_usd_per_hour: US dollars per GPU and hour; NaN without a public price.
        memory_gib: Memory of the offered GPU, GiB; NaN when unknown.
        intensity_g_per_kwh: Grams CO2e per kWh on the offer's grid; NaN when unknown.
    """

    run_index: IndexArray
    gpu_index: IndexArray
    rented_gpu_count: FloatArray
    price_usd_per_hour: FloatArray
    memory_gib: FloatArray
    intensity_g_per_kwh: Intervals


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFigures:
    """The figures of each row; NaN where unknown.

    Args:
        time_s: Seconds, without the start of the instance.
        energy_kwh: Electricity of the whole instance, PUE included.
        cost_usd: Rent of the whole instance, its start included, US dollars.
        co2_g: Grams CO2e on the offer's grid.
        basis: Basis of the speed ratio.
        fits_memory: 1 where the measured peak fits, 0 where it does not, NaN where either is unknown.
        rented_gpu_count: GPUs of the instance.
        used_gpu_count: GPUs of it that are in use.
    """

    time_s: Intervals
    energy_kwh: Intervals
    cost_usd: Intervals
    co2_g: Intervals
    basis: TextArray
    fits_memory: FloatArray
    rented_gpu_count: FloatArray
    used_gpu_count: FloatArray


def run_columns(
    statistics: Sequence[RunFacts],
    homes: Sequence[Estimate],
    gpu_ids: Sequence[str],
    *,
    specs: Mapping[str, GpuSpec],
    ratio_of: RatioOf,
) -> RunColumns:
    """The runs as columns.

    Args:
        statistics: The facts of each run.
        homes: The estimate at home of each run.
        gpu_ids: The GPUs of all offers, by the specs table's key.
        specs: The specs table by its key.
        ratio_of: Returns the speed ratio of a GPU that the run's facts lack, or None.
    """
    ratios: list[list[SpeedRatio | None]] = []
    for each in statistics:
        kept = {kept.gpu_id: kept.speed_ratio for kept in each.ratios}
        ratios.append([kept.get(gpu_id) or ratio_of(each, gpu_id) for gpu_id in gpu_ids])
    times = times_on_offers(statistics, [home.workload for home in homes], gpu_ids, ratios)
    bases = ["" if each is None else each.basis for of_run in ratios for each in of_run]
    peaks = [np.nan if each.peak_memory_gib is None else each.peak_memory_gib for each in statistics]
    return RunColumns(
        home_time_s=Intervals.of([home.time_s for home in homes]),
        times=times,
        basis=np.array(bases, dtype=object).reshape(len(statistics), len(gpu_ids)),
        powers=board_powers(statistics, [specs.get(gpu_id) for gpu_id in gpu_ids], times.busy_ratio, times.busy_share),
        peak_memory_gib=np.array(peaks, dtype=np.float64),
        used_gpu_count=np.array([each.gpu_count for each in statistics], dtype=np.float64),
    )


def estimate_rows(runs: RunColumns, rows: OfferRows, *, pue: Interval, start_s: float = 0.0) -> RowFigures:
    """The figures of each row.

    Args:
        runs: The columns that the rows refer to.
        rows: Which run on which GPU, at which price and grid.
        pue: Power usage effectiveness of the offers' data centres.
        start_s: Seconds that an instance needs to start.
    """
    run, cell = rows.run_index, (rows.run_index, rows.gpu_index)
    used = runs.used_gpu_count[run]
    figures = offer_figures(
        runs.home_time_s.picked(run),
        runs.times.share.picked(cell),
        start_s=start_s,
        price_usd_per_hour=rows.price_usd_per_hour * rows.rented_gpu_count,
        power_w=instance_power_w(
            runs.powers.work_w.picked(cell),
            runs.powers.idle_w[cell],
            runs.powers.host_w.picked(run),
            used=used,
            rented=rows.rented_gpu_count,
        ),
        pue=pue,
        intensity_g_per_kwh=rows.intensity_g_per_kwh,
    )
    peak, memory = runs.peak_memory_gib[run], rows.memory_gib
    fits = np.where(np.isnan(peak) | np.isnan(memory), np.nan, peak <= USABLE_MEMORY_SHARE * memory)
    return RowFigures(
        time_s=figures.time_s,
        energy_kwh=figures.energy_kwh,
        cost_usd=figures.cost_usd,
        co2_g=figures.co2_g,
        basis=runs.basis[cell],
        fits_memory=fits,
        rented_gpu_count=rows.rented_gpu_count,
        used_gpu_count=used,
    )


def best_value_index(cost_usd: FloatArray, time_s: FloatArray, fits_memory: FloatArray) -> IndexArray:
    """The index of the column with the least cost times time in each row; -1 where no cost is known.

    An option whose memory does not fit, or without a price, is never chosen.
    """
    usable = (cost_usd > 0.0) & (fits_memory != 0.0)
    value = np.where(usable, cost_usd * time_s, np.inf)
    return np.where(np.isfinite(value).any(axis=1), value.argmin(axis=1), -1)
