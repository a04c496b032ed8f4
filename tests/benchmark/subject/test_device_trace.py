"""Traces of a GPU: what their events are read as, and when none is taken."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from greenlove_mlflow.benchmark.subject.device_trace import STEP_NAME, read_trace, reason_not_to_trace
from greenlove_mlflow.core.timing.timeline import read_steps


def event(category: str, name: str, ts: float, dur: float, **args: Any) -> dict[str, Any]:
    return {"ph": "X", "cat": category, "name": name, "ts": ts, "dur": dur, "pid": 0, "tid": 7, "args": args}


# As Kineto writes them: a blocking copy of the batch, two kernels on two streams, a number asked for at the end.
TRACE = [
    {"ph": "M", "name": "process_name", "pid": 0},
    event("user_annotation", STEP_NAME, 100.0, 260.0),
    event("gpu_user_annotation", STEP_NAME, 130.0, 300.0, device=0, stream=7),
    event("cpu_op", "aten::copy_", 101.0, 40.0),
    event("cpu_op", "aten::mm", 150.0, 10.0),
    event("cpu_op", "aten::mm", 600.0, 10.0),
    event("cuda_runtime", "cudaMemcpyAsync", 110.0, 5.0, correlation=1),
    event("gpu_memcpy", "Memcpy HtoD (Pageable -> Device)", 116.0, 20.0, device=0, stream=7, correlation=1),
    event("cuda_runtime", "cudaStreamSynchronize", 116.0, 21.0, correlation=2),
    event("cuda_runtime", "cudaLaunchKernel", 150.0, 5.0, correlation=3),
    event("kernel", "sgemm", 156.0, 100.0, device=0, stream=7, correlation=3),
    event("cuda_driver", "cuLaunchKernelEx", 170.0, 5.0, correlation=4),
    event("kernel", "triton_fused", 206.0, 100.0, device=0, stream=20, correlation=4),
    event("kernel", "of_another_board", 206.0, 900.0, device=1, stream=7, correlation=99),
    event("gpu_memset", "Memset (Device)", 310.0, 10.0, device=0, stream=7, correlation=5),
    event("gpu_memcpy", "Memcpy DtoD (Device -> Device)", 330.0, 10.0, device=0, stream=7, correlation=6),
    event("cuda_runtime", "cudaMemcpyAsync", 340.0, 5.0, correlation=7),
    event("gpu_memcpy", "Memcpy DtoH (Device -> Pageable)", 346.0, 2.0, device=0, stream=7, correlation=7),
    event("cuda_runtime", "cudaStreamSynchronize", 346.0, 8.0, correlation=8),
    event("cuda_runtime", "cudaEventRecord", 356.0, 1.0, correlation=9),
    event("cuda_sync", "Stream Sync", 346.0, 8.0, device=0, stream=7),
]


def test_trace_is_read_by_what_its_events_are() -> None:
    activities, operators = read_trace(TRACE, device_index=0)
    kinds = sorted(each.kind for each in activities)

    assert kinds == ["copy"] * 2 + ["kernel"] * 4 + ["launch"] * 4 + ["step"] + ["wait"] * 2
    assert operators == 2


def test_traced_step_tells_device_from_waiting() -> None:
    activities, _ = read_trace(TRACE, device_index=0)

    found = read_steps(activities, untraced_s=260e-6)

    assert found.device_busy_s == pytest.approx((150.0 + 10.0 + 10.0) / 1e6)
    assert found.sync_count == 2
    assert found.host_s == pytest.approx((260.0 - 21.0 - 8.0) / 1e6, rel=0.1)


def test_another_board_has_kernels_of_its_own() -> None:
    activities, _ = read_trace(TRACE, device_index=1)

    assert read_steps(activities).device_busy_s == pytest.approx(900e-6)


def test_hip_names_are_read_as_those_of_cuda() -> None:
    trace = [
        event("user_annotation", STEP_NAME, 0.0, 90.0),
        event("cuda_runtime", "hipExtModuleLaunchKernel", 10.0, 5.0, correlation=1),
        event("kernel", "Cijk_Ailk", 16.0, 10.0, device=0, stream=0, correlation=1),
        event("cuda_runtime", "hipMemcpyWithStream", 30.0, 40.0, correlation=2),
        event("gpu_memcpy", "CopyDeviceToHost", 60.0, 5.0, device=0, stream=0, correlation=2),
    ]
    activities, _ = read_trace(trace, device_index=0)

    assert sorted(each.kind for each in activities) == ["copy", "kernel", "launch", "step", "wait"]


def test_no_trace_on_devices_that_give_none() -> None:
    assert "mps" in reason_not_to_trace(torch.device("mps"))
    assert "cpu" in reason_not_to_trace(torch.device("cpu"))


def test_no_trace_beside_a_tool_that_listens_already() -> None:
    assert "Nsight" in reason_not_to_trace(torch.device("cuda"), subscriber="Nsight Systems")


def test_profiler_session_of_the_users_own_is_left_alone() -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as own:
        assert "profiler of the training's own" in reason_not_to_trace(torch.device("cuda"))
        torch.ones(2).add(1.0)

    assert any(each.key == "aten::add" for each in own.key_averages())


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a build without CUDA")
def test_build_that_records_no_kernels_says_so() -> None:
    assert "cannot record kernels" in reason_not_to_trace(torch.device("cuda"))
