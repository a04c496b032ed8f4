"""RAPL: the CPU's own counters, wrapped, mirrored or forbidden."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.power import open_meter, rapl
from tests.support.factories import a_machine

WRAPS_AT_UJ = 262_143_328_850


class FakeRapl:
    """A powercap folder whose counters are written by the test, in microjoules."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def set(self, folder: str, name: str, energy_uj: int, *, wraps_at_uj: int | None = WRAPS_AT_UJ) -> None:
        domain = self.root / folder
        domain.mkdir(parents=True, exist_ok=True)
        (domain / "name").write_text(f"{name}\n")
        (domain / "energy_uj").write_text(f"{energy_uj}\n")
        if wraps_at_uj is not None:
            (domain / "max_energy_range_uj").write_text(f"{wraps_at_uj}\n")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRapl:
    monkeypatch.setattr(rapl, "POWERCAP", tmp_path)
    return FakeRapl(tmp_path)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    at = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: at[0])
    monkeypatch.setattr(time, "process_time", lambda: at[0])
    return at


def test_packages_are_summed_and_memory_stands_apart(fake: FakeRapl, now: list[float]) -> None:
    fake.set("intel-rapl:0", "package-0", 1_000_000_000)
    fake.set("intel-rapl:0:0", "core", 700_000_000)
    fake.set("intel-rapl:0:1", "dram", 90_000_000)
    fake.set("intel-rapl:1", "package-1", 5_000_000_000)
    fake.set("intel-rapl:2", "psys", 9_000_000_000)
    with open_meter(a_machine()) as meter:
        with meter.window():
            now[0] += 10.0
            fake.set("intel-rapl:0", "package-0", 1_500_000_000)
            fake.set("intel-rapl:0:1", "dram", 140_000_000)
            fake.set("intel-rapl:1", "package-1", 5_300_000_000)
        readings = {reading.device: reading for reading in meter.readings()}
        assert meter.energy_j() == pytest.approx(850.0)
    assert (readings["cpu"].source, readings["cpu"].power_w) == ("counter", pytest.approx(80.0))
    assert readings["ram"].power_w == pytest.approx(5.0)
    assert readings["cpu"].note == "RAPL counter"


def test_a_counter_that_wraps_goes_on(fake: FakeRapl, now: list[float]) -> None:
    fake.set("intel-rapl:0", "package-0", WRAPS_AT_UJ - 100_000_000)
    with open_meter(a_machine()) as meter:
        now[0] += 10.0
        fake.set("intel-rapl:0", "package-0", 400_000_000)
        assert meter.energy_j() == pytest.approx(500.0)


def test_a_second_sight_of_one_counter_counts_once(fake: FakeRapl, now: list[float]) -> None:
    fake.set("intel-rapl:0", "package-0-die-0", 5_000_000_000)
    fake.set("intel-rapl:1", "package-0-die-1", 5_000_020_000)
    with open_meter(a_machine()) as meter:
        now[0] += 10.0
        fake.set("intel-rapl:0", "package-0-die-0", 5_500_000_000)
        fake.set("intel-rapl:1", "package-0-die-1", 5_500_020_000)
        assert meter.energy_j() == pytest.approx(500.0)


def test_packages_shown_a_second_time_by_mmio_count_once(fake: FakeRapl, now: list[float]) -> None:
    fake.set("intel-rapl:0", "package-0", 5_000_000_000)
    fake.set("intel-rapl-mmio:0", "package-0", 7_000_000_000)
    with open_meter(a_machine()) as meter:
        now[0] += 10.0
        fake.set("intel-rapl:0", "package-0", 5_500_000_000)
        fake.set("intel-rapl-mmio:0", "package-0", 7_500_000_000)
        assert meter.energy_j() == pytest.approx(500.0)


def test_a_forbidden_counter_is_modelled_and_says_why(
    fake: FakeRapl, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.set("intel-rapl:0", "package-0", 5_000_000_000)

    def refuse(domain: rapl.RaplDomain) -> float:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(rapl.RaplDomain, "read_j", refuse)
    with open_meter(a_machine(), cpu_power=Interval.exactly(50.0)) as meter:
        now[0] += 10.0
        (reading,) = meter.readings()
        (caveat,) = meter.caveats()
    assert reading.source == "modelled"
    assert "administrator" in caveat.message


def test_a_counter_that_stands_still_is_not_zero_watts(fake: FakeRapl, now: list[float]) -> None:
    fake.set("intel-rapl:0", "package-0", 0)
    with open_meter(a_machine(), cpu_power=Interval.exactly(50.0)) as meter:
        with meter.window():
            now[0] += 10.0
        (reading,) = meter.readings()
    assert (reading.source, reading.power_w) == ("modelled", pytest.approx(25.0))


def test_a_counter_that_jumps_leaves_energy_unknown(fake: FakeRapl, now: list[float]) -> None:
    fake.set("intel-rapl:0", "package-0", 5_000_000_000)
    with open_meter(a_machine()) as meter:
        now[0] += 1.0
        fake.set("intel-rapl:0", "package-0", 200_000_000_000)
        assert meter.energy_j() is None
        assert "energy-counter-reset" in {caveat.code for caveat in meter.caveats()}


@pytest.mark.parametrize("content", ["", "garbage", "-"])
def test_a_torn_file_is_no_counter(fake: FakeRapl, now: list[float], content: str) -> None:
    fake.set("intel-rapl:0", "package-0", 1)
    (fake.root / "intel-rapl:0" / "energy_uj").write_text(content)
    with open_meter(a_machine()) as meter:
        assert meter.readings() == ()


def test_a_counter_that_vanishes_for_a_while_is_caught_up(fake: FakeRapl, now: list[float]) -> None:
    fake.set("intel-rapl:0", "package-0", 1_000_000_000)
    with open_meter(a_machine()) as meter:
        now[0] += 5.0
        (fake.root / "intel-rapl:0" / "energy_uj").unlink()
        meter.energy_j()
        now[0] += 5.0
        fake.set("intel-rapl:0", "package-0", 1_400_000_000)
        assert meter.energy_j() == pytest.approx(400.0)
