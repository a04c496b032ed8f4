"""Ground: the machine of a training, its power meter and its source of electricity, known before anything runs."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.benchmark import read_machine
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import Machine
from greenlove_mlflow.core.speed.gpu_names import match_gpu
from greenlove_mlflow.core.speed.gpus import GpuSpec
from greenlove_mlflow.core.workload import Grid
from greenlove_mlflow.power import open_meter
from greenlove_mlflow.power.nvml.boards import request_board
from greenlove_mlflow.tables import read_cpu_power, read_default_pue, read_gpu_specs, read_ram_w_per_gib
from greenlove_mlflow.tables.places.grid import find_grid, unusual_caveats

if TYPE_CHECKING:
    from greenlove_mlflow.benchmark.ranks import Ranks
    from greenlove_mlflow.environment import Environment
    from greenlove_mlflow.pipeline.options import Options
    from greenlove_mlflow.power import PowerMeter

OpenMeter = Callable[..., "AbstractContextManager[PowerMeter]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
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
    place: Supply
    caveats: tuple[Caveat, ...]


def read_ground(torch_device: Any, options: Options, environment: Environment, ranks: Ranks | None = None) -> Ground:
    """Locate the machine, identify it and prepare its meter, before anything runs.

    Args:
        torch_device: Device of the training.
        options: The caller's options.
        environment: The environment of the process.
        ranks: The ranks of the training; None when it trains alone.
    """
    place = find_supply(options, environment)
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


def find_supply(options: Options, environment: Environment) -> Supply:
    """The grid and PUE of the machine's location; no network access unless the caller asked for it."""
    address_country = None
    caveats: list[Caveat] = []
    if options.locate == "geoip":
        from greenlove_mlflow.electricity_maps.lookups import locate_by_address

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
    caveats += unusual_caveats(
        carbon_intensity_g_per_kwh=options.carbon_intensity_g_per_kwh,
        electricity_price_usd_per_kwh=options.electricity_price_usd_per_kwh,
        pue=options.pue,
    )
    pue = read_default_pue("local")[0] if options.pue is None else Interval.exactly(options.pue)
    return Supply(grid=grid, pue=pue, caveats=tuple(caveats))


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
