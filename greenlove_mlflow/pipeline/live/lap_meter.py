"""LapMeter: time and energy of a training by lap, from one meter; and StepLaps, which infers laps from steps."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

from greenlove_mlflow.core.account.laps import LARGEST_OVERRUN, LapPlan, Mark, cut_evenly, laps_trained

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from greenlove_mlflow.pipeline.live.rank_power import RankMeter
    from greenlove_mlflow.power import PowerMeter

# Most step times kept for dividing laps again; beyond that, every second one is dropped.
MOST_STEP_MARKS = 8192
Edge = Literal["lap", "beyond", "again"]


class LapMeter:
    """Times and meters a training from ``open`` to ``close``.

    Args:
        open_meter: Opens the power meter of the training's devices.
        synchronize: Waits until the device is idle; called at the ends of laps.

    Attributes:
        durations_s: Seconds of each lap.
        energies_j: Joules of each lap; None when unknown.
        at_s: Seconds from the start to the end of the last lap, or to the end of the training.
        energy_j: Joules drawn up to ``at_s``; None when unknown.
        is_metered: Whether a meter counted the energy up to ``at_s``.
        energy_note: Why the energy is not purely metered; empty when it is.
    """

    def __init__(
        self,
        open_meter: Callable[[], AbstractContextManager[PowerMeter | RankMeter]],
        synchronize: Callable[[], None],
    ) -> None:
        self.durations_s: list[float] = []
        self.energies_j: list[float | None] = []
        self.at_s = 0.0
        self.energy_j: float | None = None
        self.is_metered, self.energy_note = False, ""
        self._open_meter = open_meter
        self._synchronize = synchronize
        self._open = ExitStack()
        self._meter: PowerMeter | RankMeter | None = None
        self._begun_s = 0.0
        self._begun_j = 0.0
        self._lap_start = Mark(step_count=0, at_s=0.0, energy_j=0.0)
        self._marks = [self._lap_start]
        self._step_marks: list[tuple[int, float]] = []
        self._stride = self.next_mark = 1
        self._touched_s = 0.0

    @property
    def meter(self) -> PowerMeter | RankMeter | None:
        """The power meter while it is open."""
        return self._meter

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._begun_s

    @property
    def lap_s(self) -> float:
        """Seconds since the last lap ended."""
        return self.elapsed_s - self._lap_start.at_s

    def steps_in_lap(self, step_count: int) -> int:
        """Steps since the last lap ended."""
        return step_count - self._lap_start.step_count

    def open(self) -> None:
        """Start metering."""
        if self._meter is not None:
            return
        self._meter = self._open.enter_context(self._open_meter())
        # A board without a reading yet has not been metered for any time either.
        self._begun_j = self._meter.energy_j(modelled=True) or 0.0
        self._begun_s = time.perf_counter()

    def close(self) -> None:
        """Stop metering; the results stay available."""
        self._open.close()
        self._meter = None

    def mark_step(self, step_count: int) -> None:
        """Record when a step ended, for dividing laps again; call it when ``next_mark`` is reached."""
        self._step_marks.append((step_count, self.elapsed_s))
        if len(self._step_marks) > MOST_STEP_MARKS:
            del self._step_marks[::2]
            self._stride *= 2
        self.next_mark = step_count + self._stride

    def begin_lap(self, step_count: int) -> None:
        """Start the next lap now; any time since the last lap belongs to neither."""
        self._lap_start = self._now(step_count)

    def end_lap(self, step_count: int) -> None:
        """End the lap now and start the next one."""
        self._synchronize()
        mark, start = self._now(step_count), self._lap_start
        self.durations_s.append(max(0.0, mark.at_s - start.at_s))
        self.energies_j.append(_lap_j(mark.energy_j, start.energy_j))
        self._lap_start = mark
        self._marks.append(mark)
        self._settle(mark)

    def touch(self) -> None:
        """Note that training is still going on; reads the clock and nothing else."""
        self._touched_s = self.elapsed_s

    def end_at_last_touch(self, step_count: int) -> None:
        """End the training at its last ``touch``; energy since the last lap is prorated by time."""
        now, start = self._now(step_count), self._lap_start
        at_s = max(start.at_s, min(now.at_s, self._touched_s))
        since_j, share = (
            _difference(now.energy_j, start.energy_j),
            (at_s - start.at_s) / max(1e-9, now.at_s - start.at_s),
        )
        energy_j = None if since_j is None or start.energy_j is None else start.energy_j + share * since_j
        mark = Mark(step_count=step_count, at_s=at_s, energy_j=energy_j)
        self._marks.append(mark)
        self._settle(mark)

    def end(self, step_count: int) -> None:
        """End the training now; time and energy after the last lap count towards the total."""
        self._synchronize()
        mark = self._now(step_count)
        self._marks.append(mark)
        self._settle(mark)

    def cut_again(self, lap_count: int) -> None:
        """Divide the training so far into ``lap_count`` laps with equal numbers of steps."""
        by_step = {mark.step_count: mark for mark in self._marks}
        for step_count, at_s in self._step_marks:
            by_step.setdefault(step_count, Mark(step_count=step_count, at_s=at_s))
        ends = cut_evenly([by_step[count] for count in sorted(by_step)], lap_count)
        starts = [self._marks[0], *ends[:-1]]
        pairs = list(zip(starts, ends, strict=True))
        self.durations_s = [end.at_s - start.at_s for start, end in pairs]
        self.energies_j = [_lap_j(end.energy_j, start.energy_j) for start, end in pairs]
        self._lap_start = ends[-1]

    def forget_laps(self, step_count: int) -> None:
        """Discard the laps so far; their time and energy count towards the total only."""
        self.durations_s, self.energies_j = [], []
        self.begin_lap(step_count)

    def _now(self, step_count: int) -> Mark:
        if self._meter is None:
            return Mark(step_count=step_count, at_s=self.at_s, energy_j=self.energy_j)
        energy_j = self._meter.energy_j(modelled=True)
        self.is_metered, self.energy_note = self._meter.is_metered, self._meter.energy_note()
        return Mark(step_count=step_count, at_s=self.elapsed_s, energy_j=_difference(energy_j, self._begun_j))

    def _settle(self, mark: Mark) -> None:
        self.at_s, self.energy_j = mark.at_s, mark.energy_j


def _lap_j(after: float | None, before: float | None) -> float | None:
    """Joules of a lap; None when unknown or when the meter has not moved, since no lap draws zero energy."""
    return _difference(after, before) or None


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else max(0.0, after - before)


class StepLaps:
    """Decides where laps end by counting steps.

    Args:
        plan: Length and number of the laps.
        laps: Meter of the laps.

    Attributes:
        plan: The plan that laps follow now.
        edge: The step at which the current lap ends; infinite when steps do not determine laps.
        differs: Whether the training turned out to follow another plan.
    """

    def __init__(self, plan: LapPlan, laps: LapMeter) -> None:
        self.plan = plan
        self.edge = float(plan.steps_per_lap or math.inf)
        self.differs = False
        self._laps = laps
        self._first_step = 0
        self._is_told = False

    def restart(self, step_count: int) -> None:
        """Restart the laps after ``step_count`` steps; from now on every step is reported by a call."""
        self._first_step, self._is_told = step_count, True
        self.edge = step_count + float(self.plan.steps_per_lap or math.inf)

    def stop(self) -> None:
        """Stop inferring laps from steps; they are reported by calls from now on."""
        self.edge = math.inf

    def adopt(self, plan: LapPlan, step_count: int) -> None:
        """Follow another plan from now on, starting with the current lap."""
        steps = plan.steps_per_lap or 1
        self.plan, self.differs = plan, True
        self.edge = float((step_count // steps + 1) * steps)

    def end_lap(self, step_count: int) -> Edge:
        """End a lap: a planned one, one beyond the plan or, at twice the plan, divide all laps again."""
        steps, planned = self.plan.steps_per_lap or 1, self.plan.left_count
        if planned is not None and step_count - self._first_step >= LARGEST_OVERRUN * planned * steps:
            self.differs = True
            self._laps.cut_again(math.ceil(planned))
            self.plan = dataclasses.replace(self.plan, steps_per_lap=round(LARGEST_OVERRUN) * steps)
            self.edge = step_count + round(LARGEST_OVERRUN) * float(steps)
            return "again"
        self._laps.end_lap(step_count)
        self.edge = step_count + float(steps)
        return "lap" if planned is None or len(self._laps.durations_s) <= math.ceil(planned) else "beyond"

    def finish(self, step_count: int) -> bool:
        """Settle the laps of a finished training and return whether one more lap has ended.

        A last lap that is complete except for unseen steps is closed; laps of another plan are divided again. Reported
        steps are all steps: laps of another length are not read from them.
        """
        count = laps_trained(self.plan, step_count - self._first_step)
        done = len(self._laps.durations_s)
        if not count or count == done or (self._is_told and count > done + 1):
            return False
        if count == done + 1:
            self._laps.end_lap(step_count)
            return True
        self.differs = True
        self._laps.cut_again(count)
        return False
