"""How many times faster an offer is than home: the best evidence there is, its basis and its range.

The order: given, measured, throughput, mlperf, spec. A range is predictive, for a workload that nobody has measured
on both GPUs: the spread over tasks, shrunk towards a prior, widened by what the evidence leaves open and by the
spread between two boards of one model. A GPU against itself is exactly 1; a to b times b to a is 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from greenlove_mlflow.core.estimate import Caveat
from greenlove_mlflow.core.evidence import (
    LogRatio,
    RatioEvidence,
    RatioModel,
    mlperf_log_ratios,
    throughput_log_ratios,
)
from greenlove_mlflow.core.gpus import GpuSpec, Precision, ProbeResult, SpeedRatio
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval, quadrature
from greenlove_mlflow.errors import InvalidInputError

__all__ = ["RatioEvidence", "RatioModel", "speed_ratio", "tasks_of_kind"]

# Which published tasks resemble a workload of each kind. Our own reading of what the benchmarks compute.
TASKS_BY_KIND: Mapping[str, tuple[str, ...]] = {
    "convolutional": ("resnet50", "ssd", "maskrcnn", "resnet", "retinanet", "unet3d"),
    "transformer": (
        "bert_base_squad", "bert_large_squad", "transformerxlbase", "transformerxllarge", "bert", "llama2_70b_lora",
        "llama31_8b", "gpt_oss_20b",
    ),
    "recurrent": ("gnmt", "tacotron2", "rnnt"),
}  # fmt: skip
# Names that people use for tasks, beside the tables' own.
TASK_ALIASES: Mapping[str, tuple[str, ...]] = {
    "bert": ("bert_base_squad", "bert_large_squad"),
    "bert_base": ("bert_base_squad",),
    "bert_large": ("bert_large_squad",),
    "transformerxl": ("transformerxlbase", "transformerxllarge"),
}


def speed_ratio(
    home: GpuSpec | ProbeResult,
    offer: GpuSpec,
    *,
    evidence: RatioEvidence,
    precision: Precision = "fp16",
    task: str | None = None,
    model_kind: str = "other",
    given: float | Interval | None = None,
    measured: Interval | None = None,
) -> SpeedRatio:
    """How many times faster the offer does the workload than home does, by the best evidence there is.

    Args:
        home: The GPU that the time was measured on, or what a probe said of it.
        offer: The GPU that is compared.
        evidence: What the tables know.
        precision: Of the training's matrix products.
        task: A published task to take the ratio from; None for the mean over tasks.
        model_kind: ``convolutional``, ``transformer``, ``recurrent`` or ``other``: which tasks the mean leans on.
        given: A ratio that the caller knows.
        measured: A ratio from runs of the same workload on both GPUs.

    Raises:
        InvalidInputError: If a given ratio is not above 0, or no table knows the task.
    """
    if given is not None:
        return _given(given)
    if isinstance(home, GpuSpec) and home.gpu_id == offer.gpu_id:
        return SpeedRatio(ratio=Interval.exactly(1.0), basis="measured", detail="the same GPU")
    if measured is not None:
        width = quadrature(measured.log_half_width, evidence.model.device_log_half_width)
        ratio = Interval.from_log_width(measured.point, width)
        return SpeedRatio(ratio=ratio, basis="measured", detail="own runs of this workload on both GPUs")
    tasks = None if task is None else _task_names(task, evidence)
    if isinstance(home, ProbeResult):
        return _by_probe(home, offer, evidence, precision)
    return (
        _by_throughput(home, offer, evidence, precision=precision, tasks=tasks, model_kind=model_kind)
        or _by_mlperf(home, offer, evidence, precision, model_kind)
        or _by_spec(home, offer, evidence, precision)
    )


def tasks_of_kind(model_kind: str) -> tuple[str, ...]:
    """The published tasks that a workload of that kind leans on; none for ``other``."""
    return TASKS_BY_KIND.get(model_kind, ())


def _given(given: float | Interval) -> SpeedRatio:
    ratio = given if isinstance(given, Interval) else Interval.exactly(float(given))
    if not ratio.point > 0.0:
        raise InvalidInputError(f"a speed ratio must be above 0, got {ratio.point}")
    return SpeedRatio(ratio=ratio, basis="given", detail="as given" + (", without a range" if ratio.is_exact else ""))


def _task_names(task: str, evidence: RatioEvidence) -> tuple[str, ...]:
    known = {row.task for row in evidence.throughput}
    names = tuple(name for name in TASK_ALIASES.get(task, (task,)) if name in known)
    if not names and known:
        choices = ", ".join(sorted({*known, *TASK_ALIASES}))
        raise InvalidInputError(f"no table knows the task {task!r}; choose one of {choices}, or none for their mean")
    return names


def _by_throughput(
    home: GpuSpec,
    offer: GpuSpec,
    evidence: RatioEvidence,
    *,
    precision: Precision,
    tasks: tuple[str, ...] | None,
    model_kind: str,
) -> SpeedRatio | None:
    found = throughput_log_ratios(evidence, home.gpu_id, offer.gpu_id, precision)
    if not found:
        return None
    chosen = [each for each in found if each.task in (tasks or ())]
    if chosen:
        mean, width = _chosen_task(chosen, evidence.model)
        detail = f"by {_listed(each.task for each in chosen)} alone"
    else:
        leaned = tasks_of_kind(_kind_of(tasks) if tasks else model_kind)
        mean, width = _over_tasks(found, leaned, evidence.model)
        detail = f"geometric mean of {len(found)} task{'s' if len(found) > 1 else ''}"
        lean = [each.task for each in found if each.task in leaned]
        detail += f", leaning on {_listed(lean)}" if lean else ""
    return SpeedRatio(
        ratio=Interval.from_log_width(math.exp(mean), width),
        basis="throughput",
        detail=f"{detail}, {precision}, suite {_listed(dict.fromkeys(each.within for each in found))}",
        caveats=_precision_caveats(home, offer, precision),
        source=evidence.throughput_source,
    )


def _by_mlperf(
    home: GpuSpec, offer: GpuSpec, evidence: RatioEvidence, precision: Precision, model_kind: str
) -> SpeedRatio | None:
    found = mlperf_log_ratios(evidence, home.gpu_id, offer.gpu_id)
    if not found or precision not in ("fp16", "bf16"):
        return None
    leaned = tasks_of_kind(model_kind)
    mean, width = _over_tasks(found, leaned, evidence.model)
    width = quadrature(width, NORMAL_QUANTILE_95 * evidence.model.mlperf_log_sd)
    return SpeedRatio(
        ratio=Interval.from_log_width(math.exp(mean), width),
        basis="mlperf",
        detail=f"MLPerf training: {_listed(f'{each.task} ({each.within})' for each in found)}",
        source=evidence.mlperf_source,
    )


def _by_spec(home: GpuSpec, offer: GpuSpec, evidence: RatioEvidence, precision: Precision) -> SpeedRatio:
    model = evidence.model
    compute = _log_quotient(compute_tflops(offer, precision), compute_tflops(home, precision))
    bandwidth = _log_quotient(offer.memory_bandwidth_gb_per_s, home.memory_bandwidth_gb_per_s)
    log_ratio, parts = _blend(compute, bandwidth, model)
    return SpeedRatio(
        ratio=Interval.from_log_width(math.exp(log_ratio), _spec_width(model.spec_log_sd, model)),
        basis="spec",
        detail=f"{parts} of the published specs, {precision}",
        source=evidence.specs_source,
    )


def _by_probe(home: ProbeResult, offer: GpuSpec, evidence: RatioEvidence, precision: Precision) -> SpeedRatio:
    model = evidence.model
    compute = _log_quotient(compute_tflops(offer, precision), home.matmul_tflops.point)
    bandwidth = _log_quotient(offer.memory_bandwidth_gb_per_s, home.copy_gb_per_s.point)
    log_ratio, parts = _blend(compute, bandwidth, model)
    probed = quadrature(
        model.spec_compute_weight * home.matmul_tflops.log_half_width,
        model.spec_bandwidth_weight * home.copy_gb_per_s.log_half_width,
    )
    width = quadrature(_spec_width(model.probe_log_sd, model), probed)
    return SpeedRatio(
        ratio=Interval.from_log_width(math.exp(log_ratio), width),
        basis="spec",
        detail=f"{parts}: published specs of the offer against a probe of {home.device_name}, {precision}",
        source=evidence.specs_source,
    )


def compute_tflops(spec: GpuSpec, precision: Precision) -> float | None:
    """Dense matrix TFLOPS of a GPU at the training's precision; None when no source states any.

    A GPU without matrix units does FP16 at its plain rate, or no slower than FP32, which mixed precision falls back
    to.
    """
    if precision in ("fp16", "bf16"):
        matrix = spec.fp16_tflops or spec.bf16_tflops
    else:
        matrix = spec.tf32_tflops if precision == "tf32" else None
    if matrix is not None:
        return matrix
    plain = spec.fp16_nontensor_tflops if precision in ("fp16", "bf16") else None
    rates = [rate for rate in (plain, spec.fp32_tflops) if rate is not None]
    return max(rates, default=None)


def _blend(compute: float | None, bandwidth: float | None, model: RatioModel) -> tuple[float, str]:
    """Log ratio from specs, and in words what it is made of."""
    if compute is None and bandwidth is None:
        raise InvalidInputError("neither TFLOPS nor bandwidth are known; give the ratio: speed_ratios={name: ratio}")
    if bandwidth is None or compute is None:
        known = compute if compute is not None else bandwidth
        return known or 0.0, "the ratio of TFLOPS alone" if bandwidth is None else "the ratio of bandwidth alone"
    weights = (model.spec_compute_weight, model.spec_bandwidth_weight)
    log_ratio = weights[0] * compute + weights[1] * bandwidth
    return log_ratio, f"TFLOPS ratio^{weights[0]:.2g} x bandwidth ratio^{weights[1]:.2g}"


def _chosen_task(found: Sequence[LogRatio], model: RatioModel) -> tuple[float, float]:
    """Mean log ratio of the chosen task or tasks, and the half-width for the user's own version of it."""
    mean = math.fsum(each.log_ratio for each in found) / len(found)
    bridge = max(each.bridge_log_sd for each in found)
    spread = NORMAL_QUANTILE_95 * math.hypot(model.chosen_log_sd, bridge)
    return mean, quadrature(spread, model.device_log_half_width)


