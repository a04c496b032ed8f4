"""What a board says of itself beside its power: clocks, what holds them down, temperature, who else is on it."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
from dataclasses import dataclass
from typing import Any

from greenlove_mlflow.power.nvml.boards import BoardNotFoundError, BoardRequest, as_number, as_text, call, find_board

logger = logging.getLogger(__name__)

# NVML's clock domain of the streaming multiprocessors, and its only temperature sensor (nvml.h).
_CLOCK_SM = 1
_TEMPERATURE_GPU = 0
# Reasons that take speed away (nvml.h); idle, application clocks, sync boost and display settings do not.
_THROTTLE_REASONS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "thermal, software",
    0x40: "thermal, hardware",
    0x80: "power brake",
}
# What these can be; beyond, a driver filled in a placeholder.
_CLOCK_RANGE_MHZ = (1.0, 20_000.0)
_TEMPERATURE_RANGE_C = (1.0, 150.0)
# A board that does not answer within this is left alone.
READ_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSignals:
    """One look at a board; None where it does not say.

    Args:
        name: By NVML.
        sm_clock_mhz: Clock of the multiprocessors now, MHz.
        max_sm_clock_mhz: The highest it can run at, MHz.
        temperature_c: Of the chip, degrees Celsius.
        throttle_reasons: What holds the clock down, in words; empty when nothing does.
        utilization_share: Share of the last moments in which a kernel ran, 0 to 1.
        other_process_count: Processes beside this one that hold the board.
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
        """The clock now over the highest, 0 to 1."""
        if self.sm_clock_mhz is None or not self.max_sm_clock_mhz:
            return None
        return self.sm_clock_mhz / self.max_sm_clock_mhz

    @property
    def is_throttled(self) -> bool | None:
        """Whether heat or power holds the clock down."""
        return None if self.throttle_reasons is None else bool(self.throttle_reasons)


def read_gpu_signals(torch_device: Any, *, gpu_index: int | None = None) -> GpuSignals | None:
    """What the training's board says of itself now; None without NVML or board, or when it does not answer.

    Args:
        torch_device: The device the training runs on (``cuda:0`` or a ``torch.device``).
        gpu_index: NVML index, where torch cannot tell which board that is.
    """
    request = request_board(torch_device, gpu_index=gpu_index)
    nvml = load_nvml()
    if request is None or nvml is None:
        return None
    found: list[GpuSignals] = []
    reader = threading.Thread(target=_read_once, args=(nvml, request, found), name="greenlove-signals", daemon=True)
    reader.start()
    reader.join(READ_TIMEOUT_S)
    return found[0] if found else None


def read_signals(nvml: Any, handle: Any) -> GpuSignals:
    """What the board of a handle says of itself now; None for what is no number or none that it can be."""
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
    """A number in its possible range; None for everything else."""
    number = as_number(value)
    return number if number is not None and least <= number <= most else None


def load_nvml() -> Any:
    """The ``pynvml`` module; None when it cannot be imported."""
    try:
        return importlib.import_module("pynvml")
    except Exception as error:  # noqa: BLE001 - a torn binding raises whatever it likes, and power is optional
        logger.debug("no pynvml: %s", error)
        return None


def request_board(
    torch_device: Any,
    *,
    uuid: str | None = None,
    gpu_index: int | None = None,
    visible_devices: str | None = None,
    device_order: str | None = None,
) -> BoardRequest | None:
    """What torch knows of its device, to find the board by; None when the device is no CUDA GPU."""
    kind, _, number = str(torch_device or "").partition(":")
    if kind != "cuda":
        return None
    index = int(number) if number.isdigit() else _current_device()
    properties = _device_properties(index)
    said = getattr(properties, "uuid", None)
    return BoardRequest(
        index=index,
        uuid=uuid if said is None else str(said),
        bus_id=_bus_id(properties),
        name=getattr(properties, "name", None),
        gpu_index=gpu_index,
        visible_devices=visible_devices,
        device_order=device_order,
    )


def _read_once(nvml: Any, request: BoardRequest, found: list[GpuSignals]) -> None:
    try:
        nvml.nvmlInit()
        try:
            found.append(read_signals(nvml, find_board(nvml, request).handle))
        finally:
            nvml.nvmlShutdown()
    except BoardNotFoundError as error:
        logger.debug("no board: %s", error)
    except Exception as error:  # noqa: BLE001 - signals are optional, and NVML's errors have no common public root
        logger.debug("no signals: %s", error)


def _throttle_words(reasons: int) -> tuple[str, ...]:
    return tuple(words for bit, words in _THROTTLE_REASONS.items() if reasons & bit)


def _count_others(nvml: Any, handle: Any) -> int | None:
    """Processes on the board that are not this one; None when NVML does not say.

    Inside a container the process ids are another name space's: then one of them is taken to be this process, if it
    has opened CUDA.
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


def _current_device() -> int:
    torch = sys.modules.get("torch")
    try:
        return int(torch.cuda.current_device()) if torch is not None else 0
    except (RuntimeError, AssertionError):
        return 0


def _device_properties(index: int) -> Any:
    """What torch knows of a CUDA device; None when torch is not there or built without CUDA."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    try:
        return torch.cuda.get_device_properties(index)
    except (RuntimeError, AssertionError):
        return None


def _bus_id(properties: Any) -> str | None:
    """The PCI address of a board as NVML spells it; None when torch does not say."""
    bus = getattr(properties, "pci_bus_id", None)
    if bus is None:
        return None
    domain, device = getattr(properties, "pci_domain_id", 0), getattr(properties, "pci_device_id", 0)
    return f"{domain:08x}:{bus:02x}:{device:02x}.0"
