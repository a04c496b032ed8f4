"""The code that MLflow runs to load the model: its own package path put in order, then the estimator."""

from __future__ import annotations

import sys
from pathlib import Path

from mlflow.models import set_model

# The model carries a light copy of the package, which MLflow puts first on the path. Where the whole package is
# installed that copy would hide it (`greenlove.track` would be gone), so the copy goes last.
_copies = [entry for entry in sys.path if (Path(entry) / "greenlove_mlflow" / "carried_by_model.txt").is_file()]
sys.path[:] = [entry for entry in sys.path if entry not in _copies] + _copies

from greenlove_mlflow.serving.model import EstimatorModel  # noqa: E402 - the path comes first

set_model(EstimatorModel())
