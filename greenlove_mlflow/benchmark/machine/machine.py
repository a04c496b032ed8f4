"""The machine that training runs on, and the name of its processor, read once."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import torch

from greenlove_mlflow.core.records import Machine

BYTES_PER_GIB = 2**30

# A hanging driver or command must not block training.
ANSWER_TIMEOUT_S = 2.0

CPU_INFO = Path("/proc/cpuinfo")
_BRAND_COMMAND = ("/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string")
_REGISTRY_KEY = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
# Implementer and part of the Main ID Register, which /proc/cpuinfo prints where an ARM core has no name: Arm's
# technical reference manuals; NVIDIA, Ampere and Apple have implementer codes of their own.
_ARM_PARTS = {
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD83): "Neoverse-V3AE",
    (0x41, 0xD84): "Neoverse-V3",
    (0x41, 0xD8E): "Neoverse-N3",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD42): "Cortex-A78AE",
    (0xC0, 0xAC3): "Ampere-1",
    (0xC0, 0xAC4): "Ampere-1A",
    (0x48, 0xD01): "Kunpeng-920",
    (0x4E, 0x004): "NVIDIA Carmel",
}


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
    reader.join(ANSWER_TIMEOUT_S)
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


def read_cpu_name() -> str | None:
    """The CPU's name as the system reports it; None if it reports none."""
    if sys.platform == "darwin":
        return _read_brand_string() or _plain_processor()
    if sys.platform == "win32":
        return _read_registry() or _plain_processor()
    try:
        text = CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:  # no /proc on this system
        text = ""
    return name_in_cpu_info(text) or _plain_processor()


def name_in_cpu_info(text: str) -> str | None:
    r"""The CPU name in the text of /proc/cpuinfo: the model name, else the name of the ARM part.

    >>> name_in_cpu_info("model name : AMD EPYC 7763 64-Core Processor")
    'AMD EPYC 7763 64-Core Processor'
    >>> name_in_cpu_info("CPU implementer : 0x41\nCPU part : 0xd0c")
    'Neoverse-N1'
    """
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    if fields.get("model name"):
        return fields["model name"]
    try:
        part = int(fields["cpu implementer"], 16), int(fields["cpu part"], 16)
    except (KeyError, ValueError):
        return None
    return _ARM_PARTS.get(part)


def _read_brand_string() -> str | None:
    """MacOS's name for the chip ("Apple M2 Pro")."""
    try:
        done = subprocess.run(_BRAND_COMMAND, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _read_registry() -> str | None:
    """The name in the Windows registry."""
    if sys.platform != "win32":
        return None
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _REGISTRY_KEY) as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip() or None
    except OSError:
        return None


def _plain_processor() -> str | None:
    """The processor name that Python reports, unless it is only an architecture."""
    name = platform.processor()
    return None if re.fullmatch(r"|arm|arm64|aarch64|x86_64|i\d86", name) else name
