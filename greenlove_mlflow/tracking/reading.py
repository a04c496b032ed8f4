"""Reads runs back: one run in full, or the finished runs that later estimates learn from, by search alone."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.core.account.outcome import Outcome
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.codec import check_bounds
from greenlove_mlflow.core.records import BenchmarkLog
from greenlove_mlflow.core.timing.drift import FinishedRun, Trained, finished_run
from greenlove_mlflow.errors import GreenloveError, RunDataError
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.outcomes import HistoryPoint, read_known_outcome, sorted_history
from greenlove_mlflow.tracking.spool.boundary import cause, first_line
from greenlove_mlflow.tracking.spool.mlflow_store import (
    is_permanent,
    make_client,
    run_url,
    without_progress_bars,
)
from greenlove_mlflow.units import S_PER_H
from greenlove_mlflow.untrusted import printable

logger = logging.getLogger(__name__)

# What parsing values of unknown origin can raise.
_ODD = (
    GreenloveError, ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError,
)  # fmt: skip

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# More runs than this add nothing about a machine, and one page of this size is one request.
FINISHED_RUN_LIMIT = 500
# Fewer epochs of a training that was stopped early say little about its pace.
LEAST_LAPS_OF_A_PART = 3
# The fate of a run that ended well and trained nothing.
PLANNED = "planned"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A tracked run as stored in MLflow.

    Args:
        run_id: Id of the run.
        name: Name of the run.
        experiment_id: Experiment of the run.
        status: MLflow's status, in lower case.
        statistics: The facts that every estimate is made from.
        params: All params.
        tags: All tags.
        metrics: The latest value of each metric.
        started_ms: Start, milliseconds since 1970.
        ended_ms: End, milliseconds since 1970; None while the run is active.
        url: The run's page; None when the store has none.
        outcome: The outcome; None when no epoch was run, or the run has not ended.
        so_far: What a run that has not ended took up to its last lap; None when it has ended or no lap has.
        seen_ms: When its last lap ended, milliseconds since 1970; None where no lap is known.
        log: The benchmark's log; None when its files are missing or were not requested.
    """

    run_id: str
    name: str
    experiment_id: str
    status: str
    statistics: RunFacts
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    started_ms: int
    ended_ms: int | None = None
    url: str | None = None
    outcome: Outcome | None = None
    so_far: Outcome | None = None
    seen_ms: int | None = None
    log: BenchmarkLog | None = None

    @property
    def fate(self) -> str:
        """What became of it: ``finished``, ``refused``, ``stopped``, ``failed``, ``running``, ``planned``, ...

        The training's own status; MLflow's where the training ended without one, as when its process was killed.
        """
        own = self.tags.get(names.TAG_STATUS, "")
        fate = self.status if own in ("", names.STATUS_RUNNING) else own
        return PLANNED if self.outcome is None and fate == "finished" else fate


