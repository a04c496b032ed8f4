"""The training board in NVML: its energy counter and power, clocks, temperature and other processes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from greenlove_mlflow.core.energy.power import POWER_LAG_S, board_bounds
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.power.devices import Track
from greenlove_mlflow.power.ledger import SAMPLE_GAP_S
from greenlove_mlflow.power.nvml.boards import (
    Board,
    BoardNotFoundError,
    BoardRequest,
    as_number,
    as_text,
    call,
    find_board,
    load_nvml,
)
from greenlove_mlflow.power.sources import DeviceLostError, RawReading, SourceTraits

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
MILLI = 1e-3
# Some drivers keep the millijoule counter in 32 bits, which overflows after six hours at 200 W.
_COUNTER_WRAPS_AT_J = 2**32 * MILLI
# Error codes of nvml.h: queries a board will never answer, and those that mean it is gone.
_NEVER_CODES = frozenset({3, 4, 13})
_LOST_CODES = frozenset({1, 9, 15, 16, 18, 28})
# Field of nvml.h: instantaneous power, whereas the plain call returns a mean over the past second.
_FIELD_POWER_INSTANT = 186
# Union member that holds a field's value, by its type (nvml.h).
_VALUE_FIELDS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
# Clocks and temperature change over seconds, so they are polled every tenth tick.
TICKS_PER_LOOK = 10


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


def read_signals(nvml: Any, handle: Any, neighbour_pids: tuple[int, ...] = ()) -> GpuSignals:
    """The current signals of a board; None for values that are not numbers or out of range.

    Args:
        nvml: The ``pynvml`` module, initialised.
        handle: The board.
        neighbour_pids: Processes of the same training, which are not counted as others.
    """
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
        other_process_count=_count_others(nvml, handle, neighbour_pids),
    )


def _within(value: Any, least: float, most: float) -> float | None:
    """A number within its possible range; None for anything else."""
    number = as_number(value)
    return number if number is not None and least <= number <= most else None


def _throttle_words(reasons: int) -> tuple[str, ...]:
    return tuple(words for bit, words in _THROTTLE_REASONS.items() if reasons & bit)


def _count_others(nvml: Any, handle: Any, neighbour_pids: tuple[int, ...]) -> int | None:
    """Number of other processes on the board; None if NVML does not report it.

    Inside a container the process ids belong to another namespace: then one of them is assumed to be this process, if
    it has opened CUDA.
    """
    processes = call(nvml, "nvmlDeviceGetComputeRunningProcesses", handle)
    if not isinstance(processes, (list, tuple)):
        return None
    pids = {getattr(process, "pid", None) for process in processes} - {None, *neighbour_pids}
    if os.getpid() in pids:
        return len(pids) - 1
    torch = sys.modules.get("torch")
    is_hidden = torch is not None and torch.cuda.is_initialized()
    return max(0, len(pids) - 1) if is_hidden else len(pids)


logger = logging.getLogger(__name__)


class NvmlSource:
    """Energy counter and power of a board, through NVML.

    Args:
        nvml: The ``pynvml`` module, initialised.
        board: Which board.
        device: ``gpu_0``.
        tdp_w: Its TDP from a table, watts; None if unknown.
        neighbour_pids: Processes of the same training, which are no others.
    """

    def __init__(
        self,
        nvml: Any,
        board: Board,
        device: str,
        *,
        tdp_w: float | None = None,
        neighbour_pids: tuple[int, ...] = (),
    ) -> None:
        self._neighbour_pids = neighbour_pids
        self.device, self.board = device, board
        self.note = "board counter, whole board of a MIG slice" if board.is_sliced else "board counter"
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
        """Read the counter and the power once.

        Raises:
            DeviceLostError: If the board fell off the bus or the driver was unloaded.
        """
        counter_mj = as_number(self._ask("nvmlDeviceGetTotalEnergyConsumption", self.board.handle))
        # A call may be slow: its reading is dated to the moment it returned.
        at_s = now_s()
        power_w = self._instant_w()
        if power_w is None:
            power_w = self._watts(self._ask("nvmlDeviceGetPowerUsage", self.board.handle))
        counter_j = None if counter_mj is None or counter_mj < 0.0 else counter_mj * MILLI
        return RawReading(at_s=at_s, counter_j=counter_j, power_w=power_w)

    def signals(self) -> GpuSignals:
        """The board's current signals."""
        return read_signals(self._nvml, self.board.handle, self._neighbour_pids)

    def _watts(self, milliwatts: Any) -> float | None:
        """A power in watts; None if it is not a number or not a power that a board can draw."""
        number = as_number(milliwatts)
        return number * MILLI if number is not None and self._bounds.hold(number * MILLI) else None

    def _limit_w(self) -> float | None:
        """The highest power limit that the board supports, watts; None if not reported."""
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
            # A board without this field may leave it at 0; a working board never draws 0 W.
            power_w = self._watts(getattr(field.value, _VALUE_FIELDS[int(field.valueType)]))
        except (AttributeError, IndexError, TypeError, ValueError):
            return None
        self._has_instant = self._has_instant or power_w is not None
        return power_w

    def _ask(self, function: str, *arguments: Any) -> Any:
        """The result of the function; None if it failed now or is known to be unsupported."""
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
        except Exception as error:  # noqa: BLE001 - boundary to the binding: it raises whatever ctypes raises
            logger.debug("%s: %s", function, error)
            return None
        self._alive.add(function)
        return answer


