"""A profile between the hooks of a training that runs."""

from __future__ import annotations

import pytest
import torch

from greenlove_mlflow.benchmark.subject.hook_profile import HookProfiler
from greenlove_mlflow.benchmark.subject.profile import ProfiledStep
from greenlove_mlflow.core.timing.kernels import KernelFactors

FACTORS = KernelFactors(tracer_s=4e-6)


def a_step(device: str, **changes: object) -> ProfiledStep:
    fields: dict[str, object] = {
        "run": lambda _: None,
        "device": torch.device(device),
        "synchronize": lambda: None,
        "step_s": 0.02,
        "fetch_s": 0.005,
    }
    return ProfiledStep(**{**fields, **changes})  # type: ignore[arg-type]


def test_steps_on_a_cpu_are_told_from_their_batches() -> None:
    profiler = HookProfiler(lambda: a_step("cpu"), FACTORS)
    profiler.start()
    profile = profiler.stop(2)

    assert profile is not None
    assert profile.bound_by == "cpu"
    assert profile.host_s == pytest.approx(0.015)
    assert profile.launch_count is None
    assert "before a training" in profile.reason


def test_board_that_cannot_be_traced_says_why() -> None:
    profiler = HookProfiler(lambda: a_step("mps"), FACTORS)
    profiler.start()
    profile = profiler.stop(2)

    assert profile is not None
    assert profile.bound_by is None
    assert "mps" in profile.reason


def test_user_profiler_that_runs_is_left_alone() -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as own:
        profiler = HookProfiler(lambda: a_step("cuda", utilization_share=0.5), FACTORS)
        profiler.start()
        torch.ones(2).add(1.0)
        profile = profiler.stop(2)

    assert profile is not None
    assert profile.device_busy_s == pytest.approx(0.01)
    assert profile.busy_is_upper_bound
    assert any(each.key == "aten::add" for each in own.key_averages())


def test_window_that_closed_before_a_step_has_no_profile() -> None:
    profiler = HookProfiler(lambda: a_step("cpu"), FACTORS)
    profiler.start()

    assert profiler.stop(0) is None
