"""How much a training step could gain on the same machine."""

from __future__ import annotations

from greenlove_mlflow.core.records import BoundBy, StepProfile

__all__ = ["BoundBy", "StepProfile", "least_step_share"]


def least_step_share(profile: StepProfile) -> float | None:
    """The share of the step that would remain if the board never waited, 0 to 1; None where unknown.

    It limits the gain by a larger batch, ``torch.compile``, CUDA graphs or more workers on the same board. A busy time
    that is an upper bound makes the share too large, never too small.

    >>> least_step_share(StepProfile(host_s=0.5, device_busy_s=0.25))
    0.5
    """
    return profile.busy_share if profile.bound_by in ("data", "host") else None
