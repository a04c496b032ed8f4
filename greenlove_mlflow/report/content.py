"""ReportContent: everything that one run's report shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenlove_mlflow.core.compare import Comparison
    from greenlove_mlflow.core.estimate import Estimate, Source
    from greenlove_mlflow.core.outcome import Outcome
    from greenlove_mlflow.core.records import BenchmarkLog
    from greenlove_mlflow.core.scaling import ScalingFit


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContent:
    """What a report is made from; None or empty is said in the report, never hidden.

    Args:
        estimate: What the training was promised to take here.
        comparison: The same on each offer; None when it could not be made.
        log: What the benchmark measured.
        fit: What the log says about time; that of the estimate's statistics when not given.
        sources: Of every table used, beside those that estimate and comparison carry.
        run_id: Of the MLflow run.
        run_name: Of the MLflow run.
        status: ``running``, ``finished``, ``failed``, ``killed`` or empty.
        url: Where the run is looked at.
        outcome: What really happened; None before the training has begun.
        made_at: When the page was made, ISO 8601 in UTC.
    """

    estimate: Estimate
    comparison: Comparison | None = None
    log: BenchmarkLog | None = None
    fit: ScalingFit | None = None
    sources: tuple[Source, ...] = ()
    run_id: str | None = None
    run_name: str = ""
    status: str = ""
    url: str | None = None
    outcome: Outcome | None = None
    made_at: str = ""
