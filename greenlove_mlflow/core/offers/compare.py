"""Offers of GPUs for rent, each with the time, cost, energy and CO2e of the same training; ranking as functions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval, Intervals
from greenlove_mlflow.core.offers.caveats import comparison_caveats, memory_caveat, offer_caveats
from greenlove_mlflow.core.offers.figures import (
    OfferFigures,
    OfferGrid,
    Ranges,
    offer_figures,
    offer_grid,
    offer_power_w,
    probability_less,
    probability_of_less,
)
from greenlove_mlflow.core.offers.memory import fits_memory, fitting_batch_size
from greenlove_mlflow.core.offers.offer import DEFAULT_BILLING, Offer, PriceSheet, Region
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.speed.gpus import GpuSpec, SpeedRatio
from greenlove_mlflow.core.workload import Grid
from greenlove_mlflow.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """The training on one offer.

    Args:
        offer: What is rented.
        speed_ratio: Against home.
        estimate: Time, energy, rent and CO2e at the regional grid.
        co2_market_g: CO2e by the provider's claim: 0 only under a sourced claim, else None.
        fits_memory: Whether the measured peak fits the offer's memory; None when no peak was measured.
        fitting_batch_size: A batch size that would fit, when the job does not; else None.
        p_faster: Probability that it is faster than home.
        p_cheaper: Probability that it costs less than home; None when either cost is unknown.
        p_less_co2: Probability of less CO2e than home; None when either is unknown.
        on_pareto_front: Whether no other option is at once faster and cheaper.
        gpu_count: GPUs rented.
    """

    offer: Offer
    speed_ratio: SpeedRatio
    estimate: Estimate
    co2_market_g: Interval | None = None
    fits_memory: bool | None = None
    fitting_batch_size: int | None = None
    p_faster: float | None = None
    p_cheaper: float | None = None
    p_less_co2: float | None = None
    on_pareto_front: bool = False
    gpu_count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Home and one row per offer; which is fastest, cheapest or best is said by functions, not stored.

    Args:
        home: The estimate for this machine.
        rows: One per offer, in the order of the price sheet.
        prices: The price sheet.
        caveats: Of the comparison as a whole (a substituted GPU, a probed machine, old prices).
    """

    home: Estimate
    rows: tuple[ComparisonRow, ...]
    prices: PriceSheet
    home_name: str = "local"
    caveats: tuple[Caveat, ...] = ()

    def __str__(self) -> str:
        offers = "1 offer" if len(self.rows) == 1 else f"{len(self.rows)} offers"
        return f"{self.home_name} beside {offers}, prices of {self.prices.as_of or 'unknown date'}"


def compare_offers(
    home: Estimate,
    *,
    sheet: PriceSheet,
    ratios: Mapping[str, SpeedRatio],
    specs: Mapping[str, GpuSpec],
    regions: Mapping[str, Region],
    pue: Interval,
    region: str | None = None,
    home_name: str = "local",
    billing: tuple[str, ...] = DEFAULT_BILLING,
    gpu_count: int = 1,
    caveats: tuple[Caveat, ...] = (),
    today: str | None = None,
) -> Comparison:
    """The training on every offer of the sheet, beside home.

    Args:
        home: The estimate for this machine.
        sheet: Offers of one date.
        ratios: How many times faster each GPU, or ``gpu_count`` of them, is than home, by the specs table's key.
        specs: The specs table by its key; power comes from here.
        regions: The cloud's regions by name.
        pue: Power usage effectiveness of the cloud.
        region: A region to price the electricity of; None for the median of those that list the offer.
        home_name: What home is called.
        billing: Which kinds of price to show.
        gpu_count: GPUs rented.
        caveats: What is known already about the comparison as a whole.
        today: ISO 8601 date that the age of prices is told from; None leaves their age alone.
    """
    shown = [each for each in sheet.offers if each.billing in billing]
    offers = [each for each in shown if each.gpu_id in ratios and each.gpu_id in specs]
    scope = home.grid.scope
    grids = [offer_grid(each, regions, region=region, scope=scope) for each in offers]
    powers = [offer_power_w(specs[each.gpu_id], home.statistics) for each in offers]
    figures = _figures(home, offers, ratios, powers=powers, grids=grids, pue=pue, gpu_count=gpu_count)
    rows = [
        _row(
            home,
            offer,
            ratio=ratios[offer.gpu_id],
            estimate=_estimate(home, figures, index, grid=grids[index]),
            grid=grids[index],
            caveats=(
                *offer_caveats(offer, gpu_count=gpu_count, today=today),
                *(caveat for caveat in (powers[index][1],) if caveat is not None),
            ),
            gpu_count=gpu_count,
        )
        for index, offer in enumerate(offers)
    ]
    return Comparison(
        home=home,
        rows=_with_pareto(home, rows),
        prices=sheet,
        home_name=home_name,
        caveats=(*caveats, *comparison_caveats(shown, offers, rows)),
    )


