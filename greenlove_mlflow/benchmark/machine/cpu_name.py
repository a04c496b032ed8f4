"""Name of the CPU, from Linux, the identification register of an ARM core, macOS or the Windows registry."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
_BRAND_COMMAND = ("/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string")
_REGISTRY_KEY = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_TIMEOUT_S = 2.0
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
        done = subprocess.run(_BRAND_COMMAND, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)  # noqa: S603
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
