"""Blended ratios of published specs: the product of three ratios, each to a power."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from greenlove_mlflow.core.speed.gpus import GpuSpec, Precision
from greenlove_mlflow.core.speed.model import SpecBlend
from greenlove_mlflow.errors import InvalidInputError

# Architectures with matrix units by other makers.
_WITH_MATRIX_UNITS = ("CDNA", "RDNA 3", "RDNA 4", "Alchemist", "Battlemage", "Xe-HPC", "Gaudi")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The rates of a GPU by its specs or a probe; None where unknown."""

    compute_tflops: float | None
    plain_tflops: float | None
    bandwidth_gb_per_s: float | None


def rates_of(spec: GpuSpec, precision: Precision) -> Rates:
    """The rates in a GPU's specs at a precision."""
    return Rates(
        compute_tflops=compute_tflops(spec, precision),
        plain_tflops=spec.fp32_tflops,
        bandwidth_gb_per_s=spec.memory_bandwidth_gb_per_s,
    )


def compute_tflops(spec: GpuSpec, precision: Precision) -> float | None:
    """Dense matrix TFLOPS of a GPU at the training's precision; None when no source states any.

    A GPU without matrix units runs FP16 at its plain rate, and at least at the FP32 rate that mixed precision falls
    back to. Where it has matrix units but no source states their rate, the rate is unknown instead of the plain one.
    """
    mixed = precision in ("fp16", "bf16")
    matrix = matrix_tflops(spec, precision)
    if matrix is not None:
        return matrix
    if is_matrix_rate_unknown(spec, precision):
        return None
    rates = [rate for rate in (spec.fp16_nontensor_tflops if mixed else None, spec.fp32_tflops) if rate is not None]
    return max(rates, default=None)


def matrix_tflops(spec: GpuSpec, precision: Precision) -> float | None:
    """The rate of a GPU's matrix units at a precision; None where it has none or no source states it."""
    if precision == "bf16":
        return spec.bf16_tflops or spec.fp16_tflops
    return {"fp16": spec.fp16_tflops or spec.bf16_tflops, "tf32": spec.tf32_tflops}.get(precision)


def is_matrix_rate_unknown(spec: GpuSpec, precision: Precision) -> bool:
    """Whether a GPU has matrix units for a precision, at a rate that no source states."""
    if precision not in ("fp16", "bf16") or matrix_tflops(spec, precision) is not None:
        return False
    if spec.vendor == "NVIDIA":
        # Volta and later, except the GTX 16 and MX series, which are Turing without matrix units.
        return float(spec.compute_capability or 0.0) >= 7.0 and not re.search(r"-(gtx|mx)\b|-mx\d", spec.gpu_id)
    return spec.architecture.startswith(_WITH_MATRIX_UNITS)


def blended(blend: SpecBlend, home: Rates, offer: Rates) -> tuple[float, str] | None:
    """Log ratio of the offer to home, and text on its parts; None when no rate is known for both.

    The weight of an unknown part goes to the others.
    """
    parts = [
        (name, exponent, math.log(above / below))
        for name, exponent, above, below in (
            ("matrix TFLOPS", blend.compute, offer.compute_tflops, home.compute_tflops),
            ("FP32 TFLOPS", blend.plain, offer.plain_tflops, home.plain_tflops),
            ("bandwidth", blend.bandwidth, offer.bandwidth_gb_per_s, home.bandwidth_gb_per_s),
        )
        if above and below and exponent > 0.0
    ]
    if not parts:
        return None
    scale = (blend.compute + blend.plain + blend.bandwidth) / math.fsum(exponent for _, exponent, _ in parts)
    words = " x ".join(f"{name} ratio^{exponent * scale:.2f}" for name, exponent, _ in parts)
    return math.fsum(exponent * scale * log_ratio for _, exponent, log_ratio in parts), words


def blended_or_refused(blend: SpecBlend, home: Rates, offer: Rates, name: str) -> tuple[float, str]:
    """As ``blended``.

    Raises:
        InvalidInputError: If no rate is known for both.
    """
    found = blended(blend, home, offer)
    if found is None:
        raise InvalidInputError(
            f"no source states TFLOPS or bandwidth of both {name} and home; pass speed_ratios={{{name!r}: ratio}}"
        )
    return found
