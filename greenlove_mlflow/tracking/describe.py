"""Describes the MLflow store for ``greenlove doctor``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from greenlove_mlflow.environment import state_folder
from greenlove_mlflow.tracking.spool.mlflow_store import absolute, is_http, is_reachable, without_credentials
from greenlove_mlflow.tracking.spool.recovery import find_spools, refused_spools
from greenlove_mlflow.tracking.spool.spool import SPOOLS


def describe_store() -> Iterator[tuple[str, str]]:
    """The MLflow store, whether it answers, where a run would go and what waits to be sent, as pairs of text."""
    import mlflow

    uri = absolute(mlflow.get_tracking_uri())
    answers = (
        "" if not is_http(uri) else ", answers" if is_reachable(uri) else ", does not answer: runs would be offline"
    )
    yield "MLflow store", f"{without_credentials(uri)}{answers} (MLflow {mlflow.__version__})"
    active = mlflow.active_run()
    if active is not None:
        yield "active run", f"{active.info.run_id}: a training would join it"
    yield "MLflow telemetry", _describe_telemetry()
    yield "spool", _describe_spools(state_folder())


def _describe_telemetry() -> str:
    """Whether MLflow sends its own usage telemetry, which it does by default."""
    try:
        from mlflow.telemetry.utils import is_telemetry_disabled
    except ImportError:  # MLflow before 3.2 has none, and the name is not public
        return "none in this release of MLflow, as far as is known"
    if is_telemetry_disabled():
        return "off"
    return "on: MLflow asks config.mlflow-telemetry.io; MLFLOW_DISABLE_TELEMETRY=true turns it off"


def _describe_spools(state: Path) -> str:
    spools, odd = find_spools(state)
    waiting = [spool for spool in spools if not spool.writer_is_alive]
    refused = refused_spools(state)
    parts = [
        f"{len(waiting)} wait for `greenlove recover`" if waiting else "nothing waits",
        f"{len(odd)} cannot be read" if odd else "",
        f"{len(refused)} refused, `greenlove recover --refused` tries again" if refused else "",
    ]
    return f"{state / SPOOLS}, {', '.join(filter(None, parts))}"
