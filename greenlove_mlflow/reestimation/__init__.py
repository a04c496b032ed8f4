"""Estimates tracked runs again from their run facts, with other prices, another grid or another plan.

The package is not called ``reestimate``: importing it would then hide ``greenlove_mlflow.reestimate``, the function.
"""

from __future__ import annotations

from greenlove_mlflow.reestimation.flow import Reestimate, reestimate
from greenlove_mlflow.stored.stored_runs import SkippedRun

__all__ = ["Reestimate", "SkippedRun", "reestimate"]
