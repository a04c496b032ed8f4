"""Estimates a training run's time, cost, energy and CO2e with ranges, here and on other GPUs.

    import greenlove_mlflow as greenlove

    with greenlove.track(model, optimizer, criterion, dataset, epochs=100) as run:
        print(run)
        for epoch in run.epochs():
            train_one_epoch(...)

Public names load on first use, so importing the package loads neither torch nor mlflow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate as Estimate
    from greenlove_mlflow.core.interval import Interval as Interval
    from greenlove_mlflow.core.offers.compare import Comparison as Comparison
    from greenlove_mlflow.core.offers.offer import Offer as Offer
    from greenlove_mlflow.core.offers.offer import PriceSheet as PriceSheet
    from greenlove_mlflow.core.provenance import Caveat as Caveat
    from greenlove_mlflow.core.speed.gpus import SpeedRatio as SpeedRatio
    from greenlove_mlflow.core.workload import Grid as Grid
    from greenlove_mlflow.core.workload import Limits as Limits
    from greenlove_mlflow.core.workload import Workload as Workload
    from greenlove_mlflow.errors import GreenloveError as GreenloveError
    from greenlove_mlflow.errors import LimitReached as LimitReached
    from greenlove_mlflow.errors import TrainingRefused as TrainingRefused
    from greenlove_mlflow.integrations.autolog import autolog as autolog
    from greenlove_mlflow.integrations.huggingface import TrainerCallback as TrainerCallback
    from greenlove_mlflow.integrations.keras import KerasCallback as KerasCallback
    from greenlove_mlflow.integrations.lightning import LightningCallback as LightningCallback
    from greenlove_mlflow.pipeline import compare as compare
    from greenlove_mlflow.pipeline import estimate as estimate
    from greenlove_mlflow.pipeline import track as track
    from greenlove_mlflow.pipeline.study import Study as Study
    from greenlove_mlflow.pipeline.study import study as study
    from greenlove_mlflow.pipeline.tracked_training import TrackedTraining as TrackedTraining
    from greenlove_mlflow.pipeline.watching import watch as watch
    from greenlove_mlflow.reestimation import reestimate as reestimate
    from greenlove_mlflow.terminal import ask_in_terminal as ask_in_terminal

from greenlove_mlflow._version import __version__ as __version__

_HOME_OF_NAME = {
    "track": "pipeline",
    "estimate": "pipeline",
    "compare": "pipeline",
    "watch": "pipeline.watching",
    "study": "pipeline.study",
    "Study": "pipeline.study",
    "autolog": "integrations.autolog",
    "LightningCallback": "integrations.lightning",
    "TrainerCallback": "integrations.huggingface",
    "KerasCallback": "integrations.keras",
    "TrackedTraining": "pipeline.tracked_training",
    "TrainingRefused": "errors",
    "LimitReached": "errors",
    "reestimate": "reestimation",
    "ask_in_terminal": "terminal",
    "CallableRunner": "benchmark",
    "Interval": "core.interval",
    "Workload": "core.workload",
    "Grid": "core.workload",
    "Estimate": "core.account.estimate",
    "Caveat": "core.provenance",
    "Limits": "core.workload",
    "SpeedRatio": "core.speed.gpus",
    "Offer": "core.offers.offer",
    "PriceSheet": "core.offers.offer",
    "Comparison": "core.offers.compare",
    "GreenloveError": "errors",
}

__all__ = [*sorted(_HOME_OF_NAME), "__version__"]  # noqa: PLE0604 - the names are the table's keys


def __getattr__(name: str) -> Any:
    """The public object of that name, imported on first use."""
    if name not in _HOME_OF_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF_NAME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF_NAME})
