"""Speed ratio of a board to a CPU, from the work of a step counted on the CPU.

A CPU's speed says little about a GPU's: the two differ operator by operator, not by one factor. The floating-point
operations and bytes of a step do not depend on where it runs, so they are divided by the offer's own rates.
"""

from __future__ import annotations

from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval
from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.core.speed.gpus import GpuSpec, Precision, SpeedRatio
from greenlove_mlflow.core.speed.spec_blend import compute_tflops

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
