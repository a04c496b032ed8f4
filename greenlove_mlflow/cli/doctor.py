"""``greenlove doctor``: what the package detects of the machine, its tables and the MLflow store, with sources."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import click

from greenlove_mlflow.cli import echo, echo_whole

POWER_WINDOW_S = 1.0
_HANGING = " " * 18
_AREAS = {"machine": "Machine", "power": "Power", "place": "Place", "tables": "Tables", "mlflow": "MLflow"}


@click.command()
@click.option("--all", "everything", is_flag=True, help="Show every finding with its source.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object.")
def command(*, everything: bool, as_json: bool) -> None:
    """Show what is detected of hardware, power, place, tables and the MLflow store.

    A line an area: ok, assumed (an estimate is possible, with wider ranges) or missing, and what to do about it.
    """
    findings = {
        "machine": dict(machine_findings()),
        "power": dict(power_findings()),
        "place": dict(place_findings()),
        "tables": dict(table_findings()),
        "mlflow": dict(store_findings()),
    }
    if as_json:
        echo_whole(json.dumps(findings, indent=2))
    elif everything:
        _print_all(findings)
    else:
        for area, rows in findings.items():
            judged = judge(area, rows)
            echo(f"{_AREAS[area]:<8} {judged.state:<8} {judged.words}", hanging=_HANGING)
        echo("\n--all shows every finding with its source.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What was found of an area: ``ok``, ``assumed`` or ``missing``, and what to do about it."""

    state: Literal["ok", "assumed", "missing"]
    words: str


def judge(area: str, rows: Mapping[str, str]) -> Judged:
    """The state of one area by its findings.

    Args:
        area: ``machine``, ``power``, ``place``, ``tables`` or ``mlflow``.
        rows: Its findings, name to text.
    """
    return _JUDGES[area](rows)


def _print_all(findings: Mapping[str, Mapping[str, str]]) -> None:
    for section, rows in findings.items():
        echo(section, bold=True)
        width = max((len(name) for name in rows), default=0)
        for name, words in rows.items():
            echo(f"  {name:<{width}}  {words}", hanging=" " * 6)


def _judge_machine(rows: Mapping[str, str]) -> Judged:
    if rows["device"] == "cpu":
        return Judged(state="ok", words=f"{rows['cpu']}; no GPU that torch can use")
    known = rows.get("gpu in tables", "")
    if known.startswith("no"):
        return Judged(
            state="assumed",
            words=f"{rows['gpu']} is in no table and would be probed; greenlove tables add --table gpu_specs",
        )
    return Judged(state="ok", words=f"{rows['gpu']}, {rows['cpu']}")


def _judge_power(rows: Mapping[str, str]) -> Judged:
    sources = {name: words.split(", ", 1)[1].split(":")[0] for name, words in rows.items() if " W, " in words}
    metered = [name for name, source in sources.items() if source != "modelled"]
    modelled = [name for name, source in sources.items() if source == "modelled"]
    if not sources:
        return Judged(state="missing", words="no power is known: no energy, no CO2e, no cost; pass tdp_w=")
    said = f"metered: {', '.join(metered)}" if metered else "nothing is metered"
    if not modelled:
        return Judged(state="ok", words=said)
    boards = any(name.startswith("gpu") for name in metered)
    advice = "" if boards else "; pass tdp_w=, or train where the meter can be read"
    words = f"{said}; modelled: {', '.join(modelled)}{advice}"
    return Judged(state="ok" if boards else "assumed", words=words)


def _judge_place(rows: Mapping[str, str]) -> Judged:
    place = rows["place"]
    unknown = [words for words in ("grid", "electricity") if words not in rows]
    if unknown:
        return Judged(
            state="missing", words=f"{place}: {' and '.join(unknown)} unknown; pass country=, or set GREENLOVE_PLACE"
        )
    if place.endswith(("by given", "by named", "by environment")):
        return Judged(state="ok", words=f"{place}: {rows['grid']}, {rows['electricity']}")
    if place.endswith("by world"):
        return Judged(
            state="assumed", words="world average, as no place is known; pass country= or set GREENLOVE_PLACE=DE"
        )
    found = place.replace(", by time-zone", ", by the time zone")
    return Judged(state="assumed", words=f"{found}; if that is wrong, pass country= or set GREENLOVE_PLACE=DE")


def _judge_tables(rows: Mapping[str, str]) -> Judged:
    stale = [name for name, words in rows.items() if "older than it should be" in words]
    if stale:
        return Judged(
            state="assumed", words=f"{', '.join(stale)} are old; a newer release has them, or greenlove tables add"
        )
    return Judged(
        state="ok",
        words=f"{len(rows)} tables, none older than it should be; prices of {rows['crusoe_prices'].split(' ')[0]}",
    )


def _judge_store(rows: Mapping[str, str]) -> Judged:
    store, spool = rows["MLflow store"], rows.get("spool", "")
    if "does not answer" in store:
        return Judged(
            state="missing", words=f"{store} and wait on this machine; start the server, or set MLFLOW_TRACKING_URI"
        )
    if spool and "nothing waits" not in spool:
        return Judged(state="assumed", words=f"{store}; {spool}; greenlove recover sends it")
    return Judged(state="ok", words=store)


_JUDGES: dict[str, Callable[[Mapping[str, str]], Judged]] = {
    "machine": _judge_machine,
    "power": _judge_power,
    "place": _judge_place,
    "tables": _judge_tables,
    "mlflow": _judge_store,
}


def machine_findings() -> Iterator[tuple[str, str]]:
    """The hardware that training would run on, as pairs of name and text."""
    from greenlove_mlflow.benchmark import read_machine
    from greenlove_mlflow.benchmark.machine.machine import pick_device
    from greenlove_mlflow.core.speed.gpu_names import match_gpu
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
    from greenlove_mlflow.pipeline.ground import identify_machine, meter_opener
    from greenlove_mlflow.pipeline.options import Options

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
    from greenlove_mlflow.pipeline.ground import find_supply
    from greenlove_mlflow.pipeline.options import Options

    environment = read_environment()
    place = find_supply(Options(epochs=1), environment)
    grid = place.grid
    yield "place", grid.place if grid.basis == "world" else f"{grid.place}, by {grid.basis}"
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
    from greenlove_mlflow.numbers.quantities import format_days_old
    from greenlove_mlflow.tables import read_table, table_names, table_versions
    from greenlove_mlflow.tables.store.own_tables import read_own_tables
    from greenlove_mlflow.tables.store.store import age_days, is_stale, today_utc

    for name in table_names():
        table = read_table(name)
        count = len(table_versions(name))
        versions = f"{count} versions" if count > 1 else "1 version"
        age = format_days_old(age_days(table.as_of, today_utc()))
        stale = ", older than it should be" if is_stale(name, table.as_of, today_utc()) else ""
        yield name, f"{table.version} ({versions}), {age}{stale}, {len(table.frame):,} rows, {table.source.producer}"
        for own in read_own_tables(name):
            yield f"{name}, your own", f"{own.version}, {len(own.frame):,} rows as of {own.as_of}: {own.source.title}"


def store_findings() -> Iterator[tuple[str, str]]:
    """The MLflow store that ``track`` would use, whether it responds, and what is still waiting to be sent."""
    from greenlove_mlflow.tracking import describe_store

    yield from describe_store()
