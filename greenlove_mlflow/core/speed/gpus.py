"""Records of GPUs and of their relative speed: a ratio with its range and basis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.provenance import Caveat, Source

Basis = Literal["given", "measured", "throughput", "mlperf", "spec"]
Precision = Literal["fp16", "bf16", "tf32", "fp32"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSpec:
    """One GPU's published figures; None where no source states one.

    ``fp16_tflops`` is dense with FP32 accumulation, as PyTorch's matrix products use it. ``tdp_max_w`` is the highest
    limit that a laptop's maker may set. ``idle_w`` is the board's power at 0 % use without a CUDA context.
    """

    gpu_id: str
    name: str
    aliases: tuple[str, ...] = ()
    alias_is_ambiguous: bool = False
    vendor: str = ""
    architecture: str = ""
    segment: str = ""
    form_factor: str = ""
    memory_gib: float | None = None
    memory_bandwidth_gb_per_s: float | None = None
    fp32_tflops: float | None = None
    tf32_tflops: float | None = None
    fp16_tflops: float | None = None
    bf16_tflops: float | None = None
    fp16_nontensor_tflops: float | None = None
    tdp_w: float | None = None
    tdp_max_w: float | None = None
    idle_w: float | None = None
    compute_capability: str | None = None
    release_year: int | None = None
    source: str = ""

    @property
    def full_power_w(self) -> Interval | None:
        """Watts at full load: the board's TDP, or a laptop GPU's configurable range; None without a source."""
        if self.tdp_w is None:
            return None
        if self.tdp_max_w is None or self.tdp_max_w <= self.tdp_w:
            return Interval.exactly(self.tdp_w)
        return Interval(point=math.sqrt(self.tdp_w * self.tdp_max_w), low=self.tdp_w, high=self.tdp_max_w)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """Measurements of a probe on hardware that is in no table, each with its own range."""

    device_name: str
    matmul_tflops: Interval
    copy_gb_per_s: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputRow:
    """One published training throughput. Units differ by task: only ratios within one task are meaningful."""

    suite: str
    task: str
    precision: str
    gpu_id: str
    gpu_count: int
    throughput: float
    unit: str = ""
    uses_tf32: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteBridge:
    """How much faster a GPU is in suite ``to_suite`` than in ``from_suite``, for one task and precision."""

    from_suite: str
    to_suite: str
    task: str
    precision: str
    gpu_count: int
    ratio_median: float
    ratio_min: float
    ratio_max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MlperfRow:
    """One MLPerf training result. Minutes are comparable within one round and benchmark only."""

    round: str
    benchmark: str
    gpu_id: str
    accelerator_count: int
    minutes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedRatio:
    """How many times faster one GPU is than another on a workload.

    Args:
        ratio: Above 1 when the offer is faster; its range covers a new workload of this kind.
        basis: How it is known, best first: given, measured, throughput, mlperf, spec.
        detail: Text on tasks, suites, weights, substitutes ("geometric mean of 6 tasks, suite v2, leans on bert").
    """

    ratio: Interval
    basis: Basis
    detail: str = ""
    caveats: tuple[Caveat, ...] = ()
    source: Source | None = None
