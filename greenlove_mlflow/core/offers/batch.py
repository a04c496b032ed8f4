"""Many runs on many offers at once: the columns of the runs, and one figure per row of run and offer.

A comparison of one run calls ``pricing.offer_figures`` for its offers; so does this, for rows that name any run and
any offer. Both therefore give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.run_facts import Statistics
from greenlove_mlflow.core.interval import FloatArray, Interval, Intervals
from greenlove_mlflow.core.offers.figures import Ranges, board_powers_w, metered_board_w, offer_figures
from greenlove_mlflow.core.offers.memory import USABLE_MEMORY_SHARE
from greenlove_mlflow.core.speed.gpus import GpuSpec, SpeedRatio

IndexArray = NDArray[np.intp]
TextArray = NDArray[np.object_]
RatioOf = Callable[[Statistics, str], "SpeedRatio | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunColumns:
    """Runs as columns, and what they make of each GPU as tables of runs x GPUs.

    Args:
        home_time_s: Seconds at home, one per run.
        ratio: Speed ratio of each GPU; NaN where there is none.
        basis: How each ratio is known; empty where there is none.
        power_w: Mean power of one board of each GPU; NaN where unknown.
        peak_memory_gib: Measured peak, one per run; NaN where none was measured.
        gpu_count: GPUs rented, one number per run, all of which its ratios speak for together.
    """

    home_time_s: Intervals
    ratio: Intervals
    basis: TextArray
    power_w: Intervals
    peak_memory_gib: FloatArray
    gpu_count: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferRows:
    """Rows to estimate: which run on which GPU, and what that offer costs and emits.

    Args:
        run_index: Into the runs.
        gpu_index: Into the GPUs.
        price_usd_per_hour: Per GPU and hour; NaN without a public price.
        memory_gib: Of the offer; NaN when unknown.
        intensity_g_per_kwh: The grid of the offer; NaN when unknown.
    """

    run_index: IndexArray
    gpu_index: IndexArray
    price_usd_per_hour: FloatArray
    memory_gib: FloatArray
    intensity_g_per_kwh: Ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFigures:
    """What each row takes; NaN where unknown.

    Args:
        time_s: Seconds.
        energy_kwh: Electricity, PUE included.
        cost_usd: Rent.
        co2_g: Grams CO2e at the grid of the offer.
        basis: How the speed ratio is known.
        fits_memory: 1 where the measured peak fits, 0 where it does not, NaN where either is unknown.
    """

    time_s: Intervals
    energy_kwh: Intervals
    cost_usd: Intervals
    co2_g: Ranges
    basis: TextArray
    fits_memory: FloatArray


def run_columns(
    statistics: Sequence[Statistics],
    homes: Sequence[Estimate],
    gpu_ids: Sequence[str],
    *,
    specs: Mapping[str, GpuSpec],
    ratio_of: RatioOf,
) -> RunColumns:
    """The runs as columns.

    Args:
        statistics: Of each run.
        homes: The estimate at home of each run.
        gpu_ids: The GPUs of all offers, by the specs table's key.
        specs: The specs table by its key.
        ratio_of: The speed ratio of a GPU that the run's own statistics do not hold; None when there is none.
    """
    ratios: list[SpeedRatio | None] = []
    for each in statistics:
        kept = {kept.gpu_id: kept.speed_ratio for kept in each.ratios}
        ratios += [kept.get(gpu_id) or ratio_of(each, gpu_id) for gpu_id in gpu_ids]
    powers = board_powers_w(
        [specs.get(gpu_id) for gpu_id in gpu_ids],
        [each.home for each in statistics],
        [metered_board_w(each) for each in statistics],
    )
    shape = (len(statistics), len(gpu_ids))
    peaks = [np.nan if each.peak_memory_gib is None else each.peak_memory_gib for each in statistics]
    return RunColumns(
        home_time_s=Intervals.of([home.time_s for home in homes]),
        ratio=_reshaped(Intervals.of([None if each is None else each.ratio for each in ratios]), shape),
        basis=np.array(["" if each is None else each.basis for each in ratios], dtype=object).reshape(shape),
        power_w=_reshaped(powers, shape),
        peak_memory_gib=np.array(peaks, dtype=np.float64),
        gpu_count=np.array([each.gpu_count for each in statistics], dtype=np.float64),
    )


def estimate_rows(runs: RunColumns, rows: OfferRows, *, pue: Interval) -> RowFigures:
    """What each row takes.

    Args:
        runs: The columns that the rows point into.
        rows: Which run on which GPU, at which price and grid.
        pue: Power usage effectiveness of the offers' data centres.
    """
    run, cell = rows.run_index, (rows.run_index, rows.gpu_index)
    gpu_count = runs.gpu_count[run]
    figures = offer_figures(
        _picked(runs.home_time_s, run),
        _picked(runs.ratio, cell),
        price_usd_per_hour=rows.price_usd_per_hour * gpu_count,
        power_w=_picked(runs.power_w, cell).scaled(gpu_count),
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
    )


def best_value_index(cost_usd: FloatArray, time_s: FloatArray, fits_memory: FloatArray) -> IndexArray:
    """The column with the least cost times time of each row; -1 where no cost is known.

    An option whose memory does not fit, or without a price, cannot be it.
    """
    usable = (cost_usd > 0.0) & (fits_memory != 0.0)
    value = np.where(usable, cost_usd * time_s, np.inf)
    return np.where(np.isfinite(value).any(axis=1), value.argmin(axis=1), -1)


def _reshaped(intervals: Intervals, shape: tuple[int, int]) -> Intervals:
    return Intervals(point=intervals.point.reshape(shape), log_half_width=intervals.log_half_width.reshape(shape))


def _picked(intervals: Intervals, index: IndexArray | tuple[IndexArray, IndexArray]) -> Intervals:
    return Intervals(point=intervals.point[index], log_half_width=intervals.log_half_width[index])
