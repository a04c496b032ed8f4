"""What a training will take in hours, dollars, kWh and CO2e, how sure that is, and where else it could run.

    import greenlove_mlflow as greenlove

    with greenlove.track(model, optimizer, criterion, dataset, epochs=100) as run:
        print(run.estimate)
        for epoch in run.epochs():
            train_one_epoch(...)

Public names load on first use, so importing the package loads neither torch nor mlflow.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from greenlove_mlflow.core.compare import Comparison as Comparison
    from greenlove_mlflow.core.compare import Offer as Offer
    from greenlove_mlflow.core.compare import PriceSheet as PriceSheet
    from greenlove_mlflow.core.estimate import Caveat as Caveat
    from greenlove_mlflow.core.estimate import Estimate as Estimate
    from greenlove_mlflow.core.estimate import Grid as Grid
    from greenlove_mlflow.core.estimate import Limits as Limits
    from greenlove_mlflow.core.estimate import Workload as Workload
    from greenlove_mlflow.core.gpus import SpeedRatio as SpeedRatio
    from greenlove_mlflow.core.interval import Interval as Interval
    from greenlove_mlflow.errors import GreenloveError as GreenloveError
    from greenlove_mlflow.pipeline import compare as compare
    from greenlove_mlflow.pipeline import estimate as estimate
    from greenlove_mlflow.pipeline import track as track
    from greenlove_mlflow.reestimation import reestimate as reestimate
    from greenlove_mlflow.terminal import ask_in_terminal as ask_in_terminal

__version__ = "0.1.0"

_HOME_OF_NAME = {
    "track": "pipeline",
    "estimate": "pipeline",
    "compare": "pipeline",
    "reestimate": "reestimation",
    "ask_in_terminal": "terminal",
    "CallableRunner": "benchmark",
    "Interval": "core.interval",
    "Workload": "core.estimate",
    "Grid": "core.estimate",
    "Estimate": "core.estimate",
    "Caveat": "core.estimate",
    "Limits": "core.estimate",
    "SpeedRatio": "core.gpus",
    "Offer": "core.compare",
    "PriceSheet": "core.compare",
    "Comparison": "core.compare",
    "GreenloveError": "errors",
}

__all__ = [*sorted(_HOME_OF_NAME), "__version__"]  # noqa: PLE0604 - the names are the table's keys

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """The public object of that name, imported on first use."""
    if name not in _HOME_OF_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF_NAME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF_NAME})
