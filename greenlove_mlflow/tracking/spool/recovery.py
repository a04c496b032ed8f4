"""Recovery: sends what interrupted runs and unreachable servers left in spools; described for ``greenlove doctor``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from greenlove_mlflow.environment import state_folder
from greenlove_mlflow.files import private_subfolders
from greenlove_mlflow.tracking.spool.asides import LATER, REFUSED, Aside
from greenlove_mlflow.tracking.spool.boundary import first_line
from greenlove_mlflow.tracking.spool.events import Event
from greenlove_mlflow.tracking.spool.gone import note_of_killed, outcome_events, outcome_in
from greenlove_mlflow.tracking.spool.header import OddHeaderError
from greenlove_mlflow.tracking.spool.mlflow_store import absolute, is_http, is_local, is_reachable, without_credentials
from greenlove_mlflow.tracking.spool.run_events import ending_events, has_ended, last_sign_ms, likely_status
from greenlove_mlflow.tracking.spool.sender import RunGoneError, Sender, StoreDownError
from greenlove_mlflow.tracking.spool.spool import REFUSED_SPOOLS, SPOOLS, Spool

logger = logging.getLogger(__name__)

# sent: all of it has arrived. refused: the store answers but refuses some or all of it; kept. waits: the store does not
# answer. live: its training is still running. busy: another process is sending it. elsewhere: it is for another server
# than the one MLflow is set to. unreadable: it is damaged or belongs to another user; left alone.
Fate = Literal["sent", "refused", "waits", "live", "busy", "elsewhere", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """The result of recovering one spool.

    Args:
        fate: The result in one word.
        folder: Where the spool is, or was.
        run_id: Its run; None when the run could not be created yet.
        store_uri: Its destination, without credentials.
        was_killed: Whether its process ended without recording an end.
        point_count: Metric points sent by this recovery.
        refused_count: Events refused for good and unreadable lines, found by this recovery.
        problem: Why it was not sent; empty when it was.
    """

    fate: Fate
    folder: Path
    run_id: str | None = None
    store_uri: str = ""
    was_killed: bool = False
    point_count: int = 0
    refused_count: int = 0
    problem: str = ""

    @property
    def is_sent(self) -> bool:
        """Whether everything has arrived and the spool is gone."""
        return self.fate == "sent"

    @property
    def is_live(self) -> bool:
        """Whether it was left alone because its training is still running or another process is sending it."""
        return self.fate in ("live", "busy")


def recover(
    state: Path,
    *,
    store_uri: str | None = None,
    stop: Callable[[], bool] = lambda: False,
    with_refused: bool = False,
) -> Iterator[Recovered]:
    """Recover each spool of the user and yield the result; the spool of a live training is left alone.

    Sending a spool twice, or from two processes at once, changes nothing in the store. A run that was started here and
    whose process is gone without having ended it ends as KILLED. A spool for another server than the one MLflow is set
    to is left alone, so that no server receives data or credentials meant for another. A bad spool does not block the
    others.

    Args:
        state: The package's state folder.
        store_uri: The store to send to, with credentials; the one that MLflow is set to when not given.
        stop: Called between events; true ends the recovery.
        with_refused: Whether to retry what the store refused before.
    """
    if with_refused:
        yield from _bring_back(state)
    spools, odd = find_spools(state)
    for folder, reason in odd:
        yield Recovered(fate="unreadable", folder=folder, problem=reason)
    for spool in spools:
        if stop():
            return
        try:
            yield _recover_one(spool, store_uri, stop)
        except Exception as error:  # a damaged spool or a store may raise anything; the other spools are still sent
            logger.debug("recovering %s", spool.place, exc_info=error)
            yield _result(spool, "unreadable", problem=first_line(error))
        finally:
            spool.close()
            spool.unlock()


def recover_quietly(state: Path, stop: Callable[[], bool] = lambda: False) -> None:
    """Recover what can be recovered without any output; for the end of another run."""
    for result in recover(state, stop=stop):
        logger.info("spool %s: %s", result.folder, result)


def refused_spools(state: Path) -> tuple[Path, ...]:
    """The folders of spools with events that a store refused for good."""
    spools, odd = find_spools(state, REFUSED_SPOOLS)
    return (*(spool.folder for spool in spools if spool.folder is not None), *(folder for folder, _ in odd))


def _bring_back(state: Path) -> Iterator[Recovered]:
    """Move refused spools back among the waiting ones; yield those that could not be moved."""
    spools, odd = find_spools(state, REFUSED_SPOOLS)
    for folder, reason in odd:
        yield Recovered(fate="unreadable", folder=folder, problem=reason)
    for spool in spools:
        try:
            asides = spool.asides.read(REFUSED)
            spool.move(SPOOLS)
            spool.asides.put(LATER, [Aside(aside.line, "") for aside in asides])
            spool.asides.replace(REFUSED, [])
        except OSError as error:  # noqa: PERF203 - a spool that cannot be moved must not block the others
            yield _result(spool, "unreadable", problem=first_line(error))


def _recover_one(spool: Spool, store_uri: str | None, stop: Callable[[], bool]) -> Recovered:
    alive = spool.writer_is_alive
    if not spool.lock():
        return _result(spool, "live" if alive and not has_ended(spool) else "busy")
    uri = _store_uri_of(spool, store_uri)
    if uri is None:
        problem = f"it goes to {spool.header.store_uri}, and MLflow is set to another store"
        return _result(spool, "elsewhere", problem=problem)
    was_killed = False
    if not has_ended(spool):
        if alive:
            return _result(spool, "live")
        was_killed = True
        spool.reopen()
        for event in _events_for_the_gone(spool):
            spool.append(event)
    return _send(spool, uri, stop, was_killed=was_killed)


def _events_for_the_gone(spool: Spool) -> Iterator[Event]:
    """The events that end a spool whose process is gone; its outcome by its laps if it left none."""
    status, at_ms = likely_status(spool), last_sign_ms(spool)
    known, note = outcome_in(spool), ""
    if known is not None:
        note = note_of_killed(spool, *known, status=status.lower())
        yield from outcome_events(known[1], at_ms)
    yield from ending_events(spool, status, at_ms, is_own_end=False, note=note)


def _send(spool: Spool, uri: str, stop: Callable[[], bool], *, was_killed: bool) -> Recovered:
    problems: list[str] = []
    fate: Fate = "waits"
    sender = Sender(spool, uri, stop=stop, complain=problems.append)
    try:
        sender.send()
    except StoreDownError as error:
        problems.append(f"no answer from {error}")
    except RunGoneError as error:
        problems.insert(0, str(error))
        spool.move(REFUSED_SPOOLS)
        fate = "refused"
    if sender.is_done:
        fate = "sent" if sender.is_whole else "refused"
        sender.discard()
    return _result(
        spool,
        fate,
        was_killed=was_killed,
        point_count=sender.sent_point_count,
        refused_count=sender.refused_count,
        problem="; ".join(problems[:3]),
    )


def _result(spool: Spool, fate: Fate, **what: object) -> Recovered:
    header = spool.header
    folder = spool.folder or Path()
    return Recovered(fate=fate, run_id=header.run_id, store_uri=header.store_uri, folder=folder, **what)  # type: ignore[arg-type]


def _store_uri_of(spool: Spool, store_uri: str | None) -> str | None:
    """The store's address, with credentials if it is the one that MLflow is set to; None when it is another.

    A store that is a file on this machine always gets its own spools, since nothing leaves the machine.
    """
    import mlflow

    with contextlib.suppress(Exception):  # an address that MLflow cannot parse cannot be the spool's
        current = absolute(store_uri or mlflow.get_tracking_uri())
        if without_credentials(current) == spool.header.store_uri:
            return current
    return spool.header.store_uri if is_local(spool.header.store_uri) else None


def find_spools(state: Path, kind: str = SPOOLS) -> tuple[list[Spool], list[tuple[Path, str]]]:
    """All spools of a state folder, oldest first; and folders without a readable spool of this user, with reasons."""
    spools, odd = [], []
    for folder in private_subfolders(state / kind):
        try:
            spools.append(Spool.read(folder))
        except (OSError, OddHeaderError) as error:  # noqa: PERF203 - an unreadable spool must not hide the others
            odd.append((folder, str(error)))
    return sorted(spools, key=lambda spool: spool.header.created_ms), odd


def describe_store() -> Iterator[tuple[str, str]]:
    """The MLflow store, whether it answers, where a run would go and what waits to be sent, as pairs of text."""
    import mlflow

    uri = absolute(mlflow.get_tracking_uri())
    answers = (
        "" if not is_http(uri) else ", answers" if is_reachable(uri) else ", does not answer: runs would be offline"
    )
    yield "MLflow store", f"{without_credentials(uri)}{answers} (MLflow {mlflow.__version__})"
    active = mlflow.active_run()
    if active is not None:
        yield "active run", f"{active.info.run_id}: a training would join it"
    yield "MLflow telemetry", _describe_telemetry()
    yield "spool", _describe_spools(state_folder())


def _describe_telemetry() -> str:
    """Whether MLflow sends its own usage telemetry, which it does by default."""
    try:
        from mlflow.telemetry.utils import is_telemetry_disabled
    except ImportError:  # MLflow before 3.2 has none, and the name is not public
        return "none in this release of MLflow, as far as is known"
    if is_telemetry_disabled():
        return "off"
    return "on: MLflow asks config.mlflow-telemetry.io; MLFLOW_DISABLE_TELEMETRY=true turns it off"


def _describe_spools(state: Path) -> str:
    spools, odd = find_spools(state)
    waiting = [spool for spool in spools if not spool.writer_is_alive]
    refused = refused_spools(state)
    parts = [
        f"{len(waiting)} wait for `greenlove recover`" if waiting else "nothing waits",
        f"{len(odd)} cannot be read" if odd else "",
        f"{len(refused)} refused, `greenlove recover --refused` tries again" if refused else "",
    ]
    return f"{state / SPOOLS}, {', '.join(filter(None, parts))}"
