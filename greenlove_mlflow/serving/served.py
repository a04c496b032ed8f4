"""The code that MLflow runs to load the model: puts the installed package before the bundled copy on ``sys.path``."""

from __future__ import annotations

import sys
from pathlib import Path

from mlflow.models import set_model

# The model contains a light copy of the package, which MLflow puts first on the path. It would hide an installed
# package (`greenlove.track` would be missing), so the copy goes last.
_copies = [entry for entry in sys.path if (Path(entry) / "greenlove_mlflow" / "carried_by_model.txt").is_file()]
sys.path[:] = [entry for entry in sys.path if entry not in _copies] + _copies

from greenlove_mlflow.serving.model import EstimatorModel  # noqa: E402 - after the path is set

set_model(EstimatorModel())
