"""Estimating: a benchmark of a training, and the estimate made from its log, wherever it ran."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.benchmark import BenchmarkPlan, run_benchmark
from greenlove_mlflow.benchmark.machine.signals import SignalReader
from greenlove_mlflow.core.account.estimate import Estimate, estimate_training
from greenlove_mlflow.core.account.run_facts import RunFacts, without_idle
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import BenchmarkLog, Machine
from greenlove_mlflow.core.timing.adaptive_fit import fit_log
from greenlove_mlflow.core.timing.drift import learned_drift
from greenlove_mlflow.core.workload import Workload
from greenlove_mlflow.environment import BUDGET_VARIABLE
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.pipeline.checks import number
from greenlove_mlflow.pipeline.live.rank_link import gather_log, share_estimate
from greenlove_mlflow.pipeline.live.running_estimate import Estimated
from greenlove_mlflow.tables import read_drift_model, read_kernel_factors
from greenlove_mlflow.units import S_PER_H

if TYPE_CHECKING:
    from greenlove_mlflow.benchmark.checked_subject import Subject
    from greenlove_mlflow.benchmark.ranks import Ranks
    from greenlove_mlflow.core.timing.drift import FinishedRun
    from greenlove_mlflow.environment import Environment
    from greenlove_mlflow.pipeline.ground import Ground
    from greenlove_mlflow.pipeline.options import Options
    from greenlove_mlflow.power import PowerMeter

_AUTOLOGGING = "mlflow.utils.autologging_utils"
_AUTOLOGGING_SWITCH = "_AUTOLOGGING_GLOBALLY_DISABLED"
# Long enough for a board's clocks to drop and for twenty samples.
IDLE_BASELINE_S = 2.0


def measure_training(
    subject: Subject,
    options: Options,
    environment: Environment,
    ground: Ground,
    *,
    history: Callable[[], Sequence[FinishedRun]] = tuple,
    trains_here: bool = False,
    ranks: Ranks | None = None,
) -> Estimated:
    """Benchmark a training and estimate it.

    Args:
        subject: The training to benchmark.
        options: The caller's options.
        environment: The environment of the process.
        ground: The machine, its meter and its location.
        history: Reads the finished runs that the machine's drift is learned from.
        trains_here: Whether training follows in this process, which has then already paid the one-off cost.
        ranks: The ranks of the training, each of which calls this; rank 0 fits, and all return its estimate.
    """
    with ground.open_meter(idle_baseline_s=IDLE_BASELINE_S if options.net_of_idle else 0.0) as meter:
        log = _run_benchmark(subject, options, environment, ground.machine, meter, ranks=ranks)
        power_caveats = meter.caveats()
    log = log if ranks is None else gather_log(log, ranks)

    def estimated() -> Estimate:
        return estimate_log(
            log,
            plan_workload(options, log),
            ground,
            options,
            environment,
            power_caveats=power_caveats,
            history=history,
            one_off_paid=trains_here,
            gpu_count=1 if ranks is None else ranks.board_count,
        )

    return Estimated(log=log, estimate=estimated() if ranks is None else share_estimate(estimated, ranks))


def _run_benchmark(
    subject: Subject,
    options: Options,
    environment: Environment,
    machine: Machine,
    meter: PowerMeter,
    *,
    ranks: Ranks | None,
) -> BenchmarkLog:
    with autologging_off():
        return run_benchmark(
            subject.to_run,
            make_plan(options, environment),
            feed=subject.feed,
            machine=machine,
            meter=meter,
            progress=options.progress,
            signals=SignalReader(gpu=meter.gauges),
            ranks=ranks,
        )


def estimate_log(
    log: BenchmarkLog,
    workload: Workload,
    ground: Ground,
    options: Options,
    environment: Environment,
    *,
    power_caveats: Sequence[Caveat] = (),
    history: Callable[[], Sequence[FinishedRun]] = tuple,
    one_off_paid: bool = False,
    gpu_count: int = 1,
) -> Estimate:
    """The estimate of a plan from a benchmark's log, wherever the benchmark ran.

    Args:
        log: The benchmark's log.
        workload: The plan.
        ground: The machine it was measured on.
        options: The caller's options.
        environment: The environment of the process.
        power_caveats: Caveats of the meter.
        history: Reads the finished runs that the machine's drift is learned from.
        one_off_paid: Whether the training process has paid the one-off cost in its benchmark.
        gpu_count: GPUs that it trains on at home, one for each rank unless ranks share one.
    """
    statistics = RunFacts(
        machine=log.machine,
        workload=workload,
        fit=fit_log(log, workload, drift=learned_drift(history(), machine=log.machine), drift_model=read_drift_model()),
        power=log.power,
        pue=ground.place.pue,
        grid=ground.place.grid,
        precision=options.precision or log.precision,
        task=options.task,
        model_kind=log.model_kind,
        peak_memory_gib=log.peak_reserved_gib,
        fixed_memory_gib=log.fixed_memory_gib,
        workload_fingerprint=log.workload_fingerprint,
        home=ground.spec,
        profile=log.profile,
        validation_profile=log.validation_profile,
        home_usd_per_hour=options.home_usd_per_hour,
        gpu_count=gpu_count,
        home_gpu_count=gpu_count,
        caveats=(*ground.caveats, *power_caveats),
    )
    if one_off_paid:
        statistics = _without_one_off(statistics)
    if options.net_of_idle:
        statistics = _net_of_idle(statistics)
    if options.live_carbon:
        statistics = _with_later_start(statistics, options, environment)
    return estimate_training(statistics)


def _with_later_start(statistics: RunFacts, options: Options, environment: Environment) -> RunFacts:
    """The run facts with a caveat that names a cleaner start time, if the live grid's forecast has one."""
    from greenlove_mlflow.electricity_maps import later_start_caveats

    hours = estimate_training(statistics).time_s.point / S_PER_H
    later = later_start_caveats(statistics.grid, hours, environment.electricity_maps_key, zone=options.live_zone)
    return dataclasses.replace(statistics, caveats=(*statistics.caveats, *later))


