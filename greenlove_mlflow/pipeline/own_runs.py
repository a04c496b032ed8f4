"""Speed ratios from one's own runs of the same workload, as MLflow holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.own_runs import measured_ratio
from greenlove_mlflow.errors import InvalidInputError

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.run_facts import RunFacts
    from greenlove_mlflow.core.interval import Interval

AUTO = "auto"


def own_ratios(statistics: RunFacts, measured: str | None) -> Mapping[str, tuple[Interval, str]]:
    """Ratio and run id by GPU of the specs table; the latest run counts where there are several.

    Args:
        statistics: Of the training at home.
        measured: ``auto`` looks for runs of the same workload, a run id takes that run, None looks for nothing.

    Raises:
        InvalidInputError: If the named run is of another workload, or of a GPU that no table knows.
        RunDataError: If the named run holds no benchmark.
    """
    if measured is None:
        return {}
    import mlflow

    from greenlove_mlflow.tracking import read_run, runs_of_workload

    if measured == AUTO:
        return _latest_by_gpu(statistics, runs_of_workload(mlflow.get_tracking_uri(), statistics.workload_fingerprint))
    other = read_run(measured, with_log=False).statistics
    found = _latest_by_gpu(statistics, [(measured, other)])
    if not found:
        raise InvalidInputError(
            f"run {measured} gives no ratio: it must be of the same model structure, batch, precision and data shape, "
            f"on a GPU of the specs table; it trained {other.workload_fingerprint or 'an unknown workload'} on "
            f"{other.machine.processor_name}, this is {statistics.workload_fingerprint}"
        )
    return found


def _latest_by_gpu(statistics: RunFacts, runs: Iterable[tuple[str, RunFacts]]) -> Mapping[str, tuple[Interval, str]]:
    found: dict[str, tuple[Interval, str]] = {}
    for run_id, other in runs:
        gpu_id = other.machine.gpu_id
        if gpu_id is None or gpu_id == statistics.machine.gpu_id or gpu_id in found:
            continue
        ratio = measured_ratio(statistics, other)
        if ratio is not None:
            found[gpu_id] = (ratio, run_id)
    return found
