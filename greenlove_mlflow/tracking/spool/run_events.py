"""RunEvents: points, params, tags, files and power of a run as events in its spool, and the events that end it."""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from greenlove_mlflow.core.records import PowerSample
from greenlove_mlflow.errors import LimitReached, TrainingRefused
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.names import KIND_STUDY
from greenlove_mlflow.tracking.spool.boundary import Boundary, first_line, say
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
from greenlove_mlflow.tracking.spool.header import Header, StudyRun
from greenlove_mlflow.tracking.spool.mlflow_store import run_url
from greenlove_mlflow.tracking.spool.spool import MODEL_FILE, Spool
from greenlove_mlflow.untrusted import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from greenlove_mlflow.tracking.spool.header import Opened


Row = TypeVar("Row")

FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"
# Names of exceptions by which libraries for hyperparameters end a trial that is not worth its time (Optuna's).
_PRUNED = ("TrialPruned",)
# Steps of power metrics count tenths of a second since the run began, so they also rise when a run is resumed.
_POWER_STEP_MS = 100


def is_pruned(error: BaseException | None) -> bool:
    """Whether an exception is how a library ends a trial early; told by its name, so that no library is imported."""
    return any(each.__name__ in _PRUNED for each in type(error).__mro__)


def status_of(error: BaseException | None) -> str:
    """The MLflow status for the exception that ended a training run; None means that it ended normally.

    >>> status_of(None), status_of(KeyboardInterrupt()), status_of(SystemExit(0)), status_of(ValueError())
    ('FINISHED', 'KILLED', 'FINISHED', 'FAILED')
    """
    if error is None or isinstance(error, GeneratorExit) or is_pruned(error):
        return FINISHED
    if isinstance(error, (KeyboardInterrupt, TrainingRefused, LimitReached)):
        return KILLED
    if isinstance(error, SystemExit):
        return FINISHED if error.code in (None, 0) else FAILED
    return FAILED


def ending_events(
    spool: Spool,
    status: str,
    end_ms: int,
    *,
    is_own_end: bool = True,
    label: str = "",
    laps: Sequence[LapEvent] | None = None,
    note: str = "",
) -> Iterator[Event]:
    """The events that end a spool: the status as a tag, all laps and power samples as files, the end itself.

    The status comes first: if the rest is lost, it still records how the training ended.

    Args:
        spool: The spool to end; the files are written into its folder.
        status: MLflow's status of the run.
        end_ms: When it ended, milliseconds since 1970.
        is_own_end: False when another process ends the run for one that is gone; then only if it was not resumed.
        label: ``refused`` or ``stopped``, to replace the status in its tag.
        laps: The laps as finally divided; those of the spool when None.
        note: Note for the run's page; empty to leave it as it is.
    """
    tags = {names.TAG_STATUS: label or status.lower()}
    if status != FINISHED:
        tags[names.TAG_PARTIAL] = "true"
    yield TagsEvent(texts=tags)
    yield from _measurements(spool, laps)
    yield EndEvent(status=status if spool.header.is_ours else None, end_ms=end_ms, is_own_end=is_own_end, note=note)


def has_ended(spool: Spool) -> bool:
    """Whether the spool holds its end event."""
    return any(isinstance(event, EndEvent) for _, event in spool.events())


def likely_status(spool: Spool) -> str:
    """The likely status of a training whose spool lacks an end: its last recorded status, else from its outcome."""
    status, is_whole = "", False
    for _, event in spool.events():
        if isinstance(event, TagsEvent):
            status = event.texts.get(names.TAG_STATUS, status)
        elif isinstance(event, MetricEvent):
            is_whole = is_whole or event.key == names.ACTUAL_TIME_ERROR_RATIO
    if status.upper() in (FINISHED, FAILED, KILLED):
        return status.upper()
    return FINISHED if is_whole else KILLED


def last_sign_ms(spool: Spool) -> int:
    """The time of the spool's last event, milliseconds since 1970."""
    timed = (MetricEvent, PowerEvent, LapEvent)
    times = [event.timestamp_ms for _, event in spool.events() if isinstance(event, timed)]
    return max([spool.header.created_ms, *times])


