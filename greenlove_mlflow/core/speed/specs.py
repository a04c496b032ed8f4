"""Speed ratios without a published speed: by published specs, by a probe, or by work counted on a CPU.

A CPU's speed says little about a GPU's: the two differ operator by operator, not by one factor. The floating-point
operations and bytes of a step do not depend on where it runs, so they are divided by the offer's own rates.

Source: the original's ratio is that of green-love 0.2.2, ``0.7 x FP16 TFLOPS ratio + 0.3 x bandwidth ratio``; here with
the rates at the training's precision.
"""

from __future__ import annotations

import math

from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval, quadrature
from greenlove_mlflow.core.provenance import Caveat, Source
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.core.speed.gpus import GpuSpec, Precision, ProbeResult, SpecBlend, SpeedRatio
from greenlove_mlflow.core.speed.published import RatioEvidence, has_throughput, t_quantile_975
from greenlove_mlflow.core.speed.spec_offsets import (
    GpuOffset,
    Rates,
    blended_or_refused,
    compute_tflops,
    gpu_offset,
    is_foreign,
    is_matrix_rate_unknown,
    rates_of,
)

# Bandwidth and plain rate determine the matrix rate only within a factor of about three either way. Our own weight.
UNKNOWN_RATE_LOG_SD = 0.5
TFLOPS_WEIGHT = 0.7
BANDWIDTH_WEIGHT = 0.3
FLOP_PER_TFLOP = 1e12
BYTES_PER_GB = 1e9
# Share of its matrix rate and of its bandwidth that a board reaches in everyday training. Checked against five runs on
# an H200 (BERT-base, a wide perceptron, ResNet-18, an LSTM, a small CNN): the range covers all of them.
REACHED_FLOP_SHARE = 0.4
REACHED_BANDWIDTH_SHARE = 0.6
# The shortest kernels take this long, however little they do (2 to 6 us).
LEAST_KERNEL_S = 3e-6
COUNTED_LOG_SD = 0.6
# cuDNN's convolutions and recurrent cells use TF32 by default; matrix products do not.
_TF32_KINDS = ("convolutional", "recurrent")


def spec_ratio(
    home: GpuSpec, offer: GpuSpec, evidence: RatioEvidence, precision: Precision, *, group: str | None = None
) -> SpeedRatio:
    """The ratio of two GPUs by their published specs, each corrected by its offset.

    Args:
        home: The GPU that the time was measured on.
        offer: The GPU that is compared.
        evidence: The published measurements.
        precision: Precision of the training's matrix products.
        group: The group of tasks that the workload belongs to; None for any.
    """
    blend = evidence.model.blend_at(precision, group)
    log_ratio, parts = blended_or_refused(blend, rates_of(home, precision), rates_of(offer, precision), offer.name)
    ends = [gpu_offset(spec, evidence, precision, group) for spec in (home, offer)]
    log_ratio += ends[1].log_offset - ends[0].log_offset
    spread = _task_log_sd(evidence, precision, group, log_ratio, log_memory_ratio(home, offer))
    unknown = [spec for spec in (home, offer) if is_matrix_rate_unknown(spec, precision)]
    variance = math.fsum(each.log_sd**2 for each in ends) + spread**2 + len(unknown) * UNKNOWN_RATE_LOG_SD**2
    variance += evidence.model.software_log_sd**2
    log_sd = math.sqrt(variance)
    width = t_quantile_975(blend.degrees_of_freedom) * log_sd
    return SpeedRatio(
        ratio=Interval.from_log_width(math.exp(log_ratio), quadrature(width, evidence.model.device_log_half_width)),
        basis="spec",
        detail=f"{parts} of the published specs, {precision}{_correction(home, ends[0])}{_correction(offer, ends[1])}"
        f"{_own_rows(home, offer)}",
        caveats=(*_unknown_caveats(unknown), *_foreign_caveats(home, offer, ends)),
        source=evidence.specs_source,
    )


