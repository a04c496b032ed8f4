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
from greenlove_mlflow.core.account.run_facts import OLD_SCHEMA_VERSION, RunFacts
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, FloatArray, Interval, Intervals
from greenlove_mlflow.core.normal import Longest
from greenlove_mlflow.core.offers.board_power import BoardPowers, board_powers, instance_power_w, typical_idle_share
from greenlove_mlflow.core.offers.figures import offer_figures
from greenlove_mlflow.core.offers.offer import USABLE_MEMORY_SHARE
from greenlove_mlflow.core.offers.step_on_offer import (
    HomeSteps,
    StepOnOffer,
    TrainingShares,
    can_split,
    step_on_offer,
    training_on_offer,
)
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.core.speed.gpus import GpuSpec, SpeedRatio
from greenlove_mlflow.core.timing.fit import OriginalFit
from greenlove_mlflow.core.workload import Workload

IndexArray = NDArray[np.intp]
TextArray = NDArray[np.object_]
RatioOf = Callable[[RunFacts, str], "SpeedRatio | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimesOnOffers:
    """The times of runs on offers; arrays of runs x GPUs, NaN where no ratio is known.

    Args:
        step: A training step on the offer.
        validation: A validation step on the offer.
        is_whole: 1 where the ratio is of the whole run.
        training: The distribution of the whole run's time as a share of that at home.
        share: The same as points with ranges.
        busy_ratio: Busy share of the board on the offer over that at home.
        busy_share: Busy share of the board on the offer, 0 to 1.
        splits: For each run, whether its profile separates the board's part of a step from the rest.
    """

    step: StepOnOffer
    validation: StepOnOffer
    is_whole: FloatArray
    training: Longest
    share: Intervals
    busy_ratio: FloatArray
    busy_share: FloatArray
    splits: tuple[bool, ...]


def times_on_offers(
    facts: Sequence[RunFacts],
    workloads: Sequence[Workload],
    gpu_ids: Sequence[str],
    ratios: Sequence[Sequence[SpeedRatio | None]],
) -> TimesOnOffers:
    """The times of runs on GPUs.

    Args:
        facts: The facts of each run.
        workloads: The workload of each run.
        gpu_ids: The GPUs, by the specs table's key.
        ratios: The speed ratio of each run and GPU; None where there is none.
    """
    log_ratio, ratio_log_sd, is_step, is_training = _ratio_columns(facts, gpu_ids, ratios)
    used = np.array([each.gpu_count for each in facts], dtype=np.float64).reshape(-1, 1)
    at_home = np.array([each.home_gpu_count for each in facts], dtype=np.float64).reshape(-1, 1)

    def on_offers(steps: HomeSteps) -> StepOnOffer:
        return step_on_offer(
            steps.picked(np.s_[:, np.newaxis]),
            log_ratio=log_ratio,
            ratio_log_sd=ratio_log_sd,
            is_whole=is_step,
            step_share=at_home / used,
        )

    contention = [each.fit.contention_share for each in facts]
    home_steps = HomeSteps.of([each.scaled_profile for each in facts], contention_shares=contention)
    step = on_offers(home_steps)
    checked = on_offers(HomeSteps.of([_validation_profile(each) for each in facts], contention_shares=contention))
    training = training_on_offer(step, checked, _shares(facts, workloads, is_training))
    low, high = (np.exp(training.log_quantile(probability)) for probability in (0.025, 0.975))
    busy_share = step.busy_share
    # A ratio of the whole step says nothing about how busy the board is, so assume as busy as at home.
    busy_at_home = np.where(is_step > 0.0, 1.0, home_steps.device[:, np.newaxis])
    return TimesOnOffers(
        step=step,
        validation=checked,
        is_whole=is_training,
        training=training,
        share=Intervals.between(training.point, np.minimum(low, training.point), np.maximum(high, training.point)),
        busy_ratio=busy_share / busy_at_home,
        busy_share=busy_share,
        splits=tuple(can_split(each.scaled_profile) for each in facts),
    )


def _validation_profile(facts: RunFacts) -> StepProfile | None:
    own = facts.validation_profile
    return own if can_split(own) and can_split(facts.scaled_profile) else facts.scaled_profile


def _ratio_columns(
    facts: Sequence[RunFacts], gpu_ids: Sequence[str], ratios: Sequence[Sequence[SpeedRatio | None]]
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Log ratio, its SD, and flags for ratios of the whole step and of the whole run."""
    rows: list[tuple[float, float, float, float, float]] = []
    for each, of_run in zip(facts, ratios, strict=True):
        is_old = float(each.schema_version == OLD_SCHEMA_VERSION or isinstance(each.fit, OriginalFit))
        home_id = None if each.home is None else each.home.gpu_id
        for gpu_id, ratio in zip(gpu_ids, of_run, strict=True):
            if ratio is None:
                rows.append((np.nan, np.nan, np.nan, 0.0, 0.0))
                continue
            interval = ratio.ratio
            # A board is as fast as itself, which is a statement about the board, not a measurement of the whole step.
            is_step = is_old or float(ratio.basis == "given" or (ratio.basis == "measured" and gpu_id != home_id))
            is_training = is_old or float(ratio.basis == "given")
            rows.append((interval.point, interval.low, interval.high, is_step, is_training))
    shape = (len(facts), len(gpu_ids))
    point, low, high, is_step_of, is_training_of = np.array(rows, dtype=np.float64).reshape(-1, 5).T.reshape(5, *shape)
    log_sd = np.where(low == high, 0.0, np.log(high) - np.log(low)) / (2.0 * NORMAL_QUANTILE_95)
    return np.log(point), np.where(np.isnan(point), np.nan, log_sd), is_step_of, is_training_of


def _shares(facts: Sequence[RunFacts], workloads: Sequence[Workload], is_training: FloatArray) -> TrainingShares:
    parts = [each.home_fit.parts(workload) for each, workload in zip(facts, workloads, strict=True)]
    seconds = np.array([(each.steps_s, each.validation_s, each.fixed_s) for each in parts], dtype=np.float64)
    shares = (seconds.reshape(-1, 3) / seconds.reshape(-1, 3).sum(axis=1, keepdims=True))[:, :, np.newaxis]
    is_split = 1.0 - is_training
    paid_s = np.array([each.fit.one_off_s - each.home_fit.one_off_s for each in facts], dtype=np.float64)
    paid = (paid_s / seconds.reshape(-1, 3).sum(axis=1))[:, np.newaxis]
    return TrainingShares(
        steps=np.where(is_split > 0.0, shares[:, 0], 1.0),
        validation=shares[:, 1] * is_split,
        fixed=shares[:, 2] * is_split,
        paid=paid * is_split,
    )


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
        powers=board_powers(
            statistics,
            [specs.get(gpu_id) for gpu_id in gpu_ids],
            times.busy_ratio,
            times.busy_share,
            idle_share=typical_idle_share(specs.values()),
        ),
        peak_memory_gib=np.array(peaks, dtype=np.float64),
        used_gpu_count=np.array([each.gpu_count for each in statistics], dtype=np.float64),
    )


def starts_s(statistics: Sequence[RunFacts], default_s: float) -> FloatArray:
    """Seconds that an instance needs to start, one per run: as the run stated them, else the default."""
    stated = [each.instance_start_s for each in statistics]
    return np.array([default_s if each is None else each for each in stated], dtype=np.float64)


def estimate_rows(runs: RunColumns, rows: OfferRows, *, pue: Interval, start_s: float | FloatArray = 0.0) -> RowFigures:
    """The figures of each row.

    Args:
        runs: The columns that the rows refer to.
        rows: Which run on which GPU, at which price and grid.
        pue: Power usage effectiveness of the offers' data centres.
        start_s: Seconds that an instance needs to start; one value or one per row.
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
    usable = (cost_usd >= 0.0) & (fits_memory != 0.0)
    value = np.where(usable, cost_usd * time_s, np.inf)
    return np.where(np.isfinite(value).any(axis=1), value.argmin(axis=1), -1)
