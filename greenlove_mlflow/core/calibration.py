"""What past finished runs teach about our own error: how far the machine drifts beyond what a benchmark can see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from greenlove_mlflow.core.records import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far the real training may lie from what a benchmark saw, on the log scale.

    Args:
        log_sd: SD of log(actual/promised) beyond the benchmark's own statistical part.
        degrees_of_freedom: How well that SD is known.
        bias_log: Added to the log of a prediction; 0 unless past runs show one that is significant.
        calibrated_on: In words, what it was learned from; empty for a prior.
        conformal_log_half_width: Half-width that past errors alone give; None with too few of them.
        run_count: Finished runs it was learned from.
    """

    log_sd: float
    degrees_of_freedom: float = 10.0
    bias_log: float = 0.0
    calibrated_on: str = ""
    conformal_log_half_width: float | None = None
    run_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """One training that was promised and then ran to its end.

    Args:
        log_ratio: Log of actual over promised time, any bias correction of the promise taken out.
        machine_fingerprint: Of the machine it ran on.
        processor_name: Its GPU's name, else its CPU's.
        prior_log_sd: Drift that the prior of its own benchmark gave; None when not kept.
        statistical_log_sd: The part of its uncertainty that was not drift.
        finished_at: When it ended, ISO 8601; orders the runs.
        run_id: In MLflow.
    """

    log_ratio: float
    machine_fingerprint: str = ""
    processor_name: str = ""
    prior_log_sd: float | None = None
    statistical_log_sd: float = 0.0
    finished_at: str = ""
    run_id: str = ""


def learn_drift(runs: Sequence[FinishedRun], *, machine: Machine, prior: Drift) -> Drift:
    """The drift that those runs support, shrunk from the prior to the record; the prior when there is none."""
    own = [run for run in runs if run.machine_fingerprint == machine.fingerprint and math.isfinite(run.log_ratio)]
    if not own:
        return prior
    nu = prior.degrees_of_freedom
    squares = math.fsum(run.log_ratio**2 for run in own)
    return Drift(
        log_sd=math.sqrt((nu * prior.log_sd**2 + squares) / (nu + len(own))),
        degrees_of_freedom=nu + len(own),
        calibrated_on=f"{len(own)} finished runs on this machine",
        run_count=len(own),
    )
