"""A fake of the ``pynvml`` module: its units (mJ, mW), its errors with their real codes, and its ways to fail."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

# Codes of nvml.h.
CODES = {
    "Uninitialized": 1,
    "InvalidArgument": 2,
    "NotSupported": 3,
    "NoPermission": 4,
    "NotFound": 6,
    "DriverNotLoaded": 9,
    "Timeout": 10,
    "LibraryNotFound": 12,
    "FunctionNotFound": 13,
    "GpuIsLost": 15,
    "ResetRequired": 16,
    "LibRmVersionMismatch": 18,
    "Unknown": 999,
}
POWER_INSTANT = 186


class NVMLError(Exception):
    """As pynvml's: the code is in ``value``."""

    value = 999

    def __str__(self) -> str:
        return f"{type(self).__name__.removeprefix('NVMLError_')} ({self.value})"


ERRORS = {name: type(f"NVMLError_{name}", (NVMLError,), {"value": code}) for name, code in CODES.items()}


@dataclass
class FakeBoard:
    """One board; ``energy_j`` of the clock's time is what its counter has counted."""

    uuid: str = "GPU-11111111-2222-3333-4444-555555555555"
    name: str = "NVIDIA H100 80GB HBM3"
    bus_id: str = "00000000:65:00.0"
    power_w: float | Callable[[float], float] = 300.0
    counter_w: float | None = None
    counter_start_j: float = 5e6
    tick_s: float = 0.0
    has_instant_power: bool = True
    mig: tuple[int, int] | None = (0, 0)
    slices: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    throttle: int = 0
    temperature_c: int = 60
    # Seconds of the clock at which the counter starts again from 0.
    resets_at_s: tuple[float, ...] = ()
    limits_w: tuple[float, float] | None = None
    lost_at_s: float = math.inf
    # Functions that do not return from a time on, seconds since the fake was made or its ``began_s`` was set.
    hangs_at_s: dict[str, float] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)

    def power_at(self, at_s: float) -> float:
        return self.power_w(at_s) if callable(self.power_w) else self.power_w

    def energy_at(self, at_s: float) -> float:
        watts = self.counter_w if self.counter_w is not None else self.power_at(at_s)
        seen_s = math.floor(at_s / self.tick_s) * self.tick_s if self.tick_s else at_s
        past = [reset_s for reset_s in self.resets_at_s if reset_s <= at_s]
        return (seen_s - past[-1]) * watts if past else self.counter_start_j + seen_s * watts


@dataclass(frozen=True)
class Slice:
    uuid: str
    board: FakeBoard


@dataclass(frozen=True)
class Ask:
    """One call of a function that a test answers in NVML's place."""

    real: Callable[[], Any]
    at_s: float
    number: int