def _own_rows(*specs: GpuSpec) -> str:
    own = [f"{spec.name} by your own row ({spec.source})" for spec in specs if spec.is_own]
    return "".join(f", {each}" for each in own)


def probe_ratio(
    home: ProbeResult, offer: GpuSpec, evidence: RatioEvidence, precision: Precision, *, group: str | None = None
) -> SpeedRatio:
    """The ratio of a GPU to probed hardware: the offer's specs over the probe's measurements.

    Args:
        home: The result of home's probe.
        offer: The GPU that is compared.
        evidence: The published measurements.
        precision: Precision of the training's matrix products.
        group: The group of tasks that the workload belongs to; None for any.
    """
    model = evidence.model
    blend = model.blend_at(precision, group)
    compute = blend.compute + blend.plain
    # A probe has a single compute figure, used for both rates.
    probed = Rates(
        compute_tflops=home.matmul_tflops.point, plain_tflops=None, bandwidth_gb_per_s=home.copy_gb_per_s.point
    )
    exponents = SpecBlend(compute=compute, plain=0.0, bandwidth=blend.bandwidth)
    log_ratio, parts = blended_or_refused(exponents, probed, rates_of(offer, precision), offer.name)
    own = gpu_offset(offer, evidence, precision, group)
    log_ratio += own.log_offset
    spread = _task_log_sd(evidence, precision, group, log_ratio, 0.0)
    log_sd = math.sqrt(math.fsum(sd**2 for sd in (own.log_sd, blend.log_sd, model.probe_log_sd, spread)))
    width = quadrature(
        t_quantile_975(blend.degrees_of_freedom) * log_sd,
        compute * home.matmul_tflops.log_half_width,
        blend.bandwidth * home.copy_gb_per_s.log_half_width,
        model.device_log_half_width,
    )
    against = f"against a probe of {home.device_name}, {precision}"
    return SpeedRatio(
        ratio=Interval.from_log_width(math.exp(log_ratio), width),
        basis="spec",
        detail=f"{parts}: specs of the offer {against}{_correction(offer, own)}",
        source=evidence.specs_source,
    )


def _task_log_sd(
    evidence: RatioEvidence, precision: Precision, group: str | None, log_ratio: float, log_memory_ratio: float
) -> float:
    """SD of a new workload about the mean of its group, or of all groups."""
    tasks = evidence.model.tasks_at(precision)
    around = 1.0 if group is not None else 1.0 + tasks.group_variance
    return math.sqrt(around) * tasks.prior_log_sd(log_ratio, log_memory_ratio)


def log_memory_ratio(home: GpuSpec, offer: GpuSpec) -> float:
    """The logarithm of how many times as much memory the offer has as home; 0 where either is unknown."""
    return math.log(offer.memory_gib / home.memory_gib) if offer.memory_gib and home.memory_gib else 0.0


def _correction(spec: GpuSpec, offset: GpuOffset) -> str:
    if not offset.known_by:
        return ""
    said = "as measured" if offset.known_by == "measured" else f"as other {offset.known_by} GPUs"
    return f"; {spec.name} x{math.exp(offset.log_offset):.2f} of its specs, {said}"


def _unknown_caveats(unknown: list[GpuSpec]) -> tuple[Caveat, ...]:
    if not unknown:
        return ()
    return (Caveat.of("matrix-rate-unknown", gpus=" and ".join(spec.name for spec in unknown)),)


def _foreign_caveats(home: GpuSpec, offer: GpuSpec, ends: list[GpuOffset]) -> tuple[Caveat, ...]:
    guessed = [
        spec.name
        for spec, offset in zip((home, offer), ends, strict=True)
        if is_foreign(spec) and offset.known_by != "measured"
    ]
    if not guessed:
        return ()
    return (Caveat.of("specs-across-makers", gpus=" and ".join(guessed)),)


