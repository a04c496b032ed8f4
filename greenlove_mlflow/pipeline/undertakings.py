"""Prepares a caller's model and data, or ``EpochRunner``, to be benchmarked and run."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from greenlove_mlflow.benchmark import EpochRunner, Training, make_feed
from greenlove_mlflow.benchmark.by_sizes import feed_of_runner
from greenlove_mlflow.benchmark.state.state import check_state
from greenlove_mlflow.benchmark.subject.loop import find_optimizers
from greenlove_mlflow.core.account.laps import LapPlan
from greenlove_mlflow.errors import InvalidInputError, StateNotKeepableError
from greenlove_mlflow.pipeline.live.account import Promise
from greenlove_mlflow.pipeline.live.window import Subject
from greenlove_mlflow.pipeline.options import is_runner
from greenlove_mlflow.pipeline.promises import Keeping, Undertaking, keep_promise
from greenlove_mlflow.pipeline.stages import (
    done_laps,
    find_place,
    make_plan,
    make_training,
    measure_training,
    planned_laps,
    read_ground,
    steps_of_epoch,
)
from greenlove_mlflow.terminal import say_on_stderr

if TYPE_CHECKING:
    from greenlove_mlflow.benchmark.feed import Feed
    from greenlove_mlflow.benchmark.ranks import Ranks
    from greenlove_mlflow.environment import Environment
    from greenlove_mlflow.pipeline.live.policy import Policy
    from greenlove_mlflow.pipeline.options import Options
    from greenlove_mlflow.tracking import TrackedRun

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A training ready to run, and the benchmark before it; None when its first seconds are the benchmark."""

    undertaking: Undertaking
    measure: Callable[[TrackedRun], Promise | None] | None


def subject_of(model: Any, optimizer: Any, criterion: Any, data: Any, options: Options) -> Training | EpochRunner:
    """The training or runner to benchmark, checked before anything runs.

    Raises:
        InvalidInputError: If an argument is missing or invalid.
    """
    if is_runner(model):
        if optimizer is not None or criterion is not None or data is not None:
            raise InvalidInputError("an EpochRunner holds its own data: pass it alone, with epochs=")
        feed_of_runner(model, make_plan(options))
        return model  # type: ignore[no-any-return]
    if data is None:
        raise InvalidInputError("data is missing: pass the Dataset or the DataLoader of the training")
    return make_training(model, optimizer, criterion, data, options)


def prepare_training(
    parts: tuple[Any, Any, Any, Any],
    options: Options,
    environment: Environment,
    *,
    policy: Policy,
    keeping: Keeping,
    ranks: Ranks | None = None,
) -> Prepared:
    """Prepare a training; nothing is run and no MLflow run is opened yet.

    Args:
        parts: Model, optimizer, criterion, data; or an ``EpochRunner`` and nothing else.
        options: The caller's options.
        environment: The environment of the process.
        policy: What the training is allowed to take.
        keeping: How it is recorded in MLflow.
        ranks: The ranks of the training; None when it trains alone.

    Raises:
        InvalidInputError: If an argument is missing or invalid.
    """
    subject = subject_of(*parts, options)
    if ranks is not None:
        refuse_on_ranks(subject, options)
    options = options.on(ranks)
    options = _with_benchmark(options, environment, policy, ranks)
    options = _with_what_can_be_kept(subject, options, policy, speaks=ranks is None or ranks.is_leader)
    if ranks is not None and ranks.agree(float(options.benchmark == "within")):
        # Where one rank cannot put its state back, none is measured before.
        options = dataclasses.replace(options, benchmark="within")
    within = options.benchmark == "within"
    if within and policy.confirm is not None:
        raise InvalidInputError(
            'confirm= is asked with an estimate, which benchmark="within" has only once the training runs; use '
            'limits=, or benchmark="before"'
        )
    place = find_place(options, environment)
    training = subject if isinstance(subject, Training) else None
    device = torch.device("cpu") if training is None else training.torch_device
    ground = read_ground(device, options, environment, place, ranks)
    feed = _feed_of(subject, options)
    undertaking = Undertaking(
        subject=Subject(model=parts[0], optimizer=parts[1], device=device, training=training),
        feed=feed,
        plan=lap_plan(options, feed),
        options=options,
        environment=environment,
        ground=ground,
        synchronize=(lambda: None) if training is None else training.synchronize,
        keeping=keeping,
        policy=policy,
        optimizers=find_optimizers(parts[1]),
        runner=None if training is not None else subject,
        ranks=ranks,
    )
    return Prepared(undertaking=undertaking, measure=None if within else _measure(subject, undertaking))


