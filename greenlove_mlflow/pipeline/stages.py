"""The flow from a training step to an estimate, one named stage a function."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.benchmark import BenchmarkPlan, Training, describe_model, read_machine, run_benchmark
from greenlove_mlflow.core.estimate import Caveat, Estimate, Grid, Workload
from greenlove_mlflow.core.gpus import GpuSpec, match_gpu
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.records import BenchmarkLog, Machine
from greenlove_mlflow.core.scaling import fit_log
from greenlove_mlflow.core.statistics import Statistics, estimate_training
from greenlove_mlflow.pipeline.options import Options
from greenlove_mlflow.power import open_meter
from greenlove_mlflow.tables import read_cpu_power, read_default_pue, read_gpu_specs, read_ram_w_per_gib
from greenlove_mlflow.tables.places import find_grid

if TYPE_CHECKING:
    from greenlove_mlflow.core.calibration import Drift
    from greenlove_mlflow.pipeline.environment import Environment
    from greenlove_mlflow.power import PowerMeter

logger = logging.getLogger(__name__)

DEFAULT_BATCH_SIZE = 64
OpenMeter = Callable[..., "AbstractContextManager[PowerMeter]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the electricity comes from, and what must be said about how that was found."""

    grid: Grid
    pue: Interval
    caveats: tuple[Caveat, ...]


def find_place(options: Options, environment: Environment) -> Place:
    """The grid and the PUE of the machine's place; the network is asked only where the caller asked for it."""
    country, region = options.country, options.region
    caveats: list[Caveat] = []
    if options.locate == "geoip" and country is None:
        from greenlove_mlflow.electricity_maps import locate_by_address

        country, caveat = locate_by_address()
        caveats += [caveat] if caveat else []
    grid, found = find_grid(
        country=country,
        region=region,
        carbon_intensity_g_per_kwh=options.carbon_intensity_g_per_kwh,
        electricity_price_usd_per_kwh=options.electricity_price_usd_per_kwh,
        environment_place=environment.place,
        time_zone=environment.time_zone,
        scope=options.scope,
    )
    caveats += found
    if options.live_carbon:
        from greenlove_mlflow.electricity_maps import live_grid

        grid, live = live_grid(grid, environment.electricity_maps_key)
        caveats += live
    pue = read_default_pue("local")[0] if options.pue is None else Interval.exactly(options.pue)
    return Place(grid=grid, pue=pue, caveats=tuple(caveats))


def meter_opener(options: Options, machine: Machine, spec: GpuSpec | None, torch_device: Any) -> OpenMeter:
    """A function that opens the machine's power meter, told everything that tables and caller know of its power."""
    cpu_power = read_cpu_power(machine.cpu_name, machine.visible_cpu_count)

    def open_it(**more: Any) -> AbstractContextManager[PowerMeter]:
        return open_meter(
            machine,
            torch_device=torch_device,
            gpu_index=options.gpu_index,
            tdp_w=options.tdp_w,
            gpu_spec=spec,
            cpu_power=cpu_power,
            ram_w_per_gib=read_ram_w_per_gib(),
            **({} if options.gpu_utilization is None else {"gpu_utilization": options.gpu_utilization}),
            **more,
        )

    return open_it


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A benchmark that has run, the estimate made from it, and how to meter the same machine again."""

    log: BenchmarkLog
    estimate: Estimate
    open_meter: OpenMeter
    synchronize: Callable[[], None]


def measure_training(
    training: Training,
    options: Options,
    environment: Environment,
    *,
    drift_of: Callable[[Machine], Drift | None] = lambda machine: None,
) -> Measured:
    """The benchmark of a training and its estimate: place, machine, meter, benchmark, fit, estimate, in that order."""
    place = find_place(options, environment)
    plan = make_plan(options)
    machine = read_machine(training.device)
    spec = None if machine.gpu_name is None else match_gpu(
        machine.gpu_name, read_gpu_specs(), memory_gib=machine.gpu_memory_gib
    )
    machine = dataclasses.replace(machine, gpu_id=None if spec is None else spec.gpu_id)
    drift = drift_of(machine)
    opener = meter_opener(options, machine, spec, training.device)
    with opener() as meter:
        log = run_benchmark(training, plan, machine=machine, meter=meter, progress=options.progress)
        power_caveats = meter.caveats()
    workload = make_workload(options, log)
    statistics = Statistics(
        machine=machine,
        workload=workload,
        fit=fit_log(log, workload, drift=drift),
        power=log.power,
        pue=place.pue,
        grid=place.grid,
        precision=options.precision or log.precision,
        task=options.task,
        model_kind=log.model_kind,
        peak_memory_gib=log.peak_reserved_gib,
        workload_fingerprint=log.workload_fingerprint,
        home=spec,
        caveats=(*place.caveats, *power_caveats),
    )
    return Measured(
        log=log, estimate=estimate_training(statistics), open_meter=opener, synchronize=training.synchronize
    )
