"""What a training is bound by, and what its step could gain on the same machine."""

from __future__ import annotations

from greenlove_mlflow.core.records import BoundBy, StepProfile

__all__ = ["BoundBy", "StepProfile", "least_step_share"]


def least_step_share(profile: StepProfile) -> float | None:
    """The share of the step that would be left if the board never waited, 0 to 1; None where nothing says.

    What a larger batch, ``torch.compile``, CUDA graphs or more workers can gain at most on the board at hand. A busy
    time that is an upper bound says less than it seems, but never too little.

    >>> least_step_share(StepProfile(host_s=0.050, device_busy_s=0.020))
    0.4
    """
    return profile.busy_share if profile.bound_by in ("data", "host") else None
