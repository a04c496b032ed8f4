"""``greenlove report``: the HTML page of a run or of a whole experiment, from what MLflow holds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from greenlove_mlflow.cli import echo, echo_whole
from greenlove_mlflow.files import write_whole


@click.command()
@click.argument("run", required=False)
@click.option("--experiment", help="Make one page of all runs of this experiment (name or id).")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@click.option("--prices", help="Version of the price sheet; what each run was priced with when not given.")
@click.option("--store", "store_uri", help="MLflow store; what MLflow is set to when not given.")
@click.option("--refresh", is_flag=True, help="Put the page into the run as well, in place of the one it holds.")
@click.option("--json", "as_json", is_flag=True, help="Say what was written as one JSON object.")
def command(  # noqa: PLR0917 - click passes options by keyword
    run: str | None,
    experiment: str | None,
    output: Path | None,
    prices: str | None,
    store_uri: str | None,
    refresh: bool,
    as_json: bool,
) -> None:
    """Write the report of a RUN, by id or name, or of a whole experiment, as one self-contained HTML file.

    Exit code 0 when the page was written, 1 when the run or experiment cannot be read, 2 for wrong usage.
    """
    if (run is None) == (experiment is None):
        raise click.UsageError("name either a RUN or an --experiment")
    if refresh and run is None:
        raise click.UsageError("--refresh updates the page of a run; it cannot be used with --experiment")
    import mlflow

    from greenlove_mlflow.report import render_experiment, render_report
    from greenlove_mlflow.stored import report_content as stored
    from greenlove_mlflow.stored.stored_runs import find_run_id

    uri = store_uri or mlflow.get_tracking_uri()
    run_id = None if run is None else find_run_id(run, store_uri=uri)
    if experiment is not None:
        page = render_experiment(stored.experiment_content(experiment, store_uri=uri, prices=prices))
        path = output or Path(f"greenlove-{_file_name(experiment)}.html")
    else:
        page = render_report(stored.run_content(str(run_id), store_uri=uri, prices=prices))
        path = output or Path(f"greenlove-{_file_name(str(run_id))}.html")
    _write(path, page)
    if refresh:
        stored.refresh_report(str(run_id), page, store_uri=uri)
    written = {"path": str(path), "size_bytes": len(page.encode()), "run_id": run_id, "experiment": experiment}
    echo_whole(json.dumps(written)) if as_json else echo(f"Wrote {path}")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "report"
