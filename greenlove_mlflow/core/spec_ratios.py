"""Ratios from published specs, or from a probe where there are none: the fallback, with a wide range."""

from __future__ import annotations

import math

from greenlove_mlflow.core.estimate import Caveat
from greenlove_mlflow.core.evidence import RatioEvidence
from greenlove_mlflow.core.gpus import GpuSpec, Precision, ProbeResult, SpeedRatio
from greenlove_mlflow.core.interval import Interval, quadrature
from greenlove_mlflow.core.ratio_model import SpecBlend
from greenlove_mlflow.core.task_mean import t_quantile_975
from greenlove_mlflow.errors import InvalidInputError

# The maker whose GPUs the published throughput covers, and which a fit of specs therefore holds for.
FITTED_VENDOR = "NVIDIA"


def spec_ratio(
    home: GpuSpec, offer: GpuSpec, evidence: RatioEvidence, precision: Precision, *, group: str | None = None
) -> SpeedRatio:
    """The ratio of two GPUs by their published specs."""
    model = evidence.model
    blend = model.blend_at(precision, group)
    log_ratio, parts = _blended(
        blend,
        compute=_log_quotient(compute_tflops(offer, precision), compute_tflops(home, precision)),
        plain=_log_quotient(offer.fp32_tflops, home.fp32_tflops),
        bandwidth=_log_quotient(offer.memory_bandwidth_gb_per_s, home.memory_bandwidth_gb_per_s),
    )
    foreign = home.vendor != offer.vendor or offer.vendor not in ("", FITTED_VENDOR)
    log_sd = math.hypot(blend.log_sd, model.foreign_log_sd) if foreign else blend.log_sd
    width = t_quantile_975(blend.degrees_of_freedom) * log_sd
    return SpeedRatio(
        ratio=Interval.from_log_width(math.exp(log_ratio), quadrature(width, model.device_log_half_width)),
        basis="spec",
        detail=f"{parts} of the published specs, {precision}",
        caveats=_foreign_caveats(home, offer) if foreign else (),
        source=evidence.specs_source,
    )


def probe_ratio(
    home: ProbeResult, offer: GpuSpec, evidence: RatioEvidence, precision: Precision, *, group: str | None = None
) -> SpeedRatio:
    """The ratio of a GPU to hardware that only a probe knows: the offer's specs over what the probe measured."""
    model = evidence.model
    blend = model.blend_at(precision, group)
    # A probe has one compute figure; it stands for both rates.
    compute = _log_quotient(compute_tflops(offer, precision), home.matmul_tflops.point)
    log_ratio, parts = _blended(
        SpecBlend(compute=blend.compute + blend.plain, plain=0.0, bandwidth=blend.bandwidth),
        compute=compute,
        plain=None,
        bandwidth=_log_quotient(offer.memory_bandwidth_gb_per_s, home.copy_gb_per_s.point),
    )
    log_sd = math.hypot(math.hypot(blend.log_sd, model.foreign_log_sd), model.probe_log_sd)
    width = quadrature(
        t_quantile_975(blend.degrees_of_freedom) * log_sd,
        (blend.compute + blend.plain) * home.matmul_tflops.log_half_width,
        blend.bandwidth * home.copy_gb_per_s.log_half_width,
        model.device_log_half_width,
    )
    return SpeedRatio(
        ratio=Interval.from_log_width(math.exp(log_ratio), width),
        basis="spec",
        detail=f"{parts}: specs of the offer against a probe of {home.device_name}, {precision}",
        source=evidence.specs_source,
    )


def compute_tflops(spec: GpuSpec, precision: Precision) -> float | None:
    """Dense matrix TFLOPS of a GPU at the training's precision; None when no source states any.

    A GPU without matrix units does FP16 at its plain rate, or no slower than FP32, which mixed precision falls back
    to.
    """
    mixed = precision in ("fp16", "bf16")
    matrix = (spec.fp16_tflops or spec.bf16_tflops) if mixed else spec.tf32_tflops if precision == "tf32" else None
    if matrix is not None:
        return matrix
    rates = [rate for rate in (spec.fp16_nontensor_tflops if mixed else None, spec.fp32_tflops) if rate is not None]
    return max(rates, default=None)


def _blended(
    blend: SpecBlend, *, compute: float | None, plain: float | None, bandwidth: float | None
) -> tuple[float, str]:
    """Log ratio, and in words what it is made of. A part that is unknown hands its weight to the others."""
    parts = [
        (name, exponent, log_ratio)
        for name, exponent, log_ratio in (
            ("matrix TFLOPS", blend.compute, compute),
            ("FP32 TFLOPS", blend.plain, plain),
            ("bandwidth", blend.bandwidth, bandwidth),
        )
        if log_ratio is not None and exponent > 0.0
    ]
    if not parts:
        raise InvalidInputError("neither TFLOPS nor bandwidth are known; give the ratio: speed_ratios={name: ratio}")
    whole = blend.compute + blend.plain + blend.bandwidth
    scale = whole / math.fsum(exponent for _, exponent, _ in parts)
    words = " x ".join(f"{name} ratio^{exponent * scale:.2f}" for name, exponent, _ in parts)
    return math.fsum(exponent * scale * log_ratio for _, exponent, log_ratio in parts), words


def _log_quotient(above: float | None, below: float | None) -> float | None:
    return None if not above or not below else math.log(above / below)


def _foreign_caveats(home: GpuSpec, offer: GpuSpec) -> tuple[Caveat, ...]:
    makers = " and ".join(dict.fromkeys(spec.vendor or "an unknown maker" for spec in (home, offer)))
    message = f"specs compare GPUs of {makers}; software decides how much of them a training sees, so the range is wide"
    return (Caveat(code="specs-across-makers", message=message),)
