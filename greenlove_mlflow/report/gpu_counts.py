"""Each offer by the number of its GPUs used, for the what-if panel."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from greenlove_mlflow.core.interval import Interval, Intervals
from greenlove_mlflow.core.offers.batch import RunColumns, run_columns
from greenlove_mlflow.core.offers.board_power import instance_power_w
from greenlove_mlflow.core.offers.offer import rented_gpu_count
from greenlove_mlflow.core.offers.step_on_offer import StepOnOffer
from greenlove_mlflow.core.speed.gpus import GROUP_OF_KIND, group_of_task
from greenlove_mlflow.core.speed.ratio import task_names
from greenlove_mlflow.core.speed.several_gpus import gpu_scaling, on_several
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.tables import read_default_pue, read_gpu_specs
from greenlove_mlflow.tables.published_speeds import read_ratio_evidence
from greenlove_mlflow.units import J_PER_KWH

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.run_facts import RunFacts
    from greenlove_mlflow.core.offers.compare import ComparisonRow
    from greenlove_mlflow.core.speed.gpus import GpuSpec, SpeedRatio

Json = dict[str, Any]

GPU_COUNTS = (1, 2, 4, 8)


def offer_by_gpu_count(row: ComparisonRow, home: Estimate) -> list[Json]:
    """The offer with the number of GPUs that was compared, then with other numbers that can be rented.

    Only the compared number if the ratio of a single GPU is unknown (it was given, or several GPUs were compared).
    """
    facts = home.statistics
    if facts is None:
        return []
    found = []
    for used, ratio in ratios_by_gpu_count(row, facts).items():
        rented = rented_gpu_count(row.offer.gpu_counts, used)
        if rented is None:
            continue
        asked = dataclasses.replace(facts, gpu_count=used, ratios=())
        columns = run_columns([asked], [home], [row.offer.gpu_id], specs=_specs(), ratio_of=lambda *_, each=ratio: each)
        found.append(
            {
                "used": used,
                "rented": rented,
                "ratio": {"point": ratio.ratio.point, "low": ratio.ratio.low, "high": ratio.ratio.high},
                "whole": bool(columns.times.is_whole[0, 0]),
                "step": _parts(columns.times.step),
                "validation": _parts(columns.times.validation),
                "host_log_sd": columns.times.step.host_log_sd,
                "kwh_per_s": _energy_rate(columns, used, rented),
            }
        )
    return found


def ratios_by_gpu_count(row: ComparisonRow, facts: RunFacts) -> dict[int, SpeedRatio]:
    """The offer's speed ratio by the number of GPUs used, as computed by ``compare(gpus=)``."""
    found = {row.used_gpu_count: row.speed_ratio}
    spec = _specs().get(row.offer.gpu_id)
    if spec is None or row.used_gpu_count != 1 or row.speed_ratio.basis == "given":
        return found
    evidence = read_ratio_evidence()
    tasks = task_names(facts.task, evidence)
    group = group_of_task(tasks[0]) if tasks else GROUP_OF_KIND.get(facts.model_kind)
    for count in GPU_COUNTS[1:]:
        try:
            scaling, how = gpu_scaling(spec, count, evidence, facts.precision, group=group)
        except InvalidInputError:
            # There are no published runs on that many GPUs with such links.
            continue
        found[count] = on_several(row.speed_ratio, scaling, how, count)
    return found


def _parts(step: StepOnOffer) -> Json:
    """The parts of a step as shares of the step at home, each with its log SD; absent parts are left out."""
    named = {"device": step.device, "thread": step.thread, "loader": step.loader, "unknown": step.unknown}
    cells = {name: (float(part.log_point[0, 0]), float(part.log_sd[0, 0])) for name, part in named.items()}
    return {
        name: {"log_point": log_point, "log_sd": log_sd}
        for name, (log_point, log_sd) in cells.items()
        if log_point > -np.inf
    }


def _energy_rate(columns: RunColumns, used: int, rented: int) -> Json | None:
    """Energy per second of the whole instance, including PUE, with the widths of its range on the log scale."""
    powers = columns.powers
    power_w = instance_power_w(
        powers.work_w.picked((0, slice(None))),
        powers.idle_w[0],
        powers.host_w,
        used=np.array([float(used)]),
        rented=np.array([float(rented)]),
    )
    rate = power_w.times(Intervals.of([_cloud_pue()])).scaled(1.0 / J_PER_KWH)
    if np.isnan(rate.point[0]):
        return None
    return {"point": float(rate.point[0]), "below": float(rate.below[0]), "above": float(rate.above[0])}


@lru_cache(maxsize=1)
def _cloud_pue() -> Interval:
    return read_default_pue("cloud")[0]


@lru_cache(maxsize=1)
def _specs() -> dict[str, GpuSpec]:
    return {spec.gpu_id: spec for spec in read_gpu_specs()}