def original_ratio(
    home: GpuSpec, offer: GpuSpec, evidence: RatioEvidence, precision: Precision, *, group: str | None = None
) -> SpeedRatio | None:
    """The original's ratio, with the range of a spec ratio; None where the original uses another method.

    Args:
        home: The GPU that the time was measured on.
        offer: The GPU that is compared.
        evidence: The published measurements; a home with published throughput is compared by those.
        precision: Precision of the training's matrix products.
        group: The group of tasks that the workload belongs to.
    """
    if home.gpu_id == offer.gpu_id or has_throughput(evidence, home.gpu_id, precision):
        return None
    compute = compute_tflops(home, precision), compute_tflops(offer, precision)
    bandwidth = home.memory_bandwidth_gb_per_s, offer.memory_bandwidth_gb_per_s
    if not (compute[0] and compute[1] and bandwidth[0] and bandwidth[1]):
        return None
    by_specs = spec_ratio(home, offer, evidence, precision, group=group)
    ratio = TFLOPS_WEIGHT * compute[1] / compute[0] + BANDWIDTH_WEIGHT * bandwidth[1] / bandwidth[0]
    return SpeedRatio(
        ratio=Interval.from_log_width(ratio, by_specs.ratio.log_half_width),
        basis="spec",
        detail=f"{TFLOPS_WEIGHT} x TFLOPS ratio + {BANDWIDTH_WEIGHT} x bandwidth ratio of the published specs, "
        f"{precision}, as the original has it",
        caveats=by_specs.caveats,
        source=evidence.specs_source,
    )


def is_counted(profile: StepProfile | None) -> bool:
    """Whether a profile of a CPU counts the work of a board: launches, operations and bytes, not all of them zero."""
    if profile is None or not profile.on_cpu or profile.longest_s is None:
        return False
    counts = (profile.launch_count, profile.flop_count, profile.moved_bytes)
    return None not in counts and any(counts)


def counted_ratio(
    profile: StepProfile,
    offer: GpuSpec,
    precision: Precision,
    *,
    model_kind: str = "other",
    source: Source | None = None,
) -> SpeedRatio | None:
    """The speed ratio of the board's part of a step to the whole step on the CPU; None where work or rates are unknown.

    Args:
        profile: Profile of a step on a CPU, with its work counted.
        offer: The board.
        precision: Precision of the training's matrix products.
        model_kind: ``convolutional`` and ``recurrent`` models use TF32 where the board has it.
        source: Source of the specs.
    """
    step_s, kernel_s = profile.longest_s, kernel_time_s(profile, offer, precision, model_kind=model_kind)
    if step_s is None or kernel_s is None:
        return None
    launches = f"{profile.launch_count:.0f} launches, " if profile.launch_count else ""
    tera, giga = (profile.flop_count or 0.0) / FLOP_PER_TFLOP, (profile.moved_bytes or 0.0) / BYTES_PER_GB
    return SpeedRatio(
        ratio=Interval.from_log_width(step_s / kernel_s, NORMAL_QUANTILE_95 * COUNTED_LOG_SD),
        basis="spec",
        detail=f"{launches}{tera:.3g} TFLOP, {giga:.3g} GB a step by count, at the rates of the specs, {precision}",
        source=source,
    )


def kernel_time_s(
    profile: StepProfile, offer: GpuSpec, precision: Precision, *, model_kind: str = "other"
) -> float | None:
    """Seconds of the board's kernels for the counted work of a step; None where work or rates are unknown."""
    cudnn_tf32 = precision == "fp32" and model_kind in _TF32_KINDS
    tflops = compute_tflops(offer, "tf32" if cudnn_tf32 else precision)
    gb_per_s = offer.memory_bandwidth_gb_per_s
    if profile.flop_count is None or profile.moved_bytes is None or not tflops or not gb_per_s:
        return None
    compute_s = profile.flop_count / (REACHED_FLOP_SHARE * tflops * FLOP_PER_TFLOP)
    memory_s = profile.moved_bytes / (REACHED_BANDWIDTH_SHARE * gb_per_s * BYTES_PER_GB)
    kernel_s = compute_s + memory_s + (profile.launch_count or 0.0) * LEAST_KERNEL_S
    return kernel_s or None
