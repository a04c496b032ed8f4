"""Measures the step profile: a few steps and a short loader pass, at most 1.5 s, after the timed part.

Each figure is correct, or None with the reason. A step longer than this limit is run once, under the most informative
instrument. ``assemble_profile`` builds the record from figures measured elsewhere, such as between the hooks of a
run in progress.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from greenlove_mlflow.benchmark.subject.device_trace import DeviceTrace, reason_not_to_trace
from greenlove_mlflow.benchmark.subject.loading import Batches, ProfiledLoader, measure_loading
from greenlove_mlflow.benchmark.subject.operators import count_operators, reason_not_to_count, time_dispatch_s
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.core.timing.timeline import (
    Activity,
    KernelFactors,
    OperatorCounts,
    TracedSteps,
    expected_launches,
    read_steps,
)
from greenlove_mlflow.units import US_PER_S

PROFILE_BUDGET_S = 1.5
# A longer step is not run again just for its profile.
LONGEST_STEP_S = 6.0
# Time to stop a tracer and read its output, besides the steps.
TRACE_OVERHEAD_S = 0.3
HOST_STEP_COUNT = 3
TRACED_STEP_COUNT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfiledStep:
    """A training step to profile.

    Args:
        run: The step as a function of the batch.
        device: Device that it runs on.
        synchronize: Waits until the device is idle.
        step_s: Duration of a step including its batch, seconds.
        fetch_s: Part of it spent on getting the batch, including waiting, seconds.
        model: The trained model.
        train_step: The user's own step function; None for the default one.
        modules: Every module it reaches.
        optimizers: Every optimizer it reaches.
        utilization_share: Share of the time in which the board ran a kernel, by its driver; None if not read.
        subscriber: Name of a tool already subscribed to the driver; None without one.
    """

    run: Callable[[Any], object]
    device: torch.device
    synchronize: Callable[[], None]
    step_s: float
    fetch_s: float = 0.0
    model: Any = None
    train_step: Any = None
    modules: tuple[Any, ...] = ()
    optimizers: tuple[Any, ...] = ()
    utilization_share: float | None = None
    subscriber: str | None = None

    @property
    def on_cpu(self) -> bool:
        """Whether the step runs on the CPU."""
        return self.device.type == "cpu"


@dataclass(slots=True)
class StepFindings:
    """Measurements of a step before they become a record; None or empty where not measured."""

    loader_s: float | None = None
    fetch_s: float | None = None
    host_steps_s: list[float] = field(default_factory=list)
    activities: tuple[Activity, ...] = ()
    tracer_operator_count: int = 0
    counts: OperatorCounts | None = None
    dispatch_s: float | None = None
    reasons: list[str] = field(default_factory=list)

    @property
    def has_graphs(self) -> bool:
        """Whether one launch started several kernels, as replaying a CUDA graph does."""
        started = [each.correlation for each in self.activities if each.kind == "kernel" and each.correlation]
        return len(set(started)) < len(started)


def profile_cost_s(step_s: float) -> float:
    """Seconds that profiling a step of that duration may take; 0 if the step is too long to profile."""
    if step_s > LONGEST_STEP_S:
        return 0.0
    return max(PROFILE_BUDGET_S, _slow_step_s(step_s))


def measure_profile(
    step: ProfiledStep, loader: ProfiledLoader, factors: KernelFactors, *, budget_s: float = PROFILE_BUDGET_S
) -> StepProfile:
    """Measure the profile of a step; this changes what training steps change, and nothing else.

    Args:
        step: The training step.
        loader: Its batches.
        factors: Factors from operators to kernels.
        budget_s: Seconds that profiling may take; one step is run however long it takes.
    """
    found = StepFindings()
    if not profile_cost_s(step.step_s):
        found.reasons.append(f"a step of {step.step_s:.1f} s is too long to be run for its profile")
        return assemble_profile(step, found, factors)
    until_s = time.perf_counter() + budget_s
    batches = Batches(loader, takes_long=_is_slow(step))
    try:
        loading = measure_loading(batches, fetch_s=step.fetch_s)
        found.loader_s, found.fetch_s = loading.loader_s, loading.fetch_s
        found.reasons += [loading.reason] if loading.reason else []
        if not step.on_cpu:
            _measure_host(batches, step, found, until_s)
            _measure_device(batches, step, found, until_s)
        _count(batches, step, found, until_s)
    finally:
        batches.close()
    return assemble_profile(step, found, factors)


def assemble_profile(step: ProfiledStep, found: StepFindings, factors: KernelFactors) -> StepProfile:
    """The profile record of a step from its measurements.

    Args:
        step: The training step.
        found: Measurements of the step.
        factors: Factors from operators to kernels.
    """
    reasons = list(found.reasons)
    traced = TracedSteps()
    if found.activities:
        traced = _read_trace(found, factors)
        reasons += [traced.reason] if traced.reason else []
    busy_s, bound = traced.device_busy_s, False
    if busy_s is None and not step.on_cpu and step.utilization_share is not None:
        busy_s, bound = step.utilization_share * step.step_s, True
    launch_count = traced.launch_count
    if step.on_cpu and found.counts is not None:
        launch_count = expected_launches(found.counts, factors)
    # Without a trace, host work cannot be separated from waiting.
    host_s = max(0.0, step.step_s - step.fetch_s) if step.on_cpu else traced.host_s
    return StepProfile(
        loader_s=found.loader_s,
        fetch_s=found.fetch_s,
        host_s=host_s,
        device_busy_s=busy_s,
        launch_count=launch_count,
        flop_count=None if found.counts is None else found.counts.flop_count,
        moved_bytes=None if found.counts is None else found.counts.moved_bytes,
        sync_count=traced.sync_count,
        dispatch_s=found.dispatch_s,
        on_cpu=step.on_cpu,
        busy_is_upper_bound=bound,
        reason="; ".join(dict.fromkeys(reasons)),
    )


def _read_trace(found: StepFindings, factors: KernelFactors) -> TracedSteps:
    marked_s = sum(each.duration_us for each in found.activities if each.kind == "step") / US_PER_S
    untraced_s = _median(found.host_steps_s) if found.host_steps_s else None
    share = min(0.8, factors.tracer_s * found.tracer_operator_count / marked_s) if marked_s > 0.0 else 0.0
    if untraced_s is None:
        # A step too long to be run twice: only the tracer's overhead is known to be excess.
        count = max(1, sum(each.kind == "step" for each in found.activities))
        untraced_s = (1.0 - share) * marked_s / count
    return read_steps(found.activities, untraced_s=untraced_s, tracer_share=share)


def _slow_step_s(step_s: float) -> float:
    return 1.3 * step_s + TRACE_OVERHEAD_S


def _measure_host(batches: Batches, step: ProfiledStep, found: StepFindings, until_s: float) -> None:
    if step.device.type not in ("cuda", "mps"):
        found.reasons.append(f"when {step.device.type} is idle cannot be told")
        return
    for _ in range(HOST_STEP_COUNT):
        left_s = until_s - time.perf_counter()
        # A trace still to come needs a step too, and is more informative.
        if left_s < 2.0 * step.step_s + _slow_step_s(step.step_s) and (found.host_steps_s or _is_slow(step)):
            break
        found.host_steps_s.append(time_host_s(step.run, batches.next(), step.synchronize))


def time_host_s(run: Callable[[Any], object], batch: Any, synchronize: Callable[[], None]) -> float:
    """Seconds until the step function returned, starting with an empty queue; the device is idle afterwards.

    Args:
        run: The step as a function of the batch.
        batch: The batch to run it on.
        synchronize: Waits until the device is idle.
    """
    synchronize()
    begun_s = time.perf_counter()
    run(batch)
    duration_s = time.perf_counter() - begun_s
    synchronize()
    return duration_s


def _is_slow(step: ProfiledStep) -> bool:
    return _slow_step_s(step.step_s) > PROFILE_BUDGET_S


def _measure_device(batches: Batches, step: ProfiledStep, found: StepFindings, until_s: float) -> None:
    reason = reason_not_to_trace(step.device, subscriber=step.subscriber)
    if not reason and not _is_slow(step) and time.perf_counter() + _slow_step_s(step.step_s) > until_s:
        reason = "no time was left to trace a step"
    if reason:
        found.reasons.append(reason)
        return
    try:
        with DeviceTrace(step.device) as trace:
            for count in range(TRACED_STEP_COUNT):
                if count and time.perf_counter() + _slow_step_s(step.step_s) > until_s:
                    break
                batch = batches.next()
                with trace.step():
                    step.run(batch)
    except Exception as error:  # noqa: BLE001 - tracers raise arbitrary exceptions, and a profile must not fail the run
        found.reasons.append(f"the profiler failed ({type(error).__name__})")
        return
    found.activities, found.tracer_operator_count = trace.activities, trace.operator_count
    if not any(each.kind == "kernel" for each in found.activities):
        found.activities = ()
        found.reasons.append("the profiler saw no kernel")


def _count(batches: Batches, step: ProfiledStep, found: StepFindings, until_s: float) -> None:
    reason = reason_not_to_count(step.model, step.train_step)
    if not reason and found.has_graphs:
        reason = "the operators inside a CUDA graph are not counted"
    slow_on_gpu = _is_slow(step) and not step.on_cpu
    if not reason and (slow_on_gpu or (not _is_slow(step) and time.perf_counter() + step.step_s > until_s)):
        reason = "no time was left to count operators"
    if reason:
        found.reasons.append(reason)
        return
    last_s = max(until_s, time.perf_counter() + 1.3 * step.step_s)
    try:
        batch = batches.next()
        found.counts = count_operators(lambda: step.run(batch), step.modules, step.optimizers, until_s=last_s)
        found.dispatch_s = time_dispatch_s() if step.on_cpu else None
    except Exception as error:  # noqa: BLE001 - a step may fail only under the counting mode, and need not be counted
        found.reasons.append(f"the step cannot be counted ({type(error).__name__})")
        return
    if found.counts is None:
        found.reasons.append("a step dispatches too many operators to be counted")


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else math.fsum(ordered[middle - 1 : middle + 1]) / 2.0