def _over_tasks(found: Sequence[LogRatio], leaned: Sequence[str], model: RatioModel) -> tuple[float, float]:
    """Weighted mean log ratio, and the half-width for a new workload.

    Source: a scaled inverse chi-squared prior on the variance over tasks; t with the pooled degrees of freedom.
    """
    weights = [model.lean_weight if each.task in leaned else 1.0 for each in found]
    whole = math.fsum(weights)
    mean = math.fsum(weight * each.log_ratio for weight, each in zip(weights, found, strict=True)) / whole
    count = whole**2 / math.fsum(weight**2 for weight in weights)
    squares = math.fsum(w * (each.log_ratio - mean) ** 2 for w, each in zip(weights, found, strict=True)) / whole
    freedom = model.prior_weight + count - 1.0
    variance = (model.prior_weight * model.prior_log_sd**2 + count * squares) / freedom
    bridge = max(each.bridge_log_sd for each in found)
    spread = t_quantile_975(freedom) * math.sqrt(variance * (1.0 + 1.0 / count) + bridge**2)
    return mean, quadrature(spread, model.device_log_half_width)


def t_quantile_975(degrees_of_freedom: float) -> float:
    """The 97.5 % quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, 0.975))


def _spec_width(log_sd: float, model: RatioModel) -> float:
    return quadrature(NORMAL_QUANTILE_95 * log_sd, model.device_log_half_width)


def _log_quotient(above: float | None, below: float | None) -> float | None:
    return None if not above or not below else math.log(above / below)


def _kind_of(tasks: Sequence[str]) -> str:
    return next((kind for kind, known in TASKS_BY_KIND.items() if tasks[0] in known), "other")


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(texts)


def _precision_caveats(home: GpuSpec, offer: GpuSpec, precision: Precision) -> tuple[Caveat, ...]:
    if precision != "fp32" or (home.tf32_tflops is None and offer.tf32_tflops is None):
        return ()
    message = (
        "the published FP32 runs used TF32 where the GPU has it; a training that forbids TF32 gains less from such a "
        "GPU than the ratio says"
    )
    return (Caveat(code="fp32-is-tf32", message=message),)
