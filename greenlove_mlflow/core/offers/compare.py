"""The comparison: the time, cost, energy and CO2e of the same run on each GPU offer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval, Intervals
from greenlove_mlflow.core.normal import Longest, Part
from greenlove_mlflow.core.offers.batch import OfferRows, RowFigures, RunColumns, estimate_rows, run_columns
from greenlove_mlflow.core.offers.board_power import power_caveat
from greenlove_mlflow.core.offers.figures import OfferGrid, offer_grid
from greenlove_mlflow.core.offers.offer import (
    DEFAULT_BILLING,
    Offer,
    PriceSheet,
    Rental,
    comparison_caveats,
    fits_memory,
    fitting_batch_size,
    is_too_small_to_rent,
    memory_caveat,
    offer_caveats,
    rented_gpu_count,
)
from greenlove_mlflow.core.offers.regions import Regions
from greenlove_mlflow.core.offers.step_on_offer import TimePart, bound_by_on_offer, time_parts
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import BoundBy
from greenlove_mlflow.core.speed.gpus import GpuSpec, SpeedRatio
from greenlove_mlflow.core.workload import Grid
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.units import S_PER_H


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """The run on one offer.

    Args:
        offer: The offer.
        speed_ratio: Ratio of the board's part of the run to home; a given or measured ratio is of the whole run.
        estimate: Time, energy, rent and CO2e (on the regional grid) of the rented instance.
        co2_market_g: Grams CO2e by the provider's claim: 0 only under a sourced claim, else None.
        fits_memory: Whether the measured peak fits the offer's memory; None when no peak was measured.
        fitting_batch_size: A batch size that would fit, where the run does not; else None.
        time_ratio: How many times faster the whole run is than at home, without the start of the instance.
        bound_by: What the run is bound by there; None where the parts of a step are unknown.
        p_faster: Probability that it finishes sooner than at home, including the start of the instance.
        p_cheaper: Probability that it costs less than home; None when either cost is unknown.
        p_less_co2: Probability that it emits less CO2e than home; None when either is unknown.
        on_pareto_front: Whether no other option finishes sooner, the start of its instance included, for less.
        rented_gpu_count: GPUs of the smallest instance with enough of them, all of which are paid for.
        used_gpu_count: GPUs in use.
        all_at_work_time_s: Seconds with every rented GPU in use, if the batch may grow with them; None where all are in
            use already, or where unknown.
        time_parts: The parts of the time, for computing probabilities; empty to use the estimate's own range.
    """

    offer: Offer
    speed_ratio: SpeedRatio
    estimate: Estimate
    time_ratio: Interval | None = None
    bound_by: BoundBy | None = None
    co2_market_g: Interval | None = None
    fits_memory: bool | None = None
    fitting_batch_size: int | None = None
    p_faster: float | None = None
    p_cheaper: float | None = None
    p_less_co2: float | None = None
    on_pareto_front: bool = False
    rented_gpu_count: int = 1
    used_gpu_count: int = 1
    all_at_work_time_s: Interval | None = None
    time_parts: tuple[TimePart, ...] = ()

    @property
    def price_usd_per_hour(self) -> float | None:
        """Rent of the whole instance, US dollars per hour; None without a public price."""
        price = self.offer.price_usd_per_hour
        return None if price is None else price * self.rented_gpu_count

    @property
    def can_win(self) -> bool:
        """Whether it may be the best option: the run fits, and it can be rented at a known price."""
        return self.fits_memory is not False and self.estimate.cost_usd is not None

    def longest(self, home_time_s: Interval) -> Longest:
        """The distribution of its time as a share of home's."""
        if not self.time_parts:
            time_s = self.estimate.time_s
            own = math.sqrt(max(0.0, time_s.log_half_width**2 - home_time_s.log_half_width**2))
            share = time_s.point / home_time_s.point
            parts: tuple[TimePart, ...] = (TimePart(share=share, log_sd=own / NORMAL_QUANTILE_95),)
        else:
            parts = self.time_parts
        widening = sum(part.only_widens for part in parts)
        return Longest(parts=tuple(Part.of(part.share, part.log_sd) for part in parts), only_ranges=widening)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Home and one row per offer; functions in ``choice`` find the fastest, cheapest or best.

    Args:
        home: The estimate for this machine.
        rows: One per offer, in the order of the price sheet.
        prices: The price sheet.
        home_name: Name of this machine's processor, with which tables begin.
        start_s: Seconds that an instance needs to start; None where unknown.
        caveats: Caveats of the whole comparison (a substituted GPU, a probed machine, old prices).
    """

    home: Estimate
    rows: tuple[ComparisonRow, ...]
    prices: PriceSheet
    home_name: str = "local"
    start_s: Interval | None = None
    caveats: tuple[Caveat, ...] = ()

    @property
    def is_too_small_to_rent(self) -> bool:
        """Whether the run at home ends before an instance has started, so that no offer gains anything."""
        return self.start_s is not None and is_too_small_to_rent(self.home.time_s.point, self.start_s.point)

    def __str__(self) -> str:
        offers = "1 offer" if len(self.rows) == 1 else f"{len(self.rows)} offers"
        return f"{self.home_name} beside {offers}, prices of {self.prices.as_of or 'unknown date'}"


def compare_offers(
    home: Estimate,
    *,
    sheet: PriceSheet,
    ratios: Mapping[str, SpeedRatio],
    specs: Mapping[str, GpuSpec],
    regions: Regions,
    pue: Interval,
    region: str | None = None,
    home_name: str = "local",
    billing: tuple[str, ...] = DEFAULT_BILLING,
    rental: Rental | None = None,
    caveats: tuple[Caveat, ...] = (),
    today: str | None = None,
) -> Comparison:
    """The comparison of home with every offer of the sheet.

    Args:
        home: The estimate for this machine.
        sheet: The price sheet.
        ratios: How many times faster than home each GPU is, or all GPUs in use together, by the specs table's key.
        specs: The specs table by its key; the source of power figures.
        regions: The known cloud regions.
        pue: Power usage effectiveness of the cloud.
        region: Region whose grid is used; None for the median of the regions that list the offer.
        home_name: Name of home.
        billing: Kinds of price to show.
        rental: GPUs in use and the start of an instance; None for as many GPUs as at home and no start.
        caveats: Caveats already known for the whole comparison.
        today: ISO 8601 date for the age of prices; None skips that check.

    Raises:
        InvalidInputError: If the estimate is that of an offer.
    """
    facts = home.statistics
    if facts is None:
        raise InvalidInputError("only the estimate of a measured training can be compared, not that of an offer")
    rental = rental or Rental(used_gpu_count=facts.home_gpu_count)
    facts = dataclasses.replace(facts, gpu_count=rental.used_gpu_count, ratios=())
    shown = [each for each in sheet.offers if each.billing in billing]
    offers = [each for each in shown if each.gpu_id in ratios and each.gpu_id in specs]
    offers = [each for each in offers if rented_gpu_count(each.gpu_counts, rental.used_gpu_count) is not None]
    grids = [offer_grid(each, regions, region=region, scope=home.grid.scope) for each in offers]
    rows: list[ComparisonRow] = []
    if offers:
        gpu_ids = tuple(dict.fromkeys(each.gpu_id for each in offers))
        columns = run_columns([facts], [home], gpu_ids, specs=specs, ratio_of=lambda _, gpu_id: ratios[gpu_id])
        gpu_of = [gpu_ids.index(each.gpu_id) for each in offers]
        figures = estimate_rows(
            columns, _offer_rows(offers, grids, gpu_of, rental), pue=pue, start_s=rental.start_point_s
        )
        for index, offer in enumerate(offers):
            found = _caveats(facts, offer, specs[offer.gpu_id], columns, gpu_of[index], rental=rental, today=today)
            row = _row(home, offer, ratios[offer.gpu_id], figures, index, grid=grids[index], caveats=found)
            rows.append(_with_chances(home, row, columns, gpu_of[index], start_s=rental.start_point_s))
    return Comparison(
        home=home,
        rows=_with_pareto(home, rows, start_s=rental.start_point_s),
        prices=sheet,
        home_name=home_name,
        start_s=rental.start_s,
        caveats=(*caveats, *_common_caveats(facts, shown, offers, rows, rental)),
    )


def _common_caveats(
    facts: RunFacts, shown: Sequence[Offer], offers: Sequence[Offer], rows: Sequence[ComparisonRow], rental: Rental
) -> tuple[Caveat, ...]:
    scaled = [row for row in rows if row.speed_ratio.basis not in ("given", "measured")]
    return comparison_caveats(
        facts,
        shown,
        offers,
        rental=rental,
        counts_energy=any(row.estimate.energy_kwh is not None for row in rows),
        scales_whole_time=bool(rows) and all(row.bound_by is None for row in scaled),
    )


def _offer_rows(
    offers: Sequence[Offer], grids: Sequence[OfferGrid], gpu_of: Sequence[int], rental: Rental
) -> OfferRows:
    used = rental.used_gpu_count
    prices = [math.nan if each.price_usd_per_hour is None else each.price_usd_per_hour for each in offers]
    return OfferRows(
        run_index=np.zeros(len(offers), dtype=np.intp),
        gpu_index=np.array(gpu_of, dtype=np.intp),
        rented_gpu_count=np.array([rented_gpu_count(each.gpu_counts, used) for each in offers], dtype=np.float64),
        price_usd_per_hour=np.array(prices, dtype=np.float64),
        memory_gib=np.array([each.memory_gib for each in offers], dtype=np.float64),
        intensity_g_per_kwh=Intervals.of([each.intensity_g_per_kwh for each in grids]),
    )


def _caveats(
    facts: RunFacts,
    offer: Offer,
    spec: GpuSpec,
    columns: RunColumns,
    gpu: int,
    *,
    rental: Rental,
    today: str | None,
) -> tuple[Caveat, ...]:
    power = power_caveat(facts, spec, is_metered=bool(columns.powers.is_metered[0, gpu]))
    return (
        *offer_caveats(offer, used_gpu_count=rental.used_gpu_count, today=today),
        *(() if power is None else (power,)),
    )


def _row(
    home: Estimate,
    offer: Offer,
    ratio: SpeedRatio,
    figures: RowFigures,
    index: int,
    *,
    grid: OfferGrid,
    caveats: tuple[Caveat, ...],
) -> ComparisonRow:
    facts, time_s = home.statistics, figures.time_s.at(index)
    if facts is None or time_s is None:
        raise InvalidInputError("an offer whose speed ratio is known has a time; the home time is not a number")
    fits = fits_memory(facts.peak_memory_gib, offer.memory_gib)
    smaller = None
    if fits is False:
        batch, fixed_gib = home.workload.batch_size, facts.fixed_memory_gib or 0.0
        smaller = fitting_batch_size(facts.peak_memory_gib, offer.memory_gib, batch, fixed_gib=fixed_gib)
        caveats = (*caveats, memory_caveat(offer, facts, smaller))
    estimate = Estimate(
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
        caveats=(*ratio.caveats, *grid.caveats, *caveats),
    )
    return ComparisonRow(
        offer=offer,
        speed_ratio=ratio,
        estimate=estimate,
        co2_market_g=Interval.exactly(0.0) if grid.is_claimed else None,
        fits_memory=fits,
        fitting_batch_size=smaller,
        rented_gpu_count=int(figures.rented_gpu_count[index]),
        used_gpu_count=int(figures.used_gpu_count[index]),
    )


def _with_chances(
    home: Estimate, row: ComparisonRow, columns: RunColumns, gpu: int, *, start_s: float
) -> ComparisonRow:
    """The row with the time's ratio, parts and probabilities filled in."""
    times = columns.times
    share = times.share.at((0, gpu))
    longest = times.training.at((0, gpu))
    assert share is not None  # noqa: S101 - rows are only made for known ratios
    knows = row.speed_ratio.basis != "given" and times.splits[0]
    started = longest.shifted(start_s / home.time_s.point)
    return dataclasses.replace(
        row,
        time_ratio=Interval(point=1.0 / share.point, low=1.0 / share.high, high=1.0 / share.low),
        bound_by=bound_by_on_offer(times.step, (0, gpu)) if knows else None,
        time_parts=time_parts(longest),
        p_faster=float(started.probability_below(0.0)),
        p_cheaper=chance_of_less(row.price_usd_per_hour, home.cost_usd, home.time_s, started),
        p_less_co2=_chance_of_less_co2(row.estimate, home, longest),
    )


