"""Traces of a GPU: what their events are read as, and when none is taken."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from greenlove_mlflow.benchmark.subject import device_trace
from greenlove_mlflow.benchmark.subject.device_trace import STEP_NAME, read_trace, reason_not_to_trace
from greenlove_mlflow.benchmark.subject.loading import ProfiledLoader
from greenlove_mlflow.benchmark.subject.profile import ProfiledStep, measure_profile
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.core.timing.timeline import KernelFactors, read_steps

FACTORS = KernelFactors(per_operator=1.5, per_recurrent_step=5.4, tracer_s=4e-6)


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


class FakeProfiler:
    """torch's profiler with a trace of the test's own: what it was asked, and what it leaves running."""

    events: ClassVar[list[dict[str, Any]]] = []
    fails: ClassVar[bool] = False
    running: ClassVar[int] = 0

    def __init__(self, activities: Any) -> None:
        del activities

    def start(self) -> None:
        if self.fails:
            raise RuntimeError("CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED")
        type(self).running += 1

    def stop(self) -> None:
        type(self).running -= 1

    def export_chrome_trace(self, path: str) -> None:
        Path(path).write_text(json.dumps({"traceEvents": self.events}), encoding="utf-8")


@pytest.fixture
def profiled(monkeypatch: pytest.MonkeyPatch) -> Callable[..., StepProfile]:
    """A step profiled on a board whose trace has these events; each untraced step takes ``step_s``."""
    zeros, now = torch.zeros, [0.0]

    def on_the_cpu(*shape: int, device: torch.device) -> torch.Tensor:
        del device
        return zeros(*shape)

    monkeypatch.setattr(device_trace, "profile", FakeProfiler)
    monkeypatch.setattr(device_trace, "supported_activities", lambda: {torch.profiler.ProfilerActivity.CUDA})
    monkeypatch.setattr(torch, "zeros", on_the_cpu)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(FakeProfiler, "fails", False)
    monkeypatch.setattr(FakeProfiler, "running", 0)

    def measure(events: list[dict[str, Any]], *, step_s: float = 1e-3, **over: Any) -> StepProfile:
        monkeypatch.setattr(FakeProfiler, "events", events)

        def run(_: Any) -> None:
            now[0] += step_s

        fields = {"run": run, "device": torch.device("cuda", 0), "synchronize": lambda: None, "step_s": step_s}
        return measure_profile(ProfiledStep(**{**fields, **over}), ProfiledLoader(batches=[1, 2, 3]), FACTORS)

    return measure


def launches(count: int, *, kernel_us: float, every_us: float = 10.0, lost: int = 0) -> list[dict[str, Any]]:
    """A step of 1 ms that launches so many kernels, the records of the last ``lost`` of them missing."""
    events = [event("user_annotation", STEP_NAME, 0.0, 1000.0)]
    for index in range(count):
        at_us = every_us * index
        events.append(event("cuda_runtime", "cudaLaunchKernel", at_us, 4.0, correlation=index + 1))
        if index < count - lost:
            kernel = {"device": 0, "stream": 7, "correlation": index + 1}
            events.append(event("kernel", "mm", at_us + 4.0, kernel_us, **kernel))
    return events


def test_a_step_of_many_small_kernels_is_bound_by_its_host(profiled: Callable[..., StepProfile]) -> None:
    profile = profiled(launches(100, kernel_us=2.0))
    assert profile.device_busy_s == pytest.approx(200e-6)
    assert profile.launch_count == 100
    assert profile.host_s == pytest.approx(1e-3, rel=0.05)
    assert profile.bound_by == "host"
    assert FakeProfiler.running == 0


def test_without_kernel_records_the_board_is_unknown_and_says_so(profiled: Callable[..., StepProfile]) -> None:
    # No CUPTI, or no right to it: calls are recorded and kernels are not.
    calls = [each for each in launches(100, kernel_us=2.0) if each["cat"] != "kernel"]
    profile = profiled(calls)
    assert (profile.device_busy_s, profile.launch_count, profile.host_s) == (None, None, None)
    assert "saw no kernel" in profile.reason
    bounded = profiled(calls, utilization_share=0.3)
    assert bounded.device_busy_s == pytest.approx(0.3e-3)
    assert bounded.busy_is_upper_bound


def test_dropped_kernel_records_make_the_board_unknown(profiled: Callable[..., StepProfile]) -> None:
    profile = profiled(launches(100, kernel_us=2.0, lost=30))
    assert profile.device_busy_s is None
    assert "lost 30% of the kernels" in profile.reason
    assert profiled(launches(100, kernel_us=2.0, lost=1)).device_busy_s == pytest.approx(198e-6)


def test_another_subscriber_costs_the_trace_and_not_the_training(
    profiled: Callable[..., StepProfile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeProfiler, "fails", True)
    profile = profiled(launches(100, kernel_us=2.0))
    assert profile.device_busy_s is None
    assert "the profiler failed (RuntimeError)" in profile.reason
    assert FakeProfiler.running == 0


def test_a_replayed_graph_launches_once_and_its_operators_are_not_counted(
    profiled: Callable[..., StepProfile],
) -> None:
    events = [
        event("user_annotation", STEP_NAME, 0.0, 100.0),
        event("cuda_runtime", "cudaGraphLaunch", 10.0, 20.0, correlation=1),
        *(event("kernel", "mm", 40.0 + 90.0 * index, 90.0, device=0, stream=7, correlation=1) for index in range(10)),
    ]
    profile = profiled(events, step_s=100e-6)
    assert profile.launch_count == 1
    assert profile.device_busy_s == pytest.approx(900e-6)
    assert profile.flop_count is None
    assert "CUDA graph" in profile.reason
    assert profile.bound_by == "device"


def test_kernels_side_by_side_on_several_streams_keep_the_board_busy_once(
    profiled: Callable[..., StepProfile],
) -> None:
    events = [event("user_annotation", STEP_NAME, 0.0, 1000.0)]
    for index, stream in enumerate((7, 20, 21)):
        events.append(event("cuda_runtime", "cudaLaunchKernel", 10.0 * index, 4.0, correlation=index + 1))
        events.append(event("kernel", "mm", 50.0, 600.0, device=0, stream=stream, correlation=index + 1))
    assert profiled(events).device_busy_s == pytest.approx(600e-6)


def test_a_step_that_asks_for_a_number_has_its_waiting_left_out(profiled: Callable[..., StepProfile]) -> None:
    # loss.item(): 100 us of launches, then the thread sleeps until the board is done after 900 us.
    events = [
        event("user_annotation", STEP_NAME, 0.0, 1000.0),
        event("cuda_runtime", "cudaLaunchKernel", 90.0, 4.0, correlation=1),
        event("kernel", "mm", 94.0, 800.0, device=0, stream=7, correlation=1),
        event("cuda_runtime", "cudaMemcpyAsync", 100.0, 4.0, correlation=2),
        event("gpu_memcpy", "Memcpy DtoH (Device -> Pageable)", 895.0, 2.0, device=0, stream=7, correlation=2),
        event("cuda_runtime", "cudaStreamSynchronize", 104.0, 794.0, correlation=3),
    ]
    profile = profiled(events)
    assert profile.sync_count == 1
    assert profile.device_busy_s == pytest.approx(800e-6)
    assert profile.host_s == pytest.approx(206e-6, rel=0.1)
    assert profile.bound_by == "device"


def test_a_profiler_of_the_trainings_own_keeps_its_session(profiled: Callable[..., StepProfile]) -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as own:
        profile = profiled(launches(100, kernel_us=2.0))
        torch.ones(2).add(1.0)
    assert "a profiler of the training's own is running" in profile.reason
    assert profile.device_busy_s is None
    assert any(each.key == "aten::add" for each in own.key_averages())


def test_kernels_of_rocm_are_counted_as_those_of_cuda(profiled: Callable[..., StepProfile]) -> None:
    renamed = [
        {**each, "name": "hipExtModuleLaunchKernel"} if each["name"] == "cudaLaunchKernel" else each
        for each in launches(100, kernel_us=2.0)
    ]
    profile = profiled(renamed)
    assert profile.launch_count == 100
    assert profile.device_busy_s == pytest.approx(200e-6)
