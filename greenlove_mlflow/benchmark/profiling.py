"""Profiling in a session: of the user's own step and loader after its timed part, or of two steps of a real run."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch

from greenlove_mlflow.benchmark.feed import Feed, make_feed
from greenlove_mlflow.benchmark.session import Session
from greenlove_mlflow.benchmark.subject.device_trace import DeviceTrace, reason_not_to_trace
from greenlove_mlflow.benchmark.subject.loading import ProfiledLoader
from greenlove_mlflow.benchmark.subject.operators import time_dispatch_s
from greenlove_mlflow.benchmark.subject.profile import (
    PROFILE_BUDGET_S,
    ProfiledStep,
    StepFindings,
    assemble_profile,
    measure_profile,
)
from greenlove_mlflow.benchmark.subject.training import Training
from greenlove_mlflow.core.records import EpochRecord, StepProfile
from greenlove_mlflow.core.timing.noise import startup_of_passes

if TYPE_CHECKING:
    from greenlove_mlflow.core.timing.timeline import KernelFactors

_NOT_COUNTED = "operators are not counted within a training, whose steps stay as they are"
_NOT_RUN_ALONE = "the loader is not run by itself within a training"


def profile_session(session: Session, subject: Training, first_batch: Any) -> None:
    """Profile a training step, and on a GPU a validation step, and store both in the session.

    Args:
        session: The benchmark's session, after its timed part.
        subject: What is benchmarked.
        first_batch: A batch already trained on, used for steps if there is no time for the loader.
    """
    factors = session.plan.kernel_factors
    timed = _timed(session)
    if factors is None or not timed:
        return
    session.show_progress("profile")
    begun_s = time.perf_counter()
    step = _profiled_step(session, subject, timed, subject.make_step())
    session.profile = measure_profile(step, _profiled_loader(session, session.feed, first_batch), factors)
    left_s = PROFILE_BUDGET_S - (time.perf_counter() - begun_s)
    validated = [record for record in session.epochs if record.phase == "validation"]
    if validated and not step.on_cpu and left_s > 2.0 * _mean_s(validated):
        session.validation_profile = _profile_validation(session, subject, validated, left_s)


def _profile_validation(
    session: Session, subject: Training, validated: list[EpochRecord], budget_s: float
) -> StepProfile | None:
    factors = session.plan.kernel_factors
    if factors is None:
        return None
    feed = make_feed(subject.validation_loader)
    batch = None if feed.worker_count else next(iter(feed.loader), None)
    if batch is None:
        return None
    step = _profiled_step(session, subject, validated, subject.make_validation_step())
    with subject.in_evaluation():
        profile = measure_profile(step, ProfiledLoader(batches=[batch]), factors, budget_s=budget_s)
    feed.close()
    return profile


def _profiled_step(
    session: Session, subject: Training, records: list[EpochRecord], run: Callable[[Any], object]
) -> ProfiledStep:
    optimizer = subject.optimizer
    several = optimizer.values() if isinstance(optimizer, dict) else optimizer
    parts = list(several) if isinstance(optimizer, (dict, list, tuple)) else [optimizer]
    return ProfiledStep(
        run=run,
        device=subject.torch_device,
        synchronize=subject.synchronize,
        step_s=_mean_s(records),
        fetch_s=_wait_s(records),
        model=subject.model,
        train_step=subject.train_step,
        modules=tuple(
            each
            for each in (subject.model, subject.criterion, *subject.extra_state)
            if isinstance(each, torch.nn.Module)
        ),
        optimizers=tuple(each for each in parts if hasattr(each, "param_groups")),
        utilization_share=_utilization(session),
        subscriber=session.plan.driver_subscriber,
    )


def _profiled_loader(session: Session, feed: Feed, spare_batch: Any) -> ProfiledLoader:
    startup = startup_of_passes(session.epochs, session.blocks)
    return ProfiledLoader(
        batches=feed.loader,
        worker_count=feed.worker_count,
        prefetch_steps=feed.prefetch_steps,
        startup_s=startup.overhead_s if startup is not None and feed.worker_count else 0.0,
        spare_batch=spare_batch,
    )


def _timed(session: Session) -> list[EpochRecord]:
    """The records that determine the step time: those of the timed passes, else those of first contact."""
    for phase in ("timed", "first-contact"):
        records = [record for record in session.epochs if record.phase == phase]
        if records:
            return records
    return []


def _utilization(session: Session) -> float | None:
    """Share of the timed passes in which the board ran a kernel, by its driver; None if not reported."""
    shares = [each["utilization"] for phase, each in session.readings if phase == "timed" and "utilization" in each]
    return statistics.fmean(shares) if shares else None


def _wait_s(records: list[EpochRecord]) -> float:
    return math.fsum(record.data_wait_s or 0.0 for record in records) / _step_count(records)


def _step_count(records: list[EpochRecord]) -> int:
    return sum(record.step_count for record in records)


def _mean_s(records: list[EpochRecord]) -> float:
    return math.fsum(record.duration_s for record in records) / _step_count(records)


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
        self._found = StepFindings()
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
