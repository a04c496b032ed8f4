"""Caveats of an offer's price, size and memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.run_facts import host_power_w
from greenlove_mlflow.core.offers.rental import rented_gpu_count
from greenlove_mlflow.core.provenance import Caveat

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.run_facts import RunFacts
    from greenlove_mlflow.core.offers.offer import Offer
    from greenlove_mlflow.core.offers.rental import Rental

# Cloud prices moved by 18 to 50 % within half a year (A100, L40S), so older ones are stale. Our own limit.
MAX_PRICE_AGE_DAYS = 180


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
