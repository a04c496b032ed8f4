"""Undertaking: a training that is about to run, checked and prepared whole; nothing of it has run."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.benchmark.checked_subject import Subject, make_subject
from greenlove_mlflow.benchmark.subject.likeness import likeness
from greenlove_mlflow.core.account.laps import LapPlan
from greenlove_mlflow.core.workload import Workload
from greenlove_mlflow.errors import InvalidInputError, StateNotKeepableError
from greenlove_mlflow.pipeline import checks
from greenlove_mlflow.pipeline.estimating import done_laps, make_plan, planned_laps, steps_of_epoch
from greenlove_mlflow.pipeline.ground import Ground, read_ground
from greenlove_mlflow.pipeline.live.policy import Policy
from greenlove_mlflow.terminal import say_on_stderr

if TYPE_CHECKING:
    from greenlove_mlflow.benchmark.feed import Feed
    from greenlove_mlflow.benchmark.ranks import Ranks
    from greenlove_mlflow.core.speed.gpus import Probes
    from greenlove_mlflow.environment import Environment
    from greenlove_mlflow.pipeline.options import Options
    from greenlove_mlflow.tracking.spool.header import RunToJoin

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How a training is recorded in MLflow.

    Args:
        experiment: MLflow experiment for a new run; the active or default one when not given.
        run_name: Name of a new run.
        nested: Whether to open a child of the active run; by default only if that run already holds a training.
        log_model: Whether to log the estimator as an MLflow model.
        saved_view: Whether to save a view of the experiment page.
        join: A run opened by other code, to use instead of the active one.
        run_id: Id of a run to resume, if none is active.
        rest: Whether figures, tables and the model are recorded; later trials of a workload share those of the first.
    """

    experiment: str | None = None
    run_name: str | None = None
    nested: bool | None = None
    log_model: bool = True
    saved_view: bool = True
    join: RunToJoin | None = None
    run_id: str | None = None
    rest: bool = True

    def __post_init__(self) -> None:
        for name in ("log_model", "saved_view", "nested"):
            if getattr(self, name) is not None:
                checks.flag(name, getattr(self, name))
        for name in ("experiment", "run_name", "run_id"):
            value = getattr(self, name)
            if not isinstance(value, str | None):
                raise InvalidInputError(f"{name} must be text, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Undertaking:
    """A training that is about to run, with everything known about it beforehand.

    Args:
        subject: What is trained, with the feed of its data.
        plan: Length and number of the laps.
        options: The caller's options.
        environment: The environment of the process.
        ground: The machine, its meter and its location.
        is_measured_before: Whether it is benchmarked before it runs; else its own first seconds are the benchmark.
        keeping: How it is recorded in MLflow.
        policy: What it is allowed to take.
        ranks: The ranks of the training; None when it trains alone.
        plan_is_known: Whether an earlier trial has trained by this plan, so that it needs no check.
        probes: Probes of hardware that no table lists, by device and precision; the trials of a study share them.
        validations_per_lap: Validations in a lap that has any.
    """

    subject: Subject
    plan: LapPlan
    options: Options
    environment: Environment
    ground: Ground
    is_measured_before: bool = False
    keeping: Keeping = field(default_factory=Keeping)
    policy: Policy = field(default_factory=Policy)
    ranks: Ranks | None = None
    plan_is_known: bool = False
    probes: Probes = field(default_factory=dict)
    validations_per_lap: float = 1.0

    @property
    def rank(self) -> int:
        """Rank of this process; 0 when it trains alone, whatever a launcher of something else has set."""
        return 0 if self.ranks is None else self.ranks.rank

    @property
    def may_move_within(self) -> bool:
        """Whether its own first seconds can be the benchmark instead: nothing needs an estimate beforehand."""
        needs_before = self.policy.confirm is not None or self.environment.benchmark_only or self.ranks is not None
        return self.subject.training is not None and self.options.method == "adaptive" and not needs_before

    @property
    def feed_by_steps(self) -> Feed:
        """The feed by optimizer step, each of several batches if gradients are accumulated."""
        feed, batches = self.subject.feed, self.options.accumulation or 1
        steps = self.plan.steps_per_lap or feed.steps_per_epoch
        if batches == 1:
            return feed
        return dataclasses.replace(feed, batch_size=feed.batch_size * batches, steps_per_epoch=steps)

    def workload_left(self, validation_s: float) -> Workload:
        """The rest of the plan, with the feed's epoch length.

        Args:
            validation_s: Duration of a validation, seconds.
        """
        options, feed = self.options, self.feed_by_steps
        return Workload(
            sample_count=feed.sample_count,
            batch_size=feed.batch_size,
            epoch_count=self.plan.left_count or 1,
            steps_per_epoch=feed.steps_per_epoch,
            validation_s=validation_s * self.validations_per_lap,
            validation_every_epochs=options.validation_every_epochs,
            extra_per_epoch_s=options.extra_per_epoch_s,
            one_off_s=options.one_off_s,
        )

    def workload_key(self) -> str:
        """What trials of the same cost have in common; empty where too little of the training is known."""
        training, options = self.subject.training, self.options
        if training is None:
            return ""
        # What the plan of the training decides is computed anew for each trial.
        planned = {"epochs", "steps", "done", "lap_steps", "benchmark", "extra_per_epoch_s", "one_off_s"}
        seen = {"device", "train_step", "extra_state", "validation", "progress", "on_epoch"}
        fields = [field.name for field in dataclasses.fields(options) if field.name not in planned | seen]
        return likeness(training, {name: getattr(options, name) for name in fields})


def prepare_training(
    parts: tuple[Any, Any, Any, Any],
    options: Options,
    environment: Environment,
    *,
    policy: Policy,
    keeping: Keeping,
    ranks: Ranks | None = None,
) -> Undertaking:
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
    before = _is_usual_before(options, environment, policy, ranks)
    subject = subject_of(*parts, options=options, environment=environment, ranks=ranks, puts_back=before)
    if subject.runner is not None and not before:
        raise InvalidInputError(
            'an EpochRunner has no steps that could be timed while it trains, as benchmark="within" does; leave it out'
        )
    if subject.unkept is not None:
        if policy.confirm is not None or options.method != "adaptive" or subject.training is None:
            raise subject.unkept  # these need an estimate before the training, or have no steps to be timed within it
        _say_it_is_within(subject.unkept, speaks=ranks is None or ranks.is_leader)
        before = False
    if ranks is not None and ranks.agree(float(not before)):
        before = False  # where one rank cannot put its state back, none is measured before
    if not before and policy.confirm is not None:
        raise InvalidInputError(
            'confirm= is asked with an estimate, which benchmark="within" has only once the training runs; use '
            'limits=, or benchmark="before"'
        )
    options = options.on(ranks)
    ground = read_ground(subject.device, options, environment, ranks)
    plan = lap_plan(options, subject.feed.steps_per_epoch)
    return Undertaking(
        subject=subject,
        plan=plan,
        options=options,
        environment=environment,
        ground=ground,
        is_measured_before=before,
        keeping=keeping,
        policy=policy,
        ranks=ranks,
    )


def subject_of(
    model: Any,
    optimizer: Any,
    criterion: Any,
    data: Any,
    *,
    options: Options,
    environment: Environment | None = None,
    ranks: Ranks | None = None,
    puts_back: bool = False,
) -> Subject:
    """What is to be benchmarked, checked before anything runs.

    Args:
        model: The module to train; or an ``EpochRunner`` and nothing else.
        optimizer: Its optimizer.
        criterion: The loss; None when the model returns its own.
        data: A ``Dataset`` or a loader.
        options: The caller's options.
        environment: The environment of the process; None for the defaults.
        ranks: The ranks of the training; None when it trains alone.
        puts_back: Whether its state is to be put back after a benchmark, so that ``unkept`` says if it cannot be.

    Raises:
        InvalidInputError: If an argument is missing or invalid, or if several ranks cannot benchmark it.
    """
    plan = make_plan(options, environment)
    subject = make_subject(
        model,
        optimizer,
        criterion,
        data,
        batch_size=plan.batch_size,
        steps_per_epoch=plan.steps_per_epoch,
        puts_back=puts_back,
        train_step=options.train_step,
        device=options.device,
        validation=options.validation,
        extra_state=tuple(options.extra_state),
    )
    if ranks is not None and subject.training is None:
        raise InvalidInputError("an EpochRunner is benchmarked in one process; this training has several ranks")
    if ranks is not None and options.method != "adaptive":
        raise InvalidInputError(f"method={options.method!r} is for one process; this training has several ranks")
    return subject


def lap_plan(options: Options, steps_per_epoch: int) -> LapPlan:
    """The laps that the caller planned, with the data's epoch length in batches."""
    return LapPlan(
        lap_count=planned_laps(options, steps_per_epoch),
        steps_per_lap=steps_of_epoch(options, steps_per_epoch),
        done_count=done_laps(options, steps_per_epoch),
        is_epoch=options.steps is None,
    )


def _is_usual_before(options: Options, environment: Environment, policy: Policy, ranks: Ranks | None) -> bool:
    """Whether a benchmark runs before the training: as asked for, else within a training on several ranks.

    A question is asked with an estimate, and a benchmark alone has no training to be within.
    """
    asks = policy.confirm is not None
    if ranks is not None:
        asks = bool(ranks.agree(float(asks)))  # perhaps rank 0 alone has whom to ask
    if options.benchmark is not None:
        return options.benchmark == "before"
    return ranks is None or asks or environment.benchmark_only


def _say_it_is_within(unkept: StateNotKeepableError, *, speaks: bool) -> None:
    """Say that the benchmark moves within the training; of several ranks, one says so."""
    moved = f"{unkept.found}. So nothing is run beforehand: the first seconds of the training are the benchmark"
    (say_on_stderr if speaks else logger.info)(moved)
