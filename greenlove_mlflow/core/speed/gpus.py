"""Records of GPUs and of their relative speed, and the constants that turn published evidence into a ratio.

The constants' defaults are from the literature. ``greenlove_mlflow.tables.published_speeds`` reads the fitted values,
and ``reports/speed_ratios.py`` fits and tests them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.provenance import Caveat, Source

Basis = Literal["given", "measured", "throughput", "mlperf", "spec"]
Precision = Literal["fp16", "bf16", "tf32", "fp32"]
# Published tasks with similar speedups from GPU to GPU; any other task is a group of its own. From the correlation of
# task ratios (reports/speed_ratios.md): GNMT, a recurrent network of large matrix products, moves with BERT;
# Transformer-XL, Tacotron 2 and WaveGlow follow the memory that their published batch sizes fill.
TASK_GROUPS: Mapping[str, tuple[str, ...]] = {
    "convolution": (
        "resnet50", "ssd", "maskrcnn", "resnet", "retinanet", "unet3d", "vgg16", "tf_efficientnetv2_b0",
    ),
    "matrix": (
        "bert_base_squad", "bert_large_squad", "gnmt", "bert", "llama2_70b_lora", "llama31_8b", "gpt_oss_20b", "rnnt",
        "swin_base", "efficientvit_m4", "llama31_8b_lora",
    ),
}  # fmt: skip
# A recurrent training counts as any workload: of the two that are published, GNMT moves with BERT and Tacotron 2, whose
# steps are many and small, does not; one of them is no group.
GROUP_OF_KIND: Mapping[str, str] = {"convolutional": "convolution", "transformer": "matrix"}
# The precision whose constants are used for a precision that has none.
_WITHOUT_OWN = {"tf32": "fp32", "fp32": "tf32"}
_GROUP_OF_TASK = {task: group for group, tasks in TASK_GROUPS.items() for task in tasks}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSpec:
    """One GPU's published figures; None where no source states one.

    ``fp16_tflops`` is dense with FP32 accumulation, as PyTorch's matrix products use it. ``tdp_max_w`` is the highest
    limit that a laptop's maker may set. ``idle_w`` is the board's power at 0% use without a CUDA context. ``is_own``:
    a row that the user added.
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
    is_own: bool = False

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


# Probes made so far, by device and precision.
Probes = dict[tuple[str, Precision], ProbeResult]


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


def group_of_task(task: str) -> str:
    """The group of tasks with similar speedups; the task itself if it is in no group."""
    return _GROUP_OF_TASK.get(task, task)


def table_precision(precision: Precision) -> Precision:
    """The precision of the published runs that apply to ``precision``: ``fp16`` (mixed), ``tf32`` or ``fp32``.

    ``tf32`` is FP32 with TF32 where the GPU has it, ``fp32`` is FP32 with TF32 disabled: two speeds on one GPU.
    """
    return "fp16" if precision in ("fp16", "bf16") else precision


def printed_precision(precision: Precision) -> str:
    """The name of a precision in the tables: ``fp16`` (mixed), else ``fp32``, with or without TF32."""
    return "fp16" if precision in ("fp16", "bf16") else "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskModel:
    """How the log ratios of two GPUs differ from task to task.

    The variance of a task about the mean is ``s^2 * (group_variance + noise)``: the first part is shared by the tasks
    of a group, the second is the task's own. ``s^2`` is estimated from the tasks at hand and shrunk towards
    ``base^2 + (per_log_ratio * mean)^2 + (per_log_memory * log memory ratio)^2``.

    Args:
        group_variance: Of a group of tasks, in units of the own variance of an ordinary task.
        noise: Own variance by task, in units of that of an ordinary task, where it is not 1.
        prior_weight: How many tasks the prior counts as.
        base: Prior SD between similar GPUs.
        per_log_ratio: Additional prior SD per unit of log speed ratio.
        per_log_memory: Additional prior SD per unit of log memory ratio.
    """

    group_variance: float = 0.0
    noise: tuple[tuple[str, float], ...] = ()
    prior_weight: float = 4.0
    base: float = 0.2
    per_log_ratio: float = 0.0
    per_log_memory: float = 0.0

    def prior_log_sd(self, log_ratio: float, log_memory_ratio: float) -> float:
        """Expected SD of a task about the mean over tasks, for two GPUs this far apart."""
        return math.sqrt(
            self.base**2 + (self.per_log_ratio * log_ratio) ** 2 + (self.per_log_memory * log_memory_ratio) ** 2
        )

    def noise_of(self, task: str) -> float:
        """Own variance of a task, in units of that of an ordinary task."""
        return dict(self.noise).get(task, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecBlend:
    """A blend of spec ratios: the product of three ratios, each to a power, and the scatter of GPUs about it.

    Args:
        compute: Exponent of the ratio of matrix TFLOPS.
        plain: Exponent of the ratio of plain FP32 TFLOPS.
        bandwidth: Exponent of the ratio of memory bandwidths.
        log_sd: SD of the log speed of an unmeasured GPU about the prediction from its specs.
        degrees_of_freedom: Degrees of freedom of the range's t distribution.
    """

    compute: float = 0.7
    plain: float = 0.0
    bandwidth: float = 0.3
    log_sd: float = 0.4
    degrees_of_freedom: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioModel:
    """All constants of speed ratios.

    Args:
        tasks: Task models by precision of the tables; missing ones take the defaults.
        blends: Spec blends by precision and group of tasks (``any`` for all); missing ones take the defaults.
        device_log_half_width: Half-width of the range between two boards of one model.
        chosen_noise: SD about the published ratio of a chosen task (other software, another version of it), in units
            of the task's prior SD between the two GPUs.
        bridge_log_sd: SD added to a GPU by bridging two suites, whatever the task.
        mlperf_log_sd: SD added by MLPerf: other systems, eight GPUs, tuned software.
        foreign_log_sd: SD of a spec ratio for a GPU by a maker whose GPUs were not fitted.
        probe_log_sd: SD added by a probe in place of published specs.
        software_log_sd: SD added by models and software other than the published ones.

    Source:
        Defaults of ``TaskModel``: leave-one-task-out over Lambda's tables. Of ``SpecBlend``: green-love's published
        fallback. device_log_half_width: Sinha et al., SC22, arXiv 2208.11035, 8% between boards of one model.
    """

    tasks: Mapping[str, TaskModel] = field(default_factory=dict)
    blends: Mapping[tuple[str, str], SpecBlend] = field(default_factory=dict)
    device_log_half_width: float = math.log(1.08)
    chosen_noise: float = 0.5
    bridge_log_sd: float = 0.05
    mlperf_log_sd: float = 0.15
    foreign_log_sd: float = 0.4
    probe_log_sd: float = 0.4
    software_log_sd: float = 0.0

    def tasks_at(self, precision: Precision) -> TaskModel:
        """The task model at that precision."""
        name = table_precision(precision)
        return self.tasks.get(name) or self.tasks.get(_WITHOUT_OWN.get(name, name)) or TaskModel()

    def blend_at(self, precision: Precision, group: str | None) -> SpecBlend:
        """The blend of specs for a group of tasks, or for any workload."""
        name = table_precision(precision)
        names = (name, _WITHOUT_OWN.get(name, name))
        found = (self.blends.get((each, of)) for each in names for of in (group or "any", "any"))
        return next((blend for blend in found if blend is not None), SpecBlend())
