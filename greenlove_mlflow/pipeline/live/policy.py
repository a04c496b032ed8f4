"""Policy: whether a training may start and go on, by limits and confirmation; on several ranks, rank 0 decides."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from greenlove_mlflow.core.account.estimate import broken_limits
from greenlove_mlflow.core.account.outcome import spent_limits
from greenlove_mlflow.core.workload import Limits
from greenlove_mlflow.errors import InvalidInputError, LimitReached, TrainingRefused
from greenlove_mlflow.pipeline import checks
from greenlove_mlflow.terminal import say_on_stderr
from greenlove_mlflow.tracking.names import STATUS_STOPPED

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import Outcome
    from greenlove_mlflow.pipeline.live.rank_link import RankLink, Stop
    from greenlove_mlflow.tracking import TrackedRun

OnRefusal = Literal["skip", "raise"]
OnLimit = Literal["stop", "raise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the caller allows a training to take.

    Args:
        limits: Upper limits for the training.
        confirm: Called with the estimate; False refuses the training.
        on_refusal: ``raise`` raises ``TrainingRefused`` instead of leaving the loop empty.
        on_limit: ``raise`` raises ``LimitReached`` once a limit is reached, instead of ending the loop.
    """

    limits: Limits | None = None
    confirm: Callable[[Estimate], bool] | None = None
    on_refusal: OnRefusal = "skip"
    on_limit: OnLimit = "stop"

    def __post_init__(self) -> None:
        if self.limits is not None and not isinstance(self.limits, Limits):
            raise InvalidInputError(
                f"limits must be greenlove.Limits(hours=, usd=, kwh=, kg_co2=), got {self.limits!r}"
            )
        if self.confirm is not None and not callable(self.confirm):
            raise InvalidInputError(
                "confirm must be a function of the estimate that returns whether to go on (greenlove.ask_in_terminal), "
                f"got {self.confirm!r}"
            )
        if self.confirm is not None:
            checks.function("confirm", self.confirm, takes="estimate")
        if self.on_refusal not in ("skip", "raise"):
            raise InvalidInputError(f"on_refusal must be 'skip' or 'raise', got {self.on_refusal!r}")
        if self.on_limit not in ("stop", "raise"):
            raise InvalidInputError(f"on_limit must be 'stop' or 'raise', got {self.on_limit!r}")

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit that a training can reach while it runs."""
        return self.limits is not None

    def refusal(self, estimate: Estimate) -> str:
        """Why the training may not run; empty when it may. ``confirm`` is not called if a limit is exceeded."""
        broken = broken_limits(estimate, self.limits) if self.limits else ()
        if broken:
            return "the estimate breaks " + " and ".join(broken)
        if self.confirm is not None and not self.confirm(estimate):
            return "confirm() said no"
        return ""

    def spent(self, outcome: Outcome | None) -> str:
        """Which limits the training has reached, as text; empty when none."""
        if self.limits is None or outcome is None:
            return ""
        reached = " and ".join(spent_limits(outcome, self.limits))
        return f"reached {reached}" if reached else ""


class Stopping:
    """Ends a training that may not go on.

    Args:
        policy: What the training is allowed to take.
        tracked: The run it is recorded in.
        link: Its tie to other ranks; None when it trains alone.

    Attributes:
        refusal: Why the training was refused; empty when it was approved or not decided yet.
        must_stop: Why it has to end now; empty when it need not.
        can_stop: Whether its loop looks at ``must_stop``.
    """

    def __init__(self, policy: Policy, tracked: TrackedRun, link: RankLink | None) -> None:
        self.refusal = self.must_stop = ""
        self.can_stop = False
        self._is_kept = False
        self._policy = policy
        self._tracked = tracked
        self._link = link

    @property
    def has_limits(self) -> bool:
        """Whether spending a limit would end the training, which goes on so far."""
        return self._policy.is_limited and not self.must_stop

    def ask(self, estimate: Estimate, step_count: int) -> None:
        """Check an estimate that was made during training against the limits, and ask for confirmation."""
        if self._link is not None and not self._link.is_leader:
            return
        reason = self._policy.refusal(estimate)
        if reason:
            self._decide(f"{reason}, after {step_count} steps", step_count, refusal=reason)

    def check_spent(self, outcome: Outcome | None, after: str, step_count: int) -> None:
        """Stop once a limit has been spent.

        Args:
            outcome: The outcome so far.
            after: How far the training is, such as ``3 epochs``.
            step_count: Optimizer steps so far.
        """
        if self._link is not None and not self._link.is_leader:
            return
        spent = self._policy.spent(outcome)
        if spent:
            self._decide(f"{spent} after {after}", step_count)

    def next_look(self, step_count: int) -> float:
        """The next step at which ``look`` has something to do; infinite when there is none."""
        return math.inf if self._link is None or self.must_stop else self._link.next_look(step_count)

    def look(self, step_count: int, *, laps_by_caller: bool) -> None:
        """Act on a decision of rank 0 that is due after this step.

        Where the caller reports laps, an exception waits for the end of a lap, at which no rank is in an exchange.
        """
        stop = None if self._link is None or self.must_stop else self._link.due_stop(step_count)
        if stop is None or self._link is None:
            return
        if not (laps_by_caller and stop.raises and self._link.ends_laps_together):
            self._act(stop)

    def end_lap(self, lap_count: int) -> None:
        """Act on rank 0's decision at the end of a lap that all ranks reach."""
        if self._link is None or (self.must_stop and not self._link.is_leader):
            return
        # Rank 0 says so even if it stops already by its steps: others may have fewer of them in this lap.
        stop = self._link.stop_after_lap(lap_count)
        if stop is not None and not self.must_stop:
            self._act(stop)

    def left_early(self) -> None:
        """Record that a loop of the caller's own has ended before its plan, having looked at ``must_stop``."""
        if self.must_stop and not self._is_kept:
            self._keep()

    def _decide(self, reason: str, step_count: int, *, refusal: str = "") -> None:
        raises = (self._policy.on_refusal if refusal else self._policy.on_limit) == "raise"
        if self._link is not None:
            self._link.propose(reason, refusal=refusal, raises=raises, step_count=step_count)
        else:
            self._stop(reason, refusal=refusal, raises=raises)

    def _act(self, stop: Stop) -> None:
        self._stop(stop.reason, refusal=stop.refusal, raises=stop.raises)

    def _stop(self, reason: str, *, refusal: str, raises: bool) -> None:
        self.must_stop, self.refusal = reason, refusal or self.refusal
        if self.can_stop or raises:
            self._keep()
            self._say(f"training stopped: {reason}")
        else:
            self._say(
                f'{reason}. Your own loop has to look at run.must_stop to end; on_limit="raise" and on_refusal="raise" '
                "end it by an exception"
            )
        if raises:
            raise TrainingRefused(reason) if refusal else LimitReached(reason)

    def _keep(self) -> None:
        self._is_kept = True
        self._tracked.say_status(STATUS_STOPPED, self.must_stop)

    def _say(self, sentence: str) -> None:
        if self._link is None or self._link.is_leader:
            say_on_stderr(sentence)
