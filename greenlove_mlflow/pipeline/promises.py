"""Promises: an estimate compared with the offers and recorded in the training's run, and its outcome after it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.benchmark.subject.likeness import likeness
from greenlove_mlflow.core.account.estimate import estimate_training
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.workload import Workload
from greenlove_mlflow.errors import GreenloveError, InvalidInputError
from greenlove_mlflow.pipeline import checks
from greenlove_mlflow.pipeline.comparing import compare_estimate, with_probe
from greenlove_mlflow.pipeline.live.account import Background, Promise
from greenlove_mlflow.pipeline.live.policy import Policy
from greenlove_mlflow.pipeline.live.window import WITHIN_CAVEAT
from greenlove_mlflow.pipeline.stages import plan_workload
from greenlove_mlflow.pipeline.study import Benchmark, TrialUnderWay
from greenlove_mlflow.pipeline.tracked_training import TrackedTraining, replace_ratios
from greenlove_mlflow.terminal import say_on_stderr
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.spool.run_events import status_of

if TYPE_CHECKING:
    from greenlove_mlflow.benchmark.feed import Feed
    from greenlove_mlflow.benchmark.ranks import Ranks
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.laps import LapPlan
    from greenlove_mlflow.core.offers.compare import Comparison
    from greenlove_mlflow.core.records import BenchmarkLog
    from greenlove_mlflow.environment import Environment
    from greenlove_mlflow.pipeline.live.window import Subject
    from greenlove_mlflow.pipeline.options import Options
    from greenlove_mlflow.pipeline.stages import Ground
    from greenlove_mlflow.tracking import TrackedRun
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
        subject: Model, optimizer, device.
        feed: Steps and samples of an epoch (or another lap).
        plan: Length and number of the laps.
        options: The caller's options.
        environment: The environment of the process.
        ground: The machine, its meter and its location.
        synchronize: Waits until the device is idle.
        keeping: How it is recorded in MLflow.
        policy: What it is allowed to take.
        optimizers: Optimizers whose steps are counted; empty if steps are reported by calls.
        runner: An ``EpochRunner`` that ``run.train()`` runs.
        ranks: The ranks of the training; None when it trains alone.
        plan_is_known: Whether an earlier trial has trained by this plan, so that it needs no check.
    """

    subject: Subject
    feed: Feed
    plan: LapPlan
    options: Options
    environment: Environment
    ground: Ground
    synchronize: Callable[[], None]
    keeping: Keeping = field(default_factory=Keeping)
    policy: Policy = field(default_factory=Policy)
    optimizers: tuple[Any, ...] = ()
    runner: Any = None
    ranks: Ranks | None = None
    plan_is_known: bool = False


def keep_promise(log: BenchmarkLog, estimate: Estimate, tracked: TrackedRun, undertaking: Undertaking) -> Promise:
    """Compare an estimate with the offers and record both in the run; figures and page follow in the background."""
    options, keeping = undertaking.options, undertaking.keeping
    if tracked.is_continued:
        # The run keeps its first estimate; the estimate of what is left now is a forecast of it.
        comparison, estimate = compare_or_say_why(estimate, options)
        return Promise(log=log, estimate=estimate, comparison=comparison)
    benchmark = "within" if WITHIN_CAVEAT in estimate.caveats else "before"
    tracked.params(params_of_plan(undertaking.plan, options, benchmark))
    comparison, estimate = compare_or_say_why(estimate, options)
    tracked.log_estimates(estimate, comparison, log, streamed=benchmark == "within")

    def keep_rest() -> None:
        tracked.log_page(estimate, comparison, log, saved_view=keeping.saved_view)
        if keeping.log_model:
            _log_model_later(tracked, estimate, comparison)

    rest = Background(keep_rest, name="greenlove-page") if keeping.rest else None
    return Promise(log=log, estimate=estimate, comparison=comparison, rest=rest)


def promise_of_trial(
    trial: TrialUnderWay,
    tracked: TrackedRun,
    undertaking: Undertaking,
    measure: Callable[[TrackedRun], Promise | None] | None,
) -> Promise | None:
    """The promise of a trial: from its study's benchmark of the same workload, else from one of its own.

    None where its own first seconds are the benchmark, or where the study has nothing left to spend.

    Args:
        trial: The trial.
        tracked: The trial's run.
        undertaking: The trial's training.
        measure: Runs a benchmark before it; None when there is none.
    """
    study, workload = trial.study, trial.workload
    # One benchmark at a time: trials in other threads wait for that of their workload, or for a machine to themselves.
    with study.measuring if measure is not None else nullcontext():
        known = study.known(workload)
        if known is not None:
            return reuse_promise(known, tracked, undertaking)
        if measure is None or study.exhausted():
            return None
        promise = measure(tracked)
        if promise is not None and workload:
            study.benchmarks[workload] = Benchmark(promise=promise, run_id=tracked.run_id)
        return promise


