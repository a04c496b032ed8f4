"""``greenlove recover``: send what interrupted runs and unreachable servers left on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from greenlove_mlflow.cli import echo, echo_whole

if TYPE_CHECKING:
    from greenlove_mlflow.tracking import Recovered


@click.command()
@click.option("--refused", is_flag=True, help="Try again what the store refused before.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(refused: bool, as_json: bool) -> None:
    """Send to MLflow what earlier runs could not; a run that is still in progress is left alone.

    Exit code 0 when nothing is left, 1 when something still waits, was refused, or cannot be read.
    """
    from greenlove_mlflow.environment import state_folder
    from greenlove_mlflow.tracking import recover, refused_spools

    state = state_folder()
    results = []
    for result in recover(state, with_refused=refused):
        results.append(result)
        echo_whole(_as_json(result)) if as_json else echo(_in_words(result))
        if result.is_sent and result.was_killed and result.run_id is not None and _draw_page(result):
            echo(f"run {result.run_id}: its report says how far it got.", err=True)
    if not as_json:
        if not results:
            echo("Nothing to recover.")
        if kept := refused_spools(state):
            echo(f"{len(kept)} refused before: `greenlove recover --refused` tries again. In {kept[0].parent}")
    if any(not result.is_sent and not result.is_live for result in results):
        raise SystemExit(1)


def _draw_page(result: Recovered) -> bool:
    """Make the report of a run that was killed; False where that is not possible."""
    import mlflow

    from greenlove_mlflow.errors import GreenloveError
    from greenlove_mlflow.stored.report_content import draw_report_again
    from greenlove_mlflow.tracking.spool.mlflow_store import absolute, without_credentials

    current = absolute(mlflow.get_tracking_uri())
    uri = current if without_credentials(current) == result.store_uri else result.store_uri
    try:
        draw_report_again(str(result.run_id), store_uri=uri)
    except (GreenloveError, mlflow.MlflowException):  # killed before its estimate, or the store is gone again
        return False
    return True


def _in_words(result: Recovered) -> str:
    run = f"run {result.run_id}" if result.run_id else "a run not yet created"
    how = ", ended for its process, which is gone" if result.was_killed else ""
    points = f"{result.point_count:,} points"
    arrived = f"{points} sent{how}; " if result.point_count else ""
    refused = f"{result.refused_count} refused or unreadable" if result.refused_count else "refused"
    words = {
        "sent": f"{run}: everything sent to {result.store_uri} ({points}){how}.",
        "refused": f"{run}: {arrived}{refused}, kept in {result.folder}: {result.problem}",
        "waits": f"{run}: still waits in {result.folder}: {result.problem or 'not finished'}",
        "live": f"{run}: its training still runs; left alone",
        "busy": f"{run}: another process is sending it; left alone",
        "elsewhere": f"{run}: left alone, {result.problem}. `MLFLOW_TRACKING_URI={result.store_uri} greenlove recover`",
        "unreadable": f"{result.folder}: left as it is: {result.problem}",
    }
    return words[result.fate]


def _as_json(result: Recovered) -> str:
    return json.dumps(
        {
            "fate": result.fate,
            "run_id": result.run_id,
            "store_uri": result.store_uri,
            "folder": str(result.folder),
            "is_live": result.is_live,
            "is_sent": result.is_sent,
            "was_killed": result.was_killed,
            "point_count": result.point_count,
            "refused_count": result.refused_count,
            "problem": result.problem,
        }
    )
