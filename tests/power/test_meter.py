"""What a training draws: the right board, the right joules, or a reason."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.speed.gpus import GpuSpec
from greenlove_mlflow.power import PowerMeter, open_meter, rapl
from greenlove_mlflow.power import meter as meter_module
from tests.support.factories import a_machine
from tests.support.nvml import ERRORS, FakeBoard, FakeNvml

OTHER_UUID = "GPU-99999999-8888-7777-6666-555555555555"
SLICE_UUID = "MIG-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


class VirtualClock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_s, self.cpu_s = 1000.0, 50.0

    def pass_s(self, seconds: float, *, busy: float = 0.0) -> None:
        self.now_s += seconds
        self.cpu_s += seconds * busy


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    virtual = VirtualClock()
    monkeypatch.setattr(time, "perf_counter", lambda: virtual.now_s)
    monkeypatch.setattr(time, "process_time", lambda: virtual.cpu_s)
    return virtual


@pytest.fixture(autouse=True)
def no_rapl(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(rapl, "POWERCAP", tmp_path / "no-powercap")


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Installs a fake NVML, and a torch that trains on its first board unless told otherwise."""
    installed: list[FakeNvml] = []

    def install(*boards: FakeBoard, torch_says: dict[str, Any] | None = None, **ways: Any) -> FakeNvml:
        fake = FakeNvml(*boards, **ways)
        installed.append(fake)
        first = boards[0] if boards else FakeBoard()
        said = {"uuid": first.uuid.removeprefix("GPU-"), "name": first.name} if torch_says is None else torch_says
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(**said))
        return fake

    yield install
    for fake in installed:
        fake.release.set()


def meter_gpu(**over: Any) -> Any:
    return open_meter(a_machine(device="cuda:0"), **{"torch_device": "cuda:0", **over})


def run_windows(meter: PowerMeter, clock: VirtualClock, *durations_s: float, gap_s: float = 1.0) -> None:
    """Steady windows of one look a second."""
    for duration_s in durations_s:
        with meter.window():
            for _ in range(max(1, int(duration_s))):
                clock.pass_s(duration_s / max(1, int(duration_s)))
                meter.energy_j()
        clock.pass_s(gap_s)


def codes(meter: PowerMeter) -> set[str]:
    return {caveat.code for caveat in meter.caveats()}


# --- the counter -------------------------------------------------------------------------------------------------


def test_energy_is_the_counter_in_joules(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard(power_w=300.0))
    with meter_gpu() as meter:
        clock.pass_s(10.0)
        assert meter.energy_j() == pytest.approx(3000.0, rel=1e-6)
        assert meter.is_metered


