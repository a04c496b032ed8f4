"""What a board says of itself, or None."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from greenlove_mlflow.power.nvml.boards import as_number
from greenlove_mlflow.power.nvml.monitor import GpuSignals, read_signals
from tests.support.nvml import FakeBoard, FakeNvml


def name_of(odd: object) -> str:
    """Its name in a test; an address in memory differs from process to process, and two of them share the tests."""
    return type(odd).__name__ if " at 0x" in repr(odd) else repr(odd)


ODD = ("N/A", None, math.nan, math.inf, -1, 2**32 - 1, 2**64 - 1, True, b"60", object())


def signals(board: FakeBoard | None = None, **ways: Any) -> GpuSignals:
    board = board or FakeBoard()
    nvml = FakeNvml(board, **ways)
    nvml.nvmlInit()
    return read_signals(nvml, board)


def test_signals_say_clock_throttle_and_temperature() -> None:
    said = signals(FakeBoard(throttle=0x04 | 0x40 | 0x01, temperature_c=83))
    assert said.clock_ratio == pytest.approx(1410 / 1980)
    assert said.throttle_reasons == ("power cap", "thermal, hardware")
    assert said.is_throttled is True
    assert said.temperature_c == 83
    assert said.utilization_share == pytest.approx(0.97)


def test_an_idle_board_is_not_throttled() -> None:
    said = signals(FakeBoard(throttle=0x01), missing={"nvmlDeviceGetCurrentClocksEventReasons"})
    assert said.is_throttled is False


@pytest.mark.parametrize("odd", ODD, ids=name_of)
@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetTemperature", "temperature_c"),
        ("nvmlDeviceGetClockInfo", "sm_clock_mhz"),
        ("nvmlDeviceGetMaxClockInfo", "max_sm_clock_mhz"),
        ("nvmlDeviceGetUtilizationRates", "utilization_share"),
        ("nvmlDeviceGetComputeRunningProcesses", "other_process_count"),
    ],
)
def test_what_is_no_reading_is_unknown(function: str, field: str, odd: Any) -> None:
    assert getattr(signals(over={function: lambda ask: odd}), field) is None


@pytest.mark.parametrize("odd", ODD, ids=name_of)
def test_rates_that_hold_no_number_are_unknown(odd: Any) -> None:
    rates = SimpleNamespace(gpu=odd, memory=odd)
    assert signals(over={"nvmlDeviceGetUtilizationRates": lambda ask: rates}).utilization_share is None


@pytest.mark.parametrize("error", [RuntimeError("torn"), OSError("gone"), KeyError("x"), ZeroDivisionError()])
def test_a_binding_that_raises_leaves_the_rest(error: Exception) -> None:
    def raises(ask: Any) -> Any:
        raise error

    said = signals(over={"nvmlDeviceGetTemperature": raises})
    assert said.temperature_c is None
    assert said.clock_ratio is not None


@pytest.mark.parametrize(("value", "number"), [(60, 60.0), (1.5, 1.5), (0, 0.0), (-3, -3.0)])
def test_a_number_is_a_number(value: Any, number: float) -> None:
    assert as_number(value) == number
