"""Recording: the estimate of a training, compared with the offers, and later its outcome, kept in its run."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.estimate import estimate_training
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.pipeline.comparing import compare_with_offers
from greenlove_mlflow.pipeline.estimating import measure_training, plan_workload
from greenlove_mlflow.pipeline.live.running_estimate import Background, Estimated
from greenlove_mlflow.pipeline.live.window import WITHIN_CAVEAT
from greenlove_mlflow.pipeline.study import Benchmark, TrialUnderWay
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.spool.run_events import status_of

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.laps import LapPlan
    from greenlove_mlflow.core.offers.compare import Comparison
    from greenlove_mlflow.pipeline.options import Options
    from greenlove_mlflow.pipeline.tracked_training import TrackedTraining
    from greenlove_mlflow.pipeline.undertaking import Undertaking
    from greenlove_mlflow.tracking import TrackedRun

logger = logging.getLogger(__name__)

# Pictures, page and model take about three seconds of Python, for which the training's own has to wait. That is half a
# percent of this; a shorter training gets them at its end.
SHORTEST_WITH_PAGE_S = 600.0


def estimate_before(undertaking: Undertaking, tracked: TrackedRun) -> Estimated:
    """Benchmark a training before it runs, and record its estimate; on ranks other than 0 nothing is recorded."""
    options, environment, ranks = undertaking.options, undertaking.environment, undertaking.ranks
    with tracked.paused():
        estimated = measure_training(
            undertaking.subject,
            options,
            environment,
            undertaking.ground,
            history=tracked.finished_runs if options.history else tuple,
            trains_here=not environment.benchmark_only,
            ranks=ranks,
        )
    return estimated if ranks is not None and not ranks.is_leader else keep_estimate(estimated, undertaking, tracked)


def keep_estimate(estimated: Estimated, undertaking: Undertaking, tracked: TrackedRun) -> Estimated:
    """Compare an estimate with the offers and record both in the run.

    Figures and page follow in the background of a long training, and at the end of a short one.
    """
    options, keeping = undertaking.options, undertaking.keeping
    if tracked.is_continued:
        # The run keeps its first estimate; the estimate of what is left now is a forecast of it.
        return compare_with_offers(estimated, options, undertaking.probes)
    benchmark = "within" if WITHIN_CAVEAT in estimated.estimate.caveats else "before"
    tracked.params(params_of_plan(undertaking.plan, options, benchmark))
    compared = compare_with_offers(estimated, options, undertaking.probes)
    log, estimate, comparison = compared.log, compared.estimate, compared.comparison
    tracked.log_estimates(estimate, comparison, log, streamed=benchmark == "within")

    def keep_rest() -> None:
        tracked.log_page(estimate, comparison, log, saved_view=keeping.saved_view)
        if keeping.log_model:
            _log_model_later(tracked, estimate, comparison)

    if not keeping.rest:
        return compared
    is_short = estimate.time_s.point < SHORTEST_WITH_PAGE_S
    return dataclasses.replace(compared, rest=Background(keep_rest, name="greenlove-page", waits=is_short))


def estimate_of_trial(trial: TrialUnderWay, undertaking: Undertaking, tracked: TrackedRun) -> Estimated | None:
    """The estimate of a trial: from its study's benchmark of the same workload, else from one of its own.

    None where its own first seconds are the benchmark, or where the study has nothing left to spend. The caller lets
    one training of the process be benchmarked at a time, so a trial in another thread finds what this one measured.

    Args:
        trial: The trial.
        undertaking: The trial's training.
        tracked: The trial's run.
    """
    study, workload = trial.study, trial.workload
    known = study.known(workload)
    if known is not None:
        return reuse_benchmark(known, undertaking, tracked)
    if not undertaking.is_measured_before or study.exhausted():
        return None
    estimated = estimate_before(undertaking, tracked)
    if workload:
        study.benchmarks[workload] = Benchmark(estimated=estimated, run_id=tracked.run_id)
    return estimated


def reuse_benchmark(benchmark: Benchmark, undertaking: Undertaking, tracked: TrackedRun) -> Estimated | None:
    """The estimate from the benchmark of an earlier trial, for this trial's plan; recorded in the trial's run.

    Only the estimates are recorded: the benchmark with its figures and tables, and the model, are in the run that
    measured it. None if that estimate cannot be made again.

    Args:
        benchmark: The earlier trial's.
        undertaking: The trial's training.
        tracked: The trial's run.
    """
    earlier, options = benchmark.estimated, undertaking.options
    facts, log = earlier.estimate.statistics, earlier.log
    if facts is None:
        return None
    within = WITHIN_CAVEAT in earlier.estimate.caveats
    workload = undertaking.workload_left(log.validation_s) if within else plan_workload(options, log)
    training = undertaking.subject.training
    paid = training is None or not training.is_compiled  # another model is compiled anew
    caveats = [each for each in facts.caveats if paid or each.code != "one-off-paid"]
    reused = Caveat.of("benchmark-reused", run=benchmark.run_id or "of the first trial")
    facts = dataclasses.replace(facts, workload=workload, one_off_paid=paid, caveats=(*caveats, reused))
    estimate, comparison = estimate_training(facts), earlier.comparison
    if comparison is not None and workload == earlier.estimate.workload:
        comparison = dataclasses.replace(comparison, home=estimate)
    estimated = Estimated(log=log, estimate=estimate, comparison=comparison)
    if comparison is not None and workload != earlier.estimate.workload:
        estimated = compare_with_offers(estimated, options, undertaking.probes)
    if not tracked.is_continued:
        tracked.params(params_of_plan(undertaking.plan, options, "reused"))
        tracked.tags({} if benchmark.run_id is None else {names.TAG_BENCHMARK_RUN: benchmark.run_id})
        tracked.log_estimates(estimated.estimate, estimated.comparison, None)
    return estimated


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
        estimate = tracked.first_estimate() or run.of_all_parts(run.estimate)
        # The comparison and the log at hand are of what was left, so the note alone is written again.
        tracked.log_outcome(estimate, None, None, run.outcome, status=status_of(error).lower())
    else:
        is_reused = any(each.code == "benchmark-reused" for each in run.estimate.caveats)
        log, status = None if is_reused else run.log, status_of(error).lower()
        tracked.log_outcome(run.estimate, run.comparison, log, run.outcome, status=status)


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


def _log_model_later(tracked: TrackedRun, estimate: Estimate, comparison: Comparison | None) -> None:
    """Have the estimator logged as an MLflow model once everything recorded before has been sent."""
    from greenlove_mlflow.serving.logging_model import gather_facts

    sheet = None if comparison is None else comparison.prices
    tracked.model(gather_facts(estimate.statistics, sheet=sheet).to_json())
