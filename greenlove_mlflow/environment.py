"""What the process environment says: the one place that reads it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import platformdirs

from greenlove_mlflow.untrusted import SECRET_NAME

# Tells the training on a rented GPU to stop after its benchmark.
BENCHMARK_ONLY_VARIABLE = "GREENLOVE_BENCHMARK_ONLY"
PLACE_VARIABLE = "GREENLOVE_PLACE"
DATA_VARIABLE = "GREENLOVE_DATA"
ELECTRICITY_MAPS_KEY_VARIABLE = "ELECTRICITY_MAPS_API_KEY"
_APP = "greenlove"
# Shorter values are words and ports, which a message may well need.
_SHORTEST_SECRET = 6
_NO_SECRETS = ("true", "false")
_ZONE_LINK = Path("/etc/localtime")
_ZONE_FILE = Path("/etc/timezone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What this process was told from outside.

    Args:
        place: Country or region by ``GREENLOVE_PLACE`` ("DE", "US-VA"); None when unset.
        time_zone: IANA name of the system's time zone; None when it cannot be told.
        rank: This process's rank in a distributed training; 0 when it is alone.
        world_size: Processes that a launcher of distributed trainings (torchrun) has started; 1 without one.
        electricity_maps_key: The key of the live grid service; never shown.
        visible_devices: ``CUDA_VISIBLE_DEVICES``; None when unset.
        device_order: ``CUDA_DEVICE_ORDER``; None when unset.
        driver_subscriber: Name of a tool that listens to the GPU's driver (Nsight Systems, an injected library); None
            without one.
        benchmark_only: Whether a cloud task asked for the benchmark alone, without the training after it.
    """

    place: str | None = None
    time_zone: str | None = None
    rank: int = 0
    world_size: int = 1
    electricity_maps_key: str | None = None
    visible_devices: str | None = None
    device_order: str | None = None
    driver_subscriber: str | None = None
    benchmark_only: bool = False

    def __repr__(self) -> str:
        key = "set" if self.electricity_maps_key else "unset"
        return f"Environment(place={self.place!r}, time_zone={self.time_zone!r}, rank={self.rank}, key {key})"


def read_environment() -> Environment:
    """The environment as it is now."""
    rank, world_size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    return Environment(
        place=os.environ.get(PLACE_VARIABLE) or None,
        time_zone=_read_time_zone(),
        rank=int(rank) if rank.isdigit() else 0,
        world_size=int(world_size) if world_size.isdigit() and "RANK" in os.environ else 1,
        electricity_maps_key=os.environ.get(ELECTRICITY_MAPS_KEY_VARIABLE) or None,
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        device_order=os.environ.get("CUDA_DEVICE_ORDER"),
        driver_subscriber=_read_driver_subscriber(),
        benchmark_only=os.environ.get(BENCHMARK_ONLY_VARIABLE) == "1",
    )


def state_folder() -> Path:
    """Our folder for what outlives a program and is no setting: what still waits to be sent."""
    return platformdirs.user_state_path(_APP, appauthor=False)


def data_folder() -> Path:
    """Our folder for what the user added for good: price sheets, tables."""
    return platformdirs.user_data_path(_APP, appauthor=False)


def tables_folder() -> Path:
    """Where tables of the user's own lie: ``GREENLOVE_DATA``, else below our folder for data of the user."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named).expanduser() if named else data_folder() / "tables"


def secret_values() -> tuple[str, ...]:
    """The values of this environment that no message may show: passwords, tokens, keys."""
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
    # Folders, files and addresses go by such names too (XAUTHORITY, SSH_AUTH_SOCK); a message needs them.
    return len(value) >= _SHORTEST_SECRET and not value.startswith("/") and value.lower() not in _NO_SECRETS


def _read_time_zone() -> str | None:
    """The IANA name of the system's zone, from ``TZ``, the link /etc/localtime or the file /etc/timezone.

    ``TZ`` may name the zone or the path of its file below a ``zoneinfo`` folder.
    """
    named = os.environ.get("TZ", "").lstrip(":")
    if named:
        return named.split("zoneinfo/", 1)[-1]
    try:
        target = str(_ZONE_LINK.resolve(strict=True))
        if "zoneinfo/" in target:
            return target.split("zoneinfo/", 1)[1]
        return _ZONE_FILE.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _read_driver_subscriber() -> str | None:
    """Whoever was injected into this process to listen to CUDA; only one can."""
    if os.environ.get("NSYS_PROFILING_SESSION_ID"):
        return "Nsight Systems"
    library = os.environ.get("CUDA_INJECTION64_PATH")
    return Path(library).name if library else None


def set_variables(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the environment variables that are set; their values stay where they are."""
    return tuple(name for name in names if os.environ.get(name))
