"""How a run ends: by which status, and with which last events."""

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


def status_of(error: BaseException | None) -> str:
    """The MLflow status for the exception that ended a training; None is none.

    >>> status_of(None), status_of(KeyboardInterrupt()), status_of(SystemExit(0)), status_of(ValueError())
    ('FINISHED', 'KILLED', 'FINISHED', 'FAILED')
    """
    if error is None or isinstance(error, GeneratorExit):
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

    The status comes first: should the rest be torn off, it still says how the training ended.

    Args:
        spool: What to end; the files are written into its folder.
        status: Of the run.
        end_ms: When it ended, milliseconds since 1970.
        is_own_end: False when the run's process is gone and somebody else ends it; then only if nobody took it up.
        label: ``refused`` or ``stopped``, in place of the status in its tag.
        laps: The laps as they were cut in the end; those of the spool when None.
    """
    tags = {names.TAG_STATUS: label or status.lower()}
    if status != FINISHED:
        tags[names.TAG_PARTIAL] = "true"
    yield TagsEvent(texts=tags)
    yield from _measurements(spool, laps)
    yield EndEvent(status=status if spool.header.is_ours else None, end_ms=end_ms, is_own_end=is_own_end)


def has_ended(spool: Spool) -> bool:
    """Whether the spool holds its end."""
    return any(isinstance(event, EndEvent) for _, event in spool.events())


def likely_status(spool: Spool) -> str:
    """How a training ended whose spool does not say so to its end: by its last word, else by a whole outcome."""
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
    """The latest time that the spool's events mention, milliseconds since 1970."""
    timed = (MetricEvent, PowerEvent, LapEvent)
    times = [event.timestamp_ms for _, event in spool.events() if isinstance(event, timed)]
    return max([spool.header.created_ms, *times])


def _measurements(spool: Spool, cut_again: Sequence[LapEvent] | None = None) -> Iterator[Event]:
    """Every lap and every power sample, each kind as a Parquet file; a kind that cannot be written is left out."""
    from greenlove_mlflow.tracking.measurements import write_laps, write_power

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
        say(f"{path} could not be written ({first_line(error)}): the run goes without it")


def waiting_file(spool: Spool, path: str, write: Callable[[Path], object], *, is_table: bool = False) -> ArtifactEvent:
    """The event of a file that ``write`` makes at the path it is given; outside the spool where that cannot be written.

    Raises:
        OSError: If no folder can be written.
    """
    try:
        target, number = spool.new_file(path)
        write(target)
    except OSError:
        target = spool.scratch_file(path)
        write(target)
        return ArtifactEvent(path=path, number=0, is_table=is_table, waits_at=target)
    return ArtifactEvent(path=path, number=number, is_table=is_table)
