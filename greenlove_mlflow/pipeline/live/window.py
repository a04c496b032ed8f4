"""Window: the first seconds of a training as its benchmark, from the recorder to the estimate."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING

from greenlove_mlflow.benchmark.machine.signals import SignalReader
from greenlove_mlflow.benchmark.profiling import WindowProfile
from greenlove_mlflow.benchmark.run import make_log
from greenlove_mlflow.benchmark.session import BenchmarkPlan, Session
from greenlove_mlflow.benchmark.state.state import DeviceMemory, read_device_memory
from greenlove_mlflow.benchmark.subject.model_kind import AutocastWatch, describe_model
from greenlove_mlflow.benchmark.within import StepRecorder, WindowPlan
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import BenchmarkLog, Machine
from greenlove_mlflow.pipeline.live.running_estimate import Background

if TYPE_CHECKING:
    from greenlove_mlflow.benchmark.checked_subject import Subject
    from greenlove_mlflow.benchmark.feed import Feed
    from greenlove_mlflow.core.timing.timeline import KernelFactors
    from greenlove_mlflow.pipeline.live.rank_power import RankMeter
    from greenlove_mlflow.pipeline.live.running_estimate import Estimated
    from greenlove_mlflow.power import PowerMeter

WITHIN_CAVEAT = Caveat.of("benchmark-within")


class Window:
    """The benchmark within a training.

    Args:
        feed: Size of an epoch.
        plan: The benchmark's plan, with the latest time to close.
        subject: The watched training.
        machine: The machine it runs on.
        finish: Makes the estimate from a log and the meter's caveats; runs in its own thread.
        quiet: A block in which nothing is sent to MLflow.
        factors: Factors from operators to kernels; two steps are profiled if given.
        leader_reason: On a rank other than 0: why rank 0's window has closed, and this one closes; empty until then.

    Attributes:
        recorder: Receives the training's reports.
        on_close: Called in the training's thread when the window has closed.
    """

    def __init__(
        self,
        *,
        feed: Feed,
        plan: WindowPlan,
        subject: Subject,
        machine: Machine,
        finish: Callable[[BenchmarkLog, tuple[Caveat, ...]], Estimated],
        quiet: Callable[[], AbstractContextManager[None]] = nullcontext,
        factors: KernelFactors | None = None,
        leader_reason: Callable[[], str] | None = None,
    ) -> None:
        self.on_close: Callable[[], None] = lambda: None
        self._subject = subject
        self._machine = machine
        self._finish = finish
        self._quiet = quiet
        self._open = ExitStack()
        self._autocast = AutocastWatch()
        self._meter: PowerMeter | RankMeter | None = None
        self._started_at = dt.datetime.now(dt.timezone.utc)
        session = Session(
            feed,
            lambda _: None,
            BenchmarkPlan(),
            synchronize=subject.synchronize,
            host_sees_steps=subject.device.type == "cpu",
        )
        profiler = None if factors is None else WindowProfile(session, subject.device, subject.synchronize, factors)
        self.recorder = StepRecorder(
            session,
            plan,
            synchronize=subject.synchronize,
            profiler=profiler,
            on_close=self._close,
            leader_reason=leader_reason,
        )

    @property
    def has_steps(self) -> bool:
        """Whether a step was timed, so that an estimate can be made."""
        return bool(self.recorder.session.epochs)

    def begin(self, meter: PowerMeter | RankMeter | None) -> None:
        """Begin before the first batch is requested; may be called again until a step has ended."""
        if self.recorder.step_count or self.recorder.has_closed:
            return
        if self._meter is None and meter is not None:
            self._meter = meter
            self.recorder.session.meter = meter
            self.recorder.session.signals = SignalReader(gpu=meter.gauges)
            self._open.enter_context(self._quiet())
            self._open.enter_context(self._autocast.watching())
        self._started_at = dt.datetime.now(dt.timezone.utc)
        self.recorder.begin()

    def make_estimate(self) -> Background[Estimated]:
        """Make the estimate in its own thread from the log as it is now."""
        log = self._log()
        caveats = () if self._meter is None else self._meter.caveats()
        return Background(lambda: self._finish(log, caveats), name="greenlove-estimate")

    def _close(self) -> None:
        self._open.close()
        self.on_close()

    def _log(self) -> BenchmarkLog:
        recorder, subject = self.recorder, self._subject
        size = recorder.session.feed.batch_size
        description = describe_model(subject.model, subject.optimizer, None, size, autocast_dtype=self._autocast.dtype)
        return make_log(
            recorder.session,
            machine=self._machine,
            description=description,
            started_at=self._started_at,
            stop_reason=recorder.stop_reason,
            memory=DeviceMemory() if subject.training is None else read_device_memory(subject.training, 0),
        )