class FakeNvml:
    """Stands in ``sys.modules["pynvml"]``.

    ``missing`` functions do not exist in the binding, ``failing`` ones raise the named error, ``hanging`` ones wait for
    ``release``, those in ``over`` are answered by a function of the call.
    """

    NVMLError = NVMLError

    def __init__(self, *boards: FakeBoard, clock: Callable[[], float] | None = None, **ways: Any) -> None:
        self.boards = list(boards)
        self.clock = clock or (lambda: time.perf_counter())  # noqa: PLW0108 - looked up anew each time, for virtual clocks
        self.missing: set[str] = set(ways.get("missing", ()))
        self.failing: dict[str, str] = dict(ways.get("failing", {}))
        self.hanging: set[str] = set(ways.get("hanging", ()))
        self.over: dict[str, Callable[[Ask], Any]] = dict(ways.get("over", {}))
        self.began_s = self.clock()
        self.gives_bytes: bool = ways.get("gives_bytes", False)
        self.release = threading.Event()
        self.init_count = 0
        self.calls: list[str] = []
        self.counts: Counter[str] = Counter()

    def __getattr__(self, function: str) -> Any:
        if not function.startswith("nvml") or function in self.missing or not hasattr(type(self), f"_{function}"):
            raise AttributeError(function)
        return lambda *arguments: self._call(function, *arguments)

    def _call(self, function: str, *arguments: Any) -> Any:
        self.calls.append(function)
        self.counts[function] += 1
        if function in self.hanging:
            self.release.wait(60.0)
        if function in self.failing:
            raise ERRORS[self.failing[function]]
        if function != "nvmlInit" and self.init_count < 1:
            raise ERRORS["Uninitialized"]
        board = arguments[0].board if arguments and isinstance(arguments[0], Slice) else (arguments or (None,))[0]
        if isinstance(board, FakeBoard):
            if self.clock() >= board.lost_at_s:
                raise ERRORS["GpuIsLost"]
            if self.clock() - self.began_s >= board.hangs_at_s.get(function, math.inf):
                self.release.wait(60.0)
            if function in board.failing:
                raise ERRORS[board.failing[function]]
        if function in self.over:
            ask = Ask(
                real=lambda: getattr(self, f"_{function}")(*arguments),
                at_s=self.clock() - self.began_s,
                number=self.counts[function],
            )
            return self.over[function](ask)
        return getattr(self, f"_{function}")(*arguments)

    def _text(self, value: str) -> Any:
        return value.encode() if self.gives_bytes else value

    def _nvmlInit(self) -> None:
        self.init_count += 1

    def _nvmlShutdown(self) -> None:
        self.init_count -= 1

    def _nvmlDeviceGetCount(self) -> int:
        return len(self.boards)

    def _nvmlDeviceGetHandleByIndex(self, index: int) -> FakeBoard:
        if index >= len(self.boards):
            raise ERRORS["InvalidArgument"]
        return self.boards[index]

    def _nvmlDeviceGetHandleByUUID(self, uuid: Any) -> FakeBoard | Slice:
        wanted = uuid.decode() if isinstance(uuid, bytes) else uuid
        for board in self.boards:
            if board.uuid == wanted:
                return board
            if wanted in board.slices:
                return Slice(wanted, board)
        raise ERRORS["NotFound"]

    def _nvmlDeviceGetHandleByPciBusId(self, bus_id: str) -> FakeBoard:
        for board in self.boards:
            if board.bus_id == bus_id:
                return board
        raise ERRORS["NotFound"]

    def _nvmlDeviceIsMigDeviceHandle(self, handle: FakeBoard | Slice) -> int:
        return int(isinstance(handle, Slice))

    def _nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: Slice) -> FakeBoard:
        return handle.board

    def _nvmlDeviceGetMigMode(self, board: FakeBoard) -> tuple[int, int]:
        if board.mig is None:
            raise ERRORS["NotSupported"]
        return board.mig

    def _nvmlDeviceGetIndex(self, board: FakeBoard) -> int:
        return self.boards.index(board)

    def _nvmlDeviceGetUUID(self, board: FakeBoard) -> Any:
        return self._text(board.uuid)

    def _nvmlDeviceGetName(self, board: FakeBoard) -> Any:
        return self._text(board.name)

    def _nvmlDeviceGetTotalEnergyConsumption(self, board: FakeBoard) -> int:
        return int(board.energy_at(self.clock()) * 1000)

    def _nvmlDeviceGetPowerUsage(self, board: FakeBoard) -> int:
        return int(board.power_at(self.clock()) * 1000)

    def _nvmlDeviceGetPowerManagementLimitConstraints(self, board: FakeBoard) -> list[int]:
        if board.limits_w is None:
            raise ERRORS["NotSupported"]
        return [int(watts * 1000) for watts in board.limits_w]

    def _nvmlDeviceGetFieldValues(self, board: FakeBoard, fields: list[int]) -> list[Any]:
        assert fields == [POWER_INSTANT]
        value = SimpleNamespace(dVal=0.0, uiVal=int(board.power_at(self.clock()) * 1000), ulVal=0)
        known = board.has_instant_power
        return [SimpleNamespace(nvmlReturn=0 if known else 3, valueType=1, value=value)]

    def _nvmlDeviceGetCurrentClocksEventReasons(self, board: FakeBoard) -> int:
        return board.throttle

    def _nvmlDeviceGetCurrentClocksThrottleReasons(self, board: FakeBoard) -> int:
        return board.throttle

    def _nvmlDeviceGetClockInfo(self, board: FakeBoard, domain: int) -> int:
        return 1410

    def _nvmlDeviceGetMaxClockInfo(self, board: FakeBoard, domain: int) -> int:
        return 1980

    def _nvmlDeviceGetTemperature(self, board: FakeBoard, sensor: int) -> int:
        return board.temperature_c

    def _nvmlDeviceGetUtilizationRates(self, board: FakeBoard) -> Any:
        return SimpleNamespace(gpu=97, memory=40)

    def _nvmlDeviceGetComputeRunningProcesses(self, board: FakeBoard) -> list[Any]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in board.pids]
