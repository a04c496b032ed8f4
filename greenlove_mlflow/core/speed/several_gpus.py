"""How much faster several GPUs of an offer are than one, from published runs on 2, 4 and 8 GPUs.

Published runs keep the batch per GPU constant, so the samples per step grow with the number of GPUs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from greenlove_mlflow.core.interval import Interval, product
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.speed.gpus import TASK_GROUPS, GpuSpec, Precision, SpeedRatio, printed_precision
from greenlove_mlflow.core.speed.published import RatioEvidence, has_fast_links
from greenlove_mlflow.errors import InvalidInputError

# With at least this many tasks a GPU's own runs are used; below that, those of all GPUs with similar links.
MIN_OWN_TASKS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Efficiency:
    gpu_id: str
    task: str
    has_fast_links: bool
    efficiency: float


def gpu_scaling(
    spec: GpuSpec, gpu_count: int, evidence: RatioEvidence, precision: Precision, *, group: str | None = None
) -> tuple[Interval, str]:
    """How many times faster ``gpu_count`` GPUs are than one, and text on how that is known.

    The point is the median over the GPU's own runs, else over all GPUs with similar links; the range holds 95% of the
    runs on all GPUs with similar links. A number of GPUs between two published ones has the efficiency between theirs,
    on a log scale, and the range of both.

    Args:
        spec: The GPU.
        gpu_count: How many of them.
        evidence: The published measurements.
        precision: Precision of the training's matrix products.
        group: The group of tasks that the workload belongs to; None for any.

    Raises:
        InvalidInputError: If no runs on as many GPUs or more are published, or none on several but fewer.
    """
    by_count = _efficiencies(evidence, printed_precision(precision))
    runs = {count: alike for count, each in by_count.items() if (alike := [run for run in each if _is_like(run, spec)])}
    links = "fast links" if has_fast_links(spec) else "PCIe"
    fewer = max((count for count in runs if count <= gpu_count), default=None)
    more = min((count for count in runs if count >= gpu_count), default=None)
    if fewer is None or more is None:
        raise InvalidInputError(
            f"no published runs say how fast {gpu_count} GPUs with {links} are; choose 1"
            + "".join(f" or {count}" for count in runs)
        )
    ends = [_efficiency(runs[count], spec, group) for count in (fewer, more)]
    share = 0.0 if fewer == more else math.log(gpu_count / fewer) / math.log(more / fewer)
    efficiency = Interval(
        point=ends[0].ratio.point ** (1.0 - share) * ends[1].ratio.point ** share,
        low=min(each.ratio.low for each in ends),
        high=max(each.ratio.high for each in ends),
    )
    ratio = efficiency.scaled(float(gpu_count))
    whose = "its own runs" if all(each.is_own for each in ends) else f"runs on GPUs with {links}"
    between = "" if fewer == more else f" on {fewer} and {more}"
    return ratio, f"{gpu_count} GPUs are {ratio.point:.2f} times as fast as one by {whose}{between}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scaling:
    """Throughput per GPU over that of one GPU; ``is_own``: from runs on this very GPU."""

    ratio: Interval
    is_own: bool


def _efficiency(alike: Sequence[_Efficiency], spec: GpuSpec, group: str | None) -> _Scaling:
    kin = [each.efficiency for each in alike if group is None or each.task in TASK_GROUPS.get(group, ())]
    own = [each.efficiency for each in alike if each.gpu_id == spec.gpu_id]
    known = own if len(own) >= MIN_OWN_TASKS else kin or [each.efficiency for each in alike]
    point = min(1.0, float(np.median(known)))
    low, high = (float(bound) for bound in np.quantile([each.efficiency for each in alike], (0.025, 0.975)))
    ratio = Interval(point=point, low=min(low, point), high=max(min(1.0, high), point))
    return _Scaling(ratio=ratio, is_own=known is own)


def on_several(one: SpeedRatio, scaling: Interval, how: str, gpu_count: int) -> SpeedRatio:
    """The ratio of ``gpu_count`` GPUs, from that of one of them."""
    return dataclasses.replace(
        one,
        ratio=product(one.ratio, scaling),
        detail=f"{one.detail}; {how}",
        caveats=(*one.caveats, Caveat.of("larger-batch", count=gpu_count)),
    )


def _is_like(run: _Efficiency, spec: GpuSpec) -> bool:
    return run.has_fast_links == has_fast_links(spec)


def known_gpu_counts(evidence: RatioEvidence) -> tuple[int, ...]:
    """The numbers of GPUs, one included, that there are published runs on for GPUs of both kinds of link."""
    linked = {spec.gpu_id: has_fast_links(spec) for spec in evidence.specs}
    links: dict[int, set[bool]] = {}
    for row in evidence.throughput:
        if row.gpu_id in linked:
            links.setdefault(row.gpu_count, set()).add(linked[row.gpu_id])
    return tuple(sorted({1, *(count for count, kinds in links.items() if len(kinds) > 1)}))


@lru_cache(maxsize=8)
def _efficiencies(evidence: RatioEvidence, precision: str) -> Mapping[int, tuple[_Efficiency, ...]]:
    """Throughput per GPU over that of one GPU, for every published run on several."""
    linked = {spec.gpu_id: has_fast_links(spec) for spec in evidence.specs}
    single = {
        (row.suite, row.task, row.gpu_id): row.throughput
        for row in evidence.throughput
        if row.precision == precision and row.gpu_count == 1
    }
    found: dict[int, list[_Efficiency]] = {}
    for row in evidence.throughput:
        alone = single.get((row.suite, row.task, row.gpu_id))
        if row.precision == precision and row.gpu_count > 1 and alone is not None and row.gpu_id in linked:
            found.setdefault(row.gpu_count, []).append(
                _Efficiency(
                    gpu_id=row.gpu_id,
                    task=row.task,
                    has_fast_links=linked[row.gpu_id],
                    efficiency=row.throughput / alone / row.gpu_count,
                )
            )
    return {count: tuple(found[count]) for count in sorted(found)}
