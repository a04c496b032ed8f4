"""``greenlove doctor``: what the package detects of the machine, its tables and the MLflow store, with sources."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from greenlove_mlflow.cli.printing import echo

POWER_WINDOW_S = 1.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object.")
def command(as_json: bool) -> None:
    """Show what is detected on this machine: hardware, power, place, tables, MLflow store."""
    findings = {
        "machine": dict(machine_findings()),
        "power": dict(power_findings()),
        "place": dict(place_findings()),
        "tables": dict(table_findings()),
        "mlflow": dict(store_findings()),
    }
    if as_json:
        echo(json.dumps(findings, indent=2))
        return
    for section, rows in findings.items():
        click.secho(section, bold=True)
        width = max((len(name) for name in rows), default=0)
        for name, words in rows.items():
            echo(f"  {name:<{width}}  {words}")


def machine_findings() -> Iterator[tuple[str, str]]:
    """The hardware that training would run on, as pairs of name and text."""
    from greenlove_mlflow.benchmark import read_machine
    from greenlove_mlflow.benchmark.machine.machine import pick_device
    from greenlove_mlflow.core.speed.names import match_gpu
    from greenlove_mlflow.tables import read_gpu_specs

    machine = read_machine(pick_device())
    yield "device", machine.device
    yield "gpu", machine.gpu_name or "none that torch can use"
    if machine.gpu_name is not None:
        spec = match_gpu(machine.gpu_name, read_gpu_specs(), memory_gib=machine.gpu_memory_gib)
        yield "gpu in tables", f"{spec.name} ({spec.gpu_id})" if spec else "no; it would be probed"
        yield "driver", machine.driver_version or "not read"
    yield "cpu", f"{machine.cpu_name or 'unnamed'}, {machine.visible_cpu_count} visible cores"
    yield "memory", "not read" if machine.memory_gib is None else f"{machine.memory_gib:.1f} GiB"
    yield "torch", machine.torch_version or "not read"
    yield "system", machine.os_name or "not read"


def power_findings() -> Iterator[tuple[str, str]]:
    """Each device's power and its source."""
    import time

    from greenlove_mlflow.benchmark.machine.machine import pick_device
    from greenlove_mlflow.environment import read_environment
    from greenlove_mlflow.pipeline.options import Options
    from greenlove_mlflow.pipeline.stages import identify_machine, meter_opener

    device = pick_device()
    machine, spec = identify_machine(device)
    opener, cpu_caveat = meter_opener(Options(epochs=1), read_environment(), machine, spec, device)
    with opener() as meter, meter.window():
        time.sleep(POWER_WINDOW_S)
    for reading in meter.readings():
        yield reading.device, f"{reading.power_w:.1f} W, {reading.source}: {reading.note}"
    for name, value in meter.signals():
        yield name, f"{value:.3g}"
    for caveat in (*meter.caveats(), *([cpu_caveat] if cpu_caveat else [])):
        if caveat.code != "short-energy-window":
            yield caveat.code, caveat.message


def place_findings() -> Iterator[tuple[str, str]]:
    """The place used for prices and grid, and how it was found."""
    from greenlove_mlflow.environment import ELECTRICITY_MAPS_KEY_VARIABLE, read_environment
    from greenlove_mlflow.numbers import format_interval
    from greenlove_mlflow.numbers.quantities import Scale
    from greenlove_mlflow.pipeline.options import Options
    from greenlove_mlflow.pipeline.stages import find_place

    environment = read_environment()
    place = find_place(Options(epochs=1), environment)
    grid = place.grid
    yield "place", f"{grid.place}, by {grid.basis}"
    if grid.intensity_g_per_kwh is not None:
        source = grid.intensity_source.producer if grid.intensity_source else "given"
        yield "grid", f"{format_interval(grid.intensity_g_per_kwh, Scale(unit='g/kWh'))} {grid.scope} ({source})"
    if grid.price_usd_per_kwh is not None:
        source = grid.price_source.producer if grid.price_source else "given"
        yield "electricity", f"{format_interval(grid.price_usd_per_kwh, Scale(unit='per kWh', prefix='$'))} ({source})"
    key = "set" if environment.electricity_maps_key else "not set"
    yield "live grid", f"off unless live_carbon=True; {ELECTRICITY_MAPS_KEY_VARIABLE} is {key}"
    for caveat in place.caveats:
        yield caveat.code, caveat.message


def table_findings() -> Iterator[tuple[str, str]]:
    """Every table with its newest version, its rows and its producer."""
    from greenlove_mlflow.tables import read_table, table_names, table_versions
    from greenlove_mlflow.tables.store.age import age_days, is_stale, today_utc
    from greenlove_mlflow.tables.store.own_tables import read_own_tables

    for name in table_names():
        table = read_table(name)
        count = len(table_versions(name))
        versions = f"{count} versions" if count > 1 else "1 version"
        age = f"{age_days(table.as_of, today_utc())} days old"
        stale = ", older than it should be" if is_stale(name, table.as_of, today_utc()) else ""
        yield name, f"{table.version} ({versions}), {age}{stale}, {len(table.frame):,} rows, {table.source.producer}"
        for own in read_own_tables(name):
            yield f"{name}, your own", f"{own.version}, {len(own.frame):,} rows as of {own.as_of}: {own.source.title}"


def store_findings() -> Iterator[tuple[str, str]]:
    """The MLflow store that ``track`` would use, whether it responds, and what is still waiting to be sent."""
    from greenlove_mlflow.tracking import describe_store

    yield from describe_store()
