"""Laps: what of a training is metered as one, and how many of them were really trained.

A lap is an epoch, or so many optimizer steps. Where only steps are seen, a plan says how many make a lap; a plan that
turns out wrong is cut again once the training has shown how many steps there were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenlove_mlflow.errors import InvalidInputError

# A scaler that skips a step calls no hook, so that a few steps are never seen.
WHOLE_TOLERANCE = 0.02
# A training of more than so many times its plan had another plan.
LARGEST_OVERRUN = 2.0
# Batches to one optimizer step at most, as people accumulate gradients.
MOST_ACCUMULATED = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LapPlan:
    """How a training is metered.

    Args:
        lap_count: Laps of the whole training, the last perhaps a part of one (3.75); None when no end is known.
        steps_per_lap: Optimizer steps of a lap; None where laps are told by the caller alone.
        done_count: Laps that earlier parts of the training have done, the last perhaps a part of one.
        is_epoch: Whether a lap is an epoch, not so many steps.
    """

    lap_count: float | None
    steps_per_lap: int | None = None
    done_count: float = 0
    is_epoch: bool = True

    def __post_init__(self) -> None:
        if self.steps_per_lap is not None and self.steps_per_lap < 1:
            raise InvalidInputError(f"a lap needs at least 1 step, got {self.steps_per_lap}")
        if self.lap_count is not None and not 0 <= self.done_count < self.lap_count:
            raise InvalidInputError(f"{self.done_count} of {self.lap_count:g} are done: nothing is left to train")

    @property
    def left_count(self) -> float | None:
        """Laps that are left to this part of the training; None when no end is known."""
        return None if self.lap_count is None else self.lap_count - self.done_count

    @property
    def first_lap(self) -> int:
        """Number of the first lap of this part, from 0."""
        return math.floor(self.done_count)

    @property
    def left_step_count(self) -> int | None:
        """Optimizer steps that are left to this part; None when they are not known."""
        if self.left_count is None or self.steps_per_lap is None:
            return None
        return max(1, round(self.left_count * self.steps_per_lap))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a training was at a moment: steps done, seconds and joules since it began."""

    step_count: int
    at_s: float
    energy_j: float | None = None


def is_whole(step_count: float, planned: float) -> bool:
    """Whether so many steps are all that were planned, a few that nobody saw left out.

    >>> is_whole(98, 100), is_whole(90, 100)
    (True, False)
    """
    return step_count >= (1.0 - WHOLE_TOLERANCE) * planned


def laps_trained(plan: LapPlan, step_count: int) -> int:
    """How many laps so many steps of this part were, by the plan where it fits and by the planned laps where not.

    Twice the planned steps and more, or fewer in a way that no early stop gives, mean that a lap has other steps than
    planned; the planned number of laps was trained then. A training that stopped between two laps by the plan
    (within the steps that nobody sees) was stopped early.

    >>> plan = LapPlan(lap_count=6, steps_per_lap=32)
    >>> laps_trained(plan, 192), laps_trained(plan, 64), laps_trained(plan, 384), laps_trained(plan, 48)
    (6, 2, 6, 6)
    >>> laps_trained(LapPlan(lap_count=3.75, steps_per_lap=32), 120)
    4
    """
    planned = plan.left_count
    if plan.steps_per_lap is None or planned is None or step_count < 1:
        return 0
    laps = step_count / plan.steps_per_lap
    if is_whole(laps, planned) or _is_accumulated(plan, step_count):
        return math.ceil(planned)
    nearest = round(laps)
    return nearest if nearest and abs(laps - nearest) <= WHOLE_TOLERANCE * laps else math.floor(laps)


def _is_accumulated(plan: LapPlan, step_count: int) -> bool:
    """Whether so many steps are all planned laps with several batches to a step, and no whole number of laps."""
    steps, laps = plan.steps_per_lap or 1, plan.left_count or 1.0
    if round(step_count / steps) * steps == step_count:
        return False
    return any(
        step_count == round(laps * rounded(steps / batches))
        for batches in range(2, min(steps, MOST_ACCUMULATED) + 1)
        for rounded in (math.floor, math.ceil)
    )


def cut_evenly(marks: Sequence[Mark], lap_count: int) -> tuple[Mark, ...]:
    """The ends of so many laps of equally many steps, by what was seen between the first mark and the last.

    Args:
        marks: In order, the first at the beginning of the training, the last at its end.
        lap_count: At least 1.
    """
    steps = np.array([mark.step_count for mark in marks], dtype=float)
    edges = np.linspace(steps[0], steps[-1], lap_count + 1)[1:]
    times = np.interp(edges, steps, [mark.at_s for mark in marks])
    known = [mark for mark in marks if mark.energy_j is not None]
    joules: Sequence[float | None] = [None] * lap_count
    if len(known) > 1:
        joules = np.interp(times, [mark.at_s for mark in known], [mark.energy_j or 0.0 for mark in known]).tolist()
    return tuple(
        Mark(step_count=round(step), at_s=float(at_s), energy_j=energy_j)
        for step, at_s, energy_j in zip(edges, times, joules, strict=True)
    )
