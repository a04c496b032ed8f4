"""Board signals besides power: clocks, throttle reasons, temperature, other processes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

from greenlove_mlflow.power.nvml.boards import as_number, as_text, call

# NVML's clock domain of the streaming multiprocessors, and its only temperature sensor (nvml.h).
_CLOCK_SM = 1
_TEMPERATURE_GPU = 0
# Throttle reasons that reduce speed (nvml.h); idle, application clocks, sync boost and display settings do not.
_THROTTLE_REASONS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "thermal, software",
    0x40: "thermal, hardware",
    0x80: "power brake",
}
# Possible ranges; a value outside is a driver's placeholder.
_CLOCK_RANGE_MHZ = (1.0, 20_000.0)
_TEMPERATURE_RANGE_C = (1.0, 150.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSignals:
    """One reading of a board's signals; None where not reported.

    Args:
        name: Name by NVML.
        sm_clock_mhz: Current clock of the multiprocessors, MHz.
        max_sm_clock_mhz: Its maximum clock, MHz.
        temperature_c: Temperature of the chip, degrees Celsius.
        throttle_reasons: Text on what limits the clock; empty if nothing does.
        utilization_share: Share of the last sampling period in which a kernel ran, 0 to 1.
        other_process_count: Number of other processes using the board.
    """

    name: str | None = None
    sm_clock_mhz: float | None = None
    max_sm_clock_mhz: float | None = None
    temperature_c: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    utilization_share: float | None = None
    other_process_count: int | None = None

    @property
    def clock_ratio(self) -> float | None:
        """Current clock over maximum clock, 0 to 1."""
        if self.sm_clock_mhz is None or not self.max_sm_clock_mhz:
            return None
        return self.sm_clock_mhz / self.max_sm_clock_mhz

    @property
    def is_throttled(self) -> bool | None:
        """Whether heat or power limits the clock."""
        return None if self.throttle_reasons is None else bool(self.throttle_reasons)


def read_signals(nvml: Any, handle: Any) -> GpuSignals:
    """The current signals of a board; None for values that are not numbers or out of range."""
    reasons = as_number(call(nvml, "nvmlDeviceGetCurrentClocksEventReasons", handle))
    if reasons is None:
        reasons = as_number(call(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", handle))
    name = call(nvml, "nvmlDeviceGetName", handle)
    rates = call(nvml, "nvmlDeviceGetUtilizationRates", handle)
    utilization = _within(getattr(rates, "gpu", None), 0.0, 100.0)
    return GpuSignals(
        name=None if name is None else as_text(name),
        sm_clock_mhz=_within(call(nvml, "nvmlDeviceGetClockInfo", handle, _CLOCK_SM), *_CLOCK_RANGE_MHZ),
        max_sm_clock_mhz=_within(call(nvml, "nvmlDeviceGetMaxClockInfo", handle, _CLOCK_SM), *_CLOCK_RANGE_MHZ),
        temperature_c=_within(call(nvml, "nvmlDeviceGetTemperature", handle, _TEMPERATURE_GPU), *_TEMPERATURE_RANGE_C),
        throttle_reasons=None if reasons is None else _throttle_words(int(reasons)),
        utilization_share=None if utilization is None else utilization / 100.0,
        other_process_count=_count_others(nvml, handle),
    )


def _within(value: Any, least: float, most: float) -> float | None:
    """A number within its possible range; None for anything else."""
    number = as_number(value)
    return number if number is not None and least <= number <= most else None


def _throttle_words(reasons: int) -> tuple[str, ...]:
    return tuple(words for bit, words in _THROTTLE_REASONS.items() if reasons & bit)


def _count_others(nvml: Any, handle: Any) -> int | None:
    """Number of other processes on the board; None if NVML does not report it.

    Inside a container the process ids belong to another namespace: then one of them is assumed to be this process, if
    it has opened CUDA.
    """
    processes = call(nvml, "nvmlDeviceGetComputeRunningProcesses", handle)
    if not isinstance(processes, (list, tuple)):
        return None
    pids = {getattr(process, "pid", None) for process in processes} - {None}
    if os.getpid() in pids:
        return len(pids) - 1
    torch = sys.modules.get("torch")
    is_hidden = torch is not None and torch.cuda.is_initialized()
    return max(0, len(pids) - 1) if is_hidden else len(pids)
