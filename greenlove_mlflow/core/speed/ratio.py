"""How many times faster an offer is than home, by the best available evidence, with basis and range.

Order of preference: given, measured, throughput, mlperf, spec. Where MLPerf has a GPU that Lambda lacks, the ratio goes
through a third GPU that both have. Ranges are predictive, for a workload not measured on both GPUs. A GPU against
itself is exactly 1; a to b times b to a is 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval, product, quadrature, quotient
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.core.speed.gpus import (
    GROUP_OF_KIND,
    TASK_GROUPS,
    GpuSpec,
    Precision,
    ProbeResult,
    RatioModel,
    SpeedRatio,
    group_of_task,
)
from greenlove_mlflow.core.speed.published import (
    LogRatio,
    RatioEvidence,
    is_published,
    mlperf_log_ratios,
    mlperf_partners,
    predict_new_workload,
    throughput_log_ratios,
)
from greenlove_mlflow.core.speed.several_gpus import gpu_scaling, on_several
from greenlove_mlflow.core.speed.spec_offsets import blended, compute_tflops, plausible, rates_of
from greenlove_mlflow.core.speed.specs import (
    counted_ratio,
    is_counted,
    log_memory_ratio,
    original_ratio,
    probe_ratio,
    spec_ratio,
)
from greenlove_mlflow.errors import InvalidInputError

__all__ = ["RatioEvidence", "RatioModel", "compute_tflops", "speed_ratio", "task_names"]

# Common names of tasks, in addition to the tables' own.
TASK_ALIASES: Mapping[str, tuple[str, ...]] = {
    "bert": ("bert_base_squad", "bert_large_squad"),
    "bert_base": ("bert_base_squad",),
    "bert_large": ("bert_large_squad",),
    "transformerxl": ("transformerxlbase", "transformerxllarge"),
}


def speed_ratio(
    home: GpuSpec | ProbeResult | None,
    offer: GpuSpec,
    *,
    evidence: RatioEvidence,
    precision: Precision = "fp16",
    profile: StepProfile | None = None,
    task: str | None = None,
    model_kind: str = "other",
    given: float | Interval | None = None,
    measured: Interval | None = None,
    gpu_count: int = 1,
    home_gpu_count: int = 1,
    by_original: bool = False,
) -> SpeedRatio:
    """How many times faster the offer is than home on the workload, by the best available evidence.

    Args:
        home: The GPU that the time was measured on, or the result of its probe; None when only work was counted.
        offer: The GPU that is compared.
        evidence: The published measurements.
        precision: Precision of the training's matrix products.
        profile: Profile of the step at home; on a CPU, its counted work takes precedence over a probe.
        task: A published task to take the ratio from; None for the mean over tasks.
        model_kind: ``convolutional``, ``transformer``, ``recurrent`` or ``other``: which tasks weigh most in the mean.
        given: A ratio stated by the caller.
        measured: A ratio from runs of the same workload on both GPUs.
        gpu_count: How many GPUs of the offer to use together; a given ratio is that of all of them.
        home_gpu_count: How many of home's GPUs the time was measured on.
        by_original: Whether specs are weighted as in the original, where home has no published throughput.

    Raises:
        InvalidInputError: If a given ratio is not above 0, the task is in no table, or no runs on that many GPUs are
            published.
    """
    if given is not None:
        return _given(given)
    tasks = task_names(task, evidence)
    group = group_of_task(tasks[0]) if tasks else GROUP_OF_KIND.get(model_kind)
    one = None if measured is not None else _counted(profile, offer, evidence, precision, model_kind)
    if one is None:
        if home is None:
            raise InvalidInputError(
                f"nothing is known about the home machine to compare with {offer.name}; pass speed_ratios="
            )
        if by_original and measured is None and isinstance(home, GpuSpec):
            one = original_ratio(home, offer, evidence, precision, group=group)
        one = one or _of_one_gpu(home, offer, evidence, precision, tasks=tasks, group=group, measured=measured)
    if gpu_count == home_gpu_count:
        return one
    scaling, how = Interval.exactly(1.0), ""
    if gpu_count > 1:
        scaling, how = gpu_scaling(offer, gpu_count, evidence, precision, group=group)
    if home_gpu_count > 1:
        at_home, how_at_home = gpu_scaling(offer, home_gpu_count, evidence, precision, group=group)
        scaling, how = quotient(scaling, at_home), "; ".join(filter(None, (how, how_at_home)))
    return on_several(one, scaling, how, gpu_count)


def _counted(
    profile: StepProfile | None, offer: GpuSpec, evidence: RatioEvidence, precision: Precision, model_kind: str
) -> SpeedRatio | None:
    if profile is None or not is_counted(profile):
        return None
    return counted_ratio(profile, offer, precision, model_kind=model_kind, source=evidence.specs_source)


def _of_one_gpu(
    home: GpuSpec | ProbeResult,
    offer: GpuSpec,
    evidence: RatioEvidence,
    precision: Precision,
    *,
    tasks: Sequence[str],
    group: str | None,
    measured: Interval | None,
) -> SpeedRatio:
    if isinstance(home, GpuSpec) and home.gpu_id == offer.gpu_id:
        return SpeedRatio(ratio=Interval.exactly(1.0), basis="measured", detail="the same GPU")
    if measured is not None:
        width = quadrature(measured.log_half_width, evidence.model.device_log_half_width)
        ratio = Interval.from_log_width(measured.point, width)
        return SpeedRatio(ratio=ratio, basis="measured", detail="own runs of this workload on both GPUs")
    if isinstance(home, ProbeResult):
        return probe_ratio(home, offer, evidence, precision, group=group)
    return (
        _by_throughput(home, offer, evidence, precision, tasks=tasks, group=group)
        or _by_mlperf(home, offer, evidence, precision, group=group)
        or _through_a_third(home, offer, evidence, precision, group=group)
        or spec_ratio(home, offer, evidence, precision, group=group)
    )


def task_names(task: str | None, evidence: RatioEvidence) -> tuple[str, ...]:
    """The tables' names for a task's common name; empty for None.

    Raises:
        InvalidInputError: If the task is in no table.
    """
    if task is None:
        return ()
    known = {row.task for row in evidence.throughput}
    names = tuple(name for name in TASK_ALIASES.get(task, (task,)) if name in known)
    if not names and known:
        choices = ", ".join(sorted({*known, *TASK_ALIASES}))
        raise InvalidInputError(f"no table knows the task {task!r}; choose one of {choices}, or none for their mean")
    return names


def _given(given: float | Interval) -> SpeedRatio:
    ratio = given if isinstance(given, Interval) else Interval.exactly(float(given))
    if not ratio.low > 0.0:
        raise InvalidInputError(f"a speed ratio must be above 0, got {ratio.low}")
    return SpeedRatio(ratio=ratio, basis="given", detail="as given" + (", without a range" if ratio.is_exact else ""))


def _by_throughput(
    home: GpuSpec,
    offer: GpuSpec,
    evidence: RatioEvidence,
    precision: Precision,
    *,
    tasks: Sequence[str] = (),
    group: str | None = None,
) -> SpeedRatio | None:
    found = throughput_log_ratios(evidence, home.gpu_id, offer.gpu_id, precision)
    if not found:
        return None
    chosen = [each for each in found if each.task in tasks]
    if chosen:
        mean, width = _chosen_task(chosen, home, offer, evidence.model, precision)
        if group in TASK_GROUPS:
            # A known task implies its group, so the range is at most that of any workload of the group.
            width = min(width, _over_tasks(found, home, offer, evidence.model, precision, group=group)[1])
        detail = f"by {_listed(each.task for each in chosen)} alone"
    else:
        mean, width = _over_tasks(found, home, offer, evidence.model, precision, group=group)
        detail = f"{len(found)} task{'s' if len(found) > 1 else ''}" + _lean(found, group)
    within = _listed(dict.fromkeys(each.within for each in found))
    return SpeedRatio(
        ratio=Interval.from_log_width(math.exp(mean), width),
        basis="throughput",
        detail=f"{detail}, {precision}, Lambda suite {within}",
        source=evidence.throughput_source,
    )


def _by_mlperf(
    home: GpuSpec, offer: GpuSpec, evidence: RatioEvidence, precision: Precision, *, group: str | None = None
) -> SpeedRatio | None:
    """The ratio by MLPerf, where all runs use mixed precision."""
    if precision not in ("fp16", "bf16"):
        return None
    by_spec = blended(evidence.model.blend_at(precision, None), rates_of(home, precision), rates_of(offer, precision))
    found = mlperf_log_ratios(evidence, home, offer)
    if by_spec is not None:
        found = plausible(found, by_spec[0])
    if not found:
        return None
    mean, width = _over_tasks(
        found, home, offer, evidence.model, precision, group=group, extra_log_sd=evidence.model.mlperf_log_sd
    )
    return SpeedRatio(
        ratio=Interval.from_log_width(math.exp(mean), width),
        basis="mlperf",
        detail=f"MLPerf training, {_listed(f'{each.task} ({each.within})' for each in found)}" + _lean(found, group),
        source=evidence.mlperf_source,
    )


def _through_a_third(
    home: GpuSpec, offer: GpuSpec, evidence: RatioEvidence, precision: Precision, *, group: str | None = None
) -> SpeedRatio | None:
    """The ratio via the third GPU with the narrowest range, both legs published; None without such a GPU."""
    if not (is_published(evidence, home.gpu_id) and is_published(evidence, offer.gpu_id)):
        return None
    partners = mlperf_partners(evidence, home.gpu_id) | mlperf_partners(evidence, offer.gpu_id)
    best: SpeedRatio | None = None
    for third in (spec for spec in evidence.specs if spec.gpu_id in partners):
        legs = _leg(home, third, evidence, precision, group), _leg(third, offer, evidence, precision, group)
        if legs[0] is None or legs[1] is None:
            continue
        ratio = product(legs[0].ratio, legs[1].ratio)
        if best is None or ratio.log_half_width < best.ratio.log_half_width:
            best = SpeedRatio(
                ratio=ratio,
                basis="mlperf",
                detail=f"by way of {third.name}: {legs[0].detail}; then {legs[1].detail}",
                source=evidence.mlperf_source,
            )
    return best


def _leg(
    one: GpuSpec, other: GpuSpec, evidence: RatioEvidence, precision: Precision, group: str | None
) -> SpeedRatio | None:
    return _by_throughput(one, other, evidence, precision, group=group) or _by_mlperf(
        one, other, evidence, precision, group=group
    )


def _chosen_task(
    found: Sequence[LogRatio], home: GpuSpec, offer: GpuSpec, model: RatioModel, precision: Precision
) -> tuple[float, float]:
    """Mean log ratio of the chosen task or tasks, and the half-width for the user's version of it."""
    mean = math.fsum(each.log_ratio for each in found) / len(found)
    tasks = model.tasks_at(precision)
    noise = math.sqrt(max(tasks.noise_of(each.task) for each in found))
    own = noise * model.chosen_noise * tasks.prior_log_sd(mean, log_memory_ratio(home, offer))
    bridge = max(each.bridge_log_sd for each in found)
    return mean, quadrature(NORMAL_QUANTILE_95 * math.hypot(own, bridge), model.device_log_half_width)


def _over_tasks(
    found: Sequence[LogRatio],
    home: GpuSpec,
    offer: GpuSpec,
    model: RatioModel,
    precision: Precision,
    *,
    group: str | None,
    extra_log_sd: float = 0.0,
) -> tuple[float, float]:
    """Log ratio of a new workload, and the half-width of its range."""
    prediction = predict_new_workload(
        found, model.tasks_at(precision), group=group, log_memory_ratio=log_memory_ratio(home, offer)
    )
    extra_log_sd = math.hypot(extra_log_sd, model.software_log_sd)
    if any(each.bridge_log_sd for each in found):
        extra_log_sd = math.hypot(extra_log_sd, model.bridge_log_sd)
    return prediction.log_ratio, quadrature(prediction.log_half_width(extra_log_sd), model.device_log_half_width)


def _lean(found: Sequence[LogRatio], group: str | None) -> str:
    tasks = [each.task for each in found if group is not None and each.task in TASK_GROUPS.get(group, (group,))]
    return f", leaning on {_listed(tasks)}" if tasks else ""


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(texts)
