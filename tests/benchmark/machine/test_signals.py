"""What the machine says of itself, and when it is not believed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from greenlove_mlflow.benchmark import BenchmarkPlan, Training, run_benchmark
from greenlove_mlflow.benchmark.machine.signals import SignalReader, is_virtual_machine, summarise_signals
from greenlove_mlflow.core.machine_signals import MachineSignals
from greenlove_mlflow.core.records import Machine
from tests.support.clock import VirtualClock


def a_reading(**over: float) -> dict[str, float]:
    return {"clock_s": 0.0, "real_s": 0.0, "cpu_s": 0.0, "core_count": 2.0, **over}


def summarise(first: Mapping[str, float], last: Mapping[str, float]) -> MachineSignals:
    return summarise_signals([("first-contact", a_reading()), ("timed", first), ("timed", last)])


def test_counters_become_shares_of_the_timed_seconds() -> None:
    first = a_reading(clock_s=5.0, real_s=5.0, cpu_s=3.0, run_wait_s=1.0, steal_s=2.0, busy_s=10.0, load=1.0)
    last = a_reading(clock_s=15.0, real_s=15.0, cpu_s=11.0, run_wait_s=3.0, steal_s=3.0, busy_s=24.0, load=3.0)
    signals = summarise(first, last)
    assert signals.cpu_share == pytest.approx(0.8)
    assert signals.run_wait_share == pytest.approx(2.0 / 10.0)
    assert signals.steal_share == pytest.approx(1.0 / 20.0)
    assert signals.neighbour_share == pytest.approx((14.0 - 8.0) / 20.0)
    assert signals.load_ratio == pytest.approx(1.0)


def test_gauges_of_the_gpu_are_averaged_and_its_heating_and_its_clock_are_differences() -> None:
    first = a_reading(throttled=0.0, clock_ratio=1.0, temperature_c=50.0)
    last = a_reading(clock_s=10.0, real_s=10.0, throttled=1.0, clock_ratio=0.9, temperature_c=58.0)
    signals = summarise(first, last)
    assert (signals.throttled_share, signals.clock_ratio) == (0.5, pytest.approx(0.95))
    assert signals.temperature_rise_c == 8.0
    assert signals.clock_change_ratio == pytest.approx(-0.1)


def test_what_cannot_be_read_is_none() -> None:
    signals = summarise(a_reading(), a_reading(clock_s=10.0, real_s=10.0, cpu_s=9.0))
    assert signals == MachineSignals(cpu_share=0.9)
    assert summarise_signals([]) == MachineSignals()


def test_under_a_clock_that_is_not_the_machines_nothing_is_believed() -> None:
    assert summarise(a_reading(), a_reading(clock_s=10.0, real_s=0.01, cpu_s=9.0)) == MachineSignals()


def test_this_machine_can_be_read_and_counters_rise() -> None:
    reader = SignalReader(gpu=lambda: {"clock_ratio": 0.9})
    before = reader.read()
    deadline = time.process_time() + 0.03
    while time.process_time() < deadline:
        sum(range(1000))
    after = reader.read()
    assert after["cpu_s"] >= before["cpu_s"]
    assert all(after[name] >= before[name] for name in ("run_wait_s", "busy_s", "clock_s") if name in before)
    assert after["clock_ratio"] == 0.9
    assert after.get("virtual") in (None, 0.0, 1.0)


def test_a_hypervisor_is_seen_by_the_processors_own_flags(tmp_path: Path) -> None:
    for flags, expected in (
        ("flags\t\t: fpu hypervisor sse", True),
        ("flags\t\t: fpu sse", False),
        ("Features: fp", None),
    ):
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\n{flags}\n")
        assert is_virtual_machine(path) is expected
    assert is_virtual_machine(tmp_path / "nothing") is None


class Said:
    """A machine that says that it is shared."""

    def __init__(self, clock: VirtualClock, wait_share: float) -> None:
        self.clock, self.wait_share = clock, wait_share

    def read(self) -> Mapping[str, float]:
        now = self.clock.now_s
        return {"clock_s": now, "cpu_s": now * (1.0 - self.wait_share), "run_wait_s": now * self.wait_share}


def test_a_board_whose_clock_falls_is_watched_for_longer_and_one_that_only_heats_up_is_not() -> None:
    def duration_s(degrees_per_s: float, fall_per_s: float = 0.0) -> float:
        clock, model = VirtualClock(), torch.nn.Linear(1, 1)

        class Thermometer:
            def read(self) -> Mapping[str, float]:
                return {
                    "clock_s": clock.now_s,
                    "temperature_c": 40.0 + degrees_per_s * clock.now_s,
                    "clock_ratio": 1.0 - fall_per_s * clock.now_s,
                }

        training = Training(
            model=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            criterion=None,
            data=torch.utils.data.DataLoader(range(20_000), batch_size=2),
            train_step=lambda *_: clock.advance(0.01),
        )
        with clock.installed():
            return run_benchmark(
                training, BenchmarkPlan(epoch_count=50), machine=Machine(device="cpu"), signals=Thermometer()
            ).duration_s

    assert duration_s(0.0, fall_per_s=0.02) > duration_s(0.0) + 8.0
    assert duration_s(1.0) == pytest.approx(duration_s(0.0), abs=1.0)


@pytest.mark.parametrize("wait_share", [0.0, 0.3])
def test_the_one_reader_is_injected_and_its_word_is_in_the_log(wait_share: float) -> None:
    clock, model = VirtualClock(), torch.nn.Linear(1, 1)
    training = Training(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        criterion=None,
        data=torch.utils.data.DataLoader(range(2000), batch_size=2),
        train_step=lambda *_: clock.advance(0.01),
    )
    options: dict[str, Any] = {"machine": Machine(device="cpu"), "signals": Said(clock, wait_share)}
    with clock.installed():
        log = run_benchmark(training, BenchmarkPlan(epoch_count=50), **options)
    assert log.machine_signals.run_wait_share == pytest.approx(wait_share)
