"""What can be looked at: a board by NVML, and models of a board, a CPU and memory that cannot be read."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from greenlove_mlflow.core.energy.power import POWER_LAG_S, board_bounds
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.records import EnergySource
from greenlove_mlflow.power.ledger import RawReading, SourceTraits
from greenlove_mlflow.power.nvml.boards import Board, as_number, call
from greenlove_mlflow.power.nvml.state import GpuSignals, read_signals

logger = logging.getLogger(__name__)

MILLI = 1e-3
# Some drivers keep the counter of millijoules in 32 bits, which 200 W fill in six hours.
_COUNTER_WRAPS_AT_J = 2**32 * MILLI
# Codes of nvml.h: what a board will never answer, and what says that it is gone.
_NEVER_CODES = frozenset({3, 4, 13})
_LOST_CODES = frozenset({1, 9, 15, 16, 18, 28})
# Field of nvml.h: power now, where the plain call gives a mean of the past second.
_FIELD_POWER_INSTANT = 186
# Where a field's value lies, by its type (nvml.h).
_VALUE_FIELDS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


class DeviceLostError(Exception):
    """The device will not answer again. Never leaves this package."""


class Source(Protocol):
    """A device that can be looked at."""

    device: str
    traits: SourceTraits

    def read(self, now_s: Callable[[], float]) -> RawReading:
        """One look; a part that did not answer is None.

        Args:
            now_s: Seconds since the meter was opened, asked for once the device has answered.
        """
        ...


class NvmlSource:
    """A board by NVML: its energy counter and its power.

    Args:
        nvml: The ``pynvml`` module, initialised.
        board: Which board.
        device: ``gpu_0``.
        tdp_w: Its design power by a table, watts; None when unknown.
    """

    def __init__(self, nvml: Any, board: Board, device: str, *, tdp_w: float | None = None) -> None:
        self.device, self.board = device, board
        self._nvml = nvml
        self._dead: set[str] = set()
        self._alive: set[str] = set()
        self._has_instant = False
        self._bounds = board_bounds(self._limit_w(), tdp_w)
        self.traits = SourceTraits(
            lag_s=POWER_LAG_S if self._instant_w() is None else 0.0,
            wraps_at_j=_COUNTER_WRAPS_AT_J,
            bounds=self._bounds,
        )

    def read(self, now_s: Callable[[], float]) -> RawReading:
        """One look at counter and power.

        Raises:
            DeviceLostError: If the board fell off the bus or the driver was unloaded.
        """
        counter_mj = as_number(self._ask("nvmlDeviceGetTotalEnergyConsumption", self.board.handle))
        # A call may take its time: the counter told of the moment at which it returned.
        at_s = now_s()
        power_w = self._instant_w()
        if power_w is None:
            power_w = self._watts(self._ask("nvmlDeviceGetPowerUsage", self.board.handle))
        counter_j = None if counter_mj is None or counter_mj < 0.0 else counter_mj * MILLI
        return RawReading(at_s=at_s, counter_j=counter_j, power_w=power_w)

    def signals(self) -> GpuSignals:
        """What the board says of itself now."""
        return read_signals(self._nvml, self.board.handle)

    def _watts(self, milliwatts: Any) -> float | None:
        """A power in watts; None when it is no number or none that a board can draw."""
        number = as_number(milliwatts)
        return number * MILLI if number is not None and self._bounds.hold(number * MILLI) else None

    def _limit_w(self) -> float | None:
        """The highest limit that the board's power can be set to, watts; None when it does not say."""
        limits = call(self._nvml, "nvmlDeviceGetPowerManagementLimitConstraints", self.board.handle)
        highest = limits[1] if isinstance(limits, (list, tuple)) and len(limits) == 2 else None
        if as_number(highest) is None:
            highest = call(self._nvml, "nvmlDeviceGetPowerManagementDefaultLimit", self.board.handle)
        number = as_number(highest)
        return None if number is None else number * MILLI

    def _instant_w(self) -> float | None:
        values = self._ask("nvmlDeviceGetFieldValues", self.board.handle, [_FIELD_POWER_INSTANT])
        try:
            field = values[0]
            if field.nvmlReturn != 0:
                if not self._has_instant:
                    self._dead.add("nvmlDeviceGetFieldValues")
                return None
            # A board that does not know the field may leave 0 in it; no board at work draws nothing.
            power_w = self._watts(getattr(field.value, _VALUE_FIELDS[int(field.valueType)]))
        except (AttributeError, IndexError, TypeError, ValueError):
            return None
        self._has_instant = self._has_instant or power_w is not None
        return power_w

    def _ask(self, function: str, *arguments: Any) -> Any:
        """What the function returns; None when it failed this time or is known never to answer."""
        if function in self._dead:
            return None
        try:
            answer = getattr(self._nvml, function)(*arguments)
        except self._nvml.NVMLError as error:
            code = getattr(error, "value", None)
            if code in _LOST_CODES:
                raise DeviceLostError(str(error)) from error
            if code in _NEVER_CODES and function not in self._alive:
                self._dead.add(function)
            return None
        except AttributeError:
            self._dead.add(function)
            return None
        except Exception as error:  # noqa: BLE001 - the binding's boundary: it raises whatever ctypes made of it
            logger.debug("%s: %s", function, error)
            return None
        self._alive.add(function)
        return answer


class ConstantSource:
    """A model of a device that draws the same all the time.

    Args:
        device: ``gpu_0``, ``cpu`` or ``ram``.
        full_power_w: At full load, watts.
        share: Of that, what it is taken to draw, 0 to 1.
        source: ``modelled`` or ``given``.
        note: In words.
    """

    traits = SourceTraits(tick_s=0.0, lag_s=0.0)

    def __init__(self, device: str, full_power_w: Interval, share: float, source: EnergySource, note: str) -> None:
        self.device, self.full_power_w, self.share, self.source, self.note = device, full_power_w, share, source, note

    def read(self, now_s: Callable[[], float]) -> RawReading:
        """Its power, which is always the same."""
        return RawReading(at_s=now_s(), power_w=self.full_power_w.point * self.share)


class CpuShareSource:
    """A model of the CPU: what it draws at full load, times the share of its cores that this process keeps busy.

    Args:
        full_power_w: All visible cores at full load, watts.
        core_count: Visible cores.
    """

    device = "cpu"
    traits = SourceTraits(tick_s=0.0, lag_s=0.0, may_rest=True)

    def __init__(self, full_power_w: Interval, core_count: int) -> None:
        self.full_power_w = full_power_w
        self._core_power_w = full_power_w.point / max(1, core_count)
        self._workers_s: dict[int, float] = {}

    def read(self, now_s: Callable[[], float]) -> RawReading:
        """CPU seconds of this process and its workers so far, as joules."""
        self._workers_s.update(read_worker_cpu_s())
        cpu_s = time.process_time() + sum(self._workers_s.values())
        return RawReading(at_s=now_s(), counter_j=cpu_s * self._core_power_w)


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