def chance_of_less(
    usd_per_hour: float | None, home_cost_usd: Interval | None, home_time_s: Interval, started: Longest
) -> float | None:
    """Probability that an offer's rent is less than the cost at home; None when either is unknown.

    Both are proportional to home's time, whose uncertainty cancels.

    Args:
        usd_per_hour: Rent of the whole instance, US dollars per hour.
        home_cost_usd: Cost at home, US dollars.
        home_time_s: Time at home, seconds.
        started: Time on the offer as a share of home's, including the start of the instance.
    """
    if usd_per_hour is None or home_cost_usd is None:
        return None
    if home_cost_usd.point <= 0.0:
        return 0.0
    if usd_per_hour <= 0.0:
        return 1.0
    break_even = home_cost_usd.point / (usd_per_hour * home_time_s.point / S_PER_H)
    below, above = _beside(home_cost_usd, home_time_s)
    return float(started.probability_below_uncertain(math.log(break_even), below, above))


def _chance_of_less_co2(offer: Estimate, home: Estimate, longest: Longest) -> float | None:
    if offer.co2_g is None or home.co2_g is None:
        return None
    if min(offer.co2_g.point, home.co2_g.point) <= 0.0:
        return float(offer.co2_g.point < home.co2_g.point)
    log_value = math.log(home.co2_g.point / offer.co2_g.point) + float(longest.log_point)
    return longest.probability_below_quotient(
        log_value, _beside(home.co2_g, home.time_s), _beside(offer.co2_g, offer.time_s)
    )


