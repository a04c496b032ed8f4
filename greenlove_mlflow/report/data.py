"""The JSON facts embedded in a page, for its charts and its what-if panel."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.core.account.run_facts import home_power_w
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95
from greenlove_mlflow.core.offers.offer import Offer
from greenlove_mlflow.core.timing.fit import ONE_OFF_LOG_HALF_WIDTH, OriginalFit
from greenlove_mlflow.report.charts.data import chart_data
from greenlove_mlflow.report.gpu_counts import offer_by_gpu_count
from greenlove_mlflow.words.plain_text import home_label, offer_label, speed_of
from greenlove_mlflow.words.verdict import provider_words

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.interval import Interval
    from greenlove_mlflow.core.offers.compare import ComparisonRow
    from greenlove_mlflow.core.offers.offer import PriceSheet
    from greenlove_mlflow.report.content import ReportContent

Json = dict[str, Any]

_FIT_FIELDS = (
    "method", "sample_count", "one_off_s", "first_epoch_s", "epoch_s", "overhead_s", "noise_log_sd",
    "correlation_factor", "block_count", "block_s", "drift_log_sd", "structure_log_sd", "t_quantile", "bias_log",
    "conformal_log_half_width",
)  # fmt: skip


def page_facts(content: ReportContent) -> Json:
    """All facts that the page's scripts read, as plain numbers, text and None."""
    rows = () if content.comparison is None else content.comparison.rows
    return {
        "home": _home(content),
        "rows": [_row(row, index, content) for index, row in enumerate(rows)],
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


def _row(row: ComparisonRow, index: int, content: ReportContent) -> Json:
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
        "counts": offer_by_gpu_count(row, content.estimate),
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
