"""``greenlove runs``: tracked runs side by side, as text, for a pull request or for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from greenlove_mlflow.cli import columns, echo, echo_whole
from greenlove_mlflow.cli.compare import figures
from greenlove_mlflow.core.quantity import QUANTITIES
from greenlove_mlflow.files import whole_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import Outcome
    from greenlove_mlflow.core.offers.experiment_totals import Spent
    from greenlove_mlflow.stored.run_table import Group, RunBeside, SideBySide

WIDTH = 120
# Params are shown where each value has this many columns.
LEAST_VALUE = 12
# Short, as it stands in every row of an experiment of small trainings.
TOO_SMALL = "too small"
SHOWN_SKIPPED = 5
NO_RUNS = "No training has been tracked there yet."
_HEAD = ("run", "status", "took", "cost", "energy", "CO2e", "estimated", "cost", "best value", "there", "cost")
# Where a row is too long, the names of runs and options are shortened (the id at a label's end stays), and columns left
# out: what the option would cost and take, CO2e, energy, the estimated cost.
_SHORTENED = {0: 8, 8: 0}
_SPARED = (10, 9, 5, 4, 7)
_SORTS: dict[str, Callable[[RunBeside], Any]] = {
    "name": lambda run: run.label,
    "status": lambda run: run.run.fate,
    "started": lambda run: run.run.started_ms,
    "time": lambda run: _figure(run, "time_s"),
    "cost": lambda run: _figure(run, "cost_usd"),
    "energy": lambda run: _figure(run, "energy_kwh"),
    "co2": lambda run: _figure(run, "co2_g"),
}


@click.command()
@click.argument("runs", nargs=-1)
@click.option("--experiment", "experiments", multiple=True, metavar="NAME", help="All runs of it; repeatable.")
@click.option(
    "--sort", type=click.Choice(list(_SORTS)), help="Order; figures largest first, what they took if they ran."
)
@click.option("--group-by", metavar="KEY", help="Totals by status, place, machine, month, or a param such as lr.")
@click.option("--prices", default="newest", show_default=True, help="newest, a version, or a CSV of your own.")
@click.option(
    "--figure", type=click.Path(dir_okay=False, path_type=Path), help="Draw them into this .png, .svg or .pdf."
)
@click.option("--store", "store_uri", help="MLflow store; what MLflow is set to when not given.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a table for a pull request.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV for a spreadsheet, in plain units.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    *,
    runs: tuple[str, ...],
    experiments: tuple[str, ...],
    sort: str | None,
    group_by: str | None,
    prices: str,
    figure: Path | None,
    store_uri: str | None,
    as_markdown: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show tracked RUNS, by id or name, or those of an experiment, side by side.

    What each took, was estimated to take and would take on its best offer, all at the same prices; totals; params that
    differ. Exit code 0 when they were shown, 1 when a run cannot be read, 2 for wrong usage.
    """
    from greenlove_mlflow.stored.run_table import compare_runs, group_runs
    from greenlove_mlflow.stored.stored_runs import find_run_id

    _check_usage(figure, has_runs=bool(runs or experiments), form_count=as_markdown + as_csv + as_json)
    named = [find_run_id(each, store_uri=store_uri) for each in runs]
    ids = dict.fromkeys((*named, *(_runs_of(experiments, store_uri) if experiments else ())))
    beside = compare_runs(tuple(ids), prices=prices, tracking_uri=store_uri)
    chosen = _sorted(beside.runs, sort)
    if figure is not None:
        _draw(beside, figure)
    groups = group_runs(chosen, group_by or "")
    if as_json:
        echo_whole(json.dumps(_plain(beside, chosen, figure), allow_nan=False))
    elif as_csv:
        click.echo(_csv(chosen), nl=False)
    else:
        lines = _markdown(beside, chosen, groups) if as_markdown else _lines(beside, chosen, groups, group_by or "")
        echo_whole("\n".join(lines))
    if figure is not None and not (as_json or as_csv):
        echo(f"Drawn in {figure}")


def _check_usage(figure: Path | None, *, has_runs: bool, form_count: int) -> None:
    if figure is not None and figure.suffix not in (".png", ".svg", ".pdf"):
        raise click.UsageError("--figure ends in .png, .svg or .pdf")
    if not has_runs:
        raise click.UsageError("name RUNS, or --experiment NAME")
    if form_count > 1:
        raise click.UsageError("--markdown, --csv and --json exclude each other")


def _runs_of(experiments: Sequence[str], store_uri: str | None) -> list[str]:
    """The ids of the runs of some experiments; runs that cannot be read are named on stderr."""
    from greenlove_mlflow.stored.run_table import read_experiment

    page = read_experiment(experiments, store_uri)
    for skipped in page.skipped[:SHOWN_SKIPPED]:
        echo(f"Left out {skipped.run_id}: {skipped.reason}", err=True)
    if len(page.skipped) > SHOWN_SKIPPED:
        echo(f"... and {len(page.skipped) - SHOWN_SKIPPED} more left out", err=True)
    return [each.run_id for each in page.facts]


