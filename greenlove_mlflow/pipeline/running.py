"""Runs a training: opens its MLflow run, records it, and settles it whatever ends it.

``track``, ``watch``, ``autolog`` and the framework callbacks all use this module.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

from greenlove_mlflow.benchmark.ranks import failing_together, on_all_ranks
from greenlove_mlflow.benchmark.subject.likeness import likeness_of_parts
from greenlove_mlflow.benchmark.subject.loop import (
    benchmarking,
    busy,
    find_loader_in_use,
    refuse_inside_benchmark,
    training,
)
from greenlove_mlflow.benchmark.within import WindowPlan
from greenlove_mlflow.core.account.laps import LapPlan
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.errors import TrainingRefused
from greenlove_mlflow.pipeline.estimating import estimate_log
from greenlove_mlflow.pipeline.live.commentary import Commentary
from greenlove_mlflow.pipeline.live.lap_meter import LapMeter
from greenlove_mlflow.pipeline.live.rank_link import RankLink, deaths_noted, link_ended
from greenlove_mlflow.pipeline.live.running_estimate import Estimated
from greenlove_mlflow.pipeline.live.window import WITHIN_CAVEAT, Window
from greenlove_mlflow.pipeline.recording import estimate_before, estimate_of_trial, keep_estimate, keep_outcome
from greenlove_mlflow.pipeline.study import UNSAID, Benchmark, Study, TrialUnderWay, open_study, trial_of
from greenlove_mlflow.pipeline.tracked_training import TrackedTraining
from greenlove_mlflow.power.devices import name_device
from greenlove_mlflow.tables import read_kernel_factors
from greenlove_mlflow.terminal import say_on_stderr
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.spool.run_events import is_pruned

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.outcome import EarlierParts
    from greenlove_mlflow.core.records import BenchmarkLog
    from greenlove_mlflow.pipeline.live.policy import Policy
    from greenlove_mlflow.pipeline.live.rank_power import RankMeter
    from greenlove_mlflow.pipeline.undertaking import Undertaking
    from greenlove_mlflow.power import PowerMeter
    from greenlove_mlflow.tracking import TrackedRun

logger = logging.getLogger(__name__)


@contextmanager
def running(
    undertaking: Undertaking, *, refusal: str = "", ends_at_last_touch: bool = False
) -> Iterator[TrackedTraining]:
    """A training in its MLflow run, metered from the beginning to the end of the block.

    Args:
        undertaking: The training that is about to run.
        refusal: Why it may not run, if that is known beforehand.
        ends_at_last_touch: Whether the training ends at its last report rather than with the block.

    Raises:
        InvalidInputError: If it begins inside the benchmark of another training.
        TrainingRefused: If it may not run and the caller asked for an exception.
        TrackingError: If the MLflow store cannot be used; raised before anything runs.
    """
    refuse_inside_benchmark()
    ranks = undertaking.ranks
    study = open_study() if ranks is None else None
    with failing_together(ranks):
        opened = _open(undertaking, study)
    subject = undertaking.subject
    under_way = busy(subject.model, subject.optimizer, *subject.optimizers)
    with under_way, ExitStack() as outermost, opened as tracked, trial_of(study, tracked) as trial:
        on_all_ranks(ranks, lambda: None)
        undertaking = undertaking if trial is None else _in_study(undertaking, trial)
        earlier = _earlier_parts(undertaking, tracked)
        with failing_together(ranks):
            estimated = outermost.enter_context(_estimated_first(undertaking, tracked, trial))
        link = _make_link(undertaking, tracked)
        outermost.enter_context(deaths_noted(link, tracked.say_failed))
        run = _make_run(undertaking, tracked, estimated, earlier, link=link, trial=trial)
        run.refusal = refusal
        reason = _approve(undertaking, tracked, trial, run)
        error: BaseException | None = None
        try:
            with link_ended(link):
                run.begin()
                yield run
        except GeneratorExit:  # a generator around the block was closed, which leaves it as a return does
            raise
        except BaseException as raised:
            error = raised
            if is_pruned(error):
                _prune(tracked, trial, str(error))
            raise
        finally:
            run.end(at_last_touch=ends_at_last_touch)
            if reason and run.has_trained:
                tracked.say_ran_although(reason)
            _settle(undertaking, tracked, trial, run, error)


def _open(undertaking: Undertaking, study: Study | None) -> TrackedRun:
    from greenlove_mlflow.tracking import open_run

    keeping = undertaking.keeping
    return open_run(
        experiment=keeping.experiment,
        run_name=keeping.run_name,
        nested=keeping.nested,
        run_id=keeping.run_id,
        continues=undertaking.plan.done_count > 0,
        rank=undertaking.rank,
        join=keeping.join,
        study=None if study is None else study.tracked,
    )


def _earlier_parts(undertaking: Undertaking, tracked: TrackedRun) -> EarlierParts | None:
    """The earlier parts of a resumed training, which the run then continues; None when there are none."""
    earlier = tracked.earlier_parts() if undertaking.plan.done_count else None
    tracked.is_continued = earlier is not None
    if tracked.is_continued:
        # How the earlier part ended is not how the training ends.
        tracked.tags({names.TAG_STATUS: names.STATUS_RUNNING, names.TAG_REASON: ""})
    return earlier


@contextmanager
def _estimated_first(
    undertaking: Undertaking, tracked: TrackedRun, trial: TrialUnderWay | None
) -> Iterator[Estimated | None]:
    """The estimate from before the training; None when its own first seconds are the benchmark. The block trains."""
    with ExitStack() as until_trained:
        with benchmarking() if undertaking.is_measured_before else nullcontext(False) as others_train:
            moves = others_train and undertaking.may_move_within
            undertaking = dataclasses.replace(undertaking, is_measured_before=False) if moves else undertaking
            estimated = _estimate_first(undertaking, tracked, trial)
            until_trained.enter_context(training())  # before the next benchmark can begin
        if moves and estimated is None:
            say_on_stderr(
                "another training of this process draws from the same random numbers, which could not be put back. So "
                "nothing is run beforehand: the first seconds of the training are the benchmark"
            )
        yield estimated


def _estimate_first(undertaking: Undertaking, tracked: TrackedRun, trial: TrialUnderWay | None) -> Estimated | None:
    if trial is not None:
        return estimate_of_trial(trial, undertaking, tracked)
    return estimate_before(undertaking, tracked) if undertaking.is_measured_before else None


def _make_link(undertaking: Undertaking, tracked: TrackedRun) -> RankLink | None:
    """The tie to the other ranks; None when the training has none."""
    if undertaking.ranks is None:
        return None
    return RankLink(
        undertaking.ranks,
        device=name_device(undertaking.subject.device),
        synchronize=undertaking.subject.synchronize,
        may_stop=bool(undertaking.ranks.from_leader(lambda: undertaking.policy.is_limited)),
        on_failure=tracked.say_failed,
        on_sample=tracked.log_power_sample,
    )


def _approve(undertaking: Undertaking, tracked: TrackedRun, trial: TrialUnderWay | None, run: TrackedTraining) -> str:
    """Say the estimate, and refuse the training for the reason returned; empty when it may run."""
    if undertaking.keeping.rest:
        run.say_estimate()
    reason = _reason_to_refuse(undertaking, trial, run)
    if reason:
        _refuse(run, tracked, reason, undertaking.policy)
    return reason


def _reason_to_refuse(undertaking: Undertaking, trial: TrialUnderWay | None, run: TrackedTraining) -> str:
    """Why the training may not run, as decided on rank 0; empty when it may, or when that has been said already."""
    if run.estimate is None:
        return "" if trial is None else trial.study.exhausted()
    if run.refusal:
        return ""
    policy, ranks, estimate = undertaking.policy, undertaking.ranks, run.of_all_parts(run.estimate)
    return policy.refusal(estimate) if ranks is None else str(ranks.from_leader(lambda: policy.refusal(estimate)))


def _settle(
    undertaking: Undertaking,
    tracked: TrackedRun,
    trial: TrialUnderWay | None,
    run: TrackedTraining,
    error: BaseException | None,
) -> None:
    """Record and say what the training took; ``error`` is what ended it."""
    if error is None:
        run.left_early()
    keep_outcome(run, tracked, error)
    run.say_end(error)
    if trial is not None:
        _settle_trial(trial, run)
    elif undertaking.keeping.saved_view:
        _say_where(tracked)


def _say_where(tracked: TrackedRun) -> None:
    """Print the link to the saved view of the experiment, if its store has pages."""
    from greenlove_mlflow.tracking.saved_view import print_view_link

    if tracked.view_url:
        print_view_link(tracked.view_url)


def _prune(tracked: TrackedRun, trial: TrialUnderWay | None, reason: str) -> None:
    """Record that a library has given a training up early, by an exception."""
    if trial is not None:
        trial.prune(reason)
    else:
        tracked.say_status(names.STATUS_PRUNED, reason or UNSAID)


def _in_study(undertaking: Undertaking, trial: TrialUnderWay) -> Undertaking:
    """The training as a trial: within its study's limits, its plan known if an earlier trial trained by it."""
    subject, study = undertaking.subject, trial.study
    trial.workload = undertaking.workload_key()
    alike = trial.workload or likeness_of_parts(subject.model, subject.optimizer, subject.feed.batch_size)
    return dataclasses.replace(
        undertaking,
        policy=trial.policy(undertaking.policy),
        keeping=dataclasses.replace(undertaking.keeping, rest=study.is_first_of(alike)),
        plan_is_known=trial.workload in study.fitting,
        probes=study.probes,
    )


