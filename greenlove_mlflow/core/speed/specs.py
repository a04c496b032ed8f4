"""Fallback ratios from published specs or, where there are none, from a probe; with a wide range."""

from __future__ import annotations

import math

from greenlove_mlflow.core.interval import Interval, quadrature
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.speed.gpus import GpuSpec, Precision, ProbeResult, SpeedRatio
from greenlove_mlflow.core.speed.model import SpecBlend
from greenlove_mlflow.core.speed.published import RatioEvidence
from greenlove_mlflow.core.speed.spec_blend import Rates, blended_or_refused, is_matrix_rate_unknown, rates_of
from greenlove_mlflow.core.speed.spec_offsets import GpuOffset, gpu_offset, is_foreign
from greenlove_mlflow.core.speed.task_mean import t_quantile_975

# Bandwidth and plain rate determine the matrix rate only within a factor of about three either way. Our own weight.
UNKNOWN_RATE_LOG_SD = 0.5


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
    spread = _task_log_sd(evidence, precision, group, log_ratio, _log_memory_ratio(home, offer))
    unknown = [spec for spec in (home, offer) if is_matrix_rate_unknown(spec, precision)]
    variance = math.fsum(each.log_sd**2 for each in ends) + spread**2 + len(unknown) * UNKNOWN_RATE_LOG_SD**2
    variance += evidence.model.software_log_sd**2
    log_sd = math.sqrt(variance)
    width = t_quantile_975(blend.degrees_of_freedom) * log_sd
    return SpeedRatio(
        ratio=Interval.from_log_width(math.exp(log_ratio), quadrature(width, evidence.model.device_log_half_width)),
        basis="spec",
        detail=f"{parts} of the published specs, {precision}{_correction(home, ends[0])}{_correction(offer, ends[1])}",
        caveats=(*_unknown_caveats(unknown), *_foreign_caveats(home, offer, ends)),
        source=evidence.specs_source,
    )


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


def _log_memory_ratio(home: GpuSpec, offer: GpuSpec) -> float:
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
