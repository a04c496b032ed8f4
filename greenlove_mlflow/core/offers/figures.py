"""The run on many offers at once: time, energy, rent and CO2e as arrays, NaN where a figure is unknown.

Shared by the comparison of a run, the served model and the re-estimation of an experiment. Needs only numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, FloatArray, Interval, Intervals, product
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.workload import Scope
from greenlove_mlflow.errors import UnknownPlaceError
from greenlove_mlflow.units import J_PER_KWH, S_PER_H

if TYPE_CHECKING:
    from greenlove_mlflow.core.offers.offer import Offer
    from greenlove_mlflow.core.offers.regions import Region, Regions

# Log SD of the hours of one run about a zone's yearly mean, as for the yearly mean of a country.
YEARLY_GRID_LOG_SD = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferFigures:
    """The figures of the run on each offer; NaN where unknown."""

    time_s: Intervals
    energy_kwh: Intervals
    cost_usd: Intervals
    co2_g: Intervals


def offer_figures(
    home_time_s: Intervals,
    time_share: Intervals,
    *,
    start_s: float | FloatArray,
    price_usd_per_hour: FloatArray,
    power_w: Intervals,
    pue: Interval,
    intensity_g_per_kwh: Intervals,
) -> OfferFigures:
    """Time, energy, rent and CO2e of the run on each offer.

    Args:
        home_time_s: Time at home, seconds; one value or one per offer.
        time_share: Time on each offer as a share of it.
        start_s: Seconds that the instance needs to start, one value or one per offer; billed but not part of the time.
        price_usd_per_hour: US dollars per hour for all rented GPUs; NaN without a public price.
        power_w: Mean power of the whole instance, watts; NaN when unknown.
        pue: Power usage effectiveness of the data centre.
        intensity_g_per_kwh: Grams CO2e per kWh on the grid of the offer's region; NaN when unknown.
    """
    time_s = home_time_s.times(time_share)
    energy_kwh = time_s.times(power_w).times(Intervals.of([pue])).scaled(1.0 / J_PER_KWH)
    return OfferFigures(
        time_s=time_s,
        energy_kwh=energy_kwh,
        cost_usd=time_s.shifted(start_s).scaled(price_usd_per_hour / S_PER_H),
        co2_g=energy_kwh.times(intensity_g_per_kwh),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferGrid:
    """The electricity of an offer.

    Args:
        place: The region, or the regions whose median the figure is.
        intensity_g_per_kwh: Grams CO2e per kWh; None when no region of the offer is known.
        is_claimed: Whether every possible region has a sourced claim of clean electricity.
        caveats: What the reader must know.
    """

    place: str
    intensity_g_per_kwh: Interval | None
    is_claimed: bool = False
    claim: str = ""
    caveats: tuple[Caveat, ...] = ()


def offer_grid(offer: Offer, regions: Regions, *, region: str | None = None, scope: Scope = "lifecycle") -> OfferGrid:
    """The grid of the named region, or the median of the regions that list the offer, with their range.

    Where no region of the offer is known, its provider's regions are used.

    Args:
        offer: The offer.
        regions: The known cloud regions.
        region: A named region; None for the median of the regions that list the offer.
        scope: Which emissions the intensity includes.

    Raises:
        UnknownPlaceError: If the named region is in no table, or a name means regions of several other providers.
    """
    if region is not None and region not in regions.names:
        raise UnknownPlaceError(f"unknown cloud region {region!r}; known are {', '.join(sorted(regions.names))}")
    names = offer.regions if region is None else (region,)
    known = [each for name in names if (each := regions.find(name, provider=offer.provider))]
    figures = sorted(value for value in (_intensity(each, scope) for each in known) if value is not None)
    claims = tuple(dict.fromkeys(each.energy_claim for each in known if each.energy_claim))
    caveats = _region_caveats(offer, names, region, figures, scope)
    if not figures and region is None:
        own = {each.name: value for each in regions if (value := _of_provider(each, offer, scope)) is not None}
        if own:
            why = f"no figure for {', '.join(names)}" if names else "the price sheet names no region"
            caveat = Caveat.of("region-of-provider", gpu=offer.gpu, why=why, regions=", ".join(sorted(own)))
            return OfferGrid(
                place=f"a region of {offer.provider}",
                intensity_g_per_kwh=_typical(sorted(own.values())),
                caveats=(caveat,),
            )
    claimed = bool(known) and len(known) == len(names) and all(each.energy_claim for each in known)
    return OfferGrid(
        place=", ".join(names) or "region unknown",
        intensity_g_per_kwh=_typical(figures),
        is_claimed=claimed,
        claim="; ".join(claims) if claimed else "",
        caveats=caveats,
    )


def _of_provider(region: Region, offer: Offer, scope: Scope) -> float | None:
    """The region's intensity if it belongs to the offer's provider; else None."""
    return _intensity(region, scope) if region.provider == offer.provider else None


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
    if region is not None and offer.regions and region.removeprefix(f"{offer.provider} ") not in offer.regions:
        found.append(Caveat.of("not-listed-in-region", gpu=offer.gpu, regions=", ".join(offer.regions), region=region))
    if not figures:
        where = f"no {scope} figure for {', '.join(names)}" if names else "the price sheet names no region"
        found.append(Caveat.of("region-unknown", gpu=offer.gpu, why=where))
    elif len(names) > len(figures):
        found.append(Caveat.of("region-grid-partial", gpu=offer.gpu, regions=", ".join(names), count=len(figures)))
    return tuple(found)
