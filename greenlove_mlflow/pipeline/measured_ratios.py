"""Speed ratios from your own runs of the same workload in MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.ratio_book import measured_ratio
from greenlove_mlflow.errors import InvalidInputError

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.run_facts import RunFacts
    from greenlove_mlflow.core.interval import Interval

# Searches MLflow for runs of the same workload.
AUTO = "auto"


def own_ratios(statistics: RunFacts, measured: str | None) -> Mapping[str, tuple[Interval, str]]:
    """Speed ratio and run id by GPU of the specs table; of several runs, the latest counts.

    Args:
        statistics: Facts of the training at home.
        measured: ``auto`` searches for runs of the same workload, a run id takes that run, None takes none.

    Raises:
        InvalidInputError: If the given run is of another workload, or of a GPU in no table.
        RunDataError: If the given run holds no benchmark.
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
