"""Sources of a device's power and their readings, which a ledger books: read, or modelled with the range of a model."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from greenlove_mlflow.core.energy.power import (
    ANY_POWER,
    COUNTER_TICK_S,
    POWER_LAG_S,
    MeteredDevice,
    PowerBounds,
    model_power,
)
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.records import EnergySource, PowerReading


@dataclass(frozen=True, slots=True, kw_only=True)
class RawReading:
    """One reading of one device.

    Args:
        at_s: Seconds since the meter was opened.
        counter_j: Its energy counter, joules from an unknown start; None if it has none or did not answer.
        power_w: Its power, watts; None if it does not report power or did not answer.
    """

    at_s: float
    counter_j: float | None = None
    power_w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTraits:
    """What is known about a source before it is read.

    Args:
        tick_s: Update interval of its counter, seconds.
        lag_s: Delay with which a power reading follows a change, seconds.
        wraps_at_j: Value at which its counter wraps to 0, joules; None if it does not.
        bounds: Possible range of its power.
        may_rest: Whether its counter may stand still while the device runs, as a count of CPU seconds may.
    """

    tick_s: float = COUNTER_TICK_S
    lag_s: float = POWER_LAG_S
    wraps_at_j: float | None = None
    bounds: PowerBounds = ANY_POWER
    may_rest: bool = False


class DeviceLostError(Exception):
    """The device is lost and will not answer again. Never leaves this package."""


class ReadableDevice(Protocol):
    """A device that can be read."""

    device: str
    traits: SourceTraits
    # Description of where its figures come from.
    note: str

    def read(self, now_s: Callable[[], float]) -> RawReading:
        """Read the device once; a part that did not answer is None.

        Args:
            now_s: Returns seconds since the meter was opened; called once the device has answered.
        """
        ...


class ConstantSource:
    """A model of a device that draws constant power.

    Args:
        device: ``gpu_0``, ``cpu`` or ``ram``.
        full_power_w: Full-load power, watts.
        share: Share of that power it is assumed to draw, 0 to 1.
        source: ``modelled`` or ``given``.
        note: Short description.
    """

    traits = SourceTraits(tick_s=0.0, lag_s=0.0)

    def __init__(self, device: str, full_power_w: Interval, share: float, source: EnergySource, note: str) -> None:
        self.device, self.full_power_w, self.share, self.source, self.note = device, full_power_w, share, source, note

    def read(self, now_s: Callable[[], float]) -> RawReading:
        """Its constant power."""
        return RawReading(at_s=now_s(), power_w=self.full_power_w.point * self.share)

    def reading(self, metered: MeteredDevice) -> PowerReading:
        """Its mean power with the range of a model, regardless of what was metered."""
        return model_power(self.device, self.full_power_w, self.share, source=self.source, note=self.note)


class CpuShareSource:
    """A model of the CPU: its full-load power times the share of cores that the training keeps busy.

    Args:
        full_power_w: Power of all visible cores at full load, watts.
        core_count: Number of visible cores.
        neighbour_pids: The training's other processes on this machine.
    """

    device = "cpu"
    traits = SourceTraits(tick_s=0.0, lag_s=0.0, may_rest=True)
    note = "CPU seconds"

    def __init__(self, full_power_w: Interval, core_count: int, neighbour_pids: tuple[int, ...] = ()) -> None:
        self.full_power_w = full_power_w
        self._neighbour_pids = neighbour_pids
        self._core_power_w = full_power_w.point / max(1, core_count)
        self._workers_s: dict[int, float] = {}

    def read(self, now_s: Callable[[], float]) -> RawReading:
        """CPU seconds of this process, its neighbours and their workers so far, as joules."""
        self._workers_s.update(read_worker_cpu_s())
        for pid in self._neighbour_pids:
            own_s = _process_cpu_s(str(pid))
            self._workers_s.update(read_worker_cpu_s(pid) | ({} if own_s is None else {pid: own_s}))
        cpu_s = time.process_time() + sum(self._workers_s.values())
        return RawReading(at_s=now_s(), counter_j=cpu_s * self._core_power_w)

    def reading(self, metered: MeteredDevice) -> PowerReading:
        """Its mean power with the range of a model; full-load power if no CPU seconds were counted."""
        full_w, mean_w = self.full_power_w, metered.counter_w
        if mean_w is None or full_w.point <= 0.0:
            return model_power("cpu", full_w, 1.0, note=f"{full_w.point:.3g} W at full load, taken as fully used")
        share = min(1.0, mean_w / full_w.point)
        return model_power("cpu", full_w, share, note=f"{full_w.point:.3g} W at full load x {share:.0%} of its cores")


def read_worker_cpu_s(of_pid: int | None = None) -> dict[int, float]:
    """CPU seconds of each child process (loader workers), by process id; empty if they cannot be read.

    Args:
        of_pid: Process whose children they are; this one when None.
    """
    parent = os.getpid() if of_pid is None else of_pid
    try:
        pids = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
    except OSError:
        return {}
    seconds = {int(pid): _process_cpu_s(pid) for pid in pids}
    return {pid: cpu_s for pid, cpu_s in seconds.items() if cpu_s is not None}


def _process_cpu_s(pid: str) -> float | None:
    """CPU seconds of a process so far; None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        # Fields 14 and 15 of proc(5), counted after the command, which may itself contain spaces.
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
