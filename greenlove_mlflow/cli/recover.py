"""``greenlove recover``: send what broken-off trainings and dead servers left on this machine."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from greenlove_mlflow.tracking import Recovered


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(as_json: bool) -> None:
    """Send to MLflow what earlier trainings could not; a training that still runs is left alone.

    Exit code 0 when nothing is left, 1 when something still waits.
    """
    from greenlove_mlflow.tracking import recover, state_folder

    results = []
    for result in recover(state_folder(os.environ)):
        results.append(result)
        click.echo(_as_json(result) if as_json else _in_words(result))
    if not results and not as_json:
        click.echo("Nothing to recover.")
    if any(not result.is_sent and not result.is_live for result in results):
        raise SystemExit(1)


def _in_words(result: Recovered) -> str:
    run = f"run {result.run_id}" if result.run_id else "a run not yet created"
    if result.is_live:
        return f"{run}: its training still runs; left alone"
    how = ", ended as KILLED because its process is gone" if result.was_killed else ""
    if result.is_sent:
        refused = f" Refused: {result.problem}." if result.problem else ""
        return f"{run}: all sent to {result.store_uri} ({result.point_count} points){how}.{refused}"
    return f"{run}: still waits in {result.folder}: {result.problem or 'not finished'}"


def _as_json(result: Recovered) -> str:
    return json.dumps(
        {
            "run_id": result.run_id,
            "store_uri": result.store_uri,
            "folder": str(result.folder),
            "is_live": result.is_live,
            "is_sent": result.is_sent,
            "was_killed": result.was_killed,
            "point_count": result.point_count,
            "problem": result.problem,
        }
    )
