"""WindowProfile: profile of two steps of a real run, taken from outside between its steps."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.benchmark.subject.device_trace import DeviceTrace, reason_not_to_trace
from greenlove_mlflow.benchmark.subject.operators import time_dispatch_s
from greenlove_mlflow.benchmark.subject.profile import Findings, ProfiledStep, assemble_profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from greenlove_mlflow.benchmark.session import Session
    from greenlove_mlflow.core.records import StepProfile
    from greenlove_mlflow.core.timing.timeline import KernelFactors

_NOT_COUNTED = "operators are not counted within a training, whose steps stay as they are"
_NOT_RUN_ALONE = "the loader is not run by itself within a training"


class WindowProfile:
    """Traces training steps on a GPU; on a CPU there is nothing to trace. What it cannot observe is None.

    Args:
        session: The session, after its timed part.
        device: Device that training runs on.
        synchronize: Waits until the device is idle.
        factors: Factors from operators to kernels.
    """

    def __init__(self, session: Session, device: Any, synchronize: Callable[[], None], factors: KernelFactors) -> None:
        self._session = session
        self._device = device
        self._synchronize = synchronize
        self._factors = factors
        self._found = Findings()
        self._trace: DeviceTrace | None = None
        self._open = ExitStack()
        self._step = ExitStack()

    def start(self) -> None:
        """Start profiling; called at a step boundary."""
        if self._device.type == "cpu":
            return
        reason = reason_not_to_trace(self._device)
        if reason:
            self._found.reasons.append(reason)
            return
        try:
            self._trace = self._open.enter_context(DeviceTrace(self._device))
            self._step.enter_context(self._trace.step())
        except Exception as error:  # noqa: BLE001 - tracers raise arbitrary exceptions; they must not reach the training
            self._give_up(error)

    def step(self) -> None:
        """Record that a step has ended and another one follows."""
        if self._trace is None:
            return
        try:
            self._step.close()
            self._step.enter_context(self._trace.step())
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up(error)

    def stop(self, step_count: int) -> StepProfile | None:
        """The profile of ``step_count`` steps; None if none was timed."""
        records = [record for record in self._session.epochs if record.phase == "timed"] or self._session.epochs
        steps = sum(record.step_count for record in records)
        if not step_count or not steps:
            return None
        try:
            self._end_trace()
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up(error)
        found = self._found
        waits = [record.data_wait_s for record in records if record.data_wait_s is not None]
        found.dispatch_s = time_dispatch_s() if self._device.type == "cpu" else None
        found.reasons += [_NOT_COUNTED, _NOT_RUN_ALONE]
        step = ProfiledStep(
            run=_never,
            device=self._device,
            synchronize=self._synchronize,
            step_s=math.fsum(record.duration_s for record in records) / steps,
            fetch_s=math.fsum(waits) / steps if len(waits) == len(records) else 0.0,
        )
        return assemble_profile(step, found, self._factors)

    def _end_trace(self) -> None:
        if self._trace is None:
            return
        self._step.close()
        self._open.close()
        self._found.activities = self._trace.activities
        self._found.tracer_operator_count = self._trace.operator_count
        if not any(each.kind == "kernel" for each in self._found.activities):
            self._found.activities = ()
            self._found.reasons.append("the profiler saw no kernel")

    def _give_up(self, error: Exception) -> None:
        self._found.activities = ()
        self._found.reasons.append(f"the profiler failed ({type(error).__name__})")
        self._trace = None
        self._step, self._open = ExitStack(), ExitStack()


def _never(batch: Any) -> object:
    raise AssertionError(f"a window runs no step of its own, not even on {batch!r}")