def _settle_trial(trial: TrialUnderWay, run: TrackedTraining) -> None:
    """Give the trial's outcome to its study, and a benchmark within it to later trials of the same workload."""
    study, workload, estimate = trial.study, trial.workload, run.estimate
    if workload and run.has_trained and not run.trained.differs:
        study.fitting.add(workload)
        if estimate is not None and run.log is not None and workload not in study.benchmarks:
            estimated = Estimated(log=run.log, estimate=estimate, comparison=run.comparison)
            study.benchmarks[workload] = Benchmark(estimated=estimated, run_id=run.run_id)
    outcome = run.outcome
    whole = None if estimate is None else run.of_all_parts(estimate)
    trial.end(whole, outcome, is_whole=outcome is not None and outcome.completed)


def _make_run(
    undertaking: Undertaking,
    tracked: TrackedRun,
    estimated: Estimated | None,
    earlier: EarlierParts | None,
    *,
    link: RankLink | None,
    trial: TrialUnderWay | None,
) -> TrackedTraining:
    options, ground = undertaking.options, undertaking.ground

    def open_meter() -> AbstractContextManager[PowerMeter | RankMeter]:
        opened = ground.open_meter(on_sample=tracked.log_power_sample)
        return opened if link is None else link.metered(opened)

    return TrackedTraining(
        optimizers=undertaking.subject.optimizers,
        runner=undertaking.subject.runner,
        commentary=Commentary(options.summary if undertaking.rank == 0 else False),
        tracked=tracked,
        laps=LapMeter(open_meter, undertaking.subject.synchronize),
        plan=undertaking.plan,
        policy=undertaking.policy,
        estimated=estimated,
        window=None if estimated is not None else _make_window(undertaking, tracked, link),
        see_plan=None if undertaking.plan_is_known else _see_plan(undertaking),
        earlier=earlier,
        on_lap=options.on_epoch,
        link=link,
        say_departure=None if trial is None else trial.study.say_departure,
    )