def _sorted(runs: Sequence[RunBeside], sort: str | None) -> list[RunBeside]:
    if sort is None:
        return list(runs)
    return sorted(runs, key=_SORTS[sort], reverse=sort in ("time", "cost", "energy", "co2"))


def _figure(run: RunBeside, field: str) -> float:
    """What a run took, or was estimated to take where it did not run; unknown figures sort last."""
    if run.run.outcome is not None:
        value = getattr(run.run.outcome, field)
    else:
        estimated = getattr(run.home, field)
        value = None if estimated is None else estimated.point
    return -math.inf if value is None else float(value)


def _lines(beside: SideBySide, runs: Sequence[RunBeside], groups: Sequence[Group], by: str) -> list[str]:
    from greenlove_mlflow.words.fitting import fitted, fitted_table

    if not runs:
        return [NO_RUNS]
    width = min(WIDTH, columns() or WIDTH)
    lines = fitted_table([_HEAD, *(_cells(run) for run in runs)], width, spared=_SPARED, short=_SHORTENED)
    shortened = [run.label for run in runs if not any(line.startswith(run.label) for line in lines)]
    if shortened:
        lines += ["", f"Names in full: {'; '.join(shortened)}."]
    lines += ["", *_total_lines(groups, by)]
    lines.append(f"Prices of {beside.prices.as_of}, {beside.prices.source.producer}.")
    lines += _differing_lines(beside, runs, width)
    return fitted("\n".join(lines), width).split("\n")


def _differing_lines(beside: SideBySide, runs: Sequence[RunBeside], width: int) -> list[str]:
    """The params that differ: their values where there is room for them, else their names."""
    from greenlove_mlflow.words.fitting import fitted_table

    if not beside.differing:
        return ["", "Their params are the same."] if len(runs) > 1 else []
    longest_key = max(map(len, beside.differing))
    if longest_key + len(runs) * (LEAST_VALUE + 2) > width:
        return [f"Params that differ: {', '.join(beside.differing)} (--json has them)."]
    order = [beside.runs.index(run) for run in runs]
    rows = [("param", *(run.label for run in runs))]
    rows += [(key, *(values[index] for index in order)) for key, values in beside.differing.items()]
    return ["", *fitted_table(rows, width, short=dict.fromkeys(range(1, len(runs) + 1), 0), least=LEAST_VALUE)]


def _cells(run: RunBeside) -> tuple[str, ...]:
    from greenlove_mlflow.numbers import format_money, format_time
    from greenlove_mlflow.words.plain_text import missing_cost

    there = ("", "")
    if run.best is not None and run.stay_home is False:
        there = (format_time(run.best.time_s, with_range=False), format_money(run.best.cost_usd, with_range=False))
    return (
        run.label,
        run.run.fate,
        *(taken or "-" for taken in _taken(run)),
        format_time(run.home.time_s, with_range=False),
        format_money(run.home.cost_usd, with_range=False, missing=missing_cost(run.home)),
        TOO_SMALL if run.is_too_small_to_rent else _best_words(run),
        *there,
    )


def _taken(run: RunBeside) -> tuple[str, str, str, str]:
    """What a run took: time, cost, energy, CO2e; empty where it did not run."""
    from greenlove_mlflow.numbers import format_co2_g, format_kwh, format_money, format_time

    outcome = run.run.outcome
    if outcome is None:
        return "", "", "", ""
    return (
        format_time(outcome.time_s),
        format_money(outcome.cost_usd),
        format_kwh(outcome.energy_kwh),
        format_co2_g(outcome.co2_g),
    )


def _best_words(run: RunBeside) -> str:
    if run.is_too_small_to_rent:
        return "too small to rent"
    if run.stay_home is None:
        return "unknown"
    return "here" if run.stay_home else run.best_name


def _total_lines(groups: Sequence[Group], by: str) -> list[str]:
    """What ran and what did not, each added up on its own."""
    lines = []
    for group in groups:
        head = f"{by} {group.key}: " if by else ""
        if group.trained.run_count:
            lines.append(f"{head}{group.trained.run_count} trained, together {_spent_words(group)}")
        if group.running_count:
            lines.append(f"{head}{group.running_count} still running")
        if group.not_run_count:
            lines.append(f"{head}{group.not_run_count} not run, estimated at {_planned_words(group)}")
    return lines


def _spent_words(group: Group) -> str:
    unmetered = f" ({group.trained.unmetered_count} without known energy)" if group.trained.unmetered_count else ""
    return f"{_figures_words(group.trained)}{unmetered}"


