"""Policy: whether a training may start and continue, by the caller's limits and confirmation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from greenlove_mlflow.core.account.estimate import broken_limits
from greenlove_mlflow.core.account.outcome import spent_limits
from greenlove_mlflow.core.workload import Limits
from greenlove_mlflow.errors import InvalidInputError

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import Outcome

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
        return " and ".join(spent_limits(outcome, self.limits))