def _make_window(undertaking: Undertaking, tracked: TrackedRun, link: RankLink | None) -> Window:
    def finish(log: BenchmarkLog, power_caveats: tuple[Caveat, ...]) -> Estimated:
        if link is None:
            return make_estimate(log, power_caveats)
        if not link.is_leader:
            return Estimated(log=log, estimate=link.exchange_records(log))
        estimated: Estimated | None = None
        try:
            estimated = make_estimate(link.log_of_all(log), power_caveats)
        finally:
            link.send_estimate(None if estimated is None else estimated.estimate)
        return estimated

    def make_estimate(log: BenchmarkLog, power_caveats: tuple[Caveat, ...]) -> Estimated:
        history = tracked.finished_runs if undertaking.options.history else tuple
        estimate = estimate_log(
            log,
            undertaking.workload_left(log.validation_s),
            undertaking.ground,
            undertaking.options,
            undertaking.environment,
            power_caveats=(WITHIN_CAVEAT, *power_caveats),
            history=history,
            gpu_count=1 if link is None else link.ranks.board_count,
        )
        estimated = Estimated(log=log, estimate=estimate)
        if undertaking.plan.lap_count is None:
            return estimated.with_caveat(Caveat.of("no-end-known"))
        return keep_estimate(estimated, undertaking, tracked)

    return Window(
        feed=undertaking.feed_by_steps,
        plan=WindowPlan(total_step_count=undertaking.plan.left_step_count),
        subject=undertaking.subject,
        machine=undertaking.ground.machine,
        finish=finish,
        quiet=tracked.paused,
        factors=read_kernel_factors() if link is None or link.is_leader else None,
        leader_reason=None if link is None or link.is_leader else lambda: link.window_reason,
    )


def _see_plan(undertaking: Undertaking) -> Callable[[int], LapPlan | None] | None:
    """A function that checks the loader actually used, if the plan was made from the data set alone."""
    training, options, plan = undertaking.subject.training, undertaking.options, undertaking.plan
    stated = options.steps_per_epoch is not None or options.accumulation is not None
    if training is None or stated or not plan.is_epoch or options.steps is not None:
        return None
    data = getattr(training.data, "dataset", training.data)

    def see(step_count: int) -> LapPlan | None:
        found = find_loader_in_use(data)
        if found is None or found.batch_count is None:
            return None
        drawn = found.drawn_count or step_count
        batches_per_step = drawn // step_count if drawn % step_count == 0 else 1
        return dataclasses.replace(plan, steps_per_lap=max(1, found.batch_count // batches_per_step), is_seen=True)

    return see


def _refuse(run: TrackedTraining, tracked: TrackedRun, reason: str, policy: Policy) -> None:
    """Refuse a training before any of its steps has run."""
    run.refusal = reason
    tracked.say_status(names.STATUS_REFUSED, reason)
    if policy.on_refusal == "raise":
        raise TrainingRefused(reason)
    run.say(
        f"training refused: {reason}. run.epochs() is empty; your own loop still runs, "
        'unless on_refusal="raise" ends it'
    )
