"""The power of the threads that a process may use."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest

from greenlove_mlflow.core.energy.cpu_power import CpuModel, cpu_family, cpu_power, plain_cpu
from greenlove_mlflow.tables import read_cpu_models, read_cpu_power

# Names as clouds, hypervisors, desktops, Macs and boards show them, with the threads visible there, and by which chip
# or which family of chips each is to be told.
SOCKETS = {model.name: model.tdp_w for model in read_cpu_models()}
SEEN = list(csv.DictReader((Path(__file__).resolve().parents[2] / "recordings" / "cpu_names.csv").open()))
# Five chips of one generation, at 2 to 8 W a thread.
MILAN = tuple(
    CpuModel(name=f"AMD EPYC 7{index}13", tdp_w=watts * threads, thread_count=threads)
    for index, (watts, threads) in enumerate([(2.0, 128), (3.0, 96), (4.0, 64), (5.0, 48), (8.0, 32)], start=1)
)


@pytest.mark.parametrize(
    ("name", "threads", "watts"),
    [
        ("Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz", 80, 270.0),
        ("AMD Ryzen 9 7950X 16-Core Processor", 32, 170.0),
        ("12th Gen Intel(R) Core(TM) i7-12700K", 20, 190.0),
        ("Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz", 8, 15.0),
        ("AMD Ryzen Threadripper PRO 7995WX 96-Cores", 192, 350.0),
    ],
)
def test_a_cpu_is_known_by_the_name_the_system_gives(name: str, threads: int, watts: float) -> None:
    power = read_cpu_power(name, threads)
    assert power.interval_w.point == watts
    assert power.caveat is None
    assert not power.interval_w.is_exact


def test_a_slice_of_a_server_has_a_slice_of_its_power() -> None:
    power = read_cpu_power("AMD EPYC 7763 64-Core Processor", 4)
    assert power.interval_w.point == pytest.approx(280.0 * 4 / 128)
    assert "4 of 128 threads" in power.note


def test_two_sockets_draw_twice_the_power_of_one() -> None:
    one, two = (read_cpu_power("AMD EPYC 7763 64-Core Processor", threads).interval_w for threads in (128, 256))
    assert two.point == 2.0 * one.point == 560.0


def test_a_desktop_chip_has_the_threads_of_its_system() -> None:
    known = (CpuModel(name="Intel Core i7-3770", tdp_w=77.0),)
    power = cpu_power("Intel(R) Core(TM) i7-3770 CPU @ 3.40GHz", 2, known, system_cpu_count=8)
    assert power.interval_w.point == pytest.approx(77.0 * 2 / 8)


def test_a_server_chip_without_threads_is_never_charged_whole() -> None:
    known = (*MILAN, CpuModel(name="AMD EPYC 7R13", tdp_w=225.0))
    power = cpu_power("AMD EPYC 7R13 Processor", 8, known)
    assert power.interval_w.contains(225.0 * 8 / 96)
    assert power.interval_w.high < 225.0
    assert power.caveat is not None
    assert power.caveat.code == "cpu-power-of-family"
    # The geometric mean of 2, 3, 4, 5 and 8 W.
    assert power.interval_w.point == pytest.approx(8.0 * 960.0**0.2)


def test_a_slice_is_never_charged_more_than_the_socket() -> None:
    known = (*MILAN, CpuModel(name="AMD EPYC 7R13", tdp_w=225.0))
    assert cpu_power("AMD EPYC 7R13 Processor", 96, known).interval_w.high == 225.0


def test_chips_with_fewer_threads_than_are_visible_say_nothing() -> None:
    more = tuple(CpuModel(name=f"AMD EPYC 79{index}3", tdp_w=256.0, thread_count=128) for index in range(4))
    assert cpu_power("AMD EPYC 7B13", 100, (*MILAN, *more)).interval_w.point == pytest.approx(200.0)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("AMD EPYC 7R13 Processor", "EPYC Milan"),
        ("AMD EPYC 7B13", "EPYC Milan"),
        ("AMD EPYC 7V73X 64-Core Processor", "EPYC Milan"),
        ("AMD EPYC 7B12", "EPYC Rome"),
        ("AMD EPYC 7571", "EPYC Naples"),
        ("AMD EPYC 9B14", "EPYC Genoa"),
        ("AMD EPYC 9R14", "EPYC Genoa"),
        ("AMD EPYC 9V74 80-Core Processor", "EPYC Genoa"),
        ("AMD EPYC 9B45", "EPYC Turin"),
        ("AMD EPYC", "EPYC"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "Xeon Sapphire Rapids"),
        ("Intel(R) Xeon(R) Platinum 8480C", "Xeon Sapphire Rapids"),
        ("INTEL(R) XEON(R) PLATINUM 8581C CPU @ 2.10GHz", "Xeon Emerald Rapids"),
        ("Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz", "Xeon Ice Lake"),
        ("Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz", "Xeon E5 v4"),
        ("Intel(R) Xeon(R) Processor @ 2.20GHz", "Xeon"),
        ("Neoverse-V2", "ARM server"),
        ("Annapurna Labs Graviton4", "ARM server"),
        ("NVIDIA Grace", "ARM server"),
        ("AMD EPYC-Rome Processor", "EPYC Rome"),
        ("Intel Xeon Processor (Skylake, IBRS)", "Xeon Skylake"),
        ("Intel Xeon Processor (Cascadelake)", "Xeon Cascade Lake"),
        ("Intel(R) Core(TM) i9-13900K", None),
        ("AMD Ryzen 9 7950X 16-Core Processor", None),
        ("Apple M2 Pro", None),
    ],
)
def test_a_cloud_name_belongs_to_a_generation(name: str, family: str | None) -> None:
    assert cpu_family(name) == family


@pytest.mark.parametrize("seen", SEEN, ids=[f"{seen['name']}, {seen['thread_count']} threads" for seen in SEEN])
def test_a_name_that_a_system_shows_is_told_by_its_chip_or_its_kin_and_by_the_thread(seen: dict[str, str]) -> None:
    threads = int(seen["thread_count"])
    power = read_cpu_power(seen["name"], threads)
    is_of_kin = "chips)" in power.note
    assert seen["told_by"] in power.note
    assert is_of_kin == (power.caveat is not None)
    # No chip of today draws more than this by the thread, in any of its sizes.
    assert 0.5 < power.interval_w.point / threads < 8.0
    if seen["told_by"] in SOCKETS and "turbo" not in power.note:
        assert power.interval_w.point <= SOCKETS[seen["told_by"]] * (2.0 if "of 52 threads" in power.note else 1.0)


@pytest.mark.parametrize(
    ("name", "visible", "watts"),
    [
        ("AMD EPYC 7R13 Processor", 8, 18.75),
        ("Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz", 8, 32.2),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", 104, 325.0),
        ("Intel(R) Xeon(R) Platinum 8480C", 96, 300.0),
    ],
)
def test_the_range_of_a_slice_holds_what_the_maker_prints(name: str, visible: int, watts: float) -> None:
    interval = read_cpu_power(name, visible).interval_w
    assert interval.contains(watts)
    assert interval.point == pytest.approx(watts, rel=0.6)


@pytest.mark.parametrize("name", [None, "Abacus"])
def test_an_unknown_cpu_is_taken_by_thread_and_said(name: str | None) -> None:
    power = read_cpu_power(name, 2)
    assert power.caveat is not None
    assert power.caveat.code == "cpu-power-unknown"
    assert 2.0 < power.interval_w.point < 15.0
    assert power.interval_w.high > 1.5 * power.interval_w.point
    assert read_cpu_power(name, 4).interval_w.point == pytest.approx(2.0 * power.interval_w.point)


def test_base_and_turbo_power_are_both_said() -> None:
    power = read_cpu_power("13th Gen Intel(R) Core(TM) i9-13900", 32)
    assert "base 65 W, turbo 219 W" in power.note
    assert power.interval_w.contains(65.0)
    assert power.interval_w.contains(219.0)


@pytest.mark.parametrize("visible", [8, 16, 32])
def test_nine_of_ten_server_chips_lie_in_the_range_when_their_threads_are_withheld(visible: int) -> None:
    models = read_cpu_models()
    servers = [each for each in models if (each.thread_count or 0) >= 32 and cpu_family(each.name)][::6]
    known = [each for each in models if each.thread_count]
    held = []
    for chip in servers:
        blind = [dataclasses.replace(each, thread_count=None) if each is chip else each for each in known]
        interval = cpu_power(chip.name, visible, blind).interval_w
        held.append(interval.contains(chip.tdp_w * visible / (chip.thread_count or 1)))
        assert interval.high <= chip.tdp_w
    assert sum(held) / len(held) >= 0.9


def test_a_core_count_in_a_name_is_no_part_of_it() -> None:
    assert plain_cpu("AMD Ryzen Threadripper PRO 5975WX 32-Cores") == "amd ryzen threadripper pro 5975wx"
