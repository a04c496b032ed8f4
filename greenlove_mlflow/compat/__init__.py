"""The original's ``GreenLoveEstimator``: its signature and names on top of this package, without MLflow.

    from greenlove_mlflow.compat import GreenLoveEstimator      # was: from green_love import GreenLoveEstimator

The time is estimated by the original's formulas (``method="original"``). Deliberate differences: the report opens in
a browser only on request, the question is asked only on a terminal (without one, training continues), and an unknown
figure is None instead of 0.
"""

from greenlove_mlflow.compat.estimator import GreenLoveEstimator
from greenlove_mlflow.compat.original_results import BenchmarkResults, CrusoeGPUEstimate

# The original's alias for the same class.
CrusoeEstimator = GreenLoveEstimator

__all__ = ["BenchmarkResults", "CrusoeEstimator", "CrusoeGPUEstimate", "GreenLoveEstimator"]