class BoardMonitor:
    """Polls a board's clocks, temperature and other processes about once a second, on the meter's thread."""

    def __init__(self, nvml: Any, source: NvmlSource) -> None:
        self._nvml, self._source = nvml, source
        self._tick_count = 0
        self.latest: dict[str, float] = {}
        self._sums: dict[str, tuple[float, int]] = {}
        self._first_c: float | None = None
        self._last_c: float | None = None
        self._others = 0
        self.look(now=True)

    def look(self, *, now: bool = False) -> None:
        """Poll the board, if ``now`` or on every tenth call."""
        self._tick_count += 1
        if not now and self._tick_count % TICKS_PER_LOOK:
            return
        signals = self._source.signals()
        self._others = max(self._others, signals.other_process_count or 0)
        throttled = None if signals.is_throttled is None else float(signals.is_throttled)
        gauges = {
            "clock_ratio": signals.clock_ratio,
            "throttled": throttled,
            "temperature_c": signals.temperature_c,
            "utilization": signals.utilization_share,
        }
        self.latest = {name: value for name, value in gauges.items() if value is not None}
        self._count("clock_ratio", signals.clock_ratio)
        self._count("throttled_share", throttled)
        self._count("gpu_utilization", signals.utilization_share)
        if signals.temperature_c is not None:
            self._first_c = signals.temperature_c if self._first_c is None else self._first_c
            self._last_c = signals.temperature_c

    def summary(self) -> tuple[tuple[str, float], ...]:
        """Means over the polls so far, by name."""
        means = [(name, total / count) for name, (total, count) in tuple(self._sums.items())]
        if self._first_c is not None and self._last_c is not None:
            means.append(("temperature_rise_c", self._last_c - self._first_c))
        return tuple(means)

    def caveats(self) -> tuple[Caveat, ...]:
        """A caveat if other processes use the board; else empty."""
        if not self._others:
            return ()
        return (Caveat.of("gpu-shared", count=self._others),)

    def release(self) -> None:
        """Release NVML."""
        call(self._nvml, "nvmlShutdown")

    def _count(self, name: str, value: float | None) -> None:
        if value is not None:
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedBoard:
    """Result of opening a board: its track and monitor, None if it cannot be read, and caveats."""

    track: Track[NvmlSource] | None = None
    monitor: BoardMonitor | None = None
    notes: tuple[Caveat, ...] = ()


def open_board(
    name: str, request: BoardRequest, *, tdp_w: float | None = None, sample_gap_s: float = SAMPLE_GAP_S
) -> OpenedBoard:
    """Open the training board in NVML, or report why it cannot be read.

    Args:
        name: Its name in readings, such as ``gpu_0``.
        request: What is known about it.
        tdp_w: Its TDP from a table, watts; None if unknown.
        sample_gap_s: Samples further apart than this leave the time between them unknown, seconds.
    """
    nvml = load_nvml()
    if nvml is None:
        return _unreadable(name, "the pynvml module cannot be imported")
    try:
        nvml.nvmlInit()
    except Exception as error:  # noqa: BLE001 - a missing or mismatched driver may raise anything
        return _unreadable(name, f"NVML does not start: {error}")
    try:
        source = NvmlSource(nvml, find_board(nvml, request), name, tdp_w=tdp_w, neighbour_pids=request.neighbour_pids)
        source.read(lambda: 0.0)
        monitor = BoardMonitor(nvml, source)
    except Exception as error:  # noqa: BLE001 - whatever failed, training continues with a model
        call(nvml, "nvmlShutdown")
        known = isinstance(error, BoardNotFoundError)
        return _unreadable(name, str(error) if known else f"the board does not answer: {error}")
    notes = _board_notes(nvml, source, request.gpu_index)
    return OpenedBoard(track=Track(source, sample_gap_s=sample_gap_s), monitor=monitor, notes=notes)


def _unreadable(name: str, reason: str) -> OpenedBoard:
    logger.info("no power meter for %s: %s", name, reason)
    return OpenedBoard(notes=(Caveat.of("power-not-metered", device=name, why=reason),))


def _board_notes(nvml: Any, source: NvmlSource, gpu_index: int | None) -> tuple[Caveat, ...]:
    notes = []
    if source.board.is_sliced:
        notes.append(Caveat.of("mig-whole-board"))
    found = call(nvml, "nvmlDeviceGetIndex", source.board.handle)
    if gpu_index is not None and found is not None and found != gpu_index:
        notes.append(Caveat.of("gpu-index-ignored", index=gpu_index, found=found))
    return tuple(notes)
