"""GPU offers, price sheets and cloud regions."""

from __future__ import annotations

from dataclasses import dataclass

from greenlove_mlflow.core.provenance import Source

# The kinds of billing that a comparison shows by default.
DEFAULT_BILLING = ("on-demand", "contact-sales")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One GPU at one price.

    Args:
        gpu: Name on the price sheet ("H100 HGX 80GB").
        gpu_id: Key of the specs table.
        memory_gib: Memory by the price sheet, GiB.
        price_usd_per_hour: US dollars per GPU and hour; None when there is no public price.
        billing: ``on-demand``, ``spot``, ``reserved-6m``, ``reserved-1y``, ``reserved-3y`` or ``contact-sales``.
        regions: Where it is offered; empty when the source does not say.
        version: Version of the price sheet.
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
    """A cloud region and its electricity; figures without a source are None, an unknown provider is empty."""

    name: str
    country: str
    location: str
    intensity_g_per_kwh: float | None
    energy_claim: str | None
    source: str = ""
    intensity_direct_g_per_kwh: float | None = None
    provider: str = ""
