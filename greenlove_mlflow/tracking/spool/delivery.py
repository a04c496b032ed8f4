"""Delivers an event of a spool as one request to MLflow; delivering it twice has the same effect as once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.tracking.names import TAG_SPOOL
from greenlove_mlflow.tracking.spool.events import (
    ArtifactEvent,
    EndEvent,
    Event,
    ExperimentTagsEvent,
    InputsEvent,
    ModelEvent,
    ParamsEvent,
    TagsEvent,
)
from greenlove_mlflow.tracking.spool.header import Header
from greenlove_mlflow.tracking.spool.mlflow_store import without_progress_bars
from greenlove_mlflow.tracking.spool.spool import Spool
from greenlove_mlflow.tracking.spool.thinning import Point

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

_DEFAULT_EXPERIMENT_ID = "0"
_LOGGED_ARTIFACTS = "mlflow.loggedArtifacts"


def deliver(client: MlflowClient, spool: Spool, run_id: str, event: Event) -> None:
    """Record one event other than a measurement in the run."""
    with without_progress_bars():
        _deliver(client, spool, run_id, event)


def _deliver(client: MlflowClient, spool: Spool, run_id: str, event: Event) -> None:
    if isinstance(event, (ParamsEvent, TagsEvent)):
        _deliver_texts(client, run_id, event)
    elif isinstance(event, ExperimentTagsEvent):
        experiment_id = client.get_run(run_id).info.experiment_id
        for key, value in event.texts.items():
            client.set_experiment_tag(experiment_id, key, value)
    elif isinstance(event, InputsEvent):
        client.log_inputs(run_id, datasets=[_dataset_input(each) for each in event.inputs])
    elif isinstance(event, ArtifactEvent):
        _deliver_artifact(client, spool, run_id, event)
    elif isinstance(event, ModelEvent):
        _deliver_model(client, spool, run_id, event)
    elif isinstance(event, EndEvent) and event.status is not None:
        _deliver_end(client, spool, run_id, event)


def deliver_points(client: MlflowClient, run_id: str, points: Sequence[Point]) -> None:
    """Record at most 1,000 metric points in the run, in one synchronous request."""
    from mlflow.entities import Metric

    metrics = [Metric(point.key, point.value, point.timestamp_ms, point.step) for point in points]
    # If MLflow is set to log asynchronously, it would only queue the points and drop what the store refuses.
    client.log_batch(run_id, metrics=metrics, synchronous=True)


def create_run(client: MlflowClient, header: Header) -> str:
    """The id of the run for an offline spool, created unless an earlier attempt already did."""
    experiment_id = header.experiment_id or _DEFAULT_EXPERIMENT_ID
    if header.experiment_name is not None:
        experiment_id = find_or_create_experiment(client, header.experiment_name)
    spool_filter = f"tags.`{TAG_SPOOL}` = '{header.spool_id}'"
    if found := client.search_runs([experiment_id], spool_filter, max_results=1):
        run_id = str(found[0].info.run_id)
        # It may have been created while its process was giving up on the store, before it could be tagged.
        _deliver_texts(client, run_id, TagsEvent(texts=header.tags))
        return run_id
    run = client.create_run(
        experiment_id,
        start_time=header.created_ms,
        tags={**header.tags, TAG_SPOOL: header.spool_id},
        run_name=header.run_name,
    )
    return str(run.info.run_id)


def find_or_create_experiment(client: MlflowClient, name: str) -> str:
    """The id of the experiment of that name, created if missing; concurrent processes get the same one."""
    from mlflow.exceptions import MlflowException

    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:
        if found := client.get_experiment_by_name(name):
            return str(found.experiment_id)
        raise


def _deliver_texts(client: MlflowClient, run_id: str, event: ParamsEvent | TagsEvent) -> None:
    from mlflow.entities import Param, RunTag

    if isinstance(event, ParamsEvent):
        params = [Param(key, value) for key, value in event.texts.items()]
        client.log_batch(run_id, params=params, synchronous=True)
    else:
        tags = [RunTag(key, value) for key, value in event.texts.items()]
        client.log_batch(run_id, tags=tags, synchronous=True)


def _deliver_artifact(client: MlflowClient, spool: Spool, run_id: str, event: ArtifactEvent) -> None:
    local = spool.waiting(event)
    if local is None:
        return  # sent before but not acknowledged in time
    client.log_artifact(run_id, str(local), str(PurePosixPath(event.path).parent))
    if event.is_table:
        _announce_table(client, run_id, event.path)
    local.unlink()


def _deliver_model(client: MlflowClient, spool: Spool, run_id: str, event: ModelEvent) -> None:
    """Log the estimator as a model of the run, unless an earlier attempt already did."""
    from greenlove_mlflow.serving.facts import ModelFacts
    from greenlove_mlflow.serving.logging_model import has_model, log_facts

    local = spool.waiting(event)
    if local is None:
        return
    if not has_model(client, run_id):
        log_facts(run_id, ModelFacts.from_json(local.read_text(encoding="utf-8")), client=client)
    local.unlink()


def _deliver_end(client: MlflowClient, spool: Spool, run_id: str, event: EndEvent) -> None:
    """End the run and its parents started with it; for a process that is gone, only those not resumed since."""
    for each in (run_id, *spool.header.parents):
        if not event.is_own_end:
            run = client.get_run(each)
            if run.info.status != "RUNNING" or run.data.tags.get(TAG_SPOOL) != spool.header.spool_id:
                continue
        terminate(client, each, str(event.status), event.end_ms)


def terminate(client: MlflowClient, run_id: str, status: str, end_ms: int) -> None:
    """Set status and end time; ``set_terminated`` would also print links from this thread into the user's output.

    Args:
        client: Client of the store.
        run_id: Id of the run.
        status: MLflow's status.
        end_ms: End, milliseconds since 1970.
    """
    from mlflow.entities import RunStatus

    store: Any = getattr(getattr(client, "_tracking_client", None), "store", None)
    if store is None:
        client.set_terminated(run_id, status=status, end_time=end_ms)
    else:
        store.update_run_info(run_id, run_status=RunStatus.from_string(status), end_time=end_ms, run_name=None)


def deliver_failure(
    client: MlflowClient, spool: Spool, run_id: str, tags: Mapping[str, str], ends_ms: int | None
) -> None:
    """Set the tags of a training that failed, and end its run as failed unless ``ends_ms`` is None."""
    deliver(client, spool, run_id, TagsEvent(texts=dict(tags)))
    if ends_ms is not None:
        terminate(client, run_id, "FAILED", ends_ms)


def _announce_table(client: MlflowClient, run_id: str, path: str) -> None:
    """Do what ``log_table`` does besides the upload; itself, it would append to the rows of an earlier attempt."""
    known = json.loads(client.get_run(run_id).data.tags.get(_LOGGED_ARTIFACTS, "[]"))
    if (entry := {"path": path, "type": "table"}) not in known:
        client.set_tag(run_id, _LOGGED_ARTIFACTS, json.dumps([*known, entry]))


def _dataset_input(content: Mapping[str, Any]) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    tags = [InputTag("mlflow.data.context", content["context"])]
    tags += [InputTag(key, value) for key, value in content["tags"].items()]
    return DatasetInput(dataset=Dataset(**content["dataset"]), tags=tags)
