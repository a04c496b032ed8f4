"""Delivers events of a spool to MLflow, each as one request, and turns them into points that stay few.

Delivering an event twice has the same effect as once. Points are one per device and second, and very long series go in
ever wider groups; they depend only on the events in order, so a spool that is read again yields the same points.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.tracking.names import (
    NOTE_TAG,
    TAG_SPOOL,
    TRAIN_ENERGY_J,
    TRAIN_EPOCH_S,
    TRAIN_FORECAST_TIME_H,
    TRAIN_LAP_S,
    power_key,
)
from greenlove_mlflow.tracking.spool.events import (
    ArtifactEvent,
    EndEvent,
    Event,
    ExperimentTagsEvent,
    InputsEvent,
    LapEvent,
    MetricEvent,
    ModelEvent,
    ParamsEvent,
    PowerEvent,
    TagsEvent,
)
from greenlove_mlflow.tracking.spool.header import Header
from greenlove_mlflow.tracking.spool.mlflow_store import random_numbers_kept, without_progress_bars
from greenlove_mlflow.tracking.spool.spool import Spool
from greenlove_mlflow.units import S_PER_H

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput


_DEFAULT_EXPERIMENT_ID = "0"
_LOGGED_ARTIFACTS = "mlflow.loggedArtifacts"
# The first points of a series are all kept; then groups grow with the series, so that a year of seconds becomes about
# 40,000 points. MLflow draws 320 points per series.
FULL_COUNT = 20_000
GROWTH_COUNT = 1600
_STEPS_PER_S = 10
# How a group becomes one point: the mean of means and durations, the sum of additive quantities, else the last.
_MEANS = (TRAIN_EPOCH_S, TRAIN_LAP_S)
_SUMS = (TRAIN_ENERGY_J,)
_MACHINE_PREFIX = "system/"


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
    with random_numbers_kept():
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
        if event.note and each == run_id:
            _deliver_texts(client, run_id, TagsEvent(texts={NOTE_TAG: event.note}))
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of a metric's history."""

    key: str
    value: float
    timestamp_ms: int
    step: int


class Thinner:
    """Groups events into points; a group's point has the time and step of its last event."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._groups: dict[str, list[Point]] = {}
        self._seconds: dict[str, list[Point]] = {}

    def add(self, event: Event) -> list[Point]:
        """The points that this event completes; none for an event other than a measurement."""
        return [whole for point in self._points(event) if (whole := self._grouped(point)) is not None]

    def rest(self) -> list[Point]:
        """The points of incomplete groups, for the end of all series."""
        seconds, self._seconds = self._seconds, {}
        done = [whole for group in seconds.values() if (whole := self._grouped(_merged(group))) is not None]
        groups, self._groups = self._groups, {}
        return done + [_merged(group) for group in groups.values() if group]

    def _points(self, event: Event) -> Iterator[Point]:
        if isinstance(event, MetricEvent):
            yield Point(key=event.key, value=event.value, timestamp_ms=event.timestamp_ms, step=event.step)
        elif isinstance(event, LapEvent):
            yield from lap_points(event)
        elif isinstance(event, PowerEvent):
            yield from self._second(event)

    def _second(self, event: PowerEvent) -> Iterator[Point]:
        """The point of the previous second, when this reading starts a new one."""
        key = power_key(event.device)
        point = Point(key=key, value=event.power_w, timestamp_ms=event.timestamp_ms, step=event.step // _STEPS_PER_S)
        group = self._seconds.setdefault(key, [])
        if group and group[-1].step != point.step:
            yield _merged(group)
            group.clear()
        group.append(point)

    def _grouped(self, point: Point) -> Point | None:
        seen = self._seen.get(point.key, 0)
        group = self._groups.setdefault(point.key, [])
        group_size = max(1, (seen - len(group) - FULL_COUNT) // GROWTH_COUNT)
        self._seen[point.key] = seen + 1
        group.append(point)
        if len(group) < group_size:
            return None
        self._groups[point.key] = []
        return _merged(group)


def lap_points(lap: LapEvent) -> Iterator[Point]:
    """The metric points of one lap."""
    values: dict[str, float | None] = {
        TRAIN_EPOCH_S if lap.is_epoch else TRAIN_LAP_S: lap.duration_s,
        TRAIN_ENERGY_J: lap.energy_j,
    }
    if lap.forecast_s is not None:
        for end, value_s in zip(("", "_lo", "_hi"), lap.forecast_s, strict=True):
            values[f"{TRAIN_FORECAST_TIME_H}{end}"] = value_s / S_PER_H
    for key, value in values.items():
        if value is not None:
            yield Point(key=key, value=value, timestamp_ms=lap.timestamp_ms, step=lap.index)


def _merged(group: list[Point]) -> Point:
    last = group[-1]
    if len(group) == 1:
        return last
    total = sum(point.value for point in group)
    if last.key in _SUMS:
        value = total
    elif last.key in _MEANS or last.key.startswith(_MACHINE_PREFIX):
        value = total / len(group)
    else:
        value = last.value
    return Point(key=last.key, value=value, timestamp_ms=last.timestamp_ms, step=last.step)