def _beside(value: Interval, time_s: Interval) -> tuple[float, float]:
    """Log SDs of a value below and above its point, without the uncertainty of its time."""

    def sd(whole: float, shared: float) -> float:
        return math.sqrt(max(0.0, whole**2 - shared**2)) / NORMAL_QUANTILE_95

    return (
        sd(_log_ratio(value.point, value.low), _log_ratio(time_s.point, time_s.low)),
        sd(_log_ratio(value.high, value.point), _log_ratio(time_s.high, time_s.point)),
    )


def _log_ratio(above: float, below: float) -> float:
    # 50 stands for a range ending at 0; it is wider than that of any figure.
    return math.log(above / below) if below > 0.0 else 50.0


def _with_pareto(home: Estimate, rows: Sequence[ComparisonRow], *, start_s: float) -> tuple[ComparisonRow, ...]:
    """The rows, each flagged when no other option finishes sooner, its start included, for less."""
    offered = [(row, row.estimate.time_s.point + start_s, row.estimate.cost_usd) for row in rows]
    options = [(time_s, cost_usd.point) for row, time_s, cost_usd in offered if row.can_win and cost_usd is not None]
    if home.cost_usd is not None:
        options.append((home.time_s.point, home.cost_usd.point))

    def is_on_front(time_s: float, cost_usd: Interval | None) -> bool:
        return cost_usd is not None and not any(
            other_s <= time_s and other_usd <= cost_usd.point and (other_s, other_usd) != (time_s, cost_usd.point)
            for other_s, other_usd in options
        )

    return tuple(
        dataclasses.replace(row, on_pareto_front=row.fits_memory is not False and is_on_front(time_s, cost_usd))
        for row, time_s, cost_usd in offered
    )
