"""Promises: an estimate compared with the offers and recorded in the training's run, and its outcome after it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.workload import Workload
from greenlove_mlflow.errors import GreenloveError
from greenlove_mlflow.pipeline.comparing import compare_estimate, with_probe
from greenlove_mlflow.pipeline.live.account import Promise
from greenlove_mlflow.pipeline.live.background import Background
from greenlove_mlflow.pipeline.live.policy import Policy
from greenlove_mlflow.pipeline.live.window import WITHIN_CAVEAT
from greenlove_mlflow.pipeline.tracked_training import TrackedTraining, replace_ratios
from greenlove_mlflow.terminal import say_on_stderr
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.spool.closing import status_of

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
    from greenlove_mlflow.tracking.opening import RunToJoin

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
    """

    experiment: str | None = None
    run_name: str | None = None
    nested: bool | None = None
    log_model: bool = True
    saved_view: bool = True
    join: RunToJoin | None = None
    run_id: str | None = None


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

    rest = Background(keep_rest, name="greenlove-page")
    return Promise(log=log, estimate=estimate, comparison=comparison, rest=rest)


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
        status = status_of(error).lower()
        tracked.log_outcome(run.estimate, run.comparison, run.log, run.outcome, status=status)


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
        logger.warning("no comparison: %s", error)
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
    from greenlove_mlflow.serving.gather import gather_facts

    sheet = None if comparison is None else comparison.prices
    tracked.model(gather_facts(estimate.statistics, sheet=sheet).to_json())
