"""How a run ends: by which status, and with which last events."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.spool import spool as kinds
from greenlove_mlflow.tracking.spool.spool import Event, Spool

FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"


def status_of(error: BaseException | None) -> str:
    """The MLflow status for the exception that ended a training; None is none.

    >>> status_of(None), status_of(KeyboardInterrupt()), status_of(SystemExit(0)), status_of(ValueError())
    ('FINISHED', 'KILLED', 'FINISHED', 'FAILED')
    """
    if error is None or isinstance(error, GeneratorExit):
        return FINISHED
    if isinstance(error, KeyboardInterrupt):
        return KILLED
    if isinstance(error, SystemExit):
        return FINISHED if error.code in (None, 0) else FAILED
    return FAILED


def ending_events(spool: Spool, status: str, end_ms: int, *, is_own_end: bool = True) -> Iterator[Event]:
    """The events that end a spool: the power samples as a file, the status as a tag, the end itself.

    Args:
        spool: What to end; the file is written into its folder.
        status: Of the run.
        end_ms: When it ended, milliseconds since 1970.
        is_own_end: False when the run's process is gone and somebody else ends it; then only if nobody took it up.
    """
    if (event := _power_file(spool)) is not None:
        yield event
    tags = {names.TAG_STATUS: status.lower()}
    if status != FINISHED:
        tags[names.TAG_PARTIAL] = "true"
    yield (kinds.TAGS, tags)
    yield (kinds.END, status if spool.header.is_ours else None, end_ms, is_own_end)


def has_ended(spool: Spool) -> bool:
    """Whether the spool holds its end."""
    return any(event[0] == kinds.END for _, event in spool.events())


def last_sign_ms(spool: Spool) -> int:
    """The latest time that the spool's events mention, milliseconds since 1970."""
    times: list[int] = [event[-2] for _, event in spool.events() if event[0] in (kinds.METRIC, kinds.POWER)]
    return max([spool.header.created_ms, *times])


def _power_file(spool: Spool) -> Event | None:
    from greenlove_mlflow.tracking.artifacts import write_power

    samples = ((event[4], event[2], event[1], event[3]) for _, event in spool.events() if event[0] == kinds.POWER)
    first = next(samples, None)
    if first is None:
        return None
    target, number = spool.new_file(names.ARTIFACT_POWER)
    write_power(itertools.chain([first], samples), target)
    return (kinds.ARTIFACT, names.ARTIFACT_POWER, number)
