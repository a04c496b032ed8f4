"""StepLaps: laps inferred from optimizer steps by a plan, and divided again if the training follows another."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Literal

from greenlove_mlflow.core.account.laps import LARGEST_OVERRUN, LapPlan, laps_trained

if TYPE_CHECKING:
    from greenlove_mlflow.pipeline.live.lap_meter import LapMeter

Edge = Literal["lap", "beyond", "again"]


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
