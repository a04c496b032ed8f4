"""Offers: price sheets, the instance to rent, whether its memory suffices, and the caveats of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from greenlove_mlflow.core.account.run_facts import host_power_w
from greenlove_mlflow.core.interval import FloatArray, Interval
from greenlove_mlflow.core.provenance import Caveat, Source
from greenlove_mlflow.errors import InvalidInputError

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.run_facts import RunFacts


# The kinds of billing that a comparison shows by default.
DEFAULT_BILLING = ("on-demand", "contact-sales")
IndexArray = NDArray[np.intp]
# Usable share of the memory on a price sheet: an 80 GB board shows 79.2 GiB, and the driver's context and
# fragmentation take some more. Our own margin.
USABLE_MEMORY_SHARE = 0.95
# Cloud prices moved by 18 to 50% within half a year (A100, L40S), so older ones are stale. Our own limit.
MAX_PRICE_AGE_DAYS = 180


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
class Rental:
    """What every offer must provide.

    Args:
        used_gpu_count: GPUs in use, at least 1.
        start_s: Seconds from requesting an instance to its first command; None ignores the start.
    """

    used_gpu_count: int = 1
    start_s: Interval | None = None

    def __post_init__(self) -> None:
        if self.used_gpu_count < 1:
            raise InvalidInputError(f"a training needs at least one GPU, got gpus={self.used_gpu_count}")

    @property
    def start_point_s(self) -> float:
        """Seconds that an instance needs to start; 0 where unknown."""
        return 0.0 if self.start_s is None else self.start_s.point


def rented_gpu_count(gpu_counts: Sequence[int], used_gpu_count: int) -> int | None:
    """GPUs of the smallest instance with at least ``used_gpu_count`` GPUs; None where there is none.

    Where the sheet states no sizes or sells GPUs one by one, exactly as many as are used are rented.

    >>> rented_gpu_count((1, 2, 4, 8), 3), rented_gpu_count((8,), 1), rented_gpu_count((4,), 8)
    (4, 8, None)
    >>> rented_gpu_count((), 2), rented_gpu_count((1,), 2)
    (2, 2)
    """
    if tuple(gpu_counts) in ((), (1,)):
        return used_gpu_count
    return min((count for count in gpu_counts if count >= used_gpu_count), default=None)


def rented_gpu_counts(
    sold_in: Sequence[Sequence[int]], offer_index: IndexArray, used_gpu_count: FloatArray
) -> FloatArray:
    """GPUs of the rented instance of each row; NaN where no instance has enough.

    Args:
        sold_in: The GPU counts that each offer is sold in.
        offer_index: Index into ``sold_in``, one per row.
        used_gpu_count: GPUs in use, one per row.
    """
    rented = np.full(len(offer_index), np.nan)
    for used in np.unique(used_gpu_count):
        counts = [rented_gpu_count(each, int(used)) for each in sold_in]
        of_offers = np.array([np.nan if count is None else count for count in counts], dtype=np.float64)
        is_meant = used_gpu_count == used
        rented[is_meant] = of_offers[offer_index[is_meant]]
    return rented


def is_too_small_to_rent(home_time_s: float, start_s: float) -> bool:
    """Whether the run at home ends before a rented instance has started."""
    return math.isfinite(home_time_s) and home_time_s < start_s


def fits_memory(peak_gib: float | None, memory_gib: float) -> bool | None:
    """Whether a measured peak fits an offer's memory, both in GiB; None when no peak was measured.

    >>> fits_memory(70.0, 80.0), fits_memory(79.0, 80.0), fits_memory(None, 80.0)
    (True, False, None)
    """
    return None if peak_gib is None else peak_gib <= USABLE_MEMORY_SHARE * memory_gib


def fitting_batch_size(
    peak_gib: float | None, memory_gib: float, batch_size: int, *, fixed_gib: float = 0.0
) -> int | None:
    """The largest power of two up to ``batch_size`` with which the run would fit; None when none would.

    Memory that does not grow with the batch (weights, gradients, optimizer state) stays; the rest scales with it.

    Args:
        peak_gib: Peak measured at ``batch_size``, GiB; None when not measured.
        memory_gib: Memory of the offer, GiB.
        batch_size: Samples per batch.
        fixed_gib: Part of the peak that does not shrink with the batch, GiB; with 0 the result is an upper bound.

    >>> fitting_batch_size(100.0, 40.0, 64)
    16
    >>> fitting_batch_size(100.0, 40.0, 64, fixed_gib=39.0) is None
    True
    """
    if peak_gib is None:
        return None
    room = USABLE_MEMORY_SHARE * memory_gib - fixed_gib
    growing = peak_gib - fixed_gib
    if room <= 0.0:
        return None
    if growing <= room:
        return batch_size
    most = batch_size * room / growing
    return 2 ** math.floor(math.log2(most)) if most >= 1.0 else None


def offer_caveats(offer: Offer, *, used_gpu_count: int, today: str | None) -> tuple[Caveat, ...]:
    """The caveats of an offer's price and size.

    Args:
        offer: The offer.
        used_gpu_count: GPUs in use.
        today: ISO 8601 date for the age of the price; None skips that check.
    """
    found: list[Caveat] = []
    age = _age_days(offer.as_of, today)
    if offer.price_usd_per_hour is not None and age is not None and age > MAX_PRICE_AGE_DAYS:
        found.append(Caveat.of("old-price", gpu=offer.gpu, provider=offer.provider, as_of=offer.as_of, age_days=age))
    rented = rented_gpu_count(offer.gpu_counts, used_gpu_count) or used_gpu_count
    if rented > used_gpu_count:
        sizes = ", ".join(str(count) for count in offer.gpu_counts)
        found.append(
            Caveat.of("sold-in-instances", gpu=offer.gpu, sizes=sizes, rented=rented, idle=rented - used_gpu_count)
        )
    return tuple(found)


def memory_caveat(offer: Offer, statistics: RunFacts, fitting: int | None) -> Caveat:
    """The caveat of an offer whose memory is too small, with a batch size that would fit."""
    peak_gib = statistics.peak_memory_gib or 0.0
    if fitting is None:
        advice = "no smaller batch would fit"
    elif statistics.fixed_memory_gib is None:
        advice = f"a batch of {fitting} may fit, if all of it shrinks with the batch"
    else:
        advice = f"a batch of {fitting} would fit"
    return Caveat.of("memory-too-small", peak_gib=peak_gib, gpu=offer.gpu, memory_gib=offer.memory_gib, advice=advice)


def comparison_caveats(
    facts: RunFacts,
    shown: Sequence[Offer],
    offers: Sequence[Offer],
    *,
    rental: Rental,
    counts_energy: bool,
    scales_whole_time: bool,
) -> tuple[Caveat, ...]:
    """The caveats of a whole comparison: what is missing from its offers, its energy and its times.

    Args:
        facts: The facts of the run.
        shown: Offers with the requested billing.
        offers: The offers that are compared.
        rental: What every offer must provide.
        counts_energy: Whether the energy of any of them is known.
        scales_whole_time: Whether the whole time was scaled for all of them, without a profile of the step.
    """
    found: list[Caveat] = []
    left = {each.gpu for each in shown} - {each.gpu for each in offers}
    small = {each.gpu for each in shown if rented_gpu_count(each.gpu_counts, rental.used_gpu_count) is None} & left
    if left - small:
        found.append(Caveat.of("offer-left-out", gpus=", ".join(sorted(left - small))))
    if small:
        found.append(Caveat.of("no-such-instance", gpus=", ".join(sorted(small)), count=rental.used_gpu_count))
    if counts_energy:
        host_w = host_power_w(facts)
        found.append(
            Caveat.of("offer-host-left-out")
            if host_w is None
            else Caveat.of("offer-host-carried", host_w=round(host_w.point, 1))
        )
    if scales_whole_time:
        found.append(Caveat.of("whole-time-scaled"))
    return tuple(found)


def _age_days(as_of: str, today: str | None) -> int | None:
    try:
        return None if not today else (date.fromisoformat(today) - date.fromisoformat(as_of)).days
    except ValueError:
        return None
