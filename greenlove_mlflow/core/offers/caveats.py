"""What the reader of an offer must know about its price, its size and its memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from greenlove_mlflow.core.provenance import Caveat

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.run_facts import Statistics
    from greenlove_mlflow.core.offers.compare import ComparisonRow
    from greenlove_mlflow.core.offers.offer import Offer

# Cloud prices moved by 18 to 50 % within half a year (A100, L40S); an older one is no longer a price. Our own limit.
MAX_PRICE_AGE_DAYS = 180
# A training step starts some hundred kernels, each of which costs its host microseconds: a step that a ratio puts below
# a millisecond waits for the host, which no table of throughputs or specs shows. Our own limit.
LEAST_COMPUTE_STEP_S = 1e-3


def offer_caveats(offer: Offer, *, gpu_count: int, today: str | None) -> tuple[Caveat, ...]:
    """The caveats of an offer's price and size.

    Args:
        offer: What is rented.
        gpu_count: GPUs wanted.
        today: ISO 8601 date that the age of the price is told from; None leaves the age alone.
    """
    found: list[Caveat] = []
    age = _age_days(offer.as_of, today)
    if offer.price_usd_per_hour is not None and age is not None and age > MAX_PRICE_AGE_DAYS:
        found.append(Caveat.of("old-price", gpu=offer.gpu, provider=offer.provider, as_of=offer.as_of, age_days=age))
    # A sheet that states no sizes leaves the default of one GPU.
    if offer.gpu_counts not in ((), (1,)) and gpu_count not in offer.gpu_counts:
        sizes = ", ".join(str(count) for count in offer.gpu_counts)
        least = min((count for count in offer.gpu_counts if count > gpu_count), default=max(offer.gpu_counts))
        found.append(
            Caveat.of(
                "sold-in-instances", gpu=offer.gpu, sizes=sizes, count=gpu_count, least=least, factor=least / gpu_count
            )
        )
    return tuple(found)


def memory_caveat(offer: Offer, statistics: Statistics, fitting: int | None) -> Caveat:
    """The caveat of an offer whose memory the training does not fit, with the batch size that would."""
    peak_gib = statistics.peak_memory_gib or 0.0
    if fitting is None:
        advice = "no smaller batch would fit"
    elif statistics.fixed_memory_gib is None:
        advice = f"a batch of {fitting} may fit, if all of it shrinks with the batch"
    else:
        advice = f"a batch of {fitting} would fit"
    return Caveat.of("memory-too-small", peak_gib=peak_gib, gpu=offer.gpu, memory_gib=offer.memory_gib, advice=advice)


def comparison_caveats(
    shown: Sequence[Offer], offers: Sequence[Offer], rows: Sequence[ComparisonRow]
) -> tuple[Caveat, ...]:
    """The caveats of a comparison as a whole: what was left out of it, and out of its energy."""
    found: list[Caveat] = []
    missing = sorted({each.gpu for each in shown} - {each.gpu for each in offers})
    if missing:
        found.append(Caveat.of("offer-left-out", gpus=", ".join(missing)))
    if any(row.estimate.energy_kwh is not None for row in rows):
        found.append(Caveat.of("offer-host-left-out"))
    waiting = sorted({row.offer.gpu for row in rows if _step_s(row) < LEAST_COMPUTE_STEP_S})
    if waiting:
        found.append(Caveat.of("launch-bound", gpus=", ".join(waiting)))
    return tuple(found)


def _step_s(row: ComparisonRow) -> float:
    workload = row.estimate.workload
    return row.estimate.time_s.point / (workload.epoch_count * workload.steps_per_epoch)


def _age_days(as_of: str, today: str | None) -> int | None:
    try:
        return None if not today else (date.fromisoformat(today) - date.fromisoformat(as_of)).days
    except ValueError:
        return None