def test_power_is_the_mean_over_windows_and_not_over_the_pauses_between(nvml: Any, clock: VirtualClock) -> None:
    start_s = clock.now_s

    def power_w(at_s: float) -> float:
        return 400.0 if (at_s - start_s) % 10.0 < 6.0 else 50.0

    board = FakeBoard(power_w=power_w)
    # The counter follows the same two levels.
    board.energy_at = lambda at_s: (  # type: ignore[method-assign]
        2600.0 * ((at_s - start_s) // 10) + min((at_s - start_s) % 10, 6) * 400 + max(0, (at_s - start_s) % 10 - 6) * 50
    )
    nvml(board)
    with meter_gpu() as meter:
        run_windows(meter, clock, 6.0, 6.0, gap_s=4.0)
        (reading,) = meter.readings()
    assert reading.source == "counter"
    assert reading.power_w == pytest.approx(400.0, rel=1e-6)
    assert reading.window_s == pytest.approx(12.0)
    assert reading.energy_j == pytest.approx(4800.0, rel=1e-6)


def test_counter_and_samples_that_agree_raise_no_caveat(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard(power_w=300.0))
    with meter_gpu() as meter:
        run_windows(meter, clock, 12.0)
        (reading,) = meter.readings()
        assert codes(meter) == set()
    assert reading.sampled_power_w == pytest.approx(300.0)
    assert reading.log_half_width < 0.12


def test_counter_and_samples_that_differ_give_a_range_that_holds_both(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard(power_w=327.0, counter_w=187.0))
    with meter_gpu() as meter:
        run_windows(meter, clock, 12.0)
        (reading,) = meter.readings()
        assert "power-sources-disagree" in codes(meter)
    assert reading.power_w == pytest.approx(187.0, rel=1e-3)
    assert Interval.from_log_width(reading.power_w, reading.log_half_width).contains(327.0)


def test_a_short_window_is_wide_and_says_so(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard(power_w=300.0, tick_s=0.1))
    with meter_gpu() as meter:
        run_windows(meter, clock, 0.33)
        (reading,) = meter.readings()
        assert "short-energy-window" in codes(meter)
    assert Interval.from_log_width(reading.power_w, reading.log_half_width).contains(300.0)
    assert reading.log_half_width > 0.25


def test_short_windows_that_add_up_are_trusted(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard(power_w=300.0, tick_s=0.1))
    with meter_gpu() as meter:
        run_windows(meter, clock, 2.0, 2.0, 2.0)
        (reading,) = meter.readings()
        assert "short-energy-window" not in codes(meter)
    assert reading.log_half_width < 0.12


def test_every_window_has_its_own_two_edges(nvml: Any, clock: VirtualClock) -> None:
    def tick_width(*durations_s: float) -> float:
        nvml(FakeBoard(power_w=300.0, tick_s=0.1))
        with meter_gpu() as meter:
            run_windows(meter, clock, *durations_s)
            (reading,) = meter.readings()
        return math.sqrt(reading.log_half_width**2 - (1.96 * 0.05) ** 2)

    assert tick_width(*[1.0] * 25) == pytest.approx(5.0 * tick_width(25.0), rel=0.05)


def test_a_counter_that_starts_again_never_gives_negative_energy(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard(power_w=300.0, resets_at_s=(clock.now_s + 5.5,)))
    seen = []
    with meter_gpu() as meter:
        with meter.window():
            for _ in range(12):
                clock.pass_s(1.0)
                seen.append(meter.energy_j())
        (reading,) = meter.readings()
        assert "energy-counter-reset" in codes(meter)
    assert seen == sorted(seen)
    # The samples fill the second that the counter lost.
    assert seen[-1] == pytest.approx(3600.0, rel=1e-6)
    assert reading.power_w == pytest.approx(300.0, rel=1e-6)


def test_a_reset_without_samples_is_filled_with_the_mean_of_the_rest(nvml: Any, clock: VirtualClock) -> None:
    nvml(
        FakeBoard(resets_at_s=(clock.now_s + 5.5,)),
        failing={"nvmlDeviceGetFieldValues": "NotSupported", "nvmlDeviceGetPowerUsage": "NotSupported"},
    )
    with meter_gpu() as meter:
        run_windows(meter, clock, 12.0)
        assert meter.energy_j() == pytest.approx(3900.0, rel=1e-6)
        (reading,) = meter.readings()
    # The seconds that the counter did see still tell the mean power.
    assert reading.power_w == pytest.approx(300.0, rel=1e-6)
    assert reading.window_s == pytest.approx(11.0)


def test_a_counter_that_fails_for_a_while_loses_nothing(nvml: Any, clock: VirtualClock) -> None:
    fake = nvml(FakeBoard(power_w=300.0))
    with meter_gpu() as meter, meter.window():
        clock.pass_s(3.0)
        meter.energy_j()
        fake.failing["nvmlDeviceGetTotalEnergyConsumption"] = "Unknown"
        clock.pass_s(3.0)
        meter.energy_j()
        del fake.failing["nvmlDeviceGetTotalEnergyConsumption"]
        clock.pass_s(3.0)
        assert meter.energy_j() == pytest.approx(2700.0, rel=1e-6)


def test_without_a_counter_the_samples_are_integrated(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard(power_w=250.0), failing={"nvmlDeviceGetTotalEnergyConsumption": "NotSupported"})
    with meter_gpu() as meter:
        run_windows(meter, clock, 10.0)
        (reading,) = meter.readings()
    assert reading.source == "sampled"
    assert reading.power_w == pytest.approx(250.0)
    assert reading.energy_j == pytest.approx(2500.0)


def test_power_that_lags_is_not_counted_in_the_first_second(nvml: Any, clock: VirtualClock) -> None:
    start_s = clock.now_s

    def lagging(at_s: float) -> float:
        return 60.0 if at_s - start_s < 1.0 else 260.0

    nvml(
        FakeBoard(power_w=lagging, has_instant_power=False),
        failing={"nvmlDeviceGetTotalEnergyConsumption": "NotSupported"},
    )
    with meter_gpu() as meter:
        run_windows(meter, clock, 10.0)
        (reading,) = meter.readings()
    assert reading.power_w == pytest.approx(260.0)


@pytest.mark.parametrize("binding", [{"gives_bytes": True}, {"missing": {"nvmlDeviceGetFieldValues"}}])
def test_older_bindings_are_understood(nvml: Any, clock: VirtualClock, binding: dict[str, Any]) -> None:
    nvml(FakeBoard(), **binding)
    with meter_gpu() as meter:
        run_windows(meter, clock, 6.0)
        assert meter.readings()[0].source == "counter"


# --- which board -------------------------------------------------------------------------------------------------


def two_boards() -> tuple[FakeBoard, FakeBoard]:
    """NVML's order; CUDA would count the second first, because it is faster."""
    slow = FakeBoard(uuid=OTHER_UUID, name="Tesla T4", power_w=70.0, bus_id="00000000:01:00.0")
    return slow, FakeBoard(power_w=700.0, bus_id="00000000:02:00.0")


def measured_w(clock: VirtualClock, **over: Any) -> tuple[float | None, set[str]]:
    with meter_gpu(**over) as meter:
        run_windows(meter, clock, 6.0)
        readings = meter.readings()
        return (readings[0].power_w if readings else None), codes(meter)


def test_the_board_is_found_by_uuid_whatever_its_index(nvml: Any, clock: VirtualClock) -> None:
    slow, fast = two_boards()
    nvml(slow, fast, torch_says={"uuid": fast.uuid.removeprefix("GPU-"), "name": fast.name})
    assert measured_w(clock)[0] == pytest.approx(700.0)


def test_a_gpu_index_of_another_board_is_not_followed(nvml: Any, clock: VirtualClock) -> None:
    slow, fast = two_boards()
    nvml(slow, fast, torch_says={"uuid": fast.uuid.removeprefix("GPU-"), "name": fast.name})
    power_w, said = measured_w(clock, gpu_index=0)
    assert power_w == pytest.approx(700.0)
    assert "gpu-index-ignored" in said


def test_the_pci_address_serves_where_torch_knows_no_uuid(nvml: Any, clock: VirtualClock) -> None:
    slow, fast = two_boards()
    nvml(slow, fast, torch_says={"name": fast.name, "pci_domain_id": 0, "pci_bus_id": 2, "pci_device_id": 0})
    assert measured_w(clock)[0] == pytest.approx(700.0)


@pytest.mark.parametrize(
    ("visible", "order", "power_w"),
    [
        (FakeBoard().uuid, None, 700.0),
        (f" {FakeBoard().uuid[:12]} , ", None, 700.0),
        ("1", "PCI_BUS_ID", 700.0),
        (" 1 ,", "PCI_BUS_ID", 700.0),
        ("1", None, 700.0),
        (None, None, 700.0),
        ("0", "PCI_BUS_ID", None),
        ("-1", None, None),
        ("", None, None),
        ("GPU-0", None, None),
    ],
)
def test_what_cuda_was_told_is_read_as_cuda_reads_it(
    nvml: Any, clock: VirtualClock, visible: str | None, order: str | None, power_w: float | None
) -> None:
    slow, fast = two_boards()
    nvml(slow, fast, torch_says={"name": fast.name})
    found_w, said = measured_w(clock, visible_devices=visible, device_order=order)
    assert found_w == (None if power_w is None else pytest.approx(power_w))
    assert ("power-not-metered" in said) == (power_w is None)


def test_two_boards_of_another_name_are_not_guessed_between(nvml: Any, clock: VirtualClock) -> None:
    nvml(*two_boards(), torch_says={"name": "Some other GPU"})
    power_w, said = measured_w(clock)
    assert power_w is None
    assert {"power-not-metered", "power-unknown"} <= said


def test_a_uuid_that_nvml_does_not_know_is_not_replaced_by_an_index(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard(), torch_says={"uuid": "deadbeef", "name": FakeBoard().name})
    assert measured_w(clock)[0] is None


@pytest.mark.parametrize(
    "told",
    [
        {"torch_says": {"uuid": SLICE_UUID.removeprefix("MIG-"), "name": "NVIDIA H100 MIG 1g.10gb"}},
        {"torch_says": {"name": "NVIDIA H100 MIG 1g.10gb"}, "visible_devices": SLICE_UUID},
        {"torch_says": {"name": "x"}, "visible_devices": f"MIG-{FakeBoard().uuid}/1/0"},
        {"mig": (1, 1)},
    ],
)
def test_a_slice_is_metered_as_its_whole_board_and_says_so(
    nvml: Any, clock: VirtualClock, told: dict[str, Any]
) -> None:
    board = FakeBoard(slices=(SLICE_UUID,), mig=told.pop("mig", (0, 0)))
    nvml(board, torch_says=told.pop("torch_says", None))
    power_w, said = measured_w(clock, **told)
    assert power_w == pytest.approx(300.0)
    assert "mig-whole-board" in said


def test_another_process_on_the_board_is_told(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard(pids=(os.getpid(), 4711)))
    assert "gpu-shared" in measured_w(clock)[1]


def test_a_rank_of_the_same_training_is_no_other_process(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard(pids=(os.getpid(), 4711)))
    assert "gpu-shared" not in measured_w(clock, neighbour_pids=(4711,))[1]


def test_this_process_alone_on_the_board_is_no_company(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard(pids=(os.getpid(),)))
    assert "gpu-shared" not in measured_w(clock)[1]


def test_under_another_name_space_of_processes_one_of_them_is_this_one(
    nvml: Any, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    nvml(FakeBoard(pids=(999_999_001,)))
    assert "gpu-shared" not in measured_w(clock)[1]


# --- no meter ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ways",
    [
        {"failing": {"nvmlInit": "LibraryNotFound"}},
        {"failing": {"nvmlInit": "DriverNotLoaded"}},
        {"failing": {"nvmlInit": "LibRmVersionMismatch"}},
        {"missing": {"nvmlInit"}},
        {
            "failing": {
                "nvmlDeviceGetTotalEnergyConsumption": "NoPermission",
                "nvmlDeviceGetPowerUsage": "NotSupported",
                "nvmlDeviceGetFieldValues": "FunctionNotFound",
            }
        },
    ],
)
def test_without_a_meter_power_is_the_tdp_times_a_utilisation_and_says_so(
    nvml: Any, clock: VirtualClock, ways: dict[str, Any]
) -> None:
    nvml(FakeBoard(), **ways)
    spec = GpuSpec(gpu_id="h100", name="H100", tdp_w=700.0)
    with meter_gpu(gpu_spec=spec, gpu_utilization=0.5) as meter:
        run_windows(meter, clock, 6.0)
        (reading,) = meter.readings()
        assert {"power-not-metered", "power-modelled"} <= codes(meter)
        assert meter.energy_j() is None
        assert not meter.is_metered
        assert meter.energy_j(modelled=True) == pytest.approx(350.0 * 7.0)
    assert (reading.source, reading.power_w, reading.energy_j) == ("modelled", 350.0, None)
    assert reading.log_half_width > math.log(1.4)


def test_a_laptops_board_is_modelled_between_what_its_maker_may_set(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard(), failing={"nvmlInit": "LibraryNotFound"})
    spec = GpuSpec(gpu_id="laptop", name="Laptop", tdp_w=80.0, tdp_max_w=180.0)
    with meter_gpu(gpu_spec=spec, gpu_utilization=1.0) as meter:
        run_windows(meter, clock, 6.0)
        (reading,) = meter.readings()
    assert reading.power_w == pytest.approx(120.0)
    assert reading.log_half_width > math.log(1.5)
    assert "80 to 180 W" in reading.note


def test_no_binding_is_no_error(monkeypatch: pytest.MonkeyPatch, clock: VirtualClock) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with meter_gpu() as meter:
        assert meter.readings() == ()
        assert "power-unknown" in codes(meter)


def test_a_given_tdp_stands_where_nothing_can_be_read(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard(), failing={"nvmlInit": "LibraryNotFound"})
    spec = GpuSpec(gpu_id="h100", name="H100", tdp_w=700.0)
    with meter_gpu(tdp_w=350.0, gpu_utilization=0.75, gpu_spec=spec) as meter:
        (reading,) = meter.readings()
    assert (reading.source, reading.power_w) == ("given", 262.5)


def test_a_meter_outranks_a_given_tdp(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard())
    with meter_gpu(tdp_w=350.0) as meter:
        run_windows(meter, clock, 6.0)
        assert meter.readings()[0].source == "counter"


def test_unknown_power_of_the_board_is_not_replaced_by_the_cpu_alone(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard(), failing={"nvmlInit": "LibraryNotFound"})
    with meter_gpu(cpu_power=Interval.exactly(100.0)) as meter:
        run_windows(meter, clock, 6.0)
        assert meter.readings() == ()
        assert meter.energy_j(modelled=True) is None


def test_a_lost_board_keeps_what_was_read_and_counts_nothing_more(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard(lost_at_s=clock.now_s + 8.0))
    with meter_gpu() as meter:
        run_windows(meter, clock, 6.0)
        clock.pass_s(5.0)
        assert meter.energy_j() is None
        (reading,) = meter.readings()
        assert "power-meter-lost" in codes(meter)
    assert reading.power_w == pytest.approx(300.0)


def test_nvml_is_let_go_as_often_as_it_was_taken(nvml: Any, clock: VirtualClock) -> None:
    fake = nvml(FakeBoard())
    with meter_gpu():
        assert fake.init_count == 1
    assert fake.init_count == 0


# --- hanging -----------------------------------------------------------------------------------------------------


def test_a_call_that_hangs_on_opening_leaves_a_model(
    nvml: Any, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter_module, "OPEN_TIMEOUT_S", 0.05)
    nvml(FakeBoard(), hanging={"nvmlInit"})
    with meter_gpu(tdp_w=300.0) as meter:
        assert meter.readings()[0].source == "given"
        assert "power-meter-hung" in codes(meter)


def test_a_call_that_hangs_later_is_waited_for_once_and_never_stops_closing(
    nvml: Any, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter_module, "CLOSE_TIMEOUT_S", 0.05)
    fake = nvml(FakeBoard())
    with meter_gpu() as meter:
        run_windows(meter, clock, 6.0)
        fake.hanging.add("nvmlDeviceGetTotalEnergyConsumption")
        assert meter.energy_j() is None
        asked = len(fake.calls)
        for _ in range(50):
            assert meter.energy_j() is None
        assert len(fake.calls) == asked
        (reading,) = meter.readings()
        assert "power-meter-hung" in codes(meter)
    assert reading.power_w == pytest.approx(300.0)


def only_power(failing_from_s: float, failing_to_s: float) -> dict[str, Any]:
    def flaky(ask: Any) -> Any:
        if failing_from_s <= ask.at_s < failing_to_s:
            raise ERRORS["Unknown"]
        return ask.real()

    failing = {"nvmlDeviceGetTotalEnergyConsumption": "NotSupported", "nvmlDeviceGetFieldValues": "NotSupported"}
    return {"failing": failing, "over": {"nvmlDeviceGetPowerUsage": flaky}}


@pytest.mark.parametrize(
    ("silent_s", "is_metered", "metered_j", "any_j"),
    [
        (1.0, True, 6000.0, 6000.0),
        (6.0, False, 6000.0, 6000.0),
        (13.0, False, None, 6000.0),
        (19.0, False, None, 4900.0),
    ],
)
def test_the_more_of_the_time_is_filled_the_less_is_claimed(
    nvml: Any, clock: VirtualClock, silent_s: float, is_metered: bool, metered_j: float | None, any_j: float
) -> None:
    nvml(FakeBoard(power_w=300.0), **only_power(20.0 - silent_s, 99.0))
    with meter_gpu(gpu_spec=GpuSpec(gpu_id="h100", name="H100", tdp_w=350.0), gpu_utilization=0.7) as meter:
        for _ in range(200):
            clock.pass_s(0.1)
            meter.energy_j()
        assert meter.is_metered is is_metered
        assert meter.energy_j() == (None if metered_j is None else pytest.approx(metered_j, rel=0.01))
        assert meter.energy_j(modelled=True) == pytest.approx(any_j, rel=0.01)
        assert ("power-gaps" in codes(meter)) is not is_metered
        assert bool(meter.energy_note()) is not is_metered


@pytest.mark.parametrize("more_windows", [0, 1])
def test_a_window_that_ended_while_the_board_hung_is_not_taken_for_an_open_one(
    nvml: Any, clock: VirtualClock, more_windows: int
) -> None:
    fake = nvml(FakeBoard(power_w=300.0))
    with meter_gpu() as meter:
        with meter.window():
            for _ in range(6):
                clock.pass_s(1.0)
                meter.energy_j()
            fake.hanging.add("nvmlDeviceGetTotalEnergyConsumption")
        for _ in range(more_windows):
            clock.pass_s(3.0)
            with meter.window():
                clock.pass_s(5.0)
        clock.pass_s(10.0)
        fake.hanging.clear()
        fake.release.set()
        for _ in range(200):
            time.sleep(0.01)
            if meter.energy_j() is not None:
                break
        for _ in range(20):
            clock.pass_s(1.0)
            meter.energy_j()
        (reading,) = meter.readings()
    # Neither windows whose edges nobody saw nor the time behind them are taken for steady training.
    assert reading.window_s == pytest.approx(6.0)


# --- the thread --------------------------------------------------------------------------------------------------


def test_samples_come_by_themselves(nvml: Any) -> None:
    nvml(FakeBoard(power_w=123.0))
    three = threading.Event()
    seen: list[Any] = []

    def on_sample(sample: Any) -> None:
        seen.append(sample)
        if len(seen) >= 3:
            three.set()

    with meter_gpu(poll_interval_s=0.01, on_sample=on_sample) as meter:
        assert three.wait(20.0)
    assert {sample.device for sample in seen} == {"gpu_0"}
    assert all(sample.power_w == pytest.approx(123.0) for sample in seen)
    assert list(meter.samples()) == sorted(meter.samples(), key=lambda sample: sample.at_s)


def test_a_callback_that_raises_stops_nothing(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard())

    def broken(sample: Any) -> None:
        raise RuntimeError("disk full")

    with meter_gpu(on_sample=broken) as meter:
        run_windows(meter, clock, 6.0)
        assert meter.readings()[0].source == "counter"


def test_a_closed_meter_still_tells_and_closes_again(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard())
    with meter_gpu() as meter:
        run_windows(meter, clock, 6.0)
    meter.close()
    clock.pass_s(100.0)
    assert meter.readings()[0].window_s == pytest.approx(6.0)
    assert meter.energy_j() == pytest.approx(2100.0)


def test_an_exception_in_a_window_passes_through(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard())
    with meter_gpu() as meter:
        with pytest.raises(ZeroDivisionError), meter.window():  # noqa: PT012 - the clock passes inside
            clock.pass_s(6.0)
            raise ZeroDivisionError
        clock.pass_s(6.0)
        assert meter.readings()[0].window_s == pytest.approx(6.0)


def test_energy_may_be_asked_from_many_threads(nvml: Any) -> None:
    nvml(FakeBoard())
    results: list[float | None] = []
    with meter_gpu(poll_interval_s=0.005) as meter:

        def ask() -> None:
            results.extend(meter.energy_j() for _ in range(50))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 200
    assert all(result is not None and result >= 0.0 for result in results)


# --- CPU and memory ----------------------------------------------------------------------------------------------


def test_the_cpu_is_modelled_by_the_share_of_its_cores_that_training_keeps_busy(clock: VirtualClock) -> None:
    machine = a_machine(visible_cpu_count=4)
    with open_meter(machine, cpu_power=Interval(point=80.0, low=60.0, high=100.0)) as meter:
        with meter.window():
            clock.pass_s(10.0, busy=2.0)
        clock.pass_s(50.0)
        (reading,) = meter.readings()
        assert meter.energy_j() is None
        assert meter.energy_j(modelled=True) == pytest.approx(400.0)
        assert codes(meter) == {"power-modelled"}
    assert (reading.device, reading.source) == ("cpu", "modelled")
    assert reading.power_w == pytest.approx(40.0)
    assert reading.log_half_width > math.log(100.0 / 60.0) / 2.0


def test_a_clock_of_cpu_time_that_stands_still_means_full_load_not_none(clock: VirtualClock) -> None:
    with open_meter(a_machine(), cpu_power=Interval.exactly(80.0)) as meter:
        with meter.window():
            clock.pass_s(10.0)
        (reading,) = meter.readings()
    assert reading.power_w == pytest.approx(80.0)


def test_memory_is_counted_when_its_figure_is_given(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    machine = a_machine(memory_gib=16.0)
    with open_meter(machine, cpu_power=Interval.exactly(80.0), ram_w_per_gib=Interval.exactly(0.5)) as meter:
        clock.pass_s(10.0, busy=2.0)
        readings = {reading.device: reading for reading in meter.readings()}
        assert meter.energy_j(modelled=True) == pytest.approx(80.0 * 10.0 + 8.0 * 10.0)
    assert readings["ram"].power_w == pytest.approx(8.0)


def test_memory_of_a_shared_machine_goes_with_its_cores(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    machine = a_machine(memory_gib=1024.0, visible_cpu_count=2)
    with open_meter(machine, cpu_power=Interval.exactly(80.0), ram_w_per_gib=Interval.exactly(0.5)) as meter:
        ram = next(reading for reading in meter.readings() if reading.device == "ram")
    assert ram.power_w == pytest.approx(16.0)
    assert "2 of 64 cores" in ram.note


def test_nothing_known_is_nothing_told(clock: VirtualClock) -> None:
    with open_meter(a_machine(), ram_w_per_gib=Interval.exactly(0.5)) as meter:
        clock.pass_s(10.0)
        assert meter.readings() == ()
        assert meter.energy_j() is None
        assert "power-unknown" in codes(meter)


def test_a_given_tdp_serves_a_training_on_the_cpu_too(clock: VirtualClock) -> None:
    with open_meter(a_machine(), tdp_w=200.0, gpu_utilization=0.5, cpu_power=Interval.exactly(80.0)) as meter:
        (reading,) = meter.readings()
    assert (reading.device, reading.source, reading.power_w) == ("cpu", "given", 100.0)


# --- signals -----------------------------------------------------------------------------------------------------


def test_the_meter_tells_what_the_board_said(nvml: Any, clock: VirtualClock) -> None:
    nvml(FakeBoard(throttle=0x20))
    with meter_gpu() as meter:
        said = dict(meter.signals())
    assert said["throttled_share"] == 1.0
    assert said["clock_ratio"] == pytest.approx(1410 / 1980)
    assert said["temperature_rise_c"] == 0.0
    assert meter.gauges() == {
        "clock_ratio": pytest.approx(1410 / 1980),
        "throttled": 1.0,
        "temperature_c": 60,
        "utilization": 0.97,
    }


@pytest.mark.gpu
def test_a_real_board_is_metered() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    with meter_gpu() as meter:
        values = torch.randn(4096, 4096, device="cuda:0")
        with meter.window():
            until_s = time.perf_counter() + 6.0
            while time.perf_counter() < until_s:
                values = (values @ values).clamp(-1.0, 1.0)
                torch.cuda.synchronize()
        (reading,) = [each for each in meter.readings() if each.device == "gpu_0"]
    assert reading.source in {"counter", "sampled"}
    assert 20.0 < reading.power_w < 2000.0
