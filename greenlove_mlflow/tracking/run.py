"""TrackedRun: one training's place in MLflow. What is logged goes into the spool; the writer carries it on."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.records import PowerSample
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.closing import ending_events, status_of
from greenlove_mlflow.tracking.opening import Opened, find_run, leave_runs
from greenlove_mlflow.tracking.spool import spool as kinds
from greenlove_mlflow.tracking.spool.boundary import Boundary, OutOfTimeError, within
from greenlove_mlflow.tracking.spool.header import spool_root, state_folder
from greenlove_mlflow.tracking.spool.mlflow_store import run_url, without_credentials
from greenlove_mlflow.tracking.spool.recovery import recover_quietly
from greenlove_mlflow.tracking.spool.sender import Sender
from greenlove_mlflow.tracking.spool.spool import Spool
from greenlove_mlflow.tracking.spool.writer import Writer

if TYPE_CHECKING:
    from types import TracebackType

    from matplotlib.figure import Figure
    from mlflow import MlflowClient

    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import Outcome
    from greenlove_mlflow.core.offers.compare import Comparison
    from greenlove_mlflow.core.records import BenchmarkLog
    from greenlove_mlflow.core.timing.drift import FinishedRun

logger = logging.getLogger(__name__)

# Steps of power metrics count tenths of a second since the run began: they rise, also when a run is taken up again.
_POWER_STEP_MS = 100
HISTORY_DEADLINE_S = 3.0


class TrackedRun:
    """A run that a training is kept in; made by ``open_run``.

    No method raises because of MLflow or the disk, and none waits for a server. On ranks other than 0 nothing is
    kept and every method does nothing.
    """

    def __init__(self, opened: Opened | None, state: Path) -> None:
        self._opened = opened
        self._pid = os.getpid()
        self._boundary = Boundary(has_warned=opened is not None and opened.is_offline)
        self._spool: Spool | None = None
        self._writer: Writer | None = None
        self._is_closed = False
        self._power_steps: dict[str, int] = {}
        self._lock = threading.Lock()
        if opened is not None:
            root = spool_root(state)
            self._spool = Spool.create(root, opened.header)
            self._sender = Sender(self._spool, opened.store_uri, stop=self._must_stop, complain=self._boundary.warn)
            self._writer = Writer(self._sender, self._boundary, last=lambda: recover_quietly(state))
            self._writer.start()

    def __enter__(self) -> TrackedRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(status_of(error))

    @property
    def run_id(self) -> str | None:
        """The MLflow run; None while it is not created because the server cannot be reached."""
        return None if self._spool is None else self._spool.header.run_id

    @property
    def is_ours(self) -> bool:
        """Whether the run was started here, and is ended, named and annotated here."""
        return self._opened is not None and self._opened.header.is_ours

    @property
    def is_offline(self) -> bool:
        """Whether the run has not reached the server yet."""
        return self._opened is not None and self._opened.is_offline and not self._sender.has_reached_store

    @property
    def url(self) -> str | None:
        """The run's page; None when the store has no pages or the run is not created yet."""
        if self._opened is None or self.run_id is None or self._opened.experiment_id is None:
            return None
        return run_url(self._opened.store_uri, self._opened.experiment_id, self.run_id)

    @property
    def view_url(self) -> str | None:
        """The saved view of the run's experiment; None when the store has no pages or the run is not created yet."""
        from greenlove_mlflow.tracking.saved_view import view_url

        if self._opened is None or self.url is None or self._opened.experiment_id is None:
            return None
        return view_url(self._opened.store_uri, self._opened.experiment_id)

    @property
    def how_to_open(self) -> str:
        """An address or a command that shows the run."""
        if self._opened is None:
            return ""
        if self._spool is not None and self.is_offline:
            return f"greenlove recover  (once {self._opened.header.store_uri} answers)"
        return self.url or f"mlflow server --backend-store-uri {without_credentials(self._opened.store_uri)}"

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """A block in which nothing is sent to MLflow, for what is timed."""
        with self._writer.paused() if self._writer is not None else contextlib.nullcontext():
            yield

    def metric(self, key: str, value: float | None, step: int, timestamp_ms: int | None = None) -> None:
        """Keep one point of a metric; None is not kept."""
        if value is not None:
            self._put(kinds.METRIC, key, float(value), timestamp_ms or _now_ms(), step)

    def params(self, params: Mapping[str, str]) -> None:
        """Keep params; MLflow lets none of them change later."""
        self._put(kinds.PARAMS, dict(params))

    def tags(self, tags: Mapping[str, str]) -> None:
        """Keep tags."""
        self._put(kinds.TAGS, dict(tags))

    def experiment_tags(self, tags: Mapping[str, str]) -> None:
        """Keep tags of the run's experiment."""
        self._put(kinds.EXPERIMENT_TAGS, dict(tags))

    def inputs(self, contents: Sequence[Mapping[str, Any]]) -> None:
        """Keep inputs, as ``inputs.input_of`` describes them; all in one request."""
        self._put(kinds.INPUTS, list(contents))

    def artifact(self, path: str, write: Callable[[Path], object], *, is_table: bool = False) -> None:
        """Keep a file that ``write`` makes at the path it is given; ``path`` is where it goes in the run."""
        if self._spool is None:
            return
        with self._boundary.guard(f"writing {path}"):
            target, number = self._spool.new_file(path)
            write(target)
            self._put(kinds.TABLE if is_table else kinds.ARTIFACT, path, number)

    def figure(self, path: str, figure: Figure) -> None:
        """Keep a picture."""
        from greenlove_mlflow.tracking.artifacts import write_figure

        self.artifact(path, lambda target: write_figure(figure, target))

    def text(self, path: str, text: str) -> None:
        """Keep a text file, in UTF-8."""
        self.artifact(path, lambda target: target.write_text(text, encoding="utf-8"))

    def log_power_sample(self, sample: PowerSample) -> None:
        """Keep one reading of a device's power, now; callable from any thread, a few microseconds."""
        self.power_sample(sample, _now_ms())

    def power_sample(self, sample: PowerSample, timestamp_ms: int) -> None:
        """Keep one reading of a device's power, taken at a time."""
        if self._opened is None:
            return
        with self._lock:
            step = max(
                self._power_steps.get(sample.device, -1) + 1,
                (timestamp_ms - self._opened.started_ms) // _POWER_STEP_MS,
            )
            self._power_steps[sample.device] = step
        self._put(kinds.POWER, sample.device, sample.at_s, sample.power_w, timestamp_ms, step)

    def log_promise(
        self, estimate: Estimate, comparison: Comparison | None, log: BenchmarkLog, *, saved_view: bool = True
    ) -> None:
        """Keep the benchmark, the estimates and all they rest on, pictures and report included."""
        from greenlove_mlflow.tracking.estimates import keep_page, keep_promise
        from greenlove_mlflow.tracking.saved_view import saved_view as make_saved_view

        if self._spool is None:
            return
        with self._boundary.guard("keeping the promise"):
            keep_promise(self, estimate, comparison, log)
        with self._boundary.guard("drawing the pictures and the report"):
            keep_page(self, estimate, comparison, log)
        if saved_view:
            with self._boundary.guard("saving a view of the experiment"):
                self.experiment_tags({names.TAG_SAVED_VIEW: make_saved_view(estimate, comparison)})

    def log_outcome(
        self, estimate: Estimate, comparison: Comparison | None, log: BenchmarkLog, outcome: Outcome | None
    ) -> None:
        """Keep what really happened, and the report that says so; nothing when no epoch was run."""
        from greenlove_mlflow.tracking.estimates import keep_outcome, keep_page

        if self._spool is None or outcome is None:
            return
        with self._boundary.guard("keeping the outcome"):
            keep_outcome(self, estimate, outcome)
            keep_page(self, estimate, comparison, log, outcome=outcome)

    def log_epoch(self, epoch: int, duration_s: float, energy_j: float | None, forecast_s: Interval | None) -> None:
        """Keep one epoch of the real training, and the forecast made after it."""
        now_ms = _now_ms()
        self.metric(names.TRAIN_EPOCH_S, duration_s, epoch, now_ms)
        self.metric(names.TRAIN_ENERGY_J, energy_j, epoch, now_ms)
        if forecast_s is not None:
            hours = forecast_s.scaled(1.0 / 3600.0)
            self.metric(names.TRAIN_FORECAST_TIME_H, hours.point, epoch, now_ms)
            self.metric(f"{names.TRAIN_FORECAST_TIME_H}_lo", hours.low, epoch, now_ms)
            self.metric(f"{names.TRAIN_FORECAST_TIME_H}_hi", hours.high, epoch, now_ms)

    def finished_runs(self, deadline_s: float = HISTORY_DEADLINE_S) -> tuple[FinishedRun, ...]:
        """What ran to its end in this store before; empty when it does not answer in time."""
        from greenlove_mlflow.tracking.reading import finished_runs

        if self._opened is None or self.is_offline:
            return ()
        store_uri = self._opened.store_uri
        with self._boundary.guard("reading finished runs"):
            try:
                return within(deadline_s, lambda: finished_runs(store_uri))
            except OutOfTimeError as error:
                logger.info("the promise learns nothing from finished runs: %s", error)
        return ()

    def later(self, doing: str, job: Callable[[MlflowClient, str], object]) -> None:
        """Run ``job(client, run_id)`` off the training's way, once all kept before has been sent.

        For what cannot wait in a file; it is dropped, with a warning, when the server does not come back.
        """
        if self._writer is not None:
            self._writer.later(doing, lambda: job(self._sender.client, self._sender.run_id))

    def close(self, status: str = "FINISHED") -> None:
        """End the run when it is ours and send what is left, for ten seconds at most; a second call does nothing."""
        if self._spool is None or self._writer is None or self._opened is None:
            return
        if self._is_closed or os.getpid() != self._pid:
            return  # a forked worker leaves the parent's run alone
        self._is_closed = True
        is_sent = False
        with self._boundary.guard("ending the run"):
            for event in ending_events(self._spool, status, _now_ms()):
                self._spool.append(*event)
            self._spool.close()
            is_sent = self._writer.close()
        with self._boundary.guard("leaving the run"):
            leave_runs(self._opened.ours, status, is_sent=is_sent)
        if not is_sent:
            self._boundary.warn(
                f"MLflow has not taken everything in time; the rest waits in {self._spool.folder} and is sent by "
                "`greenlove recover` or the next greenlove.track"
            )

    def _must_stop(self) -> bool:
        return self._writer is not None and self._writer.must_stop

    def _put(self, *event: Any) -> None:
        if self._spool is not None:
            with self._boundary.guard("writing to the spool"):
                self._spool.append(*event)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def open_run(
    *,
    experiment: str | None = None,
    run_name: str | None = None,
    nested: bool | None = None,
    rank: int = 0,
    state: Path | None = None,
) -> TrackedRun:
    """The run that a training is kept in, open: the active one, or one of ours that ``close`` ends.

    Args:
        experiment: Name of the experiment for a run of ours; the one MLflow is set to when not given.
        run_name: For a run of ours.
        nested: True forces a child of the active run, False forbids one; on its own, a run that holds a training
            already gets a child for the next.
        rank: Of this process in a distributed training; nothing is kept on ranks other than 0.
        state: The user's state folder; found by the platform's rule when not given.

    Raises:
        TrackingError: If the store answers but no run can be opened in it.
    """
    if rank != 0:
        return TrackedRun(None, Path())
    opened = find_run(experiment=experiment, run_name=run_name, nested=nested)
    return TrackedRun(opened, state_folder(os.environ) if state is None else state)
