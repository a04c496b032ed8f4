"""How a run ends: its status and its last events."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from greenlove_mlflow.errors import LimitReached, TrainingRefused
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.spool.boundary import first_line, say
from greenlove_mlflow.tracking.spool.events import (
    ArtifactEvent,
    EndEvent,
    Event,
    LapEvent,
    MetricEvent,
    PowerEvent,
    TagsEvent,
)
from greenlove_mlflow.tracking.spool.spool import Spool

Row = TypeVar("Row")

FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"
# Names of exceptions by which libraries for hyperparameters end a trial that is not worth its time (Optuna's).
_PRUNED = ("TrialPruned",)


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
    """
    tags = {names.TAG_STATUS: label or status.lower()}
    if status != FINISHED:
        tags[names.TAG_PARTIAL] = "true"
    yield TagsEvent(texts=tags)
    yield from _measurements(spool, laps)
    yield EndEvent(status=status if spool.header.is_ours else None, end_ms=end_ms, is_own_end=is_own_end)


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
