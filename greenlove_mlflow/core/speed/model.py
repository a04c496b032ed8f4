"""The constants that turn published evidence into a ratio with a range; fitted values come from a table.

The defaults are from the literature. ``greenlove_mlflow.tables.published_speeds`` reads the fitted values, and
``reports/speed_ratios.py`` fits and tests them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from greenlove_mlflow.core.speed.gpus import Precision

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
GROUP_OF_KIND: Mapping[str, str] = {
    "convolutional": "convolution",
    "transformer": "matrix",
    "recurrent": "matrix",
}
# The precision whose constants are used for a precision that has none.
_WITHOUT_OWN = {"tf32": "fp32", "fp32": "tf32"}
_GROUP_OF_TASK = {task: group for group, tasks in TASK_GROUPS.items() for task in tasks}


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
        fallback. device_log_half_width: Sinha et al., SC22, arXiv 2208.11035, 8 % between boards of one model.
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
