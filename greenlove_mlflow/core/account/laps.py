"""Laps: the units in which a run is metered, and how many of them were actually trained.

A lap is an epoch, or a fixed number of optimizer steps. Where only steps are visible, a plan says how many make a lap;
if the plan turns out to be wrong, laps are cut again once the number of steps is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenlove_mlflow.errors import InvalidInputError

# A few steps may never be counted: those before a loop was seen, or of a scaler of the user's own that skips some.
WHOLE_TOLERANCE = 0.02
# A run longer than this multiple of its plan followed another plan.
LARGEST_OVERRUN = 2.0
# Most batches per optimizer step that gradient accumulation commonly uses.
MOST_ACCUMULATED = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LapPlan:
    """How a run is divided into laps.

    Args:
        lap_count: Laps of the whole run, the last possibly partial (3.75); None when no end is known.
        steps_per_lap: Optimizer steps per lap; None where only the caller reports laps.
        done_count: Laps done by earlier parts of the run, the last possibly partial.
        is_epoch: Whether a lap is an epoch instead of a number of steps.
        is_seen: Whether ``steps_per_lap`` was seen in the run itself, so that fewer steps mean an early end.
    """

    lap_count: float | None
    steps_per_lap: int | None = None
    done_count: float = 0
    is_epoch: bool = True
    is_seen: bool = False

    def __post_init__(self) -> None:
        if self.steps_per_lap is not None and self.steps_per_lap < 1:
            raise InvalidInputError(f"a lap needs at least 1 step, got {self.steps_per_lap}")
        if self.lap_count is not None and not 0 <= self.done_count < self.lap_count:
            raise InvalidInputError(f"{self.done_count} of {self.lap_count:g} are done: nothing is left to train")

    @property
    def left_count(self) -> float | None:
        """Laps left for this part of the run; None when no end is known."""
        return None if self.lap_count is None else self.lap_count - self.done_count

    @property
    def first_lap(self) -> int:
        """Index of this part's first lap, from 0."""
        return math.floor(self.done_count)

    @property
    def left_step_count(self) -> int | None:
        """Optimizer steps left for this part; None when unknown."""
        if self.left_count is None or self.steps_per_lap is None:
            return None
        return max(1, round(self.left_count * self.steps_per_lap))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Progress of a run at one moment: steps done, seconds and joules since it began."""

    step_count: int
    at_s: float
    energy_j: float | None = None


def is_whole(step_count: float, planned: float) -> bool:
    """Whether ``step_count`` is all of the planned steps, up to a few uncounted ones.

    >>> is_whole(98, 100), is_whole(90, 100)
    (True, False)
    """
    return step_count >= (1.0 - WHOLE_TOLERANCE) * planned


def laps_trained(plan: LapPlan, step_count: int) -> int:
    """How many laps ``step_count`` steps of this part are: by the plan's steps if they fit, else the planned laps.

    At least twice the planned steps, or fewer in a way that no early stop explains, mean that laps have another number
    of steps than planned; the planned number of laps was trained then. A run that ended at a lap boundary of the plan
    (up to the uncounted steps) was stopped early. A plan by steps says nothing of batches: ended early, it was stopped.

    >>> plan = LapPlan(lap_count=6, steps_per_lap=32)
    >>> laps_trained(plan, 192), laps_trained(plan, 64), laps_trained(plan, 384), laps_trained(plan, 48)
    (6, 2, 6, 6)
    >>> laps_trained(LapPlan(lap_count=3.75, steps_per_lap=32), 120)
    4
    >>> laps_trained(LapPlan(lap_count=6, steps_per_lap=32, is_epoch=False), 48)
    1
    """
    planned = plan.left_count
    if plan.steps_per_lap is None or planned is None or step_count < 1:
        return 0
    laps = step_count / plan.steps_per_lap
    if is_whole(laps, planned) or (plan.is_epoch and not plan.is_seen and _is_accumulated(plan, step_count)):
        return math.ceil(planned)
    nearest = round(laps)
    return nearest if nearest and abs(laps - nearest) <= WHOLE_TOLERANCE * laps else math.floor(laps)


def _is_accumulated(plan: LapPlan, step_count: int) -> bool:
    """Whether the steps are all planned laps with several batches per step, and not a whole number of laps."""
    steps, laps = plan.steps_per_lap or 1, plan.left_count or 1.0
    if round(step_count / steps) * steps == step_count:
        return False
    return any(
        step_count == round(laps * rounded(steps / batches))
        for batches in range(2, min(steps, MOST_ACCUMULATED) + 1)
        for rounded in (math.floor, math.ceil)
    )


def cut_evenly(marks: Sequence[Mark], lap_count: int) -> tuple[Mark, ...]:
    """The ends of ``lap_count`` laps of equal steps, interpolated between the marks.

    Args:
        marks: In order, the first at the start of the run, the last at its end.
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
