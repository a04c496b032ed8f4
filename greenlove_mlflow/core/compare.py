"""Offers of GPUs for rent, each with the time, cost, energy and CO2e of the same training; ranking as functions."""

from __future__ import annotations

from dataclasses import dataclass

from greenlove_mlflow.core.estimate import Caveat, Estimate, Source
from greenlove_mlflow.core.gpus import SpeedRatio
from greenlove_mlflow.core.interval import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One GPU at one price.

    Args:
        gpu: Name on the price sheet ("H100 HGX 80GB").
        gpu_id: Key of the specs table.
        memory_gib: As the price sheet says, GiB.
        price_usd_per_hour: US dollars per GPU and hour; None when there is no public price.
        billing: ``on-demand``, ``spot``, ``reserved-6m``, ``reserved-1y``, ``reserved-3y`` or ``contact-sales``.
        regions: Where it is offered; empty when the source does not say.
        version: Of the price sheet.
        as_of: Date of the price, ISO 8601.
        evidence: How the price was read (``parsed_capture``, ``secondary``, ...).
    """

    provider: str
    gpu: str
    gpu_id: str
    memory_gib: float
    price_usd_per_hour: float | None
    billing: str = "on-demand"
    gpu_counts: tuple[int, ...] = (1,)
    form_factor: str = ""
    regions: tuple[str, ...] = ()
    version: str = ""
    as_of: str = ""
    evidence: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSheet:
    """All offers of one dated version."""

    version: str
    as_of: str
    offers: tuple[Offer, ...]
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A cloud region and its electricity; None where no source states a figure."""

    name: str
    country: str
    location: str
    intensity_g_per_kwh: float | None
    energy_claim: str | None
    source: str = ""


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
        from greenlove_mlflow.formatting import format_comparison

        return format_comparison(self)

    def _repr_html_(self) -> str:
        from greenlove_mlflow.formatting import format_comparison_html

        return format_comparison_html(self)
