"""Which MLflow run a training is kept in: the active one, one of ours, a child of either, or one yet to be created."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.errors import TrackingError
from greenlove_mlflow.tracking.names import TAG_SCHEMA_VERSION, TAG_SPOOL
from greenlove_mlflow.tracking.spool.boundary import say
from greenlove_mlflow.tracking.spool.delivery import find_or_create_experiment
from greenlove_mlflow.tracking.spool.header import Header, new_header
from greenlove_mlflow.tracking.spool.mlflow_store import (
    absolute,
    is_reachable,
    make_client,
    translated,
    without_credentials,
)
from greenlove_mlflow.tracking.values import opening_tags

if TYPE_CHECKING:
    from mlflow import ActiveRun
    from mlflow.entities import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The run that was found or started.

    Args:
        store_uri: As MLflow is set to, credentials included.
        header: For the spool.
        experiment_id: Where the run is; None while it is not created.
        is_offline: Whether the store did not answer.
        ours: Ids of the runs that we started and shall end, the innermost first.
        started_ms: Start of the run.
    """

    store_uri: str
    header: Header
    experiment_id: str | None
    is_offline: bool
    ours: tuple[str, ...]
    started_ms: int


def find_run(*, experiment: str | None, run_name: str | None, nested: bool | None) -> Opened:
    """The run to keep a training in, opened now; offline, with one warning, when the store does not answer.

    Raises:
        TrackingError: If the store answers but no run can be opened in it.
    """
    import mlflow

    uri = mlflow.get_tracking_uri()
    active = mlflow.active_run()
    if not is_reachable(uri):
        return _go_offline(uri, active, experiment=experiment, run_name=run_name)
    try:
        return _find_online(uri, active, experiment=experiment, run_name=run_name, nested=nested)
    except TrackingError:
        raise
    except Exception as error:
        # Before anything has run, whatever MLflow raises is told to the caller as one kind of error.
        raise translated(error, uri) from error


def leave_runs(run_ids: tuple[str, ...], status: str, *, is_sent: bool) -> None:
    """Take runs of ours off MLflow's stack of active runs.

    When the store has just taken everything, the status included, ``end_run`` does it. When it has not, ``end_run``
    would hang for minutes, here and once more at exit, so the runs leave the stack without a word to the store.
    """
    import mlflow

    for run_id in run_ids:
        active = mlflow.active_run()
        if is_sent and active is not None and active.info.run_id == run_id:
            mlflow.end_run(status)
        else:
            _forget(run_id)


def _forget(run_id: str) -> None:
    from mlflow.tracking import fluent

    stack: Any = getattr(fluent, "_active_run_stack", None)
    runs = stack.get() if hasattr(stack, "get") else stack
    if isinstance(runs, list):
        runs[:] = [run for run in runs if run.info.run_id != run_id]
    else:
        logger.debug("this MLflow keeps its active runs elsewhere; %s stays active", run_id)


def _find_online(
    uri: str, active: ActiveRun | None, *, experiment: str | None, run_name: str | None, nested: bool | None
) -> Opened:
    import mlflow

    client = make_client(uri)
    ours: list[str] = []
    experiment_id = None if experiment is None else _experiment_id(client, experiment)
    run: Run | None = None
    if active is None:
        run = mlflow.start_run(experiment_id=experiment_id, run_name=run_name)
        ours.append(run.info.run_id)
    elif experiment_id not in (None, active.info.experiment_id) and not nested:
        logger.warning("experiment=%r is not used: the training joins the active run", experiment)
    run = client.get_run((run or active).info.run_id)  # type: ignore[union-attr]
    holds_one = TAG_SCHEMA_VERSION in run.data.tags
    if (nested is None and holds_one) or (nested and active is not None):
        run = mlflow.start_run(experiment_id=experiment_id, run_name=run_name, nested=True)
        ours.insert(0, run.info.run_id)
    header = new_header(
        store_uri=without_credentials(absolute(uri)),
        run_id=run.info.run_id,
        is_ours=bool(ours),
        parents=list(ours[1:]),
        experiment_id=run.info.experiment_id,
    )
    client.log_batch(run.info.run_id, tags=_run_tags(opening_tags()))
    for each in ours:
        client.set_tag(each, TAG_SPOOL, header.spool_id)
    return Opened(
        store_uri=absolute(uri),
        header=header,
        experiment_id=run.info.experiment_id,
        is_offline=False,
        ours=tuple(ours),
        started_ms=run.info.start_time,
    )


def _go_offline(uri: str, active: ActiveRun | None, *, experiment: str | None, run_name: str | None) -> Opened:
    from mlflow.environment_variables import MLFLOW_RUN_ID

    shown = without_credentials(uri)
    say(
        f"MLflow at {shown} does not answer. The training goes on offline: everything is kept on this machine and sent "
        "by `greenlove recover`, or by the next greenlove.track, once the server is back"
    )
    run_id = active.info.run_id if active is not None else _setting(MLFLOW_RUN_ID)
    experiment_id, experiment_name = _intended_experiment(experiment)
    header = new_header(
        store_uri=without_credentials(absolute(uri)),
        run_id=run_id,
        is_ours=active is None,
        experiment_id=experiment_id,
        experiment_name=experiment_name,
        run_name=run_name,
        tags={} if run_id else {**_context_tags(), **opening_tags()},
    )
    return Opened(
        store_uri=absolute(uri),
        header=header,
        experiment_id=None,
        is_offline=True,
        ours=(),
        started_ms=header.created_ms,
    )


def _intended_experiment(experiment: str | None) -> tuple[str | None, str | None]:
    """Id or name of the experiment that ``start_run`` would have used, as far as that is known without the store."""
    from mlflow.environment_variables import MLFLOW_EXPERIMENT_ID, MLFLOW_EXPERIMENT_NAME
    from mlflow.tracking import fluent

    if experiment is not None:
        return None, experiment
    if (chosen := getattr(fluent, "_active_experiment_id", None)) is not None:
        return str(chosen), None
    if name := _setting(MLFLOW_EXPERIMENT_NAME):
        return None, name
    return _setting(MLFLOW_EXPERIMENT_ID), None


def _setting(variable: Any) -> str | None:
    """What MLflow reads from one of its environment variables."""
    value: str | None = variable.get()
    return value


def _context_tags() -> dict[str, str]:
    """User, source and commit, as ``start_run`` would have tagged them."""
    try:
        from mlflow.tracking.context.registry import resolve_tags

        return {key: str(value) for key, value in resolve_tags().items()}
    except Exception as error:  # noqa: BLE001 - tags that are nice to have; providers of others may raise anything
        logger.debug("MLflow's context tags are left out: %s", error)
        return {}


def _experiment_id(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"the experiment {name!r} is deleted; restore it with "
            f"`mlflow experiments restore -x {found.experiment_id}` or name another"
        )
    return find_or_create_experiment(client, name)


def _run_tags(tags: dict[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in tags.items()]
