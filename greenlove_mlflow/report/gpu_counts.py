"""The speed of several GPUs of each offer, for the what-if panel."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from greenlove_mlflow.core.speed.model import GROUP_OF_KIND, group_of_task
from greenlove_mlflow.core.speed.ratio import task_names
from greenlove_mlflow.core.speed.several_gpus import gpu_scaling, on_several
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.tables import read_gpu_specs
from greenlove_mlflow.tables.published_speeds import read_ratio_evidence

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.run_facts import Statistics
    from greenlove_mlflow.core.interval import Interval
    from greenlove_mlflow.core.offers.compare import ComparisonRow
    from greenlove_mlflow.core.speed.gpus import GpuSpec

GPU_COUNTS = (1, 2, 4, 8)


def ratios_by_gpu_count(row: ComparisonRow, statistics: Statistics | None) -> dict[int, Interval]:
    """The ratio of the offer by how many GPUs are rented, as ``compare(gpus=)`` would have it.

    Only the count that was compared, where the ratio of one GPU is not known (it was given, or several were compared).
    """
    found = {row.gpu_count: row.speed_ratio.ratio}
    spec = _specs().get(row.offer.gpu_id)
    if statistics is None or spec is None or row.gpu_count != 1 or row.speed_ratio.basis == "given":
        return found
    evidence = read_ratio_evidence()
    tasks = task_names(statistics.task, evidence)
    group = group_of_task(tasks[0]) if tasks else GROUP_OF_KIND.get(statistics.model_kind)
    for count in GPU_COUNTS[1:]:
        try:
            scaling, how = gpu_scaling(spec, count, evidence, statistics.precision, group=group)
        except InvalidInputError:
            # Nobody published runs on that many GPUs with such links.
            continue
        found[count] = on_several(row.speed_ratio, scaling, how, count).ratio
    return found


@lru_cache(maxsize=1)
def _specs() -> dict[str, GpuSpec]:
    return {spec.gpu_id: spec for spec in read_gpu_specs()}
