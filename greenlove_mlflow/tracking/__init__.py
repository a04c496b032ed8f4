"""Everything MLflow: the run that records a training, the names used there, and reading it back."""

from __future__ import annotations

from greenlove_mlflow.tracking.outcomes import HistoryPoint
from greenlove_mlflow.tracking.reading import (
    StoredRun,
    finished_runs,
    read_finished_runs,
    read_history,
    read_run,
    runs_of_workload,
)
from greenlove_mlflow.tracking.spool.boundary import TrackingWarning
from greenlove_mlflow.tracking.spool.recovery import Recovered, describe_store, recover, refused_spools
from greenlove_mlflow.tracking.tracked_run import TrackedRun, open_run

__all__ = [
    "HistoryPoint",
    "Recovered",
    "StoredRun",
    "TrackedRun",
    "TrackingWarning",
    "describe_store",
    "finished_runs",
    "open_run",
    "read_finished_runs",
    "read_history",
    "read_run",
    "recover",
    "refused_spools",
    "runs_of_workload",
]
