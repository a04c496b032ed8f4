"""Whose a spool is, where it goes and where spools lie."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_START_TOLERANCE_S = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Whose spool it is and where it goes.

    Args:
        spool_id: Names the folder; also a tag of a run that is created from it, so that it is created once.
        store_uri: Absolute, without credentials.
        run_id: None as long as the run could not be created.
        is_ours: Whether the run was started by us and is ours to end.
        parents: Runs that were started with it and end with it.
        pid: Of the process that writes.
        process_started_at: Start of that process, seconds since 1970; tells a reused process id.
        host: Name of its host.
        created_ms: When the run was opened.
        experiment_id: Where the run is to be created; None when only the name is known or neither.
        experiment_name: Where the run is to be created; None for the default experiment.
        run_name: Of a run to be created.
        tags: Of a run to be created.
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


def state_folder(environ: Mapping[str, str]) -> Path:
    """The user's folder for state that outlives a program but is no setting."""
    if given := environ.get("XDG_STATE_HOME"):
        return Path(given)
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path.home() / ".local" / "state"


def spool_root(state: Path) -> Path:
    """The folder of all spools below a state folder."""
    return state / "greenlove" / "spool"


def fallback_state() -> Path:
    """The state folder of a user whose own cannot be written."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    return Path(tempfile.gettempdir()) / f"greenlove-{user}"


def new_header(*, store_uri: str, run_id: str | None, is_ours: bool, **creation: Any) -> Header:
    """A header for this process, now."""
    return Header(
        spool_id=uuid.uuid4().hex,
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
    """Whether the process that a header names still runs; None when it is on another host."""
    if header.host != socket.gethostname():
        return None
    try:
        started_at = float(psutil.Process(header.pid).create_time())
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
    return abs(started_at - header.process_started_at) < _START_TOLERANCE_S
