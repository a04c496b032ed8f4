"""The estimator as an MLflow model: price rows in, estimates of the training on each out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd

from greenlove_mlflow.serving.facts import FACTS_ARTIFACT, ModelFacts
from greenlove_mlflow.serving.predict import Estimator


class EstimatorModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
    """Returns one row per price row, in the same order; ``signature`` defines columns and params."""

    def load_context(self, context: Any) -> None:
        """Read the model's facts."""
        text = Path(context.artifacts[FACTS_ARTIFACT]).read_text(encoding="utf-8")
        self._estimator = Estimator(ModelFacts.from_json(text))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Estimate each price row; ``problem`` says why a row could not be estimated.

        Args:
            context: MLflow's context; not used.
            model_input: Columns ``gpu`` and ``price_usd_per_hour`` (US dollars per GPU and hour), and optionally
                ``spot_usd_per_hour``, ``version``, ``as_of``; ``statistics`` selects another run for a row, by the
                value of its ``greenlove.stats`` tag.
            params: ``epochs``, ``sample_count``, ``carbon_g_per_kwh`` and ``usd_per_kwh`` at home, ``pue`` at home;
                each as in the run when left out.

        Raises:
            InvalidInputError: If a needed column is missing or a param is out of range.
        """
        return self._estimator.estimate(model_input, params or {})