def _measurements(spool: Spool, cut_again: Sequence[LapEvent] | None = None) -> Iterator[Event]:
    """All laps and all power samples, each kind as a Parquet file; a kind that cannot be written is left out."""
    from greenlove_mlflow.tracking.spool.measurements import write_laps, write_power

    kept = (event for _, event in spool.events() if isinstance(event, LapEvent))
    laps = kept if cut_again is None else iter(cut_again)
    samples = (event for _, event in spool.events() if isinstance(event, PowerEvent))
    yield from _file_of(spool, names.ARTIFACT_EPOCHS, laps, write_laps)
    yield from _file_of(spool, names.ARTIFACT_POWER, samples, write_power)


def _file_of(
    spool: Spool, path: str, rows: Iterator[Row], write: Callable[[Iterator[Row], Path], object]
) -> Iterator[Event]:
    first = next(rows, None)
    if first is None or spool.folder is None:
        return
    try:
        yield waiting_file(spool, path, lambda target: write(itertools.chain([first], rows), target))
    except OSError as error:
        say(f"{path} could not be written ({first_line(error)}): the run is recorded without it")


def waiting_file(spool: Spool, path: str, write: Callable[[Path], object], *, is_table: bool = False) -> ArtifactEvent:
    """The event of a file written by ``write`` at the path it is given; outside the spool if that cannot be written.

    Args:
        spool: The spool to add the file to.
        path: Path of the file in the run.
        write: Writes the file at the path it is given.
        is_table: Whether MLflow shows it as a table.

    Raises:
        OSError: If no folder is writable.
    """
    try:
        target, number = spool.new_file(path)
        write(target)
    except OSError:
        target = spool.scratch_file(path)
        write(target)
        return ArtifactEvent(path=path, number=0, is_table=is_table, waits_at=target)
    return ArtifactEvent(path=path, number=number, is_table=is_table)


