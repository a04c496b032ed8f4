"""The step profile of a training that runs: what two of its own steps show, between its hooks.

Nothing of the training's is run again, so its operators are not counted: a step that fails under a counting mode would
be the training's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack

from greenlove_mlflow.benchmark.subject.device_trace import DeviceTrace, reason_not_to_trace
from greenlove_mlflow.benchmark.subject.operators import time_dispatch_s
from greenlove_mlflow.benchmark.subject.profile import Findings, ProfiledStep, assemble_profile
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.core.timing.kernels import KernelFactors


class HookProfiler:
    """Looks at a few steps of a training from the outside: ``start`` before them, ``stop`` after them.

    Args:
        step: What is known of a step; made when ``stop`` is called, so that it knows what was timed.
        factors: What tracing takes of the host.
    """

    def __init__(self, step: Callable[[], ProfiledStep], factors: KernelFactors) -> None:
        self._step = step
        self._factors = factors
        self._stack = ExitStack()
        self._trace: DeviceTrace | None = None
        self._found = Findings()

    def start(self) -> None:
        """The steps to look at begin; the device is idle."""
        step = self._step()
        self._found = Findings()
        if step.on_cpu:
            return
        reason = reason_not_to_trace(step.device, subscriber=step.subscriber)
        if reason:
            self._found.reasons.append(reason)
            return
        try:
            self._trace = self._stack.enter_context(DeviceTrace(step.device))
            self._stack.enter_context(self._trace.step())
        except Exception as error:  # noqa: BLE001 - tracers raise what they like, and a profile is worth no failure
            self._fail(error)

    def stop(self, step_count: int) -> StepProfile | None:
        """What so many steps showed, the device idle; None where there was none."""
        try:
            self._stack.close()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)
        if step_count < 1:
            return None
        step, found = self._step(), self._found
        found.reasons.append("operators are counted only before a training")
        if self._trace is not None:
            found.activities, found.tracer_operator_count = self._trace.activities, self._trace.operator_count
        if step.on_cpu:
            found.dispatch_s = time_dispatch_s()
        profile = assemble_profile(step, found, self._factors)
        return profile if step.on_cpu else _per_step(profile, step_count)

    def _fail(self, error: Exception) -> None:
        self._found.reasons.append(f"the profiler failed ({type(error).__name__})")
        self._trace = None


def _per_step(profile: StepProfile, step_count: int) -> StepProfile:
    """The profile of one step where one mark held several."""

    def each(value: float | None) -> float | None:
        return None if value is None else value / step_count

    return dataclasses.replace(
        profile,
        host_s=each(profile.host_s),
        device_busy_s=profile.device_busy_s if profile.busy_is_upper_bound else each(profile.device_busy_s),
        launch_count=each(profile.launch_count),
        sync_count=each(profile.sync_count),
    )
