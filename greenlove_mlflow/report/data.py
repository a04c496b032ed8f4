"""The JSON facts embedded in a page, for its charts and its what-if panel."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from greenlove_mlflow.core.account.run_facts import home_power_w
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval, Intervals
from greenlove_mlflow.core.offers.batch import RunColumns, run_columns
from greenlove_mlflow.core.offers.board_power import instance_power_w
from greenlove_mlflow.core.offers.offer import Offer, rented_gpu_count
from greenlove_mlflow.core.offers.step_on_offer import StepOnOffer
from greenlove_mlflow.core.speed.gpus import GROUP_OF_KIND, group_of_task
from greenlove_mlflow.core.speed.ratio import task_names
from greenlove_mlflow.core.speed.several_gpus import gpu_scaling, on_several
from greenlove_mlflow.core.timing.fit import ONE_OFF_LOG_HALF_WIDTH, OriginalFit
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.report.charts.chart_data import chart_data
from greenlove_mlflow.tables import read_default_pue, read_gpu_specs
from greenlove_mlflow.tables.published_speeds import read_ratio_evidence
from greenlove_mlflow.units import J_PER_KWH
from greenlove_mlflow.words.plain_text import home_label, offer_label, speed_of
from greenlove_mlflow.words.verdict import provider_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.run_facts import RunFacts
    from greenlove_mlflow.core.offers.compare import ComparisonRow
    from greenlove_mlflow.core.offers.offer import PriceSheet
    from greenlove_mlflow.core.speed.gpus import GpuSpec, SpeedRatio
    from greenlove_mlflow.report.content import ReportContent


Json = dict[str, Any]

_FIT_FIELDS = (
    "method", "sample_count", "one_off_s", "first_epoch_s", "epoch_s", "overhead_s", "noise_log_sd",
    "correlation_factor", "block_count", "block_s", "drift_log_sd", "structure_log_sd", "t_quantile", "bias_log",
    "conformal_log_half_width",
)  # fmt: skip
GPU_COUNTS = (1, 2, 4, 8)


def page_facts(content: ReportContent) -> Json:
    """All facts that the page's scripts read, as plain numbers, text and None."""
    rows = () if content.comparison is None else content.comparison.rows
    return {
        "home": _home(content),
        "rows": [
            _row(row, index, counts)
            for index, (row, counts) in enumerate(zip(rows, offers_by_gpu_count(rows, content.estimate), strict=True))
        ],
        "sheets": [_sheet(sheet) for sheet in content.price_sheets],
        "version": "" if content.comparison is None else content.comparison.prices.version,
        "start_s": _start_s(content),
        "charts": chart_data(content),
    }


def can_replan(content: ReportContent) -> bool:
    """Whether the page has the facts that the what-if panel needs."""
    return content.estimate.statistics is not None


def price_key(offer: Offer) -> str:
    """A key that identifies the same offer on two price sheets."""
    return f"{offer.gpu_id}|{offer.billing}"


def interval_json(value: Interval | None) -> Json | None:
    """An interval as a list of three numbers."""
    return None if value is None else {"point": value.point, "low": value.low, "high": value.high}


def _home(content: ReportContent) -> Json:
    estimate, statistics = content.estimate, content.estimate.statistics
    name = "here" if content.comparison is None else home_label(content.comparison)
    home = {"key": "home", "name": name, "isHome": True, "onFront": False, **_figures(estimate)}
    if statistics is None:
        return home
    fit: Json = {name: getattr(statistics.home_fit, name) for name in _FIT_FIELDS}
    fit["one_off_paid_s"] = statistics.fit.one_off_s - statistics.home_fit.one_off_s
    if isinstance(statistics.fit, OriginalFit):
        fit |= {"warm_up_s": statistics.fit.warm_up_s, "sigma_s": statistics.fit.sigma_s}
    return {
        **home,
        "fit": {**fit, "normal_quantile": NORMAL_QUANTILE_95, "one_off_log_half_width": ONE_OFF_LOG_HALF_WIDTH},
        "plan": dataclasses.asdict(estimate.workload),
        "power": interval_json(home_power_w(statistics)),
        "pue": interval_json(statistics.pue),
        "price": interval_json(estimate.grid.price_usd_per_kwh),
        "intensity": interval_json(estimate.grid.intensity_g_per_kwh),
        "rent": statistics.home_usd_per_hour,
    }


def _start_s(content: ReportContent) -> float:
    start_s = None if content.comparison is None else content.comparison.start_s
    return 0.0 if start_s is None else start_s.point


def _row(row: ComparisonRow, index: int, counts: list[Json]) -> Json:
    return {
        "key": f"offer-{index}",
        "name": offer_label(row),
        "gpu": row.offer.gpu,
        "billing": row.offer.billing,
        "provider": provider_words(row.offer),
        "basis": row.speed_ratio.basis,
        "fits": row.fits_memory,
        "price": row.offer.price_usd_per_hour,
        "price_key": price_key(row.offer),
        "as_of": row.offer.as_of,
        "asOf": row.offer.as_of,
        "claim": None if row.co2_market_g is None else row.co2_market_g.point,
        "counts": counts,
        "ratio": interval_json(speed_of(row)),
        "intensity": interval_json(row.estimate.grid.intensity_g_per_kwh),
        "used": row.used_gpu_count,
        "rented": row.rented_gpu_count,
        "hourly": row.price_usd_per_hour,
        "pCheaper": row.p_cheaper,
        "onFront": row.on_pareto_front,
        **_figures(row.estimate),
    }