def _without_one_off(statistics: RunFacts) -> RunFacts:
    """The run facts of a process that has paid the one-off cost; a caveat states that cost if it matters."""
    fit = statistics.fit
    said = [caveat for caveat in fit.caveats if caveat.code == "warm-up-share"]
    if said:
        fit = dataclasses.replace(fit, caveats=tuple(each for each in fit.caveats if each not in said))
    paid = (Caveat.of("one-off-paid", one_off_s=fit.one_off_s),) if said else ()
    return dataclasses.replace(statistics, fit=fit, one_off_paid=True, caveats=(*statistics.caveats, *paid))


def _net_of_idle(statistics: RunFacts) -> RunFacts:
    """The run facts without idle power; unchanged and with a caveat if it was not measured."""
    gross = Caveat.of("idle-not-measured")
    return without_idle(statistics) or dataclasses.replace(statistics, caveats=(*statistics.caveats, gross))


def make_plan(options: Options, environment: Environment | None = None) -> BenchmarkPlan:
    """The benchmark plan for the options and environment."""
    return BenchmarkPlan(
        **{
            "method": options.method,
            "epoch_count": 1 if options.epochs is None else options.epochs - options.done,
            "batch_size": options.batch_size,
            "steps_per_epoch": options.steps_per_epoch,
            "budget_s": options.budget_s or _budget_s(environment),
            "kernel_factors": read_kernel_factors(),
            "driver_subscriber": None if environment is None else environment.driver_subscriber,
            **options.plan,
        }
    )


def _budget_s(environment: Environment | None) -> float | None:
    """Seconds that the environment allows a benchmark; None if it says nothing."""
    text = None if environment is None else environment.budget_s
    if text is None:
        return None
    try:
        budget_s = float(text)
    except ValueError:
        raise InvalidInputError(f"{BUDGET_VARIABLE} must be a number of seconds, got {text!r}") from None
    return number(BUDGET_VARIABLE, budget_s, above=True)


def planned_laps(options: Options, batch_count: int) -> float:
    """Epochs of the whole training; fractional if it is planned by steps.

    Args:
        options: The caller's options.
        batch_count: Batches per epoch.
    """
    if options.steps is None:
        return options.epochs or 1
    return options.steps / steps_of_epoch(options, batch_count)


def done_laps(options: Options, batch_count: int) -> float:
    """Epochs done by earlier parts of the training, likewise."""
    return options.done if options.steps is None else options.done / steps_of_epoch(options, batch_count)


def steps_of_epoch(options: Options, batch_count: int) -> int:
    """Optimizer steps of an epoch of ``batch_count`` batches."""
    return max(1, math.ceil(batch_count / (options.accumulation or 1)))


def plan_workload(options: Options, log: BenchmarkLog) -> Workload:
    """The caller's plan, completed by what the benchmark learned about its data."""
    return Workload(
        sample_count=log.sample_count,
        batch_size=log.batch_size,
        epoch_count=planned_laps(options, log.steps_per_epoch) - done_laps(options, log.steps_per_epoch),
        steps_per_epoch=log.steps_per_epoch,
        validation_s=log.validation_s,
        validation_every_epochs=options.validation_every_epochs,
        extra_per_epoch_s=options.extra_per_epoch_s,
        one_off_s=options.one_off_s,
    )


@contextmanager
def autologging_off() -> Iterator[None]:
    """A block without autologging; the previous setting is restored afterwards.

    MLflow's own ``disable_autologging`` leaves it on, whatever it was before.
    """
    module: Any = sys.modules.get(_AUTOLOGGING)
    if module is None or not hasattr(module, _AUTOLOGGING_SWITCH):
        yield  # no library that could autolog is loaded
        return
    was_off = getattr(module, _AUTOLOGGING_SWITCH)
    setattr(module, _AUTOLOGGING_SWITCH, True)
    try:
        yield
    finally:
        setattr(module, _AUTOLOGGING_SWITCH, was_off)