class RunEvents:
    """The events of one run.

    No method raises because of the disk. Without a run, as on ranks other than 0, the methods do nothing.

    Args:
        opened: The run; None when nothing is recorded.
        state: The package's state folder.
    """

    def __init__(self, opened: Opened | None, state: Path) -> None:
        self._opened = opened
        self._boundary = Boundary(has_warned=opened is not None and opened.is_offline)
        self._spool: Spool | None = None
        self._state = state
        self._power_steps: dict[str, int] = {}
        self._lock = threading.Lock()
        if opened is not None:
            self._spool, self._state = _make_spool(state, opened.header)

    @property
    def run_id(self) -> str | None:
        """Id of the MLflow run; None until it is created, if the server cannot be reached."""
        return None if self._spool is None else self._spool.header.run_id

    @property
    def run_name(self) -> str:
        """Name of the run; empty where it is not known yet."""
        return printable((None if self._opened is None else self._opened.header.run_name) or "")

    @property
    def is_ours(self) -> bool:
        """Whether the run was started here, and so is ended, named and annotated here."""
        return self._opened is not None and self._opened.header.is_ours

    @property
    def url(self) -> str | None:
        """The run's page; None when the store has no pages or the run is not created yet."""
        if self._opened is None or self.run_id is None or self._opened.experiment_id is None:
            return None
        return run_url(self._opened.store_uri, self._opened.experiment_id, self.run_id)

    @property
    def as_study(self) -> StudyRun:
        """This run as the parent of trials."""
        return StudyRun(run_id=self.run_id, experiment_id=None if self._opened is None else self._opened.experiment_id)

    @property
    def was_study(self) -> bool:
        """Whether the run held a study before it was opened here."""
        return self._opened is not None and self._opened.earlier_kind == KIND_STUDY

    def metric(self, key: str, value: float | None, step: int, timestamp_ms: int | None = None) -> None:
        """Record one point of a metric; None is skipped.

        Args:
            key: Key of the metric.
            value: Value of the point.
            step: MLflow step of the point.
            timestamp_ms: Milliseconds since 1970; the current time when None.
        """
        if value is not None:
            point = MetricEvent(key=key, value=float(value), timestamp_ms=timestamp_ms or now_ms(), step=step)
            self._put(point)

    def params(self, params: Mapping[str, str]) -> None:
        """Record params; MLflow does not let them change later."""
        self._put(ParamsEvent(texts=dict(params)))

    def tags(self, tags: Mapping[str, str]) -> None:
        """Record tags."""
        self._put(TagsEvent(texts=dict(tags)))

    def experiment_tags(self, tags: Mapping[str, str]) -> None:
        """Record tags of the run's experiment."""
        self._put(ExperimentTagsEvent(texts=dict(tags)))

    def inputs(self, contents: Sequence[Mapping[str, Any]]) -> None:
        """Record inputs as returned by ``inputs.input_of``, all in one request."""
        self._put(InputsEvent(inputs=tuple(contents)))

    def artifact(self, path: str, write: Callable[[Path], object], *, is_table: bool = False) -> None:
        """Record a file that ``write`` makes at the path it is given; ``path`` is its path in the run."""
        if self._spool is None or self._spool.folder is None:
            return  # a spool in memory has no room for files; the user was warned at the start
        with self._boundary.guard(f"writing {path}"):
            self._put(waiting_file(self._spool, path, write, is_table=is_table))

    def figure(self, path: str, figure: Figure) -> None:
        """Record a figure."""
        from greenlove_mlflow.plots.canvas import write_figure

        self.artifact(path, lambda target: write_figure(figure, target))

    def text(self, path: str, text: str) -> None:
        """Record a text file, in UTF-8."""
        self.artifact(path, lambda target: target.write_text(text, encoding="utf-8"))

    def log_power_sample(self, sample: PowerSample) -> None:
        """Record one power reading of a device, as of now; thread-safe, takes a few microseconds."""
        self.power_sample(sample, now_ms())

    def power_sample(self, sample: PowerSample, timestamp_ms: int) -> None:
        """Record one power reading of a device, taken at ``timestamp_ms`` (milliseconds since 1970)."""
        if self._opened is None:
            return
        with self._lock:
            step = max(
                self._power_steps.get(sample.device, -1) + 1,
                (timestamp_ms - self._opened.started_ms) // _POWER_STEP_MS,
            )
            self._power_steps[sample.device] = step
        self._put(
            PowerEvent(
                device=sample.device,
                at_s=float(sample.at_s),
                power_w=float(sample.power_w),
                timestamp_ms=timestamp_ms,
                step=step,
            )
        )

    def model(self, facts: str) -> None:
        """Have the estimator logged as a model with these facts, once everything recorded before has been sent."""
        if self._spool is None or self._spool.folder is None:
            return
        with self._boundary.guard("keeping the estimator model"):
            file = waiting_file(self._spool, MODEL_FILE, lambda path: path.write_text(facts, encoding="utf-8"))
            self._put(ModelEvent(number=file.number, waits_at=file.waits_at))

    def _put(self, event: Event) -> None:
        if self._spool is None:
            return
        with self._boundary.guard("writing to the spool"):
            error = self._spool.append(event)
            if error is not None:
                self._boundary.warn(
                    f"{self._spool.place} cannot be written ({first_line(error)}); what is measured from now on is "
                    "kept in memory and goes straight to MLflow"
                )


def now_ms() -> int:
    """The current time, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _make_spool(state: Path, header: Header) -> tuple[Spool, Path]:
    """The spool of a run and its state folder: the user's, else a new private one, else in memory only."""
    try:
        return Spool.create(state, header), state
    except OSError as error:
        reason = first_line(error)
    try:
        other = Path(tempfile.mkdtemp(prefix="greenlove-")) / state.name
        spool = Spool.create(other, header)
    except OSError:
        say(
            f"neither {state} nor a temporary folder can be written ({reason}). What is measured is kept in memory and "
            "goes straight to MLflow; what it does not take before this process ends is lost, and files are left out"
        )
        return Spool.in_memory(header), state
    say(
        f"{state} cannot be written ({reason}). What is measured waits in {other} instead; should MLflow not take it, "
        f"send it with `XDG_STATE_HOME={other.parent} greenlove recover`"
    )
    return spool, other