def _figures(estimate: Estimate) -> Json:
    return {
        "time": interval_json(estimate.time_s),
        "energy": interval_json(estimate.energy_kwh),
        "cost": interval_json(estimate.cost_usd),
        "co2": interval_json(estimate.co2_g),
    }


def _sheet(sheet: PriceSheet) -> Json:
    prices = {
        price_key(offer): offer.price_usd_per_hour for offer in sheet.offers if offer.price_usd_per_hour is not None
    }
    return {"version": sheet.version, "as_of": sheet.as_of, "prices": prices}


def offers_by_gpu_count(rows: Sequence[ComparisonRow], home: Estimate) -> list[list[Json]]:
    """Each offer with the number of GPUs that was compared, then with other numbers that can be rented.

    Only the compared number if the ratio of a single GPU is unknown (it was given, or several GPUs were compared).
    """
    facts = home.statistics
    if facts is None:
        return [[] for _ in rows]
    ratios = [ratios_by_gpu_count(row, facts) for row in rows]
    ratios_of = {row.offer.gpu_id: by_count for row, by_count in zip(rows, ratios, strict=True)}
    used_counts = sorted({used for by_count in ratios for used in by_count})
    columns = run_columns(
        [dataclasses.replace(facts, gpu_count=used, ratios=()) for used in used_counts],
        [home] * len(used_counts),
        [row.offer.gpu_id for row in rows],
        specs=_specs(),
        ratio_of=lambda asked, gpu_id: ratios_of[gpu_id].get(asked.gpu_count),
    )
    found = []
    for index, (row, by_count) in enumerate(zip(rows, ratios, strict=True)):
        rented = {used: rented_gpu_count(row.offer.gpu_counts, used) for used in by_count}
        counts = [(used, count) for used, count in rented.items() if count is not None]
        cells = [(used_counts.index(used), index) for used, _ in counts]
        found.append(_with_gpu_counts(columns, by_count, counts, cells))
    return found


def _with_gpu_counts(
    columns: RunColumns, ratios: dict[int, SpeedRatio], counts: list[tuple[int, int]], cells: list[tuple[int, int]]
) -> list[Json]:
    """One offer by number of GPUs used and rented, each in its cell of the columns."""
    times = columns.times
    return [
        {
            "used": used,
            "rented": count,
            "ratio": {name: getattr(ratios[used].ratio, name) for name in ("point", "low", "high")},
            "whole": bool(times.is_whole[cell]),
            "step": _parts(times.step, cell),
            "validation": _parts(times.validation, cell),
            "host_log_sd": times.step.host_log_sd,
            "kwh_per_s": rate,
        }
        for (used, count), cell, rate in zip(counts, cells, _energy_rates(columns, counts, cells), strict=True)
    ]


def ratios_by_gpu_count(row: ComparisonRow, facts: RunFacts) -> dict[int, SpeedRatio]:
    """The offer's speed ratio by the number of GPUs used, as computed by ``compare(gpus=)``."""
    found = {row.used_gpu_count: row.speed_ratio}
    spec = _specs().get(row.offer.gpu_id)
    if spec is None or row.used_gpu_count != 1 or row.speed_ratio.basis == "given":
        return found
    evidence = read_ratio_evidence()
    tasks = task_names(facts.task, evidence)
    group = group_of_task(tasks[0]) if tasks else GROUP_OF_KIND.get(facts.model_kind)
    for count in GPU_COUNTS[1:]:
        try:
            scaling, how = gpu_scaling(spec, count, evidence, facts.precision, group=group)
        except InvalidInputError:
            # No published runs tell of that many GPUs with such links.
            continue
        found[count] = on_several(row.speed_ratio, scaling, how, count)
    return found


def _parts(step: StepOnOffer, cell: tuple[int, int]) -> Json:
    """The parts of a step as shares of the step at home, each with its log SD; absent parts are left out."""
    named = {"device": step.device, "thread": step.thread, "loader": step.loader, "unknown": step.unknown}
    cells = {name: (float(part.log_point[cell]), float(part.log_sd[cell])) for name, part in named.items()}
    return {
        name: {"log_point": log_point, "log_sd": log_sd}
        for name, (log_point, log_sd) in cells.items()
        if log_point > -np.inf
    }


def _energy_rates(
    columns: RunColumns, counts: list[tuple[int, int]], cells: list[tuple[int, int]]
) -> list[Json | None]:
    """Energy per second of the instance by number of GPUs used and rented, including PUE, with its log widths."""
    powers = columns.powers
    run, gpu = np.array(cells, dtype=np.intp).reshape(-1, 2).T
    power_w = instance_power_w(
        powers.work_w.picked((run, gpu)),
        powers.idle_w[run, gpu],
        powers.host_w.picked(run),
        used=np.array([used for used, _ in counts], dtype=np.float64),
        rented=np.array([rented for _, rented in counts], dtype=np.float64),
    )
    rates = power_w.times(Intervals.of([_cloud_pue()] * len(counts))).scaled(1.0 / J_PER_KWH)
    return [
        None if np.isnan(point) else {"point": float(point), "below": float(below), "above": float(above)}
        for point, below, above in zip(rates.point, rates.below, rates.above, strict=True)
    ]


@lru_cache(maxsize=1)
def _cloud_pue() -> Interval:
    return read_default_pue("cloud")[0]


@lru_cache(maxsize=1)
def _specs() -> dict[str, GpuSpec]:
    return {spec.gpu_id: spec for spec in read_gpu_specs()}
