"""Recovery: what broken-off runs and dead servers left in spools is sent after all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from greenlove_mlflow.tracking.closing import KILLED, ending_events, has_ended, last_sign_ms
from greenlove_mlflow.tracking.spool.boundary import first_line
from greenlove_mlflow.tracking.spool.header import fallback_state, spool_root
from greenlove_mlflow.tracking.spool.mlflow_store import absolute, without_credentials
from greenlove_mlflow.tracking.spool.sender import Sender, StoreDownError
from greenlove_mlflow.tracking.spool.spool import Spool, find_spools

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What became of one spool.

    Args:
        run_id: Its run; None when the run could not be created yet.
        store_uri: Where it goes, without credentials.
        folder: Where it lies, or lay.
        is_live: Whether its training still runs, so that it was left alone.
        is_sent: Whether everything has been sent and the spool is gone.
        was_killed: Whether its process ended without a word.
        point_count: Metric points sent now.
        problem: What stands in the way; empty when nothing does.
    """

    run_id: str | None
    store_uri: str
    folder: Path
    is_live: bool = False
    is_sent: bool = False
    was_killed: bool = False
    point_count: int = 0
    problem: str = ""


def recover(state: Path, *, stop: Callable[[], bool] = lambda: False) -> Iterator[Recovered]:
    """Each spool of the user and what became of it; the spool of a live training is left alone.

    Sending a spool again, or two at once, changes nothing in the store. A run of ours whose process is gone without
    having ended it ends as KILLED.

    Args:
        state: The user's state folder.
        stop: Asked between events; true ends the recovery.
    """
    for root in (spool_root(state), spool_root(fallback_state())):
        for spool in find_spools(root):
            if stop():
                return
            try:
                yield _recover_one(spool, stop)
            except OSError as error:
                yield _result(spool, problem=first_line(error))
            finally:
                spool.close()
                spool.unlock()


def recover_quietly(state: Path, stop: Callable[[], bool] = lambda: False) -> None:
    """Recover what can be recovered without a word; for the end of another run."""
    for result in recover(state, stop=stop):
        logger.info("spool %s: %s", result.folder, result)


def _recover_one(spool: Spool, stop: Callable[[], bool]) -> Recovered:
    if not spool.lock():
        return _result(spool, is_live=True)
    was_killed = False
    if not has_ended(spool):
        if spool.writer_is_alive:
            return _result(spool, is_live=True)
        was_killed = True
        spool.reopen()
        for event in ending_events(spool, KILLED, last_sign_ms(spool), is_own_end=False):
            spool.append(*event)
    problems: list[str] = []
    sender = Sender(spool, _store_uri_of(spool), stop=stop, complain=problems.append)
    try:
        sender.send()
    except StoreDownError as error:
        problems.append(f"no answer from {error}")
    if sender.is_done:
        sender.discard()
    return _result(
        spool,
        is_sent=sender.is_done,
        was_killed=was_killed,
        point_count=sender.sent_point_count,
        problem="; ".join(problems[:3]),
    )


def _result(spool: Spool, **what: object) -> Recovered:
    header = spool.header
    return Recovered(run_id=header.run_id, store_uri=header.store_uri, folder=spool.folder, **what)  # type: ignore[arg-type]


def _store_uri_of(spool: Spool) -> str:
    """The store's address, with the credentials that MLflow is set to now if it is the same store."""
    import mlflow

    current = absolute(mlflow.get_tracking_uri())
    return current if without_credentials(current) == spool.header.store_uri else spool.header.store_uri
