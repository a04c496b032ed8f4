"""``greenlove reestimate``: re-estimate all runs of an experiment with other prices or another place."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from greenlove_mlflow.cli import columns, echo, echo_whole
from greenlove_mlflow.core.quantity import LOCAL
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.files import whole_file
from greenlove_mlflow.units import G_PER_KG, S_PER_H

if TYPE_CHECKING:
    from greenlove_mlflow.core.offers.offer import PriceSheet
    from greenlove_mlflow.reestimation import Reestimate

# At most this many skipped runs are named per reason; all of them are in skipped.json and in --json.
SHOWN_SKIPPED = 5


@click.command()
@click.option("--experiment", "experiments", multiple=True, required=True, help="Name or id; repeatable.")
@click.option(
    "--prices",
    multiple=True,
    default=("newest",),
    show_default=True,
    help="newest, all, a version such as 2026-09-28, or a CSV of your own; repeatable.",
)
@click.option("--prices-version", help="What a CSV of your own is called; by default what its TOML or rows say.")
@click.option("--as-of", help="Date of the prices in a CSV of your own, such as 2026-09-28.")
@click.option("--source", help="Where the prices in a CSV of your own come from, in words.")
@click.option("--place", help="Another place for home, such as DE or US-VA.")
@click.option("--carbon", type=float, metavar="G_PER_KWH", help="Grams CO2e per kWh at home.")
@click.option("--usd-per-kwh", type=float, help="US dollars per kWh at home.")
@click.option("--pue", type=float, help="Power usage effectiveness at home.")
@click.option("--home-usd-per-hour", type=float, help="Rent of home, in place of its electricity.")
@click.option("--epochs", type=int, help="Epochs, in place of each run's own.")
@click.option("--filter", "filter_string", default="", help="MLflow's filter for the runs.")
@click.option("--write-back", is_flag=True, help="Log the estimates into the source runs, as a step per price date.")
@click.option("--dry-run", is_flag=True, help="Compute and show; leave MLflow as it is.")
@click.option("--verify", is_flag=True, help="Hold each run's benchmark file against its statistics first.")
@click.option("--planned", is_flag=True, help="The plans that never ran, instead of the runs that trained.")
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Keep all rows: .parquet or .csv."
)
@click.option("--store", "store_uri", help="MLflow store; what MLflow is set to when not given.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
def command(**given: Any) -> None:
    """Re-estimate all tracked runs of an experiment from their stored facts; no training, no benchmark.

    Stores the result in a new run of the first experiment; repeating it with the same inputs changes nothing. Exit
    code 0 on success, even if runs were skipped (they are named), 1 on failure, 2 for wrong usage.
    """
    from greenlove_mlflow.reestimation import reestimate
    from greenlove_mlflow.terminal import can_redraw

    output: Path | None = given["output"]
    if output is not None and output.suffix not in (".parquet", ".csv"):
        raise click.UsageError("--output ends in .parquet or .csv")
    found = reestimate(
        given["experiments"],
        prices=_prices(given),
        grid=given["place"],
        carbon_intensity_g_per_kwh=given["carbon"],
        electricity_price_usd_per_kwh=given["usd_per_kwh"],
        pue=given["pue"],
        home_usd_per_hour=given["home_usd_per_hour"],
        epochs=given["epochs"],
        write_back=given["write_back"],
        dry_run=given["dry_run"],
        verify=given["verify"],
        planned=given["planned"],
        filter_string=given["filter_string"],
        tracking_uri=given["store_uri"],
        progress=_show_progress if can_redraw(sys.stderr) else None,
    )
    if can_redraw(sys.stderr):
        click.echo("\r\033[K", nl=False, err=True)
    if output is not None:
        _keep_rows(found, output)
    if given["as_json"]:
        echo_whole(json.dumps(_plain(found, output), allow_nan=False))
    else:
        _print(found, is_dry_run=given["dry_run"], output=output)


def _prices(given: dict[str, Any]) -> list[str | PriceSheet]:
    """The price sheets named by the options; a CSV file takes its date and source from the options too."""
    stated = {"version": given["prices_version"], "as_of": given["as_of"], "source": given["source"]}
    prices: list[str | PriceSheet] = list(given["prices"])
    if not any(stated.values()):
        return prices
    if len(prices) != 1 or prices[0] in ("newest", "all"):
        raise InvalidInputError(
            "--prices-version, --as-of and --source describe a CSV of your own; pass it with --prices"
        )
    from greenlove_mlflow.tables import read_price_sheet

    return [read_price_sheet(Path(str(prices[0])), **stated)]


def _runs(count: int) -> str:
    return f"{count:,} run" if count == 1 else f"{count:,} runs"


def _show_progress(run_count: int, skipped_count: int) -> None:
    left_out = f", {skipped_count:,} left out" if skipped_count else ""
    click.echo(f"\r\033[K{_runs(run_count)} estimated{left_out}", nl=False, err=True)


def _print(found: Reestimate, *, is_dry_run: bool, output: Path | None) -> None:
    from greenlove_mlflow.reestimation.result_run import verdict_words

    if not found.run_count:
        echo("No run could be estimated again.")
    else:
        prices = found.versions[0] if len(found.versions) == 1 else f"{found.versions[0]} to {found.versions[-1]}"
        what = " that never ran" if found.planned else ""
        echo(f"{_runs(found.run_count)}{what} estimated again with the prices of {prices}.")
        echo(verdict_words(found.run_count, found.changed_run_count, found.versions[-1]))
        echo("\n".join(_changes_lines(found)))
        echo("\n".join(_totals_lines(found)))
    if found.written.run_count:
        echo(f"Written back into {_runs(found.written.run_count)} ({found.written.metric_count:,} values).")
    for reason, run_ids in _skipped_by_reason(found).items():
        more = f" and {len(run_ids) - SHOWN_SKIPPED:,} more" if len(run_ids) > SHOWN_SKIPPED else ""
        echo(f"Left out {', '.join(run_ids[:SHOWN_SKIPPED])}{more}: {reason}")
    if output is not None:
        echo(f"All rows are in {output}")
    if found.run_id is not None:
        made = "Kept in run" if found.is_new else "The same is kept already in run"
        echo(f"{made} {found.run_id}" + (f"  {found.url}" if found.url else ""))
    elif is_dry_run:
        echo("Dry run: nothing was written to MLflow.")


def _totals_lines(found: Reestimate) -> list[str]:
    """Totals over the runs at the newest prices, cheapest first; the best choice has the least cost times time."""
    from greenlove_mlflow.numbers import UNKNOWN, format_co2_g, format_kwh, format_money, format_time
    from greenlove_mlflow.words.fitting import fitted_table

    newest = found.summary[found.summary["version"] == found.versions[-1]].sort_values("cost_usd_total")
    rows = [("option", "cost", "time", "energy", "CO2e", "best for")]
    for row in newest.to_dict(orient="records"):
        hours, kwh, kg = (_known(row[f"{name}_total"]) for name in ("time_h", "energy_kwh", "co2_kg"))
        cells = (
            format_money(row["cost_usd_total"] if row["cost_usd_run_count"] else None),
            format_time(None if hours is None else hours * S_PER_H),
            format_kwh(kwh, missing=UNKNOWN),
            format_co2_g(None if kg is None else kg * G_PER_KG),
        )
        name = "here" if row["gpu"] == LOCAL else row["gpu"]
        rows.append((name, *cells, _runs(row["best_for_run_count"])))
    title = f"All of them on each option, by the prices of {found.versions[-1]}; best: least cost times time."
    return [title, *fitted_table(rows, columns(), spared=(3, 4), short={0: 0})]


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _changes_lines(found: Reestimate) -> list[str]:
    """The changes by the newest prices, then the best choices by the prices of each date."""
    from greenlove_mlflow.reestimation.result_run import history_lines
    from greenlove_mlflow.words.fitting import text_table

    lines = [
        f"  {row['best_before']} -> {row['best_now']} for {_runs(row['run_count'])}"
        for row in found.changes.to_dict(orient="records")
    ]
    if len(found.versions) > 1:
        lines += ["", *text_table([("prices of", "best choice then (runs)"), *history_lines(found.history)])]
    return [*lines, ""]


def _skipped_by_reason(found: Reestimate) -> dict[str, list[str]]:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for each in found.skipped:
        by_reason[each.reason].append(each.run_id)
    return by_reason


def _keep_rows(found: Reestimate, output: Path) -> None:
    from greenlove_mlflow.tables.store.exports import write_csv

    output.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(output) as temporary:
        if output.suffix == ".parquet":
            shutil.copyfile(found.files[0], temporary)
        else:
            write_csv(found.table, temporary)


def _plain(found: Reestimate, output: Path | None) -> dict[str, Any]:
    """The result as plain JSON values."""
    records = json.loads(found.summary.to_json(orient="records"))
    return {
        "run_id": found.run_id,
        "url": found.url,
        "is_new": found.is_new,
        "run_count": found.run_count,
        "versions": list(found.versions),
        "written_back_run_count": found.written.run_count,
        "changed_run_count": found.changed_run_count,
        "summary": records,
        "history": found.history.to_dict(orient="records"),
        "changes": found.changes.to_dict(orient="records"),
        "skipped": [{"run_id": each.run_id, "reason": each.reason} for each in found.skipped],
        "output": None if output is None else str(output),
    }
