"""Constants of the model of drift expected after a benchmark."""

from __future__ import annotations

from greenlove_mlflow.core.timing.drift_prior import DriftModel
from greenlove_mlflow.tables.store.cache import kept
from greenlove_mlflow.tables.store.rows import rows_of


@kept
def read_drift_model() -> DriftModel:
    """The constants of the newest table."""
    return DriftModel(**{row["parameter"]: row["value"] for _, row in rows_of("drift_model")})
