"""The training on many offers at once: time, energy, rent and CO2e as arrays, NaN where a figure is unknown.

One function for the comparison of a run, for the served model and for a whole experiment estimated again. Nothing
here needs more than numpy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from greenlove_mlflow.core.energy.power import ASSUMED_UTILIZATION, MODELLED_POWER_LOG_SD
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, FloatArray, Interval, Intervals, product, quadrature
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.speed.gpus import GpuSpec
from greenlove_mlflow.core.workload import Scope
from greenlove_mlflow.errors import UnknownPlaceError
from greenlove_mlflow.units import J_PER_KWH, S_PER_H

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.run_facts import Statistics
    from greenlove_mlflow.core.offers.offer import Offer, Region

# Two boards of one model agree to 8 %.
SAME_BOARD_LOG_HALF_WIDTH = math.log(1.08)
# A zone's yearly mean against the hours of one training (log SD), as for the yearly mean of a country.
YEARLY_GRID_LOG_SD = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """Points with ranges that need not be symmetric, as arrays; NaN where unknown."""

    point: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, intervals: Sequence[Interval | None]) -> Ranges:
        """The columns of some intervals, NaN for None."""
        rows = [(np.nan,) * 3 if each is None else (each.point, each.low, each.high) for each in intervals]
        point, low, high = np.array(rows, dtype=np.float64).reshape(-1, 3).T
        return cls(point=point, low=low, high=high)

    def at(self, index: int) -> Interval | None:
        """One of them; None where it is unknown."""
        point = float(self.point[index])
        if math.isnan(point):
            return None
        return Interval(point=point, low=min(point, float(self.low[index])), high=max(point, float(self.high[index])))


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferFigures:
    """What the training takes on each offer; NaN where unknown."""

    time_s: Intervals
    energy_kwh: Intervals
    cost_usd: Intervals
    co2_g: Ranges


def offer_figures(
    home_time_s: Intervals,
    ratio: Intervals,
    *,
    price_usd_per_hour: FloatArray,
    power_w: Intervals,
    pue: Interval,
    intensity_g_per_kwh: Ranges,
) -> OfferFigures:
    """Time, energy, rent and CO2e of the training on each offer.

    Args:
        home_time_s: At home, seconds; one value or one per offer.
        ratio: How many times faster each offer is, all its GPUs together.
        price_usd_per_hour: Of all its GPUs together; NaN without a public price.
        power_w: Mean power of all its boards together; NaN when unknown.
        pue: Power usage effectiveness of the data centre.
        intensity_g_per_kwh: The grid of the offer's region; NaN when unknown.
    """
    shape = np.ones_like(ratio.point)
    time_s = Intervals(point=home_time_s.point * shape, log_half_width=home_time_s.log_half_width * shape).over(ratio)
    whole_pue = Intervals(point=pue.point * shape, log_half_width=pue.log_half_width * shape)
    energy_kwh = time_s.times(power_w).times(whole_pue).scaled(1.0 / J_PER_KWH)
    grid = intensity_g_per_kwh
    with np.errstate(divide="ignore", invalid="ignore"):  # a grid of 0 g has no width on the log scale
        below = np.hypot(energy_kwh.log_half_width, np.log(grid.point / grid.low))
        above = np.hypot(energy_kwh.log_half_width, np.log(grid.high / grid.point))
    co2_g = energy_kwh.point * grid.point
    return OfferFigures(
        time_s=time_s,
        energy_kwh=energy_kwh,
        cost_usd=time_s.scaled(price_usd_per_hour / S_PER_H),
        co2_g=Ranges(point=co2_g, low=co2_g * np.exp(-below), high=co2_g * np.exp(above)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferGrid:
    """The electricity of an offer.

    Args:
        place: The region, or the regions that the figure is the median of.
        intensity_g_per_kwh: None when no region of the offer is known.
        is_claimed: Whether every region it may run in has a sourced claim of clean electricity.
        caveats: What the reader must know.
    """

    place: str
    intensity_g_per_kwh: Interval | None
    is_claimed: bool = False
    claim: str = ""
    caveats: tuple[Caveat, ...] = ()


def offer_grid(
    offer: Offer, regions: Mapping[str, Region], *, region: str | None = None, scope: Scope = "lifecycle"
) -> OfferGrid:
    """The grid of the named region, or the median of the regions that list the offer, their range in the interval.

    Raises:
        UnknownPlaceError: If the named region is in no table.
    """
    if region is not None and region not in regions:
        raise UnknownPlaceError(f"no table knows the cloud region {region!r}; known are {', '.join(sorted(regions))}")
    names = offer.regions if region is None else (region,)
    known = [regions[name] for name in names if name in regions]
    figures = sorted(value for value in (_intensity(each, scope) for each in known) if value is not None)
    claims = tuple(dict.fromkeys(each.energy_claim for each in known if each.energy_claim))
    claimed = bool(known) and len(known) == len(names) and all(each.energy_claim for each in known)
    return OfferGrid(
        place=", ".join(names) or "region unknown",
        intensity_g_per_kwh=_typical(figures),
        is_claimed=claimed,
        claim="; ".join(claims) if claimed else "",
        caveats=_region_caveats(offer, names, region, figures, scope),
    )


def offer_power_w(spec: GpuSpec, statistics: Statistics | None) -> tuple[Interval | None, Caveat | None]:
    """Mean power of one board of an offer while training, watts, and how it was assumed; None without a TDP."""
    home = None if statistics is None else statistics.home
    metered = metered_board_w(statistics)
    power = board_power_w(spec, home, metered)
    if power is None or spec.tdp_w is None:
        return None, Caveat.of("offer-power-unknown", gpu=spec.name)
    if _is_metered_board(spec, home, metered):
        return power, None
    share, is_homes = _assumed_share(home, metered)
    name = "" if home is None else home.name
    how = (
        f"the share of its TDP that {name} drew here" if is_homes else "an assumed share, as no board was metered here"
    )
    return power, Caveat.of("offer-power-modelled", gpu=spec.name, share=share, tdp_w=spec.tdp_w, how=how)


def board_power_w(spec: GpuSpec, home: GpuSpec | None, metered: Interval | None) -> Interval | None:
    """Mean power of one board while training, watts; None without a TDP."""
    return board_powers_w([spec], [home], [metered]).at(0)


def board_powers_w(
    specs: Sequence[GpuSpec | None], homes: Sequence[GpuSpec | None], metered: Sequence[Interval | None]
) -> Intervals:
    """Mean power of one board of each GPU while each run trains on it, watts, run by run; NaN without a TDP.

    The very board that was metered at home draws what it drew there; another board draws the share of its TDP that
    home's board drew of its own; without a metered board at home, an assumed share.

    Args:
        specs: The boards; None where no table knows one.
        homes: The board of each run's home; None when it is unknown or a CPU.
        metered: What that board drew, watts; None when no meter said.
    """
    tdp_w = np.array([np.nan if spec is None or spec.tdp_w is None else spec.tdp_w for spec in specs])
    shares = [_assumed_share(home, drawn)[0] for home, drawn in zip(homes, metered, strict=True)]
    point = np.outer(np.array(shares, dtype=np.float64), tdp_w)
    width = np.where(np.isnan(point), np.nan, NORMAL_QUANTILE_95 * MODELLED_POWER_LOG_SD)
    columns: dict[str, list[int]] = {}
    for column, spec in enumerate(specs):
        columns.setdefault("" if spec is None else spec.gpu_id, []).append(column)
    for run, (home, drawn) in enumerate(zip(homes, metered, strict=True)):
        if home is not None and drawn is not None:
            own = columns.get(home.gpu_id, [])
            point[run, own] = drawn.point
            width[run, own] = quadrature(drawn.log_half_width, SAME_BOARD_LOG_HALF_WIDTH)
    return Intervals(point=point.ravel(), log_half_width=width.ravel())


def metered_board_w(statistics: Statistics | None) -> Interval | None:
    """What the one board of home drew, watts; None when no meter said, or there were several boards."""
    if statistics is None:
        return None
    boards = [each for each in statistics.power if each.device.startswith("gpu") and each.source != "modelled"]
    return Interval.from_log_width(boards[0].power_w, boards[0].log_half_width) if len(boards) == 1 else None


def probability_less(log_difference: float, log_sd: float) -> float:
    """Probability that one value lies below another, given the log of the other over it and the SD of that log.

    >>> round(probability_less(0.1, 0.05), 3)
    0.977
    """
    if log_sd <= 0.0:
        return 0.5 if log_difference == 0.0 else float(log_difference > 0.0)
    return 0.5 * (1.0 + math.erf(log_difference / log_sd / math.sqrt(2.0)))


def probability_of_less(offer: Interval | None, home: Interval | None, home_s: Interval) -> float | None:
    """Probability that an offer's figure is less than home's; None when either is unknown.

    Both are proportional to home's time, whose uncertainty cancels.
    """
    if offer is None or home is None or min(offer.point, home.point) <= 0.0:
        return None
    difference = math.log(home.point / offer.point)
    # The side of the offer's range that faces home decides.
    side = math.log(offer.high / offer.point) if difference > 0.0 else math.log(offer.point / offer.low)
    shared = home_s.log_half_width
    own = [math.sqrt(max(0.0, width**2 - shared**2)) for width in (side, home.log_half_width)]
    return probability_less(difference, math.hypot(*own) / NORMAL_QUANTILE_95)


def _is_metered_board(spec: GpuSpec, home: GpuSpec | None, metered: Interval | None) -> bool:
    return home is not None and metered is not None and home.gpu_id == spec.gpu_id


def _assumed_share(home: GpuSpec | None, metered: Interval | None) -> tuple[float, bool]:
    """The share of its TDP that a board draws, and whether it is that of home's board."""
    if home is not None and metered is not None and home.tdp_w:
        return min(1.0, metered.point / home.tdp_w), True
    return ASSUMED_UTILIZATION, False


def _intensity(region: Region, scope: Scope) -> float | None:
    return region.intensity_g_per_kwh if scope == "lifecycle" else region.intensity_direct_g_per_kwh


def _typical(figures: Sequence[float]) -> Interval | None:
    if not figures:
        return None
    yearly = Interval.from_log_width(1.0, NORMAL_QUANTILE_95 * YEARLY_GRID_LOG_SD)
    return product(Interval(point=median(figures), low=figures[0], high=figures[-1]), yearly)


def _region_caveats(
    offer: Offer, names: Sequence[str], region: str | None, figures: Sequence[float], scope: Scope
) -> tuple[Caveat, ...]:
    found: list[Caveat] = []
    if region is not None and offer.regions and region not in offer.regions:
        found.append(Caveat.of("not-listed-in-region", gpu=offer.gpu, regions=", ".join(offer.regions), region=region))
    if not figures:
        where = f"no {scope} figure for {', '.join(names)}" if names else "the price sheet names no region"
        found.append(Caveat.of("region-unknown", gpu=offer.gpu, why=where))
    elif len(names) > len(figures):
        found.append(Caveat.of("region-grid-partial", gpu=offer.gpu, regions=", ".join(names), count=len(figures)))
    return tuple(found)