def refuse_on_ranks(subject: Training | EpochRunner, options: Options) -> None:
    """Refuse what cannot be benchmarked on several ranks, before anything runs.

    Raises:
        InvalidInputError: If the training is such.
    """
    if not isinstance(subject, Training):
        raise InvalidInputError("an EpochRunner is benchmarked in one process; this training has several ranks")
    if options.method != "adaptive":
        raise InvalidInputError(f"method={options.method!r} is for one process; this training has several ranks")


def _with_benchmark(options: Options, environment: Environment, policy: Policy, ranks: Ranks | None) -> Options:
    """The options with the benchmark that is usual: within a training on several ranks, else before it.

    A question is asked with an estimate, and a benchmark alone has no training to be within.
    """
    asks = policy.confirm is not None
    if ranks is not None:
        asks = bool(ranks.agree(float(asks)))  # perhaps rank 0 alone has whom to ask
    if options.benchmark is not None:
        return options
    before = ranks is None or asks or environment.benchmark_only
    return dataclasses.replace(options, benchmark="before" if before else "within")


def _with_what_can_be_kept(
    subject: Training | EpochRunner, options: Options, policy: Policy, *, speaks: bool = True
) -> Options:
    """The options, with the benchmark moved within the training if one before it could not restore all state.

    Of several ranks, one says so.
    """
    if options.benchmark == "within":
        return options
    try:
        check_state(subject)
    except StateNotKeepableError as error:
        if policy.confirm is not None or options.method != "adaptive" or not isinstance(subject, Training):
            raise  # these need an estimate before the training, or have no steps that could be timed within it
        moved = f"{error.found}. So nothing is run beforehand: the first seconds of the training are the benchmark"
        (say_on_stderr if speaks else logger.info)(moved)
        return dataclasses.replace(options, benchmark="within")
    return options


def lap_plan(options: Options, feed: Feed) -> LapPlan:
    """The laps that the caller planned, with the data's epoch length."""
    return LapPlan(
        lap_count=planned_laps(options, feed.steps_per_epoch),
        steps_per_lap=steps_of_epoch(options, feed.steps_per_epoch),
        done_count=done_laps(options, feed.steps_per_epoch),
        is_epoch=options.steps is None,
    )


def _feed_of(subject: Training | EpochRunner, options: Options) -> Feed:
    if isinstance(subject, Training):
        feed = make_feed(subject.data, batch_size=options.batch_size, steps_per_epoch=options.steps_per_epoch)
        feed.close()
        return feed
    return feed_of_runner(subject, make_plan(options))


def _measure(subject: Training | EpochRunner, undertaking: Undertaking) -> Callable[[TrackedRun], Promise]:
    options, environment, ground = undertaking.options, undertaking.environment, undertaking.ground

    def measure(tracked: TrackedRun) -> Promise:
        history = tracked.finished_runs if options.history else tuple
        with tracked.paused():
            measured = measure_training(
                subject,
                options,
                environment,
                ground.place,
                ground=ground,
                history=history,
                trains_here=not environment.benchmark_only,
                ranks=undertaking.ranks,
            )
        if undertaking.ranks is not None and not undertaking.ranks.is_leader:
            return Promise(log=measured.log, estimate=measured.estimate, comparison=None)
        return keep_promise(measured.log, measured.estimate, tracked, undertaking)

    return measure
