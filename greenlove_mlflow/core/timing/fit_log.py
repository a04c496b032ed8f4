"""``fit_log``: the fit of a benchmark log, by the formulas of its method."""

from __future__ import annotations

from greenlove_mlflow.core.records import BenchmarkLog
from greenlove_mlflow.core.timing.adaptive_fit import fit_adaptive
from greenlove_mlflow.core.timing.drift import Drift
from greenlove_mlflow.core.timing.drift_prior import DriftModel
from greenlove_mlflow.core.timing.fit import Fit
from greenlove_mlflow.core.timing.original_fit import fit_original
from greenlove_mlflow.core.workload import Workload


def fit_log(
    log: BenchmarkLog, workload: Workload, *, drift: Drift | None = None, drift_model: DriftModel | None = None
) -> Fit:
    """The fit of a benchmark log, by its method.

    Args:
        log: The benchmark log.
        workload: The planned run.
        drift: Drift learned from finished runs; the prior when None. The original's method has no drift.
        drift_model: Constants of that prior, from the dated table; those of its newest version when None.
    """
    if log.method == "original":
        return fit_original(log, workload)
    return fit_adaptive(log, workload, drift=drift, drift_model=drift_model)
