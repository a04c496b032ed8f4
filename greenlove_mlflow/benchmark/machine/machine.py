"""The machine that training runs on, read once."""

from __future__ import annotations

import hashlib
import os
import platform
import threading
from pathlib import Path
from typing import Any

import psutil
import torch

from greenlove_mlflow.benchmark.machine.cpu_name import read_cpu_name
from greenlove_mlflow.core.records import Machine

BYTES_PER_GIB = 2**30

# A hanging driver must not block training.
DRIVER_TIMEOUT_S = 2.0


def read_machine(device: Any = None) -> Machine:
    """This machine as a record; fields that cannot be read are None.

    Args:
        device: Device that training runs on; the CPU when None.
    """
    place = torch.device(device if device is not None else "cpu")
    fields: dict[str, Any] = {
        "device": str(place),
        "torch_version": torch.__version__,
        "cuda_version": torch.version.cuda,
        "cpu_name": read_cpu_name(),
        "visible_cpu_count": count_visible_cpus(),
        "memory_gib": psutil.virtual_memory().total / BYTES_PER_GIB,
        "os_name": f"{platform.system()} {platform.release()}".strip() or None,
        "host": hashlib.sha256(platform.node().encode()).hexdigest()[:12],
    }
    if place.type == "cuda" and torch.cuda.is_available():
        fields.update(_read_gpu(place))
    return Machine(**fields)


def pick_device() -> torch.device:
    """The default training device: the current GPU if torch has one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def count_visible_cpus() -> int:
    """Number of cores that this process may use: its affinity, limited by its container's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()[:2]
        if quota != "max":
            count = min(count, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no control groups, or cgroup v1
        pass
    return count


def _read_gpu(place: torch.device) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(place)
    uuid = getattr(properties, "uuid", None)
    fields: dict[str, Any] = {
        "device": f"cuda:{torch.cuda.current_device() if place.index is None else place.index}",
        "gpu_name": properties.name,
        "gpu_memory_gib": properties.total_memory / BYTES_PER_GIB,
        "gpu_uuid": None if uuid is None else f"GPU-{uuid}",
    }
    fields["driver_version"] = _read_driver_version()
    return fields


def _read_driver_version() -> str | None:
    """The driver's version; None if NVML does not report it or does not answer."""
    found: list[str] = []
    reader = threading.Thread(target=_ask_driver_version, args=(found,), name="greenlove-driver", daemon=True)
    reader.start()
    reader.join(DRIVER_TIMEOUT_S)
    return found[0] if found else None


def _ask_driver_version(found: list[str]) -> None:
    try:
        import pynvml

        pynvml.nvmlInit()
        try:
            version = pynvml.nvmlSystemGetDriverVersion()
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # noqa: BLE001 - NVML raises its own types and OSError; a missing version must not fail the run
        return
    found.append(version.decode(errors="replace") if isinstance(version, bytes) else str(version))
