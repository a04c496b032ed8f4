"""Profiling within a benchmark: the user's own step and loader, after the timed part of the session."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from greenlove_mlflow.benchmark.feed import Feed, make_feed
from greenlove_mlflow.benchmark.session import Session
from greenlove_mlflow.benchmark.subject.loading import ProfiledLoader
from greenlove_mlflow.benchmark.subject.profile import PROFILE_BUDGET_S, ProfiledStep, measure_profile
from greenlove_mlflow.benchmark.subject.training import Training
from greenlove_mlflow.benchmark.validation import in_evaluation, validation_step
from greenlove_mlflow.core.records import EpochRecord, StepProfile
from greenlove_mlflow.core.timing.noise import startup_of_passes


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
    loader, evaluate = validation_step(subject)
    feed = make_feed(loader)
    batch = None if feed.worker_count else next(iter(feed.loader), None)
    if batch is None:
        return None
    step = _profiled_step(session, subject, validated, evaluate)
    with in_evaluation(subject):
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