def _figures(
    home: Estimate,
    offers: Sequence[Offer],
    ratios: Mapping[str, SpeedRatio],
    *,
    powers: Sequence[tuple[Interval | None, Caveat | None]],
    grids: Sequence[OfferGrid],
    pue: Interval,
    gpu_count: int,
) -> OfferFigures:
    prices = [math.nan if each.price_usd_per_hour is None else each.price_usd_per_hour for each in offers]
    return offer_figures(
        Intervals.of([home.time_s]),
        Intervals.of([ratios[each.gpu_id].ratio for each in offers]),
        price_usd_per_hour=np.array(prices, dtype=np.float64) * gpu_count,
        power_w=Intervals.of([power for power, _ in powers]).scaled(float(gpu_count)),
        pue=pue,
        intensity_g_per_kwh=Ranges.of([each.intensity_g_per_kwh for each in grids]),
    )


def _estimate(home: Estimate, figures: OfferFigures, index: int, *, grid: OfferGrid) -> Estimate:
    time_s = figures.time_s.at(index)
    if time_s is None:
        raise InvalidInputError("an offer whose speed ratio is known has a time; the home time is not a number")
    return Estimate(
        time_s=time_s,
        energy_kwh=figures.energy_kwh.at(index),
        cost_usd=figures.cost_usd.at(index),
        co2_g=figures.co2_g.at(index),
        workload=home.workload,
        grid=Grid(
            place=grid.place,
            intensity_g_per_kwh=grid.intensity_g_per_kwh,
            price_usd_per_kwh=None,
            scope=home.grid.scope,
            basis="region",
        ),
    )


def _row(
    home: Estimate,
    offer: Offer,
    *,
    ratio: SpeedRatio,
    estimate: Estimate,
    grid: OfferGrid,
    caveats: tuple[Caveat, ...],
    gpu_count: int,
) -> ComparisonRow:
    statistics = home.statistics
    peak = None if statistics is None else statistics.peak_memory_gib
    fits = fits_memory(peak, offer.memory_gib)
    smaller = None
    if statistics is not None and fits is False:
        batch, fixed_gib = home.workload.batch_size, statistics.fixed_memory_gib or 0.0
        smaller = fitting_batch_size(peak, offer.memory_gib, batch, fixed_gib=fixed_gib)
        caveats = (*caveats, memory_caveat(offer, statistics, smaller))
    return ComparisonRow(
        offer=offer,
        speed_ratio=ratio,
        estimate=dataclasses.replace(estimate, caveats=(*ratio.caveats, *grid.caveats, *caveats)),
        co2_market_g=Interval.exactly(0.0) if grid.is_claimed else None,
        fits_memory=fits,
        fitting_batch_size=smaller,
        p_faster=probability_less(math.log(ratio.ratio.point), ratio.ratio.log_half_width / NORMAL_QUANTILE_95),
        p_cheaper=probability_of_less(estimate.cost_usd, home.cost_usd, home.time_s),
        p_less_co2=probability_of_less(estimate.co2_g, home.co2_g, home.time_s),
        gpu_count=gpu_count,
    )


def _with_pareto(home: Estimate, rows: Sequence[ComparisonRow]) -> tuple[ComparisonRow, ...]:
    """The rows, each flagged when no other option is at once faster and cheaper."""
    options = [
        (each.time_s.point, each.cost_usd.point)
        for each in (home, *(row.estimate for row in rows if row.fits_memory is not False))
        if each.cost_usd is not None
    ]

    def is_on_front(estimate: Estimate) -> bool:
        if estimate.cost_usd is None:
            return False
        time_s, cost_usd = estimate.time_s.point, estimate.cost_usd.point
        return not any(
            other_s <= time_s and other_usd <= cost_usd and (other_s, other_usd) != (time_s, cost_usd)
            for other_s, other_usd in options
        )

    return tuple(
        dataclasses.replace(row, on_pareto_front=row.fits_memory is not False and is_on_front(row.estimate))
        for row in rows
    )
