"""What batches of new shapes cost a GPU: each shape pays once for kernels, heuristics and memory, in any epoch.

Steps of a shape not seen before tell nothing of those with known shapes, so they are told apart and paid once: those
that were seen, and those that are to be expected by how fast new ones run out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from greenlove_mlflow.core.records import BlockRecord

# New shapes that hardly get rarer would go on for ever; no data has so many.
SLOWEST_DECAY = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstUseCost:
    """What first uses of shapes cost.

    Args:
        seen_s: What those in the timed passes cost beyond steady steps, seconds.
        expected_s: What those still to come will cost, seconds.
    """

    seen_s: float = 0.0
    expected_s: float = 0.0

    @property
    def total_s(self) -> float:
        """What a training in a fresh process pays for all of them."""
        return self.seen_s + self.expected_s


def first_use_cost(blocks: Sequence[BlockRecord], step_s: float) -> FirstUseCost:
    """The cost of first uses in the timed passes and after them.

    Args:
        blocks: Of the timed passes, in the order they ran.
        step_s: A steady step, seconds.
    """
    new = [block for block in blocks if block.is_first_use]
    seen_s = math.fsum(max(0.0, block.duration_s - block.step_count * step_s) for block in new)
    if not new:
        return FirstUseCost()
    return FirstUseCost(seen_s=seen_s, expected_s=seen_s / len(new) * _expected_count(blocks))


def excess_s(blocks: Sequence[BlockRecord], epoch_index: int, step_s: float) -> float:
    """What first uses cost one epoch record beyond steady steps, in seconds."""
    return first_use_cost([block for block in blocks if block.epoch_index == epoch_index], step_s).seen_s


def _expected_count(blocks: Sequence[BlockRecord]) -> float:
    """Shapes still to come, when each stretch of steps shows a fixed share of those that the one before showed."""
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
