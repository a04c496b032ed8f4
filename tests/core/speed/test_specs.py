"""The work counted on a CPU, held against what an H200 really took for it."""

from __future__ import annotations

import math

import pytest

from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.core.speed.gpus import GpuSpec, Precision
from greenlove_mlflow.core.speed.specs import COUNTED_LOG_SD, counted_ratio, kernel_time_s

H200 = GpuSpec(
    gpu_id="nvidia-h200-sxm-141gb",
    name="NVIDIA H200",
    memory_bandwidth_gb_per_s=4800.0,
    fp32_tflops=67.0,
    tf32_tflops=495.0,
    fp16_tflops=989.0,
    bf16_tflops=989.0,
)
B200 = GpuSpec(gpu_id="b", name="B", memory_bandwidth_gb_per_s=8000.0, fp32_tflops=80.0, fp16_tflops=2250.0)


def counted(flop: float, gigabytes: float, launches: float, step_s: float = 1.0) -> StepProfile:
    return StepProfile(host_s=step_s, launch_count=launches, flop_count=flop, moved_bytes=gigabytes * 1e9, on_cpu=True)


# Operations by the usual 6 x parameters x samples; bytes by the sizes of activations, weights and optimizer state.
@pytest.mark.parametrize(
    ("profile", "precision", "kind", "measured_s"),
    [
        (counted(4.2e12, 20.0, 1253), "bf16", "transformer", 19.9e-3),
        (counted(0.309e12, 3.5, 58), "fp32", "other", 7.51e-3),
        (counted(2.47e12, 3.0, 2138), "fp32", "recurrent", 26.6e-3),
        (counted(0.11e12, 3.0, 475), "bf16", "convolutional", 5.27e-3),
        (counted(1e8, 0.01, 44), "fp32", "convolutional", 0.17e-3),
    ],
    ids=["bert", "mlp", "lstm", "resnet", "cnn"],
)
def test_range_holds_the_kernels_that_were_measured(
    profile: StepProfile, precision: Precision, kind: str, measured_s: float
) -> None:
    ratio = counted_ratio(profile, H200, precision, model_kind=kind)
    assert ratio is not None
    assert ratio.ratio.contains(1.0 / measured_s)
    assert ratio.ratio.log_half_width == pytest.approx(1.96 * COUNTED_LOG_SD, rel=1e-3)


def test_ratio_is_of_the_whole_step_on_the_cpu() -> None:
    slow, fast = (counted_ratio(counted(1e12, 1.0, 100, step_s), H200, "bf16") for step_s in (2.0, 1.0))
    assert slow is not None
    assert fast is not None
    assert slow.ratio.point == pytest.approx(2.0 * fast.ratio.point)
    assert slow.basis == "spec"


def test_shortest_kernels_are_no_shorter_on_a_faster_board() -> None:
    tiny = counted(1.0, 1e-9, 44)
    assert kernel_time_s(tiny, H200, "bf16") == pytest.approx(kernel_time_s(tiny, B200, "bf16"), rel=1e-3)


def test_work_or_rates_that_are_unknown_make_no_ratio() -> None:
    assert counted_ratio(StepProfile(host_s=1.0, flop_count=1e9, on_cpu=True), H200, "fp32") is None
    bare = GpuSpec(gpu_id="x", name="x")
    assert counted_ratio(counted(1e12, 1.0, 100), bare, "fp32") is None
    assert not math.isnan(kernel_time_s(counted(1e12, 1.0, 100), H200, "fp32") or math.nan)