def _figures_words(took: Outcome | Spent) -> str:
    """Time, cost, energy and CO2e that something took; those that are not known are left out."""
    from greenlove_mlflow.numbers import format_co2_g, format_kwh, format_money, format_time

    co2 = format_co2_g(took.co2_g, missing="")
    figures = (
        format_time(took.time_s),
        format_money(took.cost_usd, missing=""),
        format_kwh(took.energy_kwh, missing=""),
    )
    return ", ".join(text for text in (*figures, co2 and f"{co2} CO2e") if text)


def _planned_words(group: Group) -> str:
    from greenlove_mlflow.numbers import format_money, format_time

    return f"{format_time(group.not_run_time_s)}, {format_money(group.not_run_cost_usd)}"


def _markdown(beside: SideBySide, runs: Sequence[RunBeside], groups: Sequence[Group]) -> list[str]:
    from greenlove_mlflow.numbers import format_co2_g, format_kwh, format_money, format_time
    from greenlove_mlflow.untrusted import markdown_cell

    if not runs:
        return [NO_RUNS]
    head = ("Run", "Status", "Estimated time", "Cost", "Energy", "CO2e", "Took", "Best value")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for run in runs:
        best = _best_words(run)
        if run.best is not None and run.stay_home is False:
            best = f"{best}: {format_time(run.best.time_s, with_range=False)}, {format_money(run.best.cost_usd)}"
        took = "" if run.run.outcome is None else _figures_words(run.run.outcome)
        cells = (
            run.label,
            run.run.fate,
            format_time(run.home.time_s),
            format_money(run.home.cost_usd),
            format_kwh(run.home.energy_kwh),
            format_co2_g(run.home.co2_g),
            took,
            best,
        )
        lines.append(f"| {' | '.join(markdown_cell(cell) for cell in cells)} |")
    for group in groups:
        key = f"{markdown_cell(group.key)}: " if group.key else ""
        if group.trained.run_count:
            lines += ["", f"**{key}{group.trained.run_count} trained**, together {_spent_words(group)}."]
        if group.running_count:
            lines += ["", f"**{key}{group.running_count} still running**."]
        if group.not_run_count:
            lines += ["", f"**{key}{group.not_run_count} not run**, estimated at {_planned_words(group)}."]
    source = markdown_cell(beside.prices.source.producer)
    return [*lines, "", f"Ranges hold the real value 95 times in 100. Prices of {beside.prices.as_of}, {source}."]


def _csv(runs: Sequence[RunBeside]) -> str:
    """One row a run, in seconds, US dollars, kWh and grams; no cell that a spreadsheet would evaluate."""
    from greenlove_mlflow.untrusted import spreadsheet_cell

    fields = [quantity.field for quantity in QUANTITIES]
    head = ["run_id", "name", "status", "started_at", "machine", "place"]
    head += [f"actual_{field}" for field in fields]
    head += [f"{field}{end}" for field in fields for end in ("", "_lo", "_hi")]
    head += ["best_value", *(f"best_{field}" for field in fields)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for run in runs:
        training, machine = run.training, run.run.statistics.machine
        row: list[Any] = [training.run_id, training.name, training.status, training.started_at]
        row += [machine.processor_name, run.home.grid.place]
        row += [getattr(training.outcome, field, None) for field in fields]
        row += [end for field in fields for end in figures(run.home)[field] or (None, None, None)]
        row += [_best_words(run), *_points(run.best, fields)]
        writer.writerow(spreadsheet_cell(cell) if isinstance(cell, str) else cell for cell in row)
    return text.getvalue()


def _points(estimate: Estimate | None, fields: Sequence[str]) -> list[float | None]:
    values = [None if estimate is None else getattr(estimate, field) for field in fields]
    return [None if value is None else value.point for value in values]


def _draw(beside: SideBySide, path: Path) -> None:
    from greenlove_mlflow.plots.comparisons import PlottedRun, plot_side_by_side

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [PlottedRun(label=run.label, home=run.home, best_name=run.best_name, best=run.best) for run in beside.runs]
    with whole_file(path) as temporary:
        plot_side_by_side(rows, beside.prices).savefig(temporary)


def _plain(beside: SideBySide, runs: Sequence[RunBeside], figure: Path | None) -> dict[str, Any]:
    order = [beside.runs.index(run) for run in runs]
    return {
        "prices_version": beside.prices.version,
        "prices_as_of": beside.prices.as_of,
        "runs": [
            {
                "run_id": run.run.run_id,
                "name": run.run.name,
                "status": run.run.fate,
                "home": figures(run.home),
                "actual": None
                if run.run.outcome is None
                else {each.field: getattr(run.run.outcome, each.field) for each in QUANTITIES},
                "best_offer": run.best_name or None,
                "stay_home": run.stay_home,
                "is_too_small_to_rent": run.is_too_small_to_rent,
                "best": None if run.best is None else figures(run.best),
            }
            for run in runs
        ],
        "differing_params": {key: [values[index] for index in order] for key, values in beside.differing.items()},
        "figure": None if figure is None else str(figure),
    }