def read_run(run_id: str, *, store_uri: str | None = None, with_log: bool = True) -> StoredRun:
    """A tracked run with its run facts, its outcome and, from its files, its benchmark log.

    Args:
        run_id: Id of the run.
        store_uri: Its store; the one that MLflow is set to when not given.
        with_log: Whether to download the log's files.

    Raises:
        RunDataError: If there is no such run, or it was not made by ``track``, or its facts are damaged.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    uri = store_uri or mlflow.get_tracking_uri()
    client = make_client(uri)
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if is_permanent(error):
            raise RunDataError(f"there is no run {run_id!r} in this store") from cause(error)
        raise RunDataError(f"run {run_id!r} cannot be read: {first_line(error)}") from cause(error)
    text = run.data.tags.get(names.TAG_STATS)
    if not text:
        raise RunDataError(
            f"run {run_id} keeps no {names.TAG_STATS} tag: it was not made by greenlove.track, or its benchmark did "
            "not finish"
        )
    statistics = _statistics(run)
    with _named(run):
        known = read_known_outcome(client, run, statistics)
    return StoredRun(
        run_id=run.info.run_id,
        name=printable(run.info.run_name or ""),
        experiment_id=run.info.experiment_id,
        status=run.info.status.lower(),
        statistics=statistics,
        params=_printable_texts(run.data.params),
        tags=_printable_texts(run.data.tags),
        metrics=run.data.metrics,
        started_ms=run.info.start_time,
        ended_ms=run.info.end_time,
        url=run_url(uri, run.info.experiment_id, run.info.run_id),
        outcome=known.outcome,
        so_far=known.so_far,
        seen_ms=known.seen_ms,
        log=_read_log(client, run_id) if with_log else None,
    )


def read_history(run_id: str, key: str, *, store_uri: str | None = None) -> tuple[HistoryPoint, ...]:
    """All points of one metric of a run, sorted by step and time; an estimate has one per price sheet.

    Args:
        run_id: Id of the run.
        key: Key of the metric.
        store_uri: Its store; the one that MLflow is set to when not given.
    """
    import mlflow

    client = make_client(store_uri or mlflow.get_tracking_uri())
    return sorted_history(client, run_id, key)


def finished_runs(store_uri: str, experiment_ids: list[str] | None = None) -> tuple[FinishedRun, ...]:
    """The runs in a store that have an estimate and ended normally, latest first; unreadable ones are left out."""
    runs, skipped = read_finished_runs(store_uri, experiment_ids)
    for run_id, reason in skipped:
        logger.info("run %s teaches nothing: %s", run_id, reason)
    return runs


def read_finished_runs(
    store_uri: str, experiment_ids: list[str] | None = None
) -> tuple[tuple[FinishedRun, ...], tuple[tuple[str, str], ...]]:
    """The finished runs as above, and the id of each unusable run with the reason."""
    client = make_client(store_uri)
    if experiment_ids is None:
        experiment_ids = [each.experiment_id for each in client.search_experiments()]
    found = client.search_runs(
        experiment_ids,
        filter_string=(
            f"tags.`{names.TAG_KIND}` = '{names.KIND_TRACK}' and metrics.`{names.ACTUAL_TIME_H}` > 0 "
            "and attributes.status = 'FINISHED'"
        ),
        max_results=FINISHED_RUN_LIMIT,
        order_by=["attributes.start_time DESC"],
    )
    runs: list[FinishedRun] = []
    skipped: list[tuple[str, str]] = []
    for run in found:
        try:
            taught = _finished_run(run)
        except RunDataError as error:  # noqa: PERF203 - an unreadable run must not hide the others
            skipped.append((run.info.run_id, str(error)))
        else:
            runs += [] if taught is None else [taught]
    return tuple(runs), tuple(skipped)


def runs_of_workload(store_uri: str, workload_fingerprint: str) -> tuple[tuple[str, RunFacts], ...]:
    """Id and facts of the runs that benchmarked the workload, on any hardware, latest first."""
    client = make_client(store_uri)
    found = client.search_runs(
        [each.experiment_id for each in client.search_experiments()],
        filter_string=f"tags.`{names.TAG_WORKLOAD}` = '{workload_fingerprint}'",
        max_results=FINISHED_RUN_LIMIT,
        order_by=["attributes.start_time DESC"],
    )
    return tuple((run.info.run_id, statistics) for run in found if (statistics := _statistics_or_none(run)) is not None)


def _finished_run(run: Run) -> FinishedRun | None:
    """The finished run to learn from; None when it has nothing to learn from.

    Raises:
        RunDataError: If its values are invalid.
    """
    statistics = _statistics(run)
    with _named(run):
        trained = Trained.from_text(run.data.tags.get(names.TAG_TRAINED, ""))
        is_whole = names.ACTUAL_TIME_ERROR_RATIO in run.data.metrics
        if names.TAG_BENCHMARK_RUN in run.data.tags:
            return None  # it repeats the error of the benchmark that it reused, and is no evidence of its own
        if not (is_whole or (trained is not None and trained.lap_count >= LEAST_LAPS_OF_A_PART)):
            return None
        taught = finished_run(
            statistics.home_fit,
            statistics.workload,
            run.data.metrics.get(names.ACTUAL_TIME_H, 0.0) * S_PER_H,
            machine=statistics.machine,
            finished_at=names.utc_of_timestamp_ms(run.info.end_time or run.info.start_time),
            run_id=run.info.run_id,
            trained=trained,
            is_left_out=names.TAG_NOT_HISTORY in run.data.tags,
        )
        if taught is not None:
            check_bounds(taught)
        return taught


def _statistics(run: Run) -> RunFacts:
    try:
        return RunFacts.from_json(run.data.tags.get(names.TAG_STATS, ""))
    except RunDataError as error:
        raise RunDataError(f"run {run.info.run_id}: {error}") from error


def leave_out(run_id: str, *, store_uri: str | None = None, bring_back: bool = False) -> None:
    """Leave a run out of what later estimates learn from, or bring it back.

    Args:
        run_id: Id of the run.
        store_uri: Its store; the one that MLflow is set to when not given.
        bring_back: Whether to include the run again instead.

    Raises:
        RunDataError: If there is no such run.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    client = make_client(store_uri or mlflow.get_tracking_uri())
    try:
        if not bring_back:
            client.set_tag(run_id, names.TAG_NOT_HISTORY, "true")
        elif names.TAG_NOT_HISTORY in client.get_run(run_id).data.tags:
            client.delete_tag(run_id, names.TAG_NOT_HISTORY)
    except MlflowException as error:
        what = "there is no" if is_permanent(error) else "nothing can be noted in"
        raise RunDataError(f"{what} run {run_id!r} in this store: {first_line(error)}") from error


def _statistics_or_none(run: Run) -> RunFacts | None:
    try:
        return _statistics(run)
    except RunDataError as error:
        logger.info("left out: %s", error)
        return None


@contextlib.contextmanager
def _named(run: Run) -> Iterator[None]:
    """A block that parses a run's values; invalid ones become an error that names the run."""
    try:
        yield
    except (
        GreenloveError,
        ArithmeticError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
        AttributeError,
        OSError,
    ) as error:
        raise RunDataError(f"run {run.info.run_id} holds impossible values: {first_line(error)}") from error


def _printable_texts(texts: Mapping[str, str]) -> dict[str, str]:
    return {printable(key): printable(value, lines=True) for key, value in texts.items()}


def _read_log(client: MlflowClient, run_id: str) -> BenchmarkLog | None:
    from greenlove_mlflow.tracking.artifacts import read_log

    present = {each.path for each in client.list_artifacts(run_id, names.ARTIFACT_ROOT)}
    if names.ARTIFACT_BENCHMARK not in present:
        return None
    with tempfile.TemporaryDirectory(prefix="greenlove-") as folder, without_progress_bars():
        files: dict[str, Any] = {
            path: Path(client.download_artifacts(run_id, path, folder))
            for path in (names.ARTIFACT_BENCHMARK, names.ARTIFACT_BLOCKS, names.ARTIFACT_POWER)
            if path in present
        }
        return read_log(
            files[names.ARTIFACT_BENCHMARK],
            files.get(names.ARTIFACT_BLOCKS),
            files.get(names.ARTIFACT_POWER),
        )
