"""A SQLite store in a folder of its own, as MLflow's own while it is in use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest

from tests.conftest import new_store

OLD_STORE_IS_CLOSED = pytest.mark.skipif(
    not hasattr(mlflow.environment_variables, "MLFLOW_ALLOW_FILE_STORE"),
    reason="this MLflow still writes to stores of plain files",
)


@contextmanager
def store_in(folder: Path) -> Iterator[str]:
    """The URI of a store in the folder, which is also the working directory meanwhile."""
    uri = new_store(folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        yield uri
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # the variable, put back below, tells it again
