"""Whether a run fits the memory of another GPU, and the batch size that would."""

from __future__ import annotations

import math

# Usable share of the memory on a price sheet: an 80 GB board shows 79.2 GiB, and the driver's context and
# fragmentation take some more. Our own margin.
USABLE_MEMORY_SHARE = 0.95


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
