"""The original's ``GreenLoveEstimator``: its signature and its names over this package, without MLflow.

    from greenlove_mlflow.compat import GreenLoveEstimator      # was: from green_love import GreenLoveEstimator

The time is estimated by the original's own formulas (``method="original"``). What differs, each for a reason: the
report opens in a browser only when asked to, the question is asked on a terminal only (without one the training
continues), and a figure that is not known is None instead of 0.
"""

from greenlove_mlflow.compat.estimator import GreenLoveEstimator
from greenlove_mlflow.compat.results import BenchmarkResults, CrusoeGPUEstimate

# The original's other name for the same class.
CrusoeEstimator = GreenLoveEstimator

__all__ = ["BenchmarkResults", "CrusoeEstimator", "CrusoeGPUEstimate", "GreenLoveEstimator"]
