"""What can be said about the store that a training would be kept in, for somebody who looks before they start."""

from __future__ import annotations

import os
from collections.abc import Iterator

from greenlove_mlflow.tracking.spool.header import spool_root, state_folder
from greenlove_mlflow.tracking.spool.mlflow_store import absolute, is_http, is_reachable, without_credentials
from greenlove_mlflow.tracking.spool.spool import find_spools


def describe_store() -> Iterator[tuple[str, str]]:
    """The MLflow store, whether it answers, where a run would go, and what waits to be sent, in words."""
    import mlflow

    uri = absolute(mlflow.get_tracking_uri())
    answers = (
        "" if not is_http(uri) else ", answers" if is_reachable(uri) else ", does not answer: runs would be offline"
    )
    yield "MLflow store", f"{without_credentials(uri)}{answers} (MLflow {mlflow.__version__})"
    active = mlflow.active_run()
    if active is not None:
        yield "active run", f"{active.info.run_id}: a training would join it"
    root = spool_root(state_folder(os.environ))
    waiting = [spool for spool in find_spools(root) if not spool.writer_is_alive]
    yield "spool", f"{root}, " + (f"{len(waiting)} wait for `greenlove recover`" if waiting else "nothing waits")
