"""The name of the CPU on systems that tell it in their own ways."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from greenlove_mlflow.benchmark.machine import machine
from greenlove_mlflow.core.energy.cpu_power import cpu_family

GRAVITON = """processor\t: 0
BogoMIPS\t: 243.75
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
"""
GRACE = GRAVITON.replace("0xd0c", "0xd4f")


def on_linux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(machine, "CPU_INFO", path)
    monkeypatch.setattr(machine.platform, "processor", lambda: "aarch64")


def test_linux_on_x86_names_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_linux(monkeypatch, tmp_path, "processor : 0\nmodel name : Intel(R) Xeon(R) Processor @ 2.20GHz\n")
    assert machine.read_cpu_name() == "Intel(R) Xeon(R) Processor @ 2.20GHz"


@pytest.mark.parametrize(("text", "name"), [(GRAVITON, "Neoverse-N1"), (GRACE, "Neoverse-V2")])
def test_an_arm_server_is_named_by_its_core_and_has_a_family(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, name: str
) -> None:
    on_linux(monkeypatch, tmp_path, text)
    assert machine.read_cpu_name() == name
    assert cpu_family(name) == "ARM server"


def test_an_architecture_is_no_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_linux(monkeypatch, tmp_path, "processor : 0\nCPU implementer : 0x99\nCPU part : 0x001\n")
    assert machine.read_cpu_name() is None


def test_macos_is_asked_for_its_brand_string(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run(command: Any, **_: Any) -> SimpleNamespace:
        asked.append(command)
        return SimpleNamespace(stdout="Apple M2 Pro\n")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", run)
    assert machine.read_cpu_name() == "Apple M2 Pro"
    assert asked[0][-1] == "machdep.cpu.brand_string"


def test_a_mac_without_sysctl_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(machine.platform, "processor", lambda: "arm")
    assert machine.read_cpu_name() is None


def test_windows_is_asked_for_its_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    class Key:
        def __enter__(self) -> Key:
            return self

        def __exit__(self, *_: Any) -> None: ...

    registry = SimpleNamespace(
        HKEY_LOCAL_MACHINE=0,
        OpenKey=lambda *_: Key(),
        QueryValueEx=lambda *_: ("13th Gen Intel(R) Core(TM) i9-13900 ", 1),
    )
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "winreg", registry)
    assert machine.read_cpu_name() == "13th Gen Intel(R) Core(TM) i9-13900"
