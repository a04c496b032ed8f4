"""The process environment; the only module that reads or sets it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

import platformdirs

from greenlove_mlflow.untrusted import SECRET_NAME, printable

# Tells a run on a rented GPU to stop after its benchmark.
BENCHMARK_ONLY_VARIABLE = "GREENLOVE_BENCHMARK_ONLY"
BUDGET_VARIABLE = "GREENLOVE_BUDGET_S"
PLACE_VARIABLE = "GREENLOVE_PLACE"
DATA_VARIABLE = "GREENLOVE_DATA"
ELECTRICITY_MAPS_KEY_VARIABLE = "ELECTRICITY_MAPS_API_KEY"
_APP = "greenlove"
# Shorter values may be words or ports that a message needs.
_SHORTEST_SECRET = 6
_NO_SECRETS = ("true", "false")
_ZONE_LINK = Path("/etc/localtime")
_ZONE_FILE = Path("/etc/timezone")


def keep_variables() -> Callable[[], None]:
    """A function that sets the process's variables back as they are now."""
    kept = dict(os.environ)

    def restore() -> None:
        for name in os.environ.keys() - kept.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in kept.items() if os.environ.get(name) != value})

    return restore


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Settings that this process got from outside.

    Args:
        place: Country or region from ``GREENLOVE_PLACE`` ("DE", "US-VA"); None if unset.
        time_zone: IANA name of the system's time zone; None if unknown.
        world_size: Processes started by a launcher of distributed training (torchrun); 1 without one.
        electricity_maps_key: API key of the live grid service; never shown.
        visible_devices: ``CUDA_VISIBLE_DEVICES``; None if unset.
        device_order: ``CUDA_DEVICE_ORDER``; None if unset.
        driver_subscriber: Name of a tool subscribed to the GPU driver (Nsight Systems, an injected library); None
            without one.
        benchmark_only: Whether a cloud task requested only the benchmark, without the training after it.
        budget_s: The text of ``GREENLOVE_BUDGET_S``, seconds that a benchmark may take; None if unset.
    """

    place: str | None = None
    time_zone: str | None = None
    world_size: int = 1
    electricity_maps_key: str | None = None
    visible_devices: str | None = None
    device_order: str | None = None
    driver_subscriber: str | None = None
    benchmark_only: bool = False
    budget_s: str | None = None

    def __repr__(self) -> str:
        key = "set" if self.electricity_maps_key else "unset"
        return f"Environment(place={self.place!r}, time_zone={self.time_zone!r}, key {key})"


def read_environment() -> Environment:
    """The current environment."""
    world_size = os.environ.get("WORLD_SIZE", "1")
    return Environment(
        place=os.environ.get(PLACE_VARIABLE) or None,
        time_zone=_read_time_zone(),
        world_size=int(world_size) if world_size.isdigit() and "RANK" in os.environ else 1,
        electricity_maps_key=os.environ.get(ELECTRICITY_MAPS_KEY_VARIABLE) or None,
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        device_order=os.environ.get("CUDA_DEVICE_ORDER"),
        driver_subscriber=_read_driver_subscriber(),
        benchmark_only=os.environ.get(BENCHMARK_ONLY_VARIABLE) == "1",
        budget_s=os.environ.get(BUDGET_VARIABLE) or None,
    )


def state_folder() -> Path:
    """Our folder for state that outlives a program, such as data still to be sent."""
    return platformdirs.user_state_path(_APP, appauthor=False)


def data_folder() -> Path:
    """Our folder for what the user added permanently: price sheets and tables."""
    return platformdirs.user_data_path(_APP, appauthor=False)


def tables_folder() -> Path:
    """Folder of the user's own tables: ``GREENLOVE_DATA``, else a subfolder of the data folder."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named).expanduser() if named else data_folder() / "tables"


def prices_folder() -> Path:
    """Folder of the user's own price sheets: a subfolder of ``GREENLOVE_DATA``, else of the data folder."""
    named = os.environ.get(DATA_VARIABLE)
    return (Path(named).expanduser() if named else data_folder()) / "prices"


def secret_values() -> tuple[str, ...]:
    """The environment values that no message may show: passwords, tokens, keys."""
    found = [value for name, value in os.environ.items() if SECRET_NAME.search(name) and _is_secret(value)]
    for name, value in os.environ.items():
        if name.endswith(("_URI", "_URL", "_PROXY", "_proxy")) and "@" in value:
            found += _passwords_of(value)
    return tuple(found)


def _passwords_of(address: str) -> list[str]:
    try:
        password = urlsplit(address).password
    except ValueError:
        return []
    return [each for each in {password or "", unquote(password or "")} if each]


def _is_secret(value: str) -> bool:
    # Folders, files and addresses also use such names (XAUTHORITY, SSH_AUTH_SOCK); messages need them.
    return len(value) >= _SHORTEST_SECRET and not value.startswith("/") and value.lower() not in _NO_SECRETS


def _read_time_zone() -> str | None:
    """The IANA name of the system's zone, from ``TZ``, the link /etc/localtime or the file /etc/timezone.

    ``TZ`` may name the zone or the path of its file below a ``zoneinfo`` folder.
    """
    named = os.environ.get("TZ", "").lstrip(":")
    if named:
        return printable(named.split("zoneinfo/", 1)[-1]) or None
    try:
        target = str(_ZONE_LINK.resolve(strict=True))
        if "zoneinfo/" in target:
            return target.split("zoneinfo/", 1)[1]
        return _ZONE_FILE.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _read_driver_subscriber() -> str | None:
    """Name of the tool injected into this process to subscribe to CUDA; there can be only one."""
    if os.environ.get("NSYS_PROFILING_SESSION_ID"):
        return "Nsight Systems"
    library = os.environ.get("CUDA_INJECTION64_PATH")
    return Path(library).name if library else None


def set_variables(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the environment variables that are set; their values stay where they are."""
    return tuple(name for name in names if os.environ.get(name))


class _Held:
    """Environment variables that blocks of this process set for a while, how many of them each, and what was there."""

    lock = threading.Lock()
    counts: ClassVar[dict[str, int]] = {}
    before: ClassVar[dict[str, str | None]] = {}


@contextmanager
def variable_set(name: str, value: str) -> Iterator[None]:
    """A block in which the variable has that value; it is restored at the end, also where blocks of threads overlap."""
    with _Held.lock:
        _Held.counts[name] = _Held.counts.get(name, 0) + 1
        if _Held.counts[name] == 1:
            _Held.before[name] = os.environ.get(name)
            os.environ[name] = value
    try:
        yield
    finally:
        with _Held.lock:
            _Held.counts[name] -= 1
            if _Held.counts[name] == 0:
                before = _Held.before.pop(name)
                if before is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = before
