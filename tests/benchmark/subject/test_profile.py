"""The step profile: right or None with a reason, at a small cost, nothing left behind."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from greenlove_mlflow.benchmark import BenchmarkPlan, Training, run_benchmark
from greenlove_mlflow.benchmark.subject import profile as profile_module
from greenlove_mlflow.benchmark.subject.device_trace import STEP_NAME, DeviceTrace, read_trace
from greenlove_mlflow.benchmark.subject.loading import ProfiledLoader
from greenlove_mlflow.benchmark.subject.profile import (
    PROFILE_BUDGET_S,
    ProfiledStep,
    StepFindings,
    assemble_profile,
    measure_profile,
    profile_cost_s,
)
from greenlove_mlflow.core.records import BenchmarkLog, Machine, StepProfile
from greenlove_mlflow.core.timing.timeline import KernelFactors
from tests.support.clock import Profile, SimulatedMachine, SimulatedTraining, quiet_machine

FACTORS = KernelFactors(per_operator=1.5, per_recurrent_step=5.4, tracer_s=4e-6)
CUDA = torch.device("cuda", 0)
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a real NVIDIA GPU")


def a_training(**options: Any) -> Training:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 2))
    data = TensorDataset(torch.randn(640, 20), torch.randint(0, 2, (640,)))
    return Training(
        model=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
        criterion=nn.CrossEntropyLoss(),
        data=options.pop("data", None) or DataLoader(data, batch_size=32, shuffle=True),
        **options,
    )


def a_step(device: torch.device, run: Any = lambda _: None, **changes: Any) -> ProfiledStep:
    fields = {"run": run, "device": device, "synchronize": lambda: None, "step_s": 0.01, "fetch_s": 0.001}
    return ProfiledStep(**{**fields, **changes})


def benchmarked(training: Training, **plan: Any) -> BenchmarkLog:
    options = {"epoch_count": 3, "budget_s": 0.3, "kernel_factors": FACTORS}
    return run_benchmark(training, BenchmarkPlan(**{**options, **plan}))


def test_training_on_a_cpu_has_its_work_counted_and_no_device_of_its_own() -> None:
    profile = benchmarked(a_training()).profile

    assert profile is not None
    assert profile.on_cpu
    assert profile.bound_by in ("cpu", "data")
    assert profile.device_busy_s is None
    assert profile.loader_s == 0.0
    assert profile.launch_count == pytest.approx(1.5 * 35, rel=0.3)
    assert profile.flop_count == 2 * 32 * (20 * 64 + 64 * 2) * 2 + 2 * 32 * 64 * 2
    assert profile.moved_bytes is not None
    assert profile.dispatch_s is not None
    assert profile.reason == ""


def test_host_and_fetch_add_up_to_the_step() -> None:
    log = benchmarked(a_training())
    profile = log.profile
    timed = log.epochs_of("timed") or log.epochs_of("first-contact")
    step_s = sum(each.duration_s for each in timed) / sum(each.step_count for each in timed)

    assert profile is not None
    assert profile.fetch_s is not None
    assert profile.host_s is not None
    assert profile.fetch_s + profile.host_s == pytest.approx(step_s)


def test_training_is_left_as_it_was() -> None:
    training = a_training()
    before = {key: value.clone() for key, value in training.model.state_dict().items()}
    groups = [dict(group) for group in training.optimizer.param_groups]
    random_state = torch.get_rng_state()
    folders = set(Path(tempfile.gettempdir()).glob("greenlove-*"))

    benchmarked(training)

    assert all(torch.equal(value, before[key]) for key, value in training.model.state_dict().items())
    assert [dict(group) for group in training.optimizer.param_groups] == groups
    assert not training.optimizer.state
    assert torch.equal(torch.get_rng_state(), random_state)
    assert set(Path(tempfile.gettempdir()).glob("greenlove-*")) == folders


def test_training_is_profiled_only_when_it_is_asked_for() -> None:
    assert benchmarked(a_training(), kernel_factors=None).profile is None


def test_workers_are_told_from_the_steps_own_thread() -> None:
    data = TensorDataset(torch.randn(4000, 20), torch.randint(0, 2, (4000,)))
    loader = DataLoader(data, batch_size=8, num_workers=2)

    profile = benchmarked(a_training(data=loader)).profile

    assert profile is not None
    assert profile.loader_s is not None
    assert profile.loader_s > 0.0
    assert profile.fetch_s is not None
    assert profile.fetch_s > 0.0


def test_step_that_fails_under_the_counting_mode_alone_costs_only_the_count() -> None:
    def step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        from torch.utils._python_dispatch import _get_current_dispatch_mode

        if _get_current_dispatch_mode() is not None:
            raise RuntimeError("no modes here")
        optimizer.zero_grad()
        loss = criterion(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss

    training = a_training(train_step=step)
    before = training.model[0].weight.detach().clone()
    profile = benchmarked(training).profile

    assert profile is not None
    assert (profile.launch_count, profile.flop_count) == (None, None)
    assert "cannot be counted" in profile.reason
    assert profile.bound_by in ("cpu", "data")
    assert torch.equal(training.model[0].weight, before)


def test_compiled_model_is_not_counted_and_says_so() -> None:
    training = a_training()
    training.model[0]._compiled_call_impl = training.model[0]._call_impl

    profile = benchmarked(training).profile

    assert profile is not None
    assert profile.launch_count is None
    assert "compiled" in profile.reason


def test_device_without_a_profiler_says_why_and_guesses_nothing() -> None:
    run = a_step(torch.device("mps"))

    profile = measure_profile(run, ProfiledLoader(batches=[1, 2, 3]), FACTORS)

    assert (profile.host_s, profile.device_busy_s, profile.launch_count, profile.bound_by) == (None, None, None, None)
    assert "mps" in profile.reason


def test_board_that_cannot_be_traced_is_bounded_by_its_utilisation() -> None:
    step = a_step(CUDA, utilization_share=0.4, subscriber="Nsight Systems", step_s=0.05)

    profile = measure_profile(step, ProfiledLoader(batches=[1, 2, 3]), FACTORS)

    assert profile.device_busy_s == pytest.approx(0.02)
    assert profile.busy_is_upper_bound
    assert profile.host_s is None
    assert "Nsight Systems" in profile.reason


def test_traced_step_is_held_against_the_untraced_one() -> None:
    def event(category: str, name: str, ts: float, dur: float, **args: Any) -> dict[str, Any]:
        return {"ph": "X", "cat": category, "name": name, "ts": ts, "dur": dur, "args": args}

    events = [event("user_annotation", STEP_NAME, 0.0, 1000.0)]
    for index in range(100):
        events.append(event("cpu_op", "aten::mm", 10.0 * index, 9.0))
        events.append(event("cuda_runtime", "cudaLaunchKernel", 10.0 * index + 2.0, 5.0, correlation=index + 1))
        events.append(event("kernel", "mm", 10.0 * index + 8.0, 2.0, device=0, stream=7, correlation=index + 1))
    activities, operators = read_trace(events, device_index=0)
    found = StepFindings(
        loader_s=0.0, fetch_s=0.0, activities=activities, tracer_operator_count=operators, host_steps_s=[550e-6] * 3
    )

    profile = assemble_profile(a_step(CUDA, step_s=600e-6), found, FACTORS)

    assert profile.host_s == pytest.approx(550e-6, rel=0.03)
    assert profile.device_busy_s == pytest.approx(200e-6)
    assert profile.launch_count == 100
    assert profile.bound_by == "host"
    assert profile.busy_share == pytest.approx(200 / 550, rel=0.05)


def test_slow_step_that_was_only_traced_is_relieved_of_what_tracing_costs() -> None:
    found = StepFindings(
        activities=read_trace(
            [
                {"ph": "X", "cat": "user_annotation", "name": STEP_NAME, "ts": 0.0, "dur": 1e6, "args": {}},
                {"ph": "X", "cat": "kernel", "name": "mm", "ts": 10.0, "dur": 5e5, "args": {"correlation": 1}},
                {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": 5.0, "dur": 5.0,
                 "args": {"correlation": 1}},
            ],
            device_index=0,
        )[0],
        tracer_operator_count=100_000,
    )  # fmt: skip

    profile = assemble_profile(a_step(CUDA, step_s=1.0), found, FACTORS)

    assert profile.host_s == pytest.approx(0.6, rel=0.05)


def test_profile_costs_a_second_and_a_half_or_one_step() -> None:
    assert profile_cost_s(0.001) == PROFILE_BUDGET_S
    assert profile_cost_s(3.0) == pytest.approx(4.2)
    assert profile_cost_s(60.0) == 0.0


@pytest.mark.parametrize("step_s", [0.0005, 0.02, 0.3, 1.0])
def test_profile_keeps_its_budget(step_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of the test's own: each run of the step takes its time."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def run(_: Any) -> None:
        now[0] += step_s

    measure_profile(a_step(torch.device("cpu"), run, step_s=step_s), ProfiledLoader(batches=[1, 2, 3]), FACTORS)

    assert now[0] <= PROFILE_BUDGET_S


def test_step_too_long_to_repeat_is_not_run() -> None:
    def run(_: Any) -> None:
        raise AssertionError

    profile = measure_profile(a_step(torch.device("cpu"), run, step_s=60.0), ProfiledLoader(batches=[1]), FACTORS)

    assert "60.0 s is too long" in profile.reason


def test_benchmark_with_a_profile_ends_by_its_cap() -> None:
    simulated = SimulatedTraining(
        Profile("steps of 2 s", sample_count=3200, step_s=2.0, epoch_count=6), SimulatedMachine(quiet_machine(_rng()))
    )
    with simulated.machine.clock.installed():
        log = run_benchmark(
            simulated.training, BenchmarkPlan(epoch_count=6, kernel_factors=FACTORS), machine=Machine(device="cpu")
        )

    assert log.duration_s - log.first_contact_steps_s[0] < 25.5
    assert log.profile is not None
    assert log.profile.host_s == pytest.approx(2.0, rel=0.1)


def _rng() -> Any:
    import numpy as np

    return np.random.default_rng(1)


def test_log_with_a_profile_survives_its_file(tmp_path: Path) -> None:
    from greenlove_mlflow.tracking.artifacts import read_log, write_epochs

    log = dataclasses.replace(benchmarked(a_training()), blocks=())
    write_epochs(log, tmp_path / "benchmark.parquet")

    assert read_log(tmp_path / "benchmark.parquet").profile == log.profile


@pytest.mark.gpu
@NEEDS_GPU
def test_real_gpu_says_what_a_step_spends_its_time_on() -> None:
    small = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)).cuda()
    wide = nn.Sequential(nn.Linear(8192, 8192), nn.ReLU(), nn.Linear(8192, 8)).cuda()
    profiles: list[StepProfile] = []
    for model, samples, width in ((small, 64, 64), (wide, 2048, 8192)):
        data = TensorDataset(torch.randn(4 * samples, width), torch.zeros(4 * samples, dtype=torch.long))
        training = Training(
            model=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=1e-3),
            criterion=nn.CrossEntropyLoss(),
            data=DataLoader(data, batch_size=samples),
        )
        log = run_benchmark(training, BenchmarkPlan(epoch_count=3, budget_s=1.0, kernel_factors=FACTORS))
        assert log.profile is not None
        profiles.append(log.profile)

    assert profiles[0].busy_share is not None
    assert profiles[0].busy_share < 0.5
    assert profiles[0].launch_count is not None
    assert 10 < profiles[0].launch_count < 60
    assert profiles[1].device_busy_s is not None
    assert profiles[1].device_busy_s > 5 * (profiles[0].device_busy_s or 0.0)
    assert not torch.autograd._profiler_enabled()


@pytest.mark.gpu
@NEEDS_GPU
def test_real_gpu_has_waiting_left_out_of_the_hosts_time() -> None:
    value = torch.randn(8192, 8192, device="cuda")

    def run(_: Any) -> None:
        (value @ value @ value).sum().item()

    step = a_step(CUDA, run, synchronize=torch.cuda.synchronize, step_s=0.05)
    profile = measure_profile(step, ProfiledLoader(batches=[1, 2, 3]), FACTORS)

    assert profile.sync_count is not None
    assert profile.sync_count >= 1
    assert profile.host_s is not None
    assert profile.device_busy_s is not None
    assert profile.host_s < 0.3 * profile.device_busy_s


def test_measuring_and_tracing_are_apart() -> None:
    """What runs between the hooks of a training takes these by themselves."""
    assert DeviceTrace(CUDA).activities == ()
    assert profile_module.time_host_s(lambda _: None, None, lambda: None) >= 0.0
