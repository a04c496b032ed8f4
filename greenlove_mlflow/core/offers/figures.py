"""The training on many offers at once: time, energy, rent and CO2e as arrays, NaN where a figure is unknown.

One function for the comparison of a run, for the served model and for a whole experiment estimated again. Nothing
here needs more than numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, FloatArray, Interval, Intervals, product
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.workload import Scope
from greenlove_mlflow.errors import UnknownPlaceError
from greenlove_mlflow.units import J_PER_KWH, S_PER_H

if TYPE_CHECKING:
    from greenlove_mlflow.core.offers.offer import Offer, Region

# A zone's yearly mean against the hours of one training (log SD), as for the yearly mean of a country.
YEARLY_GRID_LOG_SD = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferFigures:
    """What the training takes on each offer; NaN where unknown."""

    time_s: Intervals
    energy_kwh: Intervals
    cost_usd: Intervals
    co2_g: Intervals


def offer_figures(
    home_time_s: Intervals,
    time_share: Intervals,
    *,
    start_s: float,
    price_usd_per_hour: FloatArray,
    power_w: Intervals,
    pue: Interval,
    intensity_g_per_kwh: Intervals,
) -> OfferFigures:
    """Time, energy, rent and CO2e of the training on each offer.

    Args:
        home_time_s: At home, seconds; one value or one per offer.
        time_share: Of that, what the training takes on each offer.
        start_s: Seconds that the instance needs to start, which are billed and are not in the time.
        price_usd_per_hour: Of all GPUs that are rented; NaN without a public price.
        power_w: Mean power of the whole instance; NaN when unknown.
        pue: Power usage effectiveness of the data centre.
        intensity_g_per_kwh: The grid of the offer's region; NaN when unknown.
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

    Where no region of the offer is known, those of its provider stand for it.

    Raises:
        UnknownPlaceError: If the named region is in no table.
    """
    if region is not None and region not in regions:
        raise UnknownPlaceError(f"no table knows the cloud region {region!r}; known are {', '.join(sorted(regions))}")
    names = offer.regions if region is None else (region,)
    known = [regions[name] for name in names if name in regions]
    figures = sorted(value for value in (_intensity(each, scope) for each in known) if value is not None)
    claims = tuple(dict.fromkeys(each.energy_claim for each in known if each.energy_claim))
    caveats = _region_caveats(offer, names, region, figures, scope)
    if not figures and region is None:
        own = {each.name: value for each in regions.values() if (value := _of_provider(each, offer, scope)) is not None}
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
    """The figure of a region where it is one of the offer's provider."""
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
    if region is not None and offer.regions and region not in offer.regions:
        found.append(Caveat.of("not-listed-in-region", gpu=offer.gpu, regions=", ".join(offer.regions), region=region))
    if not figures:
        where = f"no {scope} figure for {', '.join(names)}" if names else "the price sheet names no region"
        found.append(Caveat.of("region-unknown", gpu=offer.gpu, why=where))
    elif len(names) > len(figures):
        found.append(Caveat.of("region-grid-partial", gpu=offer.gpu, regions=", ".join(names), count=len(figures)))
    return tuple(found)
