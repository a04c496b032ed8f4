"""What can be looked at: a board by NVML, and models of a board, a CPU and memory that cannot be read."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Protocol

from greenlove_mlflow.core.energy.power import COUNTER_TICK_S, POWER_LAG_S
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.records import EnergySource
from greenlove_mlflow.power.ledger import RawReading
from greenlove_mlflow.power.nvml.boards import BINDING_ERRORS, Board
from greenlove_mlflow.power.nvml.state import GpuSignals, read_signals

MILLI = 1e-3
# Codes of nvml.h: what a board will never answer, and what says that it is gone.
_NEVER_CODES = frozenset({3, 4, 13})
_LOST_CODES = frozenset({1, 15, 16, 28})
# Field of nvml.h: power now, where the plain call gives a mean of the past second.
_FIELD_POWER_INSTANT = 186
# Where a field's value lies, by its type (nvml.h).
_VALUE_FIELDS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


class DeviceLostError(Exception):
    """The device will not answer again. Never leaves this package."""


class Source(Protocol):
    """A device that can be looked at. ``tick_s`` and ``lag_s`` are those of ``core.power``."""

    device: str
    tick_s: float
    lag_s: float

    def read(self, at_s: float) -> RawReading:
        """One look; a part that did not answer is None."""
        ...


class NvmlSource:
    """A board by NVML: its energy counter and its power.

    Args:
        nvml: The ``pynvml`` module, initialised.
        board: Which board.
        device: ``gpu_0``.
    """

    tick_s = COUNTER_TICK_S

    def __init__(self, nvml: Any, board: Board, device: str) -> None:
        self.device, self.board = device, board
        self._nvml = nvml
        self._dead: set[str] = set()
        self.lag_s = POWER_LAG_S if self._instant_w() is None else 0.0

    def read(self, at_s: float) -> RawReading:
        """One look at counter and power.

        Raises:
            DeviceLostError: If the board fell off the bus or the driver was unloaded.
        """
        counter_mj = self._ask("nvmlDeviceGetTotalEnergyConsumption", self.board.handle)
        power_w = self._instant_w()
        if power_w is None:
            power_mw = self._ask("nvmlDeviceGetPowerUsage", self.board.handle)
            power_w = None if power_mw is None else power_mw * MILLI
        return RawReading(at_s=at_s, counter_j=None if counter_mj is None else counter_mj * MILLI, power_w=power_w)

    def signals(self) -> GpuSignals:
        """What the board says of itself now."""
        return read_signals(self._nvml, self.board.handle)

    def _instant_w(self) -> float | None:
        values = self._ask("nvmlDeviceGetFieldValues", self.board.handle, [_FIELD_POWER_INSTANT])
        if not values:
            return None
        field = values[0]
        if field.nvmlReturn != 0:
            self._dead.add("nvmlDeviceGetFieldValues")
            return None
        union, kind = field.value, int(field.valueType)
        value = getattr(union, _VALUE_FIELDS[kind], None) if kind < len(_VALUE_FIELDS) else None
        # A board that does not know the field may leave 0 in it; no board at work draws nothing.
        return float(value) * MILLI if value else None

    def _ask(self, function: str, *arguments: Any) -> Any:
        """What the function returns; None when it failed this time or is known never to answer."""
        if function in self._dead:
            return None
        try:
            return getattr(self._nvml, function)(*arguments)
        except self._nvml.NVMLError as error:
            code = getattr(error, "value", None)
            if code in _LOST_CODES:
                raise DeviceLostError(str(error)) from error
            if code in _NEVER_CODES:
                self._dead.add(function)
        except BINDING_ERRORS:
            self._dead.add(function)
        return None


class ConstantSource:
    """A model of a device that draws the same all the time.

    Args:
        device: ``gpu_0``, ``cpu`` or ``ram``.
        full_power_w: At full load, watts.
        share: Of that, what it is taken to draw, 0 to 1.
        source: ``modelled`` or ``given``.
        note: In words.
    """

    tick_s = 0.0
    lag_s = 0.0

    def __init__(self, device: str, full_power_w: Interval, share: float, source: EnergySource, note: str) -> None:
        self.device, self.full_power_w, self.share, self.source, self.note = device, full_power_w, share, source, note

    def read(self, at_s: float) -> RawReading:
        """Its power, which is always the same."""
        return RawReading(at_s=at_s, power_w=self.full_power_w.point * self.share)


class CpuShareSource:
    """A model of the CPU: what it draws at full load, times the share of its cores that this process keeps busy.

    Args:
        full_power_w: All visible cores at full load, watts.
        core_count: Visible cores.
    """

    device = "cpu"
    tick_s = 0.0
    lag_s = 0.0

    def __init__(self, full_power_w: Interval, core_count: int) -> None:
        self.full_power_w = full_power_w
        self._core_power_w = full_power_w.point / max(1, core_count)
        self._workers_s: dict[int, float] = {}

    def read(self, at_s: float) -> RawReading:
        """CPU seconds of this process and its workers so far, as joules."""
        self._workers_s.update(read_worker_cpu_s())
        cpu_s = time.process_time() + sum(self._workers_s.values())
        return RawReading(at_s=at_s, counter_j=cpu_s * self._core_power_w)


def read_worker_cpu_s() -> dict[int, float]:
    """CPU seconds of each process this one has started (loader workers), by process id; empty where not readable."""
    own = os.getpid()
    try:
        pids = Path(f"/proc/{own}/task/{own}/children").read_text(encoding="ascii").split()
    except OSError:
        return {}
    seconds = {int(pid): _process_cpu_s(pid) for pid in pids}
    return {pid: cpu_s for pid, cpu_s in seconds.items() if cpu_s is not None}


def _process_cpu_s(pid: str) -> float | None:
    """CPU seconds of a process so far; None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        # Fields 14 and 15 of proc(5), counted after the command, which may itself hold spaces.
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
