"""The flow from a training step to an estimate, one function per stage."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from greenlove_mlflow.benchmark import BenchmarkPlan, EpochRunner, Training, make_feed, read_machine, run_benchmark
from greenlove_mlflow.benchmark.machine.signals import SignalReader
from greenlove_mlflow.benchmark.validation import check_validation
from greenlove_mlflow.core.account.estimate import Estimate, estimate_training
from greenlove_mlflow.core.account.run_facts import RunFacts, without_idle
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import BenchmarkLog, Machine
from greenlove_mlflow.core.speed.gpu_names import match_gpu
from greenlove_mlflow.core.speed.gpus import GpuSpec
from greenlove_mlflow.core.timing.adaptive_fit import fit_log
from greenlove_mlflow.core.timing.drift import learned_drift
from greenlove_mlflow.core.workload import Grid, Workload
from greenlove_mlflow.environment import BUDGET_VARIABLE
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.pipeline.autologging import autologging_off
from greenlove_mlflow.pipeline.checks import number
from greenlove_mlflow.pipeline.live.rank_link import gather_log, share_estimate
from greenlove_mlflow.power import open_meter
from greenlove_mlflow.power.nvml.boards import request_board
from greenlove_mlflow.tables import (
    read_cpu_power,
    read_default_pue,
    read_drift_model,
    read_gpu_specs,
    read_kernel_factors,
    read_ram_w_per_gib,
)
from greenlove_mlflow.tables.places.grid import find_grid
from greenlove_mlflow.units import S_PER_H

if TYPE_CHECKING:
    from greenlove_mlflow.benchmark.ranks import Ranks
    from greenlove_mlflow.core.timing.drift import FinishedRun
    from greenlove_mlflow.environment import Environment
    from greenlove_mlflow.pipeline.options import Options
    from greenlove_mlflow.power import PowerMeter

# Long enough for a board's clocks to drop and for twenty samples.
IDLE_BASELINE_S = 2.0
OpenMeter = Callable[..., "AbstractContextManager[PowerMeter]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The source of the electricity, with caveats about how it was found."""

    grid: Grid
    pue: Interval
    caveats: tuple[Caveat, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The machine, its meter and its location, known before anything runs.

    Args:
        machine: The machine that trains.
        spec: Specs of its GPU; None if it is in no table, and on a CPU.
        open_meter: Opens a meter of its power.
        place: Source of its electricity.
        caveats: Caveats about the above.
    """

    machine: Machine
    spec: GpuSpec | None
    open_meter: OpenMeter
    place: Place
    caveats: tuple[Caveat, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A finished benchmark, the estimate made from it, and how to meter the same machine again."""

    log: BenchmarkLog
    estimate: Estimate
    open_meter: OpenMeter


def make_training(model: Any, optimizer: Any, criterion: Any, data: Any, options: Options) -> Training:
    """The training in the form that the benchmark takes, its data checked before anything runs."""
    training = Training(
        model=model,
        optimizer=optimizer,
        criterion=criterion,
        data=data,
        train_step=options.train_step,
        device=options.device,
        validation=options.validation,
        extra_state=tuple(options.extra_state),
    )
    make_feed(data, batch_size=options.batch_size, steps_per_epoch=options.steps_per_epoch).close()
    check_validation(training)
    return training


def measure_training(
    training: Training | EpochRunner,
    options: Options,
    environment: Environment,
    place: Place,
    *,
    ground: Ground | None = None,
    history: Callable[[], Sequence[FinishedRun]] = tuple,
    trains_here: bool = False,
    ranks: Ranks | None = None,
) -> Measured:
    """Benchmark a training and estimate it: machine, meter, benchmark, fit, estimate, in that order.

    Args:
        training: The training to benchmark.
        options: The caller's options.
        environment: The environment of the process.
        place: Source of the electricity.
        ground: The machine and its meter; identified now when None.
        history: Reads the finished runs that the machine's drift is learned from.
        trains_here: Whether training follows in this process, which has then already paid the one-off cost.
        ranks: The ranks of the training, each of which calls this; rank 0 fits, and all return its estimate.
    """
    device = training.torch_device if isinstance(training, Training) else torch.device("cpu")
    ground = ground or read_ground(device, options, environment, place, ranks)
    with ground.open_meter(idle_baseline_s=IDLE_BASELINE_S if options.net_of_idle else 0.0) as meter:
        with autologging_off():
            log = run_benchmark(
                training,
                make_plan(options, environment),
                machine=ground.machine,
                meter=meter,
                progress=options.progress,
                signals=SignalReader(gpu=meter.gauges),
                ranks=ranks,
            )
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

    estimate = estimated() if ranks is None else share_estimate(estimated, ranks)
    return Measured(log=log, estimate=estimate, open_meter=ground.open_meter)


def read_ground(
    torch_device: Any, options: Options, environment: Environment, place: Place, ranks: Ranks | None = None
) -> Ground:
    """Identify the machine and how to meter it, before anything runs."""
    machine, spec = identify_machine(torch_device)
    open_meter, cpu_caveat = meter_opener(options, environment, machine, spec, torch_device)
    if ranks is not None:
        ranks.share_board(_board_place(torch_device, machine, environment))
        open_meter = functools.partial(
            open_meter,
            counts_host=ranks.counts_host,
            counts_board=ranks.counts_board,
            neighbour_pids=ranks.neighbour_pids,
        )
    caveats = (*place.caveats, *([cpu_caveat] if cpu_caveat else []), *_shared_boards(ranks))
    return Ground(machine=machine, spec=spec, open_meter=open_meter, place=place, caveats=caveats)


def _board_place(torch_device: Any, machine: Machine, environment: Environment) -> str | None:
    """What tells the board of this rank from others of its machine; None if it is no NVIDIA board."""
    request = request_board(
        torch_device,
        uuid=machine.gpu_uuid,
        visible_devices=environment.visible_devices,
        device_order=environment.device_order,
    )
    return None if request is None else request.place


def _shared_boards(ranks: Ranks | None) -> tuple[Caveat, ...]:
    if ranks is None or ranks.board_count == ranks.count:
        return ()
    return (Caveat.of("ranks-share-boards", ranks=ranks.count, boards=ranks.board_count),)


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


def find_place(options: Options, environment: Environment) -> Place:
    """The grid and PUE of the machine's location; no network access unless the caller asked for it."""
    address_country = None
    caveats: list[Caveat] = []
    if options.locate == "geoip":
        from greenlove_mlflow.electricity_maps.live import locate_by_address

        address_country, located = locate_by_address()
        caveats += [located] if located else []
    grid, found = find_grid(
        country=options.country,
        region=options.region,
        address_country=address_country,
        carbon_intensity_g_per_kwh=options.carbon_intensity_g_per_kwh,
        electricity_price_usd_per_kwh=options.electricity_price_usd_per_kwh,
        environment_place=environment.place,
        time_zone=environment.time_zone,
        scope=options.scope,
    )
    caveats += found
    if options.live_carbon:
        from greenlove_mlflow.electricity_maps import live_grid

        grid, live = live_grid(grid, environment.electricity_maps_key, zone=options.live_zone)
        caveats += live
    pue = read_default_pue("local")[0] if options.pue is None else Interval.exactly(options.pue)
    return Place(grid=grid, pue=pue, caveats=tuple(caveats))


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


def identify_machine(torch_device: Any) -> tuple[Machine, GpuSpec | None]:
    """The machine and the specs of its GPU; None for the specs of a GPU in no table."""
    machine = read_machine(torch_device)
    if machine.gpu_name is None:
        return machine, None
    spec = match_gpu(machine.gpu_name, read_gpu_specs(), memory_gib=machine.gpu_memory_gib)
    return dataclasses.replace(machine, gpu_id=None if spec is None else spec.gpu_id), spec


def meter_opener(
    options: Options, environment: Environment, machine: Machine, spec: GpuSpec | None, torch_device: Any
) -> tuple[OpenMeter, Caveat | None]:
    """A function that opens the machine's power meter with the power figures of tables and caller.

    Args:
        options: The caller's options.
        environment: The environment of the process.
        machine: The machine to meter.
        spec: Specs of its GPU; None if it is in no table, and on a CPU.
        torch_device: Device of the training.
    """
    cpu_power = read_cpu_power(machine.cpu_name, machine.visible_cpu_count, system_cpu_count=os.cpu_count())
    utilization = {} if options.gpu_utilization is None else {"gpu_utilization": options.gpu_utilization}

    def open_it(**more: Any) -> AbstractContextManager[PowerMeter]:
        return open_meter(
            machine,
            torch_device=torch_device,
            gpu_index=options.gpu_index,
            tdp_w=options.tdp_w,
            gpu_spec=spec,
            cpu_power=cpu_power.interval_w,
            ram_w_per_gib=read_ram_w_per_gib(),
            visible_devices=environment.visible_devices,
            device_order=environment.device_order,
            **{"poll_interval_s": options.power_poll_interval_s, **utilization, **more},
        )

    return open_it, cpu_power.caveat


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
