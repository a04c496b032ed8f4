"""The probe of hardware that no table knows, on a clock of our own."""

from __future__ import annotations

import random
import time

import pytest
import torch

from greenlove_mlflow.benchmark.machine.probe import MAX_REPEATS, probe_hardware
from greenlove_mlflow.errors import BenchmarkError


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
        self.now_s, self.step_s, self.reads = 0.0, step_s, 0
        monkeypatch.setattr(time, "perf_counter", self.read)

    def read(self) -> float:
        self.now_s += self.step_s
        self.reads += 1
        return self.now_s


def test_the_cpu_gives_two_rates_with_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, 0.01)
    found = probe_hardware("cpu", "fp32", device_name="this one")
    assert found.device_name == "this one"
    for rate in (found.matmul_tflops, found.copy_gb_per_s):
        assert rate.point > 0.0
        assert rate.low < rate.point < rate.high


def test_it_ends_on_a_clock_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.0)
    monkeypatch.setattr("greenlove_mlflow.benchmark.machine.probe.MAX_SIDE", 256)
    probe_hardware("cpu", "fp32")
    assert clock.reads < 8 * MAX_REPEATS


def test_it_keeps_to_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.2)
    monkeypatch.setattr("greenlove_mlflow.benchmark.machine.probe.MAX_SIDE", 256)
    probe_hardware("cpu", "fp32", budget_s=2.0)
    assert clock.now_s <= 4.0


def test_it_leaves_random_numbers_and_settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, 0.01)
    before = torch.get_rng_state(), random.getstate(), torch.get_float32_matmul_precision(), torch.is_grad_enabled()
    probe_hardware("cpu", "tf32")
    assert torch.equal(torch.get_rng_state(), before[0])
    after = random.getstate(), torch.get_float32_matmul_precision(), torch.is_grad_enabled()
    assert after == before[1:]


def test_a_precision_without_a_product_falls_back_to_full(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, 0.01)
    real = torch.mm

    def only_full(left: torch.Tensor, right: torch.Tensor, **more: object) -> torch.Tensor:
        if left.dtype != torch.float32:
            raise RuntimeError("not implemented for 'Half'")
        return real(left, right, **more)

    monkeypatch.setattr(torch, "mm", only_full)
    assert probe_hardware("cpu", "fp16").matmul_tflops.point > 0.0


def test_a_device_that_multiplies_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("no")

    monkeypatch.setattr(torch, "mm", never)
    with pytest.raises(BenchmarkError, match="speed_ratios="):
        probe_hardware("cpu", "fp32")
