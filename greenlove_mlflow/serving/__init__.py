"""The estimator as an MLflow model, logged in a run and served without torch.

``log_estimator_model`` loads on first use, so that serving needs neither the tables nor SciPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from greenlove_mlflow.serving.logging_model import log_estimator_model as log_estimator_model

__all__ = ["log_estimator_model"]


def __getattr__(name: str) -> Any:
    """The public object of that name, imported on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.logging_model"), name)
