"""NvmlSource: energy counter and power of one board, read through NVML."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from greenlove_mlflow.core.energy.power import POWER_LAG_S, board_bounds
from greenlove_mlflow.power.nvml.boards import Board, as_number, call
from greenlove_mlflow.power.nvml.state import GpuSignals, read_signals
from greenlove_mlflow.power.readings import DeviceLostError, RawReading, SourceTraits

logger = logging.getLogger(__name__)

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


class NvmlSource:
    """Energy counter and power of a board, through NVML.

    Args:
        nvml: The ``pynvml`` module, initialised.
        board: Which board.
        device: ``gpu_0``.
        tdp_w: Its TDP from a table, watts; None if unknown.
    """

    def __init__(self, nvml: Any, board: Board, device: str, *, tdp_w: float | None = None) -> None:
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
        return read_signals(self._nvml, self.board.handle)

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
