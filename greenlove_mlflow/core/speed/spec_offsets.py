"""Blended ratios of published specs, and how far GPUs are from them, learned from every published pair.

A measured GPU keeps its own offset; an unmeasured one gets a shrunken mean of its kind, where kinds are finer than
marketing names: an RTX 5090 and a B200 are both called Blackwell. Offsets are logs, average 0 over the GPUs that the
blend of specs was fitted to, and keep ratios antisymmetric.

Source: least squares on the graph of pairs; the shrinkage of a kind's mean as in a random effects model.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np

from greenlove_mlflow.core.speed.gpus import TASK_GROUPS, GpuSpec, Precision, SpecBlend, table_precision
from greenlove_mlflow.core.speed.published import (
    LogRatio,
    RatioEvidence,
    has_fast_links,
    mlperf_log_ratios,
    same_suite_log_ratios,
)
from greenlove_mlflow.errors import InvalidInputError

# Architectures with matrix units by other makers.
_WITH_MATRIX_UNITS = ("CDNA", "RDNA 3", "RDNA 4", "Alchemist", "Battlemage", "Xe-HPC", "Gaudi")
# The maker whose GPUs the published throughput covers, and to which a fit of specs therefore applies.
FITTED_VENDOR = "NVIDIA"
# MLPerf weighs less than Lambda's runs: other systems, several GPUs, tuned software. Our own weight.
MLPERF_WEIGHT = 0.5
# A benchmark this far from the specs indicates a problem of the submission, not of the GPU: log of a factor of 3.
IMPLAUSIBLE_LOG_RATIO = math.log(3.0)
# An architecture's mean is shrunk as if this many additional GPUs of it had an offset of 0.
ARCHITECTURE_PRIOR = 1.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuOffset:
    """How far a GPU is from its specs.

    Args:
        log_offset: Log of its speed over the prediction from its specs.
        log_sd: SD of ``log_offset``.
        known_by: Text on how it is known: measured itself, by its architecture, or empty for neither.
    """

    log_offset: float
    log_sd: float
    known_by: str = ""


def gpu_offset(spec: GpuSpec, evidence: RatioEvidence, precision: Precision, group: str | None) -> GpuOffset:
    """The offset of a GPU for a group of tasks, or for any workload.

    Args:
        spec: The GPU.
        evidence: The published measurements.
        precision: Precision of the training's matrix products.
        group: The group of tasks; None for any workload.
    """
    model = evidence.model
    measured = _offsets(evidence, table_precision(precision), group)
    if spec.gpu_id in measured:
        return GpuOffset(log_offset=measured[spec.gpu_id], log_sd=model.bridge_log_sd, known_by="measured")
    log_sd = model.blend_at(precision, group).log_sd
    if is_foreign(spec):
        log_sd = math.hypot(log_sd, model.foreign_log_sd)
    kin = [
        measured[each.gpu_id] for each in evidence.specs if each.gpu_id in measured and kind_of(each) == kind_of(spec)
    ]
    mean = math.fsum(kin) / (len(kin) + ARCHITECTURE_PRIOR)
    return GpuOffset(log_offset=mean, log_sd=log_sd, known_by=spec.architecture if kin else "")


def kind_of(spec: GpuSpec) -> str:
    """The kind of a GPU: its compute capability, or its architecture where its maker has no such number.

    >>> kind_of(GpuSpec(gpu_id="a", name="a", compute_capability="12.0", architecture="Blackwell"))
    'compute capability 12'
    """
    if spec.compute_capability is None:
        return spec.architecture
    major, _, minor = spec.compute_capability.partition(".")
    # Data centre and desktop chips of one generation differed in the minor number until each got its own major.
    return f"compute capability {major}" if int(major) >= 9 else f"compute capability {major}.{minor}"


def is_foreign(spec: GpuSpec) -> bool:
    """Whether a GPU is by a maker whose GPUs the blend of specs was not fitted to."""
    return spec.vendor not in ("", FITTED_VENDOR)


@lru_cache(maxsize=64)
def _offsets(evidence: RatioEvidence, precision: str, group: str | None) -> Mapping[str, float]:
    """Offsets of every GPU that was measured together with another one."""
    at = table_precision(cast("Precision", precision))
    named = {*(row.gpu_id for row in evidence.throughput), *(row.gpu_id for row in evidence.mlperf)}
    specs = [spec for spec in evidence.specs if spec.gpu_id in named]
    edges = [
        (home, offer, weight, difference)
        for home, offer in itertools.combinations(specs, 2)
        for weight, difference in _differences(evidence, home, offer, at, group)
    ]
    return _solved(edges)


def _differences(
    evidence: RatioEvidence, home: GpuSpec, offer: GpuSpec, precision: Precision, group: str | None
) -> list[tuple[float, float]]:
    """Weight and log of published over blended ratio, for each kind of publication that has both GPUs."""
    by_spec = blended(evidence.model.blend_at(precision, group), rates_of(home, precision), rates_of(offer, precision))
    if by_spec is None:
        return []
    found: list[tuple[float, float]] = []
    lambda_mean = _group_mean(same_suite_log_ratios(evidence, home.gpu_id, offer.gpu_id, precision), group)
    if lambda_mean is not None:
        found.append((1.0, lambda_mean - by_spec[0]))
    # Eight boards on PCIe reflect the links between them, not a single board.
    if table_precision(precision) == "fp16" and has_fast_links(home) and has_fast_links(offer):
        mlperf = plausible(mlperf_log_ratios(evidence, home, offer), by_spec[0])
        mlperf_mean = _group_mean(mlperf, group)
        if mlperf_mean is not None:
            found.append((MLPERF_WEIGHT, mlperf_mean - by_spec[0]))
    return found


def plausible(found: tuple[LogRatio, ...], spec_log_ratio: float) -> tuple[LogRatio, ...]:
    """MLPerf's log ratios without those so far from the specs that the submission must be at fault."""
    return tuple(each for each in found if abs(each.log_ratio - spec_log_ratio) <= IMPLAUSIBLE_LOG_RATIO)


