"""Everything MLflow: the run a training is kept in, what it is called there, and how it is read back."""

from __future__ import annotations

from greenlove_mlflow.tracking.header import state_folder
from greenlove_mlflow.tracking.recovery import Recovered, recover
from greenlove_mlflow.tracking.run import TrackedRun, open_run
from greenlove_mlflow.tracking.trouble import TrackingWarning

__all__ = ["Recovered", "TrackedRun", "TrackingWarning", "open_run", "recover", "state_folder"]
