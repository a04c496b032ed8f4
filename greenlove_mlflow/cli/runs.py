"""``greenlove runs``: tracked runs side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from greenlove_mlflow.cli.compare import figures
from greenlove_mlflow.cli.printing import echo
from greenlove_mlflow.files import whole_file

if TYPE_CHECKING:
    from greenlove_mlflow.stored.run_table import RunBeside, SideBySide

LONGEST_VALUE = 40
_HEAD = ("run", "time", "cost", "electricity", "CO2e", "best offer", "time there", "cost there", "better value")


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--prices", default="newest", show_default=True, help="newest, a version, or a CSV of your own.")
@click.option(
    "--figure", type=click.Path(dir_okay=False, path_type=Path), help="Draw them into this .png, .svg or .pdf."
)
@click.option("--store", "store_uri", help="MLflow store; what MLflow is set to when not given.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, runs: tuple[str, ...], prices: str, figure: Path | None, store_uri: str | None, as_json: bool) -> None:
    """Show tracked RUNS side by side: hours, dollars, kWh, CO2e, best offer and differing params.

    All are compared at the same prices. Exit code 0 when they were shown, 1 when a run cannot be read, 2 for wrong
    usage.
    """
    from greenlove_mlflow.stored.run_table import compare_runs

    if figure is not None and figure.suffix not in (".png", ".svg", ".pdf"):
        raise click.UsageError("--figure ends in .png, .svg or .pdf")
    beside = compare_runs(runs, prices=prices, tracking_uri=store_uri)
    if figure is not None:
        _draw(beside, figure)
    if as_json:
        echo(json.dumps(_plain(beside, figure), allow_nan=False))
        return
    echo("\n".join(_lines(beside)))
    if figure is not None:
        echo(f"Drawn in {figure}")


def _lines(beside: SideBySide) -> list[str]:
    from greenlove_mlflow.words.estimate import RANGE_SENTENCE, text_table

    lines = text_table([_HEAD, *(_cells(run) for run in beside.runs)], gap=2)
    lines += ["", f"{RANGE_SENTENCE} Prices of {beside.prices.as_of}, {beside.prices.source.producer}."]
    if beside.differing:
        head = ("param", *(run.label for run in beside.runs))
        lines += [
            "",
            *text_table([head, *((key, *map(_short, of_runs)) for key, of_runs in beside.differing.items())], gap=2),
        ]
    elif len(beside.runs) > 1:
        lines += ["", "Their params are the same."]
    return lines


def _cells(run: RunBeside) -> tuple[str, ...]:
    from greenlove_mlflow.numbers import format_co2_g, format_duration_s, format_kwh, format_usd

    home, best = run.home, run.best
    there = ("", "") if best is None else (format_duration_s(best.time_s), format_usd(best.cost_usd))
    return (
        run.label,
        format_duration_s(home.time_s),
        format_usd(home.cost_usd),
        format_kwh(home.energy_kwh),
        format_co2_g(home.co2_g),
        run.best_name or "none has a price",
        *there,
        "unknown" if run.stay_home is None else "home" if run.stay_home else "the offer",
    )


def _short(value: str) -> str:
    return value if len(value) <= LONGEST_VALUE else f"{value[: LONGEST_VALUE - 3]}..."


def _draw(beside: SideBySide, path: Path) -> None:
    from greenlove_mlflow.plots.side_by_side import PlottedRun, plot_side_by_side

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [PlottedRun(label=run.label, home=run.home, best_name=run.best_name, best=run.best) for run in beside.runs]
    with whole_file(path) as temporary:
        plot_side_by_side(rows, beside.prices).savefig(temporary)


def _plain(beside: SideBySide, figure: Path | None) -> dict[str, Any]:
    return {
        "prices_version": beside.prices.version,
        "prices_as_of": beside.prices.as_of,
        "runs": [
            {
                "run_id": run.run.run_id,
                "name": run.run.name,
                "status": run.run.status,
                "home": figures(run.home),
                "best_offer": run.best_name or None,
                "stay_home": run.stay_home,
                "best": None if run.best is None else figures(run.best),
            }
            for run in beside.runs
        ],
        "differing_params": {key: list(of_runs) for key, of_runs in beside.differing.items()},
        "figure": None if figure is None else str(figure),
    }
