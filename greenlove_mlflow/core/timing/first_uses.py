"""The cost of new batch shapes on a GPU: each shape pays once for kernels, heuristics and memory, in any epoch.

Steps with a new shape say nothing about steps with known shapes, so they are treated separately and paid once: the ones
that were seen, and the ones still expected, from how quickly new shapes become rare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from greenlove_mlflow.core.records import BlockRecord

# Where new shapes hardly get rarer, the extrapolation diverges; no data has this many.
SLOWEST_DECAY = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstUseCost:
    """The cost of first uses of shapes.

    Args:
        seen_s: Seconds beyond steady steps in the timed passes.
        expected_s: Seconds beyond steady steps still to come.
    """

    seen_s: float = 0.0
    expected_s: float = 0.0

    @property
    def total_s(self) -> float:
        """Seconds that a run in a fresh process pays for all of them."""
        return self.seen_s + self.expected_s


def first_use_cost(blocks: Sequence[BlockRecord], step_s: float) -> FirstUseCost:
    """The cost of first uses in the timed passes and after them.

    Args:
        blocks: Blocks of the timed passes, in the order they ran.
        step_s: Seconds of a steady step.
    """
    new = [block for block in blocks if block.is_first_use]
    seen_s = math.fsum(max(0.0, block.duration_s - block.step_count * step_s) for block in new)
    if not new:
        return FirstUseCost()
    return FirstUseCost(seen_s=seen_s, expected_s=seen_s / len(new) * _expected_count(blocks))


def excess_s(blocks: Sequence[BlockRecord], epoch_index: int, step_s: float) -> float:
    """Seconds beyond steady steps that first uses cost one epoch record."""
    return first_use_cost([block for block in blocks if block.epoch_index == epoch_index], step_s).seen_s


def _expected_count(blocks: Sequence[BlockRecord]) -> float:
    """Shapes still to come, if each stretch of steps shows a fixed share of the new shapes of the one before."""
    half = sum(block.step_count for block in blocks) / 2.0
    early = late = steps = 0
    for block in blocks:
        steps += block.step_count
        if block.is_first_use and steps <= half:
            early += 1
        elif block.is_first_use:
            late += 1
    decay = min(SLOWEST_DECAY, late / early) if early else SLOWEST_DECAY
    return late * decay / (1.0 - decay) if late else 0.0
