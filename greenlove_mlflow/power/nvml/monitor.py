"""BoardMonitor: opens the training board in NVML and polls its clocks, temperature and other processes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.power.devices import Track
from greenlove_mlflow.power.ledger import SAMPLE_GAP_S
from greenlove_mlflow.power.nvml.boards import BoardNotFoundError, BoardRequest, call, find_board, load_nvml
from greenlove_mlflow.power.nvml.source import NvmlSource

logger = logging.getLogger(__name__)

# Clocks and temperature change over seconds, so they are polled every tenth tick.
TICKS_PER_LOOK = 10


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
        source = NvmlSource(nvml, find_board(nvml, request), name, tdp_w=tdp_w)
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