def _group_mean(found: tuple[LogRatio, ...], group: str | None) -> float | None:
    """Mean log ratio of a group of tasks; for any workload, the mean over the measured groups."""
    means = []
    for name in [name for name in TASK_GROUPS if group not in TASK_GROUPS or name == group]:
        logs = [each.log_ratio for each in found if each.task in TASK_GROUPS[name]]
        if logs:
            means.append(math.fsum(logs) / len(logs))
    return math.fsum(means) / len(means) if means else None


def _solved(edges: list[tuple[GpuSpec, GpuSpec, float, float]]) -> Mapping[str, float]:
    """The least-squares offsets for the differences along the edges, separately for each connected part."""
    nodes = sorted({spec.gpu_id for home, offer, _, _ in edges for spec in (home, offer)})
    at = {gpu_id: index for index, gpu_id in enumerate(nodes)}
    vendors = {spec.gpu_id: spec.vendor for home, offer, _, _ in edges for spec in (home, offer)}
    rows = np.zeros((len(edges), len(nodes)))
    values = np.zeros(len(edges))
    for index, (home, offer, weight, difference) in enumerate(edges):
        rows[index, at[home.gpu_id]], rows[index, at[offer.gpu_id]] = -weight, weight
        values[index] = weight * difference
    solution = np.linalg.lstsq(rows, values, rcond=None)[0] if edges else np.zeros(0)
    found: dict[str, float] = {}
    for part in _parts(edges):
        own = [solution[at[each]] for each in part if vendors[each] in ("", FITTED_VENDOR)]
        centre = float(np.mean(own)) if own else 0.0
        found |= {each: float(solution[at[each]]) - centre for each in part}
    return found


def _parts(edges: list[tuple[GpuSpec, GpuSpec, float, float]]) -> list[set[str]]:
    """The connected parts of the graph."""
    neighbours: dict[str, set[str]] = defaultdict(set)
    for home, offer, _, _ in edges:
        neighbours[home.gpu_id].add(offer.gpu_id)
        neighbours[offer.gpu_id].add(home.gpu_id)
    parts: list[set[str]] = []
    left = set(neighbours)
    while left:
        part, front = set(), {min(left)}
        while front:
            part |= front
            front = {other for each in front for other in neighbours[each]} - part
        parts.append(part)
        left -= part
    return parts
