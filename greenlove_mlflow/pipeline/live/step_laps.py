"""StepLaps: laps of a training whose steps alone are seen, cut by a plan, and cut again where the plan was another."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Literal

from greenlove_mlflow.core.account.laps import LARGEST_OVERRUN, LapPlan, laps_trained

if TYPE_CHECKING:
    from greenlove_mlflow.pipeline.live.lap_meter import LapMeter

Edge = Literal["lap", "beyond", "again"]


class StepLaps:
    """Where laps end, by steps.

    Args:
        plan: What a lap is and how many there shall be.
        laps: The laps so far.

    Attributes:
        plan: What laps are cut by now.
        edge: The step at which the lap under way ends; infinite when steps do not tell.
        differs: Whether the training turned out to follow another plan.
    """

    def __init__(self, plan: LapPlan, laps: LapMeter) -> None:
        self.plan = plan
        self.edge = float(plan.steps_per_lap or math.inf)
        self.differs = False
        self._laps = laps
        self._first_step = 0

    def restart(self, step_count: int) -> None:
        """Laps begin anew after so many steps."""
        self._first_step = step_count
        self.edge = step_count + float(self.plan.steps_per_lap or math.inf)

    def stop(self) -> None:
        """Somebody else tells the laps from now on."""
        self.edge = math.inf

    def adopt(self, plan: LapPlan, step_count: int) -> None:
        """Cut by another plan from now on, the lap under way included."""
        steps = plan.steps_per_lap or 1
        self.plan, self.differs = plan, True
        self.edge = float((step_count // steps + 1) * steps)

    def end_lap(self, step_count: int) -> Edge:
        """End the lap that is over: one of the plan, one beyond it, or, by twice the plan, all of them cut again."""
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
        """Settle the laps of a training that is over; whether one more has ended with it.

        A last lap that is whole but for steps that nobody saw is closed; laps of another plan are cut again.
        """
        count = laps_trained(self.plan, step_count - self._first_step)
        done = len(self._laps.durations_s)
        if not count or count == done:
            return False
        if count == done + 1:
            self._laps.end_lap(step_count)
            return True
        self.differs = True
        self._laps.cut_again(count)
        return False
