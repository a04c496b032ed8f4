"""A spool's header: owner and destination."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
import time
import uuid
from dataclasses import dataclass
from typing import Any

import psutil

_START_TOLERANCE_S = 1.5
_ID = re.compile(r"[A-Za-z0-9_-]{1,250}")
_TEXT_LIMIT, _TAG_LIMIT = 10_000, 1000
_PROCESS_LIMIT, _TIME_LIMIT = 1 << 31, float(1 << 53)


class OddHeaderError(ValueError):
    """A header is damaged or was not written by this package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Owner and destination of a spool.

    Args:
        spool_id: Name of the folder; also a tag of the run created from it, so that it is created only once.
        store_uri: Address of the store, absolute and without credentials.
        run_id: Id of the run; None until it could be created.
        is_ours: Whether this package started the run and ends it.
        parents: Runs that were started with it and end with it.
        pid: Id of the writing process.
        process_started_at: Start of that process, seconds since 1970; detects a reused process id.
        host: Host name of that process.
        created_ms: When the run was opened, milliseconds since 1970.
        experiment_id: Experiment of a run to be created; None when at most its name is known.
        experiment_name: Experiment of a run to be created; None for the default experiment.
        run_name: Name of the run, or of a run to be created; None where MLflow is to find one.
        tags: Tags of a run to be created.
        unknown: Fields written by a newer release; kept but not used.
    """

    spool_id: str
    store_uri: str
    run_id: str | None
    is_ours: bool
    pid: int
    process_started_at: float
    host: str
    created_ms: int
    experiment_id: str | None = None
    experiment_name: str | None = None
    run_name: str | None = None
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    parents: list[str] = dataclasses.field(default_factory=list)
    unknown: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """The header as one JSON object."""
        content = dataclasses.asdict(self)
        return json.dumps({**content.pop("unknown"), **content})

    @classmethod
    def from_json(cls, text: str | bytes) -> Header:
        """The header that ``to_json`` wrote, possibly in a newer release with more fields.

        Raises:
            OddHeaderError: If the text is not a header.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise OddHeaderError("the header is not JSON") from error
        if not isinstance(content, dict):
            raise OddHeaderError("the header is not a JSON object")
        known = {each.name for each in dataclasses.fields(cls)} - {"unknown"}
        unknown = {key: value for key, value in content.items() if key not in known}
        try:
            header = cls(**{key: value for key, value in content.items() if key in known}, unknown=unknown)
        except TypeError as error:
            raise OddHeaderError("the header lacks fields") from error
        if odd := [name for name, is_right in _checks(header) if not is_right]:
            raise OddHeaderError(f"the header's {', '.join(odd)} cannot be right")
        return header


def new_header(
    *, store_uri: str, run_id: str | None, is_ours: bool, spool_id: str | None = None, **creation: Any
) -> Header:
    """A header for this process, as of now."""
    return Header(
        spool_id=spool_id or uuid.uuid4().hex,
        store_uri=store_uri,
        run_id=run_id,
        is_ours=is_ours,
        pid=os.getpid(),
        process_started_at=psutil.Process().create_time(),
        host=socket.gethostname(),
        created_ms=time.time_ns() // 1_000_000,
        **creation,
    )


def process_is_alive(header: Header) -> bool | None:
    """Whether the process of a header is still running; None when it is on another host."""
    if header.host != socket.gethostname():
        return None
    try:
        started_at = float(psutil.Process(header.pid).create_time())
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
    return abs(started_at - header.process_started_at) < _START_TOLERANCE_S


def _checks(header: Header) -> list[tuple[str, bool]]:
    return [
        ("spool_id", _is_id(header.spool_id)),
        ("store_uri", _is_text(header.store_uri) and bool(header.store_uri)),
        ("run_id", header.run_id is None or _is_id(header.run_id)),
        ("is_ours", isinstance(header.is_ours, bool)),
        ("pid", _is_whole(header.pid) and 0 < header.pid < _PROCESS_LIMIT),
        ("process_started_at", _is_number(header.process_started_at)),
        ("host", _is_text(header.host)),
        ("created_ms", _is_whole(header.created_ms) and 0 <= header.created_ms < _TIME_LIMIT),
        ("experiment_id", header.experiment_id is None or _is_id(header.experiment_id)),
        ("experiment_name", header.experiment_name is None or _is_text(header.experiment_name)),
        ("run_name", header.run_name is None or _is_text(header.run_name)),
        ("tags", _is_tags(header.tags)),
        ("parents", isinstance(header.parents, list) and all(map(_is_id, header.parents))),
    ]


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and bool(_ID.fullmatch(value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _TEXT_LIMIT


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 <= value < _TIME_LIMIT


def _is_tags(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) > _TAG_LIMIT:
        return False
    return all(_is_text(key) and _is_text(each) for key, each in value.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRun:
    """The run of a study that is open in this process; trainings become its children.

    Args:
        run_id: Id of the run; None while the server cannot be reached.
        experiment_id: Its experiment.
    """

    run_id: str | None
    experiment_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The run that was found or started.

    Args:
        store_uri: The store that MLflow is set to, with credentials.
        header: Header for the spool.
        experiment_id: Experiment of the run; None until it is created.
        is_offline: Whether the store did not answer.
        ours: Ids of the runs that were started here and are to be ended here, innermost first.
        started_ms: Start of the run, milliseconds since 1970.
        earlier_kind: Kind of what the run already held; empty when it held nothing.
    """

    store_uri: str
    header: Header
    experiment_id: str | None
    is_offline: bool
    ours: tuple[str, ...]
    started_ms: int
    earlier_kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunToJoin:
    """A run opened by other code, to record a training in; it is not made the active one.

    Args:
        run_id: Id of the run.
        store_uri: Its store; the one that MLflow is set to when None.
    """

    run_id: str
    store_uri: str | None = None
