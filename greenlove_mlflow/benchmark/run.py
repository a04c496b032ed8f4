"""``run_benchmark``: entry point of this package; it restores the state of the training afterwards."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

import torch

from greenlove_mlflow.benchmark.adaptive import run_adaptive
from greenlove_mlflow.benchmark.by_sizes import run_by_sizes, run_original
from greenlove_mlflow.benchmark.feed import Feed, feed_of_runner, make_feed
from greenlove_mlflow.benchmark.machine.machine import read_machine
from greenlove_mlflow.benchmark.machine.signals import summarise_signals
from greenlove_mlflow.benchmark.passes import Limit
from greenlove_mlflow.benchmark.profiling import profile_session
from greenlove_mlflow.benchmark.session import BenchmarkPlan, Meter, Progress, Session, Signals
from greenlove_mlflow.benchmark.state.outside import run_in_own_context
from greenlove_mlflow.benchmark.state.state import DeviceMemory, preserved, read_device_memory
from greenlove_mlflow.benchmark.subject.model_kind import AutocastWatch, ModelDescription, describe_model
from greenlove_mlflow.benchmark.subject.training import EpochRunner, Training
from greenlove_mlflow.core.records import BenchmarkLog, Machine
from greenlove_mlflow.errors import GreenloveError, InvalidInputError

if TYPE_CHECKING:
    from greenlove_mlflow.benchmark.ranks import Ranks

logger = logging.getLogger(__name__)

# A short pass is timed to its end, a longer one for this many seconds.
LONGEST_VALIDATION_S = 2.0


class _SessionOptions(TypedDict):
    meter: Meter | None
    progress: Progress | None
    signals: Signals | None


def run_benchmark(
    subject: Training | EpochRunner,
    plan: BenchmarkPlan,
    *,
    feed: Feed | None = None,
    machine: Machine | None = None,
    meter: Meter | None = None,
    progress: Progress | None = None,
    signals: Signals | None = None,
    ranks: Ranks | None = None,
) -> BenchmarkLog:
    """Run the benchmark and return its log; the training state is restored bit by bit.

    On several ranks, each calls this, and all run the same steps.

    Args:
        subject: Model, optimizer, criterion and data; or an ``EpochRunner`` for any other kind of training.
        plan: How to benchmark.
        feed: The feed of its data by that plan; made now when None.
        machine: Machine that it runs on; read from the system when None.
        meter: An open power meter.
        progress: Called with phase, seconds done and seconds planned, outside the timed passes.
        signals: Reader of machine signals; without one the range follows from step noise and bursts alone.
        ranks: The ranks of the training; None when it trains alone.

    Raises:
        InvalidInputError: If the data cannot be used; nothing has run in that case.
        BenchmarkError: If no step could be timed.
    """
    options: _SessionOptions = {"meter": meter, "progress": progress, "signals": signals}
    started_at = dt.datetime.now(dt.timezone.utc)
    if isinstance(subject, Training):
        recorder, device = _StepRecorder(subject), subject.torch_device
        session, stop_reason, memory = _benchmark_training(subject, recorder, plan, feed, options, ranks=ranks)
        description = recorder.describe(session.feed.batch_size)
    else:
        session, stop_reason = _benchmark_runner(subject, plan, feed, options)
        description, device = describe_model(subject, None, None, subject.batch_size), torch.device("cpu")
        memory = DeviceMemory()
    return make_log(
        session,
        machine=machine or read_machine(device),
        description=description,
        started_at=started_at,
        stop_reason=stop_reason,
        memory=memory,
    )


def _benchmark_training(
    subject: Training,
    recorder: _StepRecorder,
    plan: BenchmarkPlan,
    feed: Feed | None,
    options: _SessionOptions,
    *,
    ranks: Ranks | None,
) -> tuple[Session, str, DeviceMemory]:
    feed = feed or make_feed(subject.data, batch_size=plan.batch_size, steps_per_epoch=plan.steps_per_epoch)
    if ranks is not None:
        feed, plan = _of_all_ranks(feed, plan, ranks)
    reserve_s = 0.0 if subject.validation is None else LONGEST_VALIDATION_S

    def run(copied_bytes: int) -> tuple[Session, str, DeviceMemory]:
        _begin_training(subject)
        session = Session(
            feed,
            recorder.step,
            plan,
            synchronize=subject.synchronize,
            host_sees_steps=subject.torch_device.type == "cpu",
            agree=None if ranks is None else ranks.agree,
            **options,
        )
        try:
            with _beyond_the_end_forgiven(session, recorder, plan, alone=ranks is None):
                stop_reason = "complete"  # if a step fails beyond the end of the training
                stop_reason = (
                    run_original(session) if plan.method == "original" else run_adaptive(session, reserve_s=reserve_s)
                )
            _time_validation(session, subject)
            memory = read_device_memory(subject, copied_bytes)
            # The profiler runs steps of its own, as many as it likes, which the other ranks would wait for.
            if plan.method == "adaptive" and ranks is None:
                with _beyond_the_end_forgiven(session, recorder, plan):
                    profile_session(session, subject, recorder.first_batch)
        finally:
            feed.close()
        session.end()
        return session, stop_reason, memory

    with preserved(subject) as copied_bytes:
        return run_in_own_context(lambda: run(copied_bytes))


@contextmanager
def _beyond_the_end_forgiven(
    session: Session, recorder: _StepRecorder, plan: BenchmarkPlan, *, alone: bool = True
) -> Iterator[None]:
    """A block that ends where a step fails once as many have run as the whole training has.

    A schedule made for so many steps (``OneCycleLR``) refuses another one; the training itself never asks for it.
    """
    try:
        yield
    except GreenloveError:
        raise
    except Exception as error:
        if not alone or not session.epochs or recorder.step_count <= plan.epoch_count * session.feed.steps_per_epoch:
            raise
        logger.info("the benchmark ends with its step %d: %s", recorder.step_count, error)


def _time_validation(session: Session, subject: Training) -> None:
    """Time one validation pass, or its beginning, and store the duration of a whole pass in the session."""
    if subject.validation is None:
        return
    feed = make_feed(subject.validation_loader)
    with subject.in_evaluation():
        done = session.run(
            "validation",
            Limit(
                until_s=time.perf_counter() + LONGEST_VALIDATION_S,
                beyond_first_s=LONGEST_VALIDATION_S,
                whole_step_count=None if session.agree is None else session.least_of_all(feed.steps_per_epoch),
            ),
            batches=feed.loader,
            sample_count=feed.sample_count,
            step=subject.make_validation_step(),
        )
    feed.close()
    later = feed.steps_per_epoch - done.step_count
    session.validation_s = done.duration_s + (0.0 if done.whole else max(0, later) * done.steady_step_s)


def _of_all_ranks(feed: Feed, plan: BenchmarkPlan, ranks: Ranks) -> tuple[Feed, BenchmarkPlan]:
    """Feed and plan with the epoch of the rank that has the fewest batches: what all ranks can run together.

    Raises:
        InvalidInputError: If the method runs passes of its own choice.
    """
    if plan.method != "adaptive":
        raise InvalidInputError(f"method={plan.method!r} is not supported on several ranks; leave it out")
    steps = int(-ranks.agree(-float(feed.steps_per_epoch)))
    samples = min(feed.sample_count, steps * feed.batch_size)
    feed = dataclasses.replace(feed, steps_per_epoch=steps, sample_count=samples)
    return feed, dataclasses.replace(plan, steps_per_epoch=steps)


def _benchmark_runner(
    runner: EpochRunner, plan: BenchmarkPlan, feed: Feed | None, options: _SessionOptions
) -> tuple[Session, str]:
    feed = feed or feed_of_runner(runner, plan.batch_size)

    def run() -> tuple[Session, str]:
        session = Session(feed, runner.run_epoch, plan, synchronize=lambda: None, host_sees_steps=False, **options)
        stop_reason = run_original(session) if plan.method == "original" else run_by_sizes(session)
        session.end()
        return session, stop_reason

    with preserved(runner):
        return run_in_own_context(run)


class _StepRecorder:
    """The training step, recording the first batch it sees and the precision it computes in."""

    def __init__(self, subject: Training) -> None:
        self._subject = subject
        self.first_batch: Any = None
        self.step_count = 0
        self.autocast_dtype: torch.dtype | None = None
        self._plain = subject.make_step()

    def step(self, batch: Any) -> Any:
        self.step_count += 1
        if self.first_batch is not None:
            return self._plain(batch)
        self.first_batch = batch
        watch = AutocastWatch()
        with watch.watching():
            loss = self._plain(batch)
        self.autocast_dtype = watch.dtype
        return loss

    def describe(self, batch_size: int) -> ModelDescription:
        model, optimizer = self._subject.model, self._subject.optimizer
        return describe_model(model, optimizer, self.first_batch, batch_size, autocast_dtype=self.autocast_dtype)


def _begin_training(subject: Training) -> None:
    models = subject.model.values() if isinstance(subject.model, dict) else [subject.model]
    for model in models:
        if isinstance(model, torch.nn.Module) and not model.training:
            model.train()
    if subject.torch_device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(subject.torch_device)


def make_log(
    session: Session,
    *,
    machine: Machine,
    description: ModelDescription,
    started_at: dt.datetime,
    stop_reason: str,
    memory: DeviceMemory,
) -> BenchmarkLog:
    """The log of a finished session.

    Args:
        session: The finished session.
        machine: Machine it ran on.
        description: Description of the model.
        started_at: When the benchmark began.
        stop_reason: Why it ended.
        memory: Memory that training used on its device.
    """
    feed: Feed = session.feed
    meter: Any = session.meter
    return BenchmarkLog(
        method=session.plan.method,
        machine=machine,
        sample_count=feed.sample_count,
        batch_size=feed.batch_size,
        steps_per_epoch=feed.steps_per_epoch,
        epochs=tuple(session.epochs),
        blocks=tuple(session.blocks),
        power=() if meter is None else tuple(meter.readings()),
        power_samples=() if meter is None else tuple(meter.samples()),
        started_at=started_at.isoformat(timespec="seconds"),
        duration_s=session.duration_s,
        stop_reason=stop_reason,
        peak_allocated_gib=memory.peak_allocated_gib,
        peak_reserved_gib=memory.peak_reserved_gib,
        fixed_memory_gib=memory.fixed_gib,
        machine_signals=summarise_signals(session.readings),
        loss_is_finite=session.loss_is_finite,
        first_contact_steps_s=tuple(session.first_steps_s),
        workload_fingerprint=description.fingerprint,
        precision=description.precision,
        model_kind=description.kind,
        parameter_count=description.parameter_count,
        worker_count=feed.worker_count,
        validation_s=session.validation_s,
        stated_steps_per_epoch=session.stated_steps_per_epoch,
        profile=session.profile,
        validation_profile=session.validation_profile,
        warm_up_epoch_count=session.plan.warm_up_epoch_count,
    )