def reuse_promise(benchmark: Benchmark, tracked: TrackedRun, undertaking: Undertaking) -> Promise | None:
    """The promise from the benchmark of an earlier trial, for this trial's plan; recorded in the trial's run.

    Only the estimates are recorded: the benchmark with its figures and tables, and the model, are in the run that
    measured it. None if that estimate cannot be made again.

    Args:
        benchmark: The earlier trial's.
        tracked: The trial's run.
        undertaking: The trial's training.
    """
    earlier, options = benchmark.promise, undertaking.options
    facts, log = earlier.estimate.statistics, earlier.log
    if facts is None:
        return None
    within = WITHIN_CAVEAT in earlier.estimate.caveats
    workload = workload_within(undertaking, log) if within else plan_workload(options, log)
    training = undertaking.subject.training
    paid = training is None or not training.is_compiled  # another model is compiled anew
    caveats = [each for each in facts.caveats if paid or each.code != "one-off-paid"]
    reused = Caveat.of("benchmark-reused", run=benchmark.run_id or "of the first trial")
    facts = dataclasses.replace(facts, workload=workload, one_off_paid=paid, caveats=(*caveats, reused))
    estimate = estimate_training(facts)
    comparison = earlier.comparison
    if comparison is not None and workload == earlier.estimate.workload:
        comparison = dataclasses.replace(comparison, home=estimate)
    elif comparison is not None:
        comparison, estimate = compare_or_say_why(estimate, options)
    if not tracked.is_continued:
        tracked.params(params_of_plan(undertaking.plan, options, "reused"))
        tracked.tags({} if benchmark.run_id is None else {names.TAG_BENCHMARK_RUN: benchmark.run_id})
        tracked.log_estimates(estimate, comparison, None)
    return Promise(log=log, estimate=estimate, comparison=comparison)


def workload_of(undertaking: Undertaking) -> str:
    """What trials of the same cost have in common; empty where too little of the training is known."""
    training, options = undertaking.subject.training, undertaking.options
    if training is None:
        return ""
    # What the plan of the training decides is computed anew for each trial.
    planned = {"epochs", "steps", "done", "lap_steps", "benchmark", "extra_per_epoch_s", "one_off_s"}
    seen = {"device", "train_step", "extra_state", "validation", "progress", "on_epoch"}
    fields = [field.name for field in dataclasses.fields(options) if field.name not in planned | seen]
    return likeness(training, {name: getattr(options, name) for name in fields})


def keep_outcome(run: TrackedTraining, tracked: TrackedRun, error: BaseException | None = None) -> None:
    """Record the outcome, and what later estimates learn from it; ``error`` is what ended the training."""
    run.wait_for_page()
    if run.estimate is None or run.log is None:
        return
    if run.has_trained:
        tracked.tags({names.TAG_TRAINED: run.trained.to_text()})
    if run.laps_cut_again is not None and not tracked.is_continued:
        tracked.cut_laps_again(*run.laps_cut_again)
    if run.plan.lap_count is None:
        tracked.log_open_outcome(run.estimate, run.outcome)
    elif tracked.is_continued:
        tracked.log_open_outcome(tracked.first_estimate() or run.of_all_parts(run.estimate), run.outcome)
    else:
        is_reused = any(each.code == "benchmark-reused" for each in run.estimate.caveats)
        log, status = None if is_reused else run.log, status_of(error).lower()
        tracked.log_outcome(run.estimate, run.comparison, log, run.outcome, status=status)


def compare_or_say_why(estimate: Estimate, options: Options) -> tuple[Comparison | None, Estimate]:
    """The comparison, and the estimate with its ratios stored; a failed comparison only adds a caveat."""
    try:
        estimate = with_probe(estimate)
        comparison = compare_estimate(
            estimate,
            gpu=None,
            prices=options.prices,
            region=options.cloud_region,
            task=None,
            precision=None,
            speed_ratios=options.speed_ratios,
            measured=options.measured,
            billing=options.billing,
            gpus=options.gpus,
            start_s=options.start_s,
        )
    except GreenloveError as error:
        logger.info("no comparison: %s", error)
        say_on_stderr(f"no comparison: {error}")
        caveat = Caveat.of("no-comparison", why=str(error))
        return None, with_caveats(estimate, caveat)
    return comparison, replace_ratios(estimate, comparison, cloud_region=options.cloud_region)


def with_caveats(estimate: Estimate, *caveats: Caveat) -> Estimate:
    """The estimate with these caveats added."""
    return dataclasses.replace(estimate, caveats=(*estimate.caveats, *caveats))


def params_of_plan(plan: LapPlan, options: Options, benchmark: str) -> dict[str, str]:
    """The run's params for its plan, besides those of its estimate."""
    steps = {
        names.PARAM_STEPS: options.steps,
        names.PARAM_DONE: options.done or None,
        names.PARAM_LAP_STEPS: None if plan.is_epoch else plan.steps_per_lap,
    }
    return {
        names.PARAM_BENCHMARK: benchmark,
        **{name: str(value) for name, value in steps.items() if value is not None},
    }


def feed_of_steps(undertaking: Undertaking) -> Feed:
    """The feed by optimizer step, each of several batches if gradients are accumulated."""
    feed, batches = undertaking.feed, undertaking.options.accumulation or 1
    steps = undertaking.plan.steps_per_lap or feed.steps_per_epoch
    if batches == 1:
        return feed
    return dataclasses.replace(feed, batch_size=feed.batch_size * batches, steps_per_epoch=steps)


def workload_within(undertaking: Undertaking, log: BenchmarkLog) -> Workload:
    """The rest of the plan, with the feed's epoch length."""
    options, feed = undertaking.options, feed_of_steps(undertaking)
    return Workload(
        sample_count=feed.sample_count,
        batch_size=feed.batch_size,
        epoch_count=undertaking.plan.left_count or 1,
        steps_per_epoch=feed.steps_per_epoch,
        validation_s=log.validation_s,
        validation_every_epochs=options.validation_every_epochs,
        extra_per_epoch_s=options.extra_per_epoch_s,
        one_off_s=options.one_off_s,
    )


def _log_model_later(tracked: TrackedRun, estimate: Estimate, comparison: Comparison | None) -> None:
    """Have the estimator logged as an MLflow model once everything recorded before has been sent."""
    from greenlove_mlflow.serving.logging_model import gather_facts

    sheet = None if comparison is None else comparison.prices
    tracked.model(gather_facts(estimate.statistics, sheet=sheet).to_json())
