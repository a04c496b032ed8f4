"""Boards that misbehave: the energy of a benchmark and of a training is right, or unknown with the reason.

    python reports/faults_nvml.py [--quick]

The first part opens the power meter alone on a fake of NVML, under a clock that passes when told to: a benchmark with a
steady window of ten seconds, then a training of twenty, both drawing 200 W. The second runs whole trackings of a small
training, in real time, whose board misbehaves while it trains.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "reports")]

import torch  # noqa: E402
from faults_count import Count  # noqa: E402

import greenlove_mlflow as greenlove  # noqa: E402
from greenlove_mlflow.core.energy.power import ASSUMED_UTILIZATION  # noqa: E402
from greenlove_mlflow.core.records import Machine  # noqa: E402
from greenlove_mlflow.core.speed.gpus import GpuSpec  # noqa: E402
from greenlove_mlflow.pipeline import ground  # noqa: E402
from greenlove_mlflow.power import PowerMeter, meter, open_meter, rapl  # noqa: E402
from greenlove_mlflow.units import J_PER_KWH  # noqa: E402
from tests.support.nvml import ERRORS, Ask, FakeBoard, FakeNvml  # noqa: E402

ENERGY, POWER, FIELDS = "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetFieldValues"
INSTANT_UNKNOWN = "NotSupported"
TRUE_W, TDP_W, MODEL_W = 200.0, 400.0, 280.0
IDLE_S, WINDOW_S, TRAINING_S, STEP_S = 1.0, 10.0, 20.0, 0.1
NAME, OTHER_UUID = "NVIDIA A100-SXM4-80GB", "GPU-99999999-8888-7777-6666-555555555555"
SLICE = "MIG-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
# A metered power may be off by this, an energy with filled gaps by a little more.
POWER_TOLERANCE, ENERGY_TOLERANCE = 0.05, 0.10
# Not a reason: said of readings that are fine, or beside a reason.
NO_REASONS = {"power-modelled", "short-energy-window"}
Answer = Callable[[Ask], Any]


# --- ways to misbehave ---------------------------------------------------------------------------------------------


def always(value: Any) -> Answer:
    """The same answer each time."""
    return lambda ask: value


def fails(code: str = "Unknown") -> Answer:
    """An error of NVML each time."""

    def answer(ask: Ask) -> Any:
        raise ERRORS[code]

    return answer


def raises(error: Exception) -> Answer:
    """Something that is no error of NVML."""

    def answer(ask: Ask) -> Any:
        raise error

    return answer


def between(start_s: float, end_s: float, odd: Answer) -> Answer:
    """Misbehaves for a while."""
    return lambda ask: odd(ask) if start_s <= ask.at_s < end_s else ask.real()


def every(count: int, odd: Answer) -> Answer:
    """Misbehaves each so many calls."""
    return lambda ask: odd(ask) if ask.number % count == 0 else ask.real()


def times(factor: float) -> Answer:
    """An answer in another unit."""
    return lambda ask: int(ask.real() * factor)


def stops(at_s: float, *, until_s: float = math.inf, catches_up: bool = True) -> Answer:
    """A counter that stands still for a while, then goes on from where it would be, or from where it stood."""
    frozen: list[int] = []
    resumed: list[int] = []

    def answer(ask: Ask) -> Any:
        if ask.at_s < at_s:
            frozen[:], resumed[:] = [], []
            return ask.real()
        if not frozen:
            frozen.append(ask.real())
        if ask.at_s < until_s:
            return frozen[0]
        if not resumed:
            resumed.append(ask.real())
        return ask.real() if catches_up else frozen[0] + ask.real() - resumed[0]

    return answer


def shifted(steps: dict[float, float]) -> Answer:
    """A counter that is off by some joules from some times on."""
    return lambda ask: int(ask.real() + 1000.0 * sum(by_j for at_s, by_j in steps.items() if ask.at_s >= at_s))


def wrapping(ask: Ask) -> Any:
    """A counter of 32 bits that starts again after 7 s."""
    began = ask.real() - int(TRUE_W * 1000 * ask.at_s)
    return (ask.real() - began + 2**32 - 1_400_000) % 2**32


def coarse(tick_s: float) -> Answer:
    """A counter that moves only now and then."""
    return lambda ask: int(5e9 + TRUE_W * 1000.0 * math.floor(ask.at_s / tick_s) * tick_s)


def later(seconds: float, clock: Clock) -> Answer:
    """An answer that takes its time, as much by the training's clock."""

    def answer(ask: Ask) -> Any:
        clock.now_s += seconds
        return ask.real()

    return answer


def field_value(**over: Any) -> Answer:
    """An answer of the call for fields, 200 W of type unsigned int unless told otherwise."""
    value = SimpleNamespace(dVal=0.0, uiVal=int(TRUE_W * 1000), ulVal=0, ullVal=0, sllVal=0, siVal=0, usVal=0)
    return always([SimpleNamespace(**{"nvmlReturn": 0, "valueType": 1, "value": value, **over})])


# --- the meter alone -----------------------------------------------------------------------------------------------


@dataclass
class Clock:
    """Seconds that pass only when told to."""

    now_s: float = 1000.0

    def read(self) -> float:
        """What ``time.perf_counter`` says."""
        return self.now_s


@dataclass(frozen=True)
class Case:
    """One way to misbehave, and what must come of it.

    Attributes:
        name: In words.
        over: Functions of NVML that answer otherwise.
        no_counter: Whether the board has no energy counter, no power samples.
        wants: ``metered`` when the figure must still be the meter's, ``unmetered`` when it must not be called so, empty
            when both will do.
        board: Of the board.
        nvml: Of the library.
        options: Of the meter.
        torch_says: What torch knows of its board.
        boards: Further boards of the machine.
        makes: Makes ``over`` of the clock.
        spoken: A caveat that must be among those told.
        begins_well: Whether the benchmark may be metered all the same.
    """

    name: str
    over: dict[str, Answer] = field(default_factory=dict)
    no_counter: bool = False
    no_samples: bool = False
    wants: str = ""
    board: dict[str, Any] = field(default_factory=dict)
    nvml: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    torch_says: dict[str, Any] | None = None
    boards: tuple[FakeBoard, ...] = ()
    makes: Callable[[Clock], dict[str, Answer]] | None = None
    spoken: str = ""
    begins_well: bool = False


def library_cases() -> Iterator[Case]:
    for code in ("LibraryNotFound", "DriverNotLoaded", "LibRmVersionMismatch", "NoPermission", "Unknown"):
        yield Case(f"init fails: {code}", nvml={"failing": {"nvmlInit": code}}, wants="unmetered")
    for error in (RuntimeError("torn"), OSError("no such library"), KeyError("nvmlInit_v2")):
        yield Case(f"init raises {type(error).__name__}", {"nvmlInit": raises(error)}, wants="unmetered")
    yield Case("init is missing", nvml={"missing": {"nvmlInit"}}, wants="unmetered")
    yield Case(
        "count is no number", {"nvmlDeviceGetCount": always("N/A")}, torch_says={"name": NAME}, wants="unmetered"
    )
    yield Case("init hangs", nvml={"hanging": {"nvmlInit"}}, wants="unmetered", spoken="power-meter-hung")


def board_cases() -> Iterator[Case]:
    other = FakeBoard(uuid=OTHER_UUID, name="Tesla T4", power_w=70.0, bus_id="00000000:01:00.0")
    twin = FakeBoard(uuid=OTHER_UUID, name=NAME, power_w=70.0, bus_id="00000000:01:00.0")
    yield Case("nothing is wrong", wants="metered")
    yield Case("names are bytes", nvml={"gives_bytes": True}, wants="metered")
    yield Case("the other board comes first", boards=(other,), wants="metered")
    yield Case("a twin comes first", boards=(twin,), wants="metered")
    yield Case("a twin is frozen", boards=(dataclasses.replace(twin, counter_w=0.0),), wants="metered")
    yield Case("index of another board", boards=(other,), options={"gpu_index": 0}, wants="metered")
    yield Case("torch knows the name alone", boards=(other,), torch_says={"name": NAME}, wants="metered")
    yield Case("two of that name", boards=(twin,), torch_says={"name": NAME + "x"}, wants="unmetered")
    yield Case("unknown UUID", torch_says={"uuid": "deadbeef", "name": NAME}, wants="unmetered")
    sliced = {"board": {"slices": (SLICE,)}, "torch_says": {"uuid": SLICE.removeprefix("MIG-"), "name": NAME}}
    yield Case("slice by UUID", wants="metered", spoken="mig-whole-board", **sliced)
    yield Case("board in slices", board={"mig": (1, 1)}, wants="metered", spoken="mig-whole-board")
    orphaned = {"nvmlDeviceGetDeviceHandleFromMigDeviceHandle": fails()}
    yield Case("a slice without a board", orphaned, wants="unmetered", **sliced)
    yield Case("MIG mode is a text", {"nvmlDeviceGetMigMode": always("N/A")}, wants="metered")
    yield Case("the name fails", {"nvmlDeviceGetName": fails()}, wants="metered")
    yield Case("limits are a text", {"nvmlDeviceGetPowerManagementLimitConstraints": always("N/A")}, wants="metered")
    yield Case("limits are 0", board={"limits_w": (0.0, 0.0)}, wants="metered")
    yield Case("limits are absurd", board={"limits_w": (1e6, 1e6)}, wants="metered")
    yield Case("limits are known", board={"limits_w": (100.0, 400.0)}, wants="metered")


def counter_cases() -> Iterator[Case]:
    def case(name: str, answer: Answer, wants: str = "metered", **over: Any) -> Case:
        return Case(f"counter: {name}", {ENERGY: answer}, wants=wants, **over)

    yield case("never moves", always(123_456_789), spoken="energy-counter-frozen")
    yield case("is 0", always(0))
    yield case("never moves, no samples", always(123_456_789), "unmetered", no_samples=True)
    yield case("stops in the middle", stops(5.0))
    yield case("stops in the middle, no samples", stops(5.0), "", no_samples=True)
    yield case("stops and catches up", stops(5.0, until_s=9.0))
    yield case("stops and goes on from there", stops(5.0, until_s=9.0, catches_up=False))
    yield case("stops and goes on, no samples", stops(5.0, until_s=6.8, catches_up=False), "", no_samples=True)
    yield case("starts again", shifted({5.0: -5e6}))
    yield case("starts again twice", shifted({5.0: -3e6, 9.0: -1e6}))
    yield case("starts again, no samples", shifted({5.0: -5e6}), "", no_samples=True)
    yield case("is of 32 bits", wrapping)
    yield case("is of 32 bits, no samples", wrapping, no_samples=True)
    yield case("is torn once, too low", every(37, times(0.5)))
    yield case("is torn once, too high", every(37, times(2.0)))
    yield case("is torn often", every(3, times(0.1)))
    yield case("jumps ahead", shifted({5.0: 1e6}))
    yield case(
        "jumps ahead a little, below what a board can draw", shifted({5.0: 500.0}), board={"limits_w": (1.0, 400.0)}
    )
    yield case("jumps back", shifted({5.0: -700.0}))
    yield case("is in joules", times(1e-3))
    yield case("is in joules, no samples", times(1e-3), "unmetered", no_samples=True)
    yield case("is in microjoules", times(1e3))
    yield case("is in microjoules, no samples", times(1e3), "unmetered", no_samples=True)
    yield case("counts a tenth", times(0.1), board={"counter_start_j": 0.0})
    yield case("counts tenfold", times(10.0), board={"limits_w": (100.0, 400.0)})
    for odd in ("N/A", None, math.nan, -1, 2**64 - 1, 2**32 - 1, True, b"12"):
        yield case(f"is {odd!r}", always(odd))
        if odd in ("N/A", -1, 2**64 - 1):
            yield case(f"is {odd!r}, no samples", always(odd), "unmetered", no_samples=True)
    yield case("is a float", lambda ask: float(ask.real()))
    yield case("moves every half second", coarse(0.5))
    yield case("moves every two seconds", coarse(2.0))
    yield case("moves every two seconds, no samples", coarse(2.0), no_samples=True)
    yield case("fails every other time", every(2, fails()), no_samples=True)
    yield case("fails for four seconds", between(4.0, 8.0, fails("Timeout")), no_samples=True)
    yield case("answers late", between(0.0, 4.0, fails()), "", no_samples=True)
    yield case("raises what is no error of NVML", raises(RuntimeError("torn")))
    yield case("is not supported any more", between(5.0, 99.0, fails("NotSupported")))


def power_cases() -> Iterator[Case]:
    def case(name: str, answer: Answer, wants: str = "metered", **over: Any) -> Case:
        return Case(f"power: {name}", {POWER: answer}, no_counter=True, wants=wants, **over)

    yield case("is right", lambda ask: ask.real())
    for odd in (0, -5000, 10**9, 2**32 - 1, 200, 200_000_000, "N/A", None, math.nan, math.inf, True, b"200000"):
        yield case(f"is {odd!r}", always(odd), "unmetered")
        yield case(f"is {odd!r} every third time", every(3, always(odd)))
    yield case("fails every third time", every(3, fails()))
    yield case("fails every other time", every(2, fails("Timeout")))
    yield case("raises every third time", every(3, raises(ValueError("torn"))))
    yield case("has one spike", every(97, always(15_000_000)))
    yield case("has spikes below 10 kW", every(29, always(3_000_000)))
    yield case("has spikes above its limit", every(29, always(900_000)), board={"limits_w": (100.0, 400.0)})
    yield case("fails for five seconds", between(4.0, 9.0, fails()), "")
    yield case("fails at first", between(0.0, 4.0, fails()), "")
    yield case("fails at the end", between(15.0, 99.0, fails()), "")
    yield case("fails but for a moment", between(1.5, 99.0, fails()), "")
    yield case("fails always", fails(), "unmetered")
    yield case("is not supported", fails("NotSupported"), "unmetered")
    yield case("no permission", fails("NoPermission"), "unmetered")
    samples = {"no_counter": True, "wants": "metered", "board": {"has_instant_power": True}}
    yield Case("field: is 0", {FIELDS: field_value(value=SimpleNamespace(dVal=0.0, uiVal=0))}, **samples)
    yield Case("field: is absurd", {FIELDS: field_value(value=SimpleNamespace(dVal=0.0, uiVal=2**32 - 1))}, **samples)
    yield Case("field: has an odd type", {FIELDS: field_value(valueType=77)}, **samples)
    yield Case("field: is empty", {FIELDS: always([])}, **samples)
    yield Case("field: fails now and then", {FIELDS: every(3, field_value(nvmlReturn=999))}, **samples)
    yield Case("field: raises", {FIELDS: raises(TypeError("torn"))}, **samples)


def both_cases() -> Iterator[Case]:
    stuck = always(123_456_789)
    yield Case("counter frozen, power 0", {ENERGY: stuck, POWER: always(0)}, wants="unmetered")
    yield Case("counter frozen, power flaky", {ENERGY: stuck, POWER: every(3, fails())}, wants="metered")
    yield Case("counter right, power 0", {POWER: always(0)}, wants="metered")
    yield Case("counter right, power absurd", {POWER: always(10**9)}, wants="metered")
    yield Case("counter right, power frozen at idle", {POWER: always(50_000)}, wants="metered")
    yield Case("counter NaN, power with spikes", {ENERGY: always(math.nan), POWER: every(9, always(20_000_000))},
               wants="metered")  # fmt: skip
    yield Case("both N/A", {ENERGY: always("N/A"), POWER: always("N/A")}, wants="unmetered")
    yield Case("first calls fail", {ENERGY: between(0.0, 0.5, fails()), POWER: between(0.0, 0.5, fails())},
               wants="metered")  # fmt: skip


def lost_cases() -> Iterator[Case]:
    for code in ("GpuIsLost", "ResetRequired", "Uninitialized", "DriverNotLoaded", "LibRmVersionMismatch"):
        gone = between(8.0, 99.0, fails(code))
        yield Case(f"lost in the middle: {code}", {ENERGY: gone, POWER: gone}, wants="unmetered",
                   spoken="power-meter-lost", begins_well=True)  # fmt: skip
    gone = between(1.2, 99.0, fails("GpuIsLost"))
    yield Case("lost at once", {ENERGY: gone, POWER: gone}, wants="unmetered", spoken="power-meter-lost",
               begins_well=True)  # fmt: skip
    gone = between(8.0, 99.0, raises(AttributeError("unloaded")))
    yield Case("the binding is unloaded", {ENERGY: gone, POWER: gone}, wants="unmetered", begins_well=True)


def hanging_cases() -> Iterator[Case]:
    yield Case("slow calls of 60 ms", makes=lambda clock: {ENERGY: later(0.06, clock)}, wants="metered")
    yield Case("one call of 3 s", makes=lambda clock: {ENERGY: every(50, later(3.0, clock))}, wants="metered")
    for function in (ENERGY, POWER):
        yield Case(f"hangs for good: {function}", board={"hangs_at_s": {function: 6.0}}, wants="unmetered",
                   spoken="power-meter-hung", begins_well=True)  # fmt: skip
    yield Case("temperature hangs at once", nvml={"hanging": {"nvmlDeviceGetTemperature"}}, wants="unmetered")


def signal_cases() -> Iterator[Case]:
    for function in ("nvmlDeviceGetTemperature", "nvmlDeviceGetClockInfo", "nvmlDeviceGetMaxClockInfo",
                     "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetUtilizationRates",
                     "nvmlDeviceGetComputeRunningProcesses"):  # fmt: skip
        for odd in ("N/A", None, 2**32 - 1, math.nan):
            yield Case(f"{function} is {odd!r}", {function: always(odd)}, wants="metered")
    yield Case("temperature raises", {"nvmlDeviceGetTemperature": raises(RuntimeError("torn"))}, wants="metered")
    rates = SimpleNamespace(gpu="N/A", memory=None)
    yield Case("rates hold texts", {"nvmlDeviceGetUtilizationRates": always(rates)}, wants="metered")
    yield Case("processes without ids", {"nvmlDeviceGetComputeRunningProcesses": always([object()])}, wants="metered")


def meter_cases() -> list[Case]:
    """Every case of the meter alone."""
    makers = (
        library_cases,
        board_cases,
        counter_cases,
        power_cases,
        both_cases,
        lost_cases,
        hanging_cases,
        signal_cases,
    )
    return [case for make in makers for case in make()]


@contextmanager
def installed(fake: FakeNvml) -> Iterator[None]:
    """That fake as the module ``pynvml``; every other module stays."""
    before = sys.modules.get("pynvml")
    sys.modules["pynvml"] = fake  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is None:
            del sys.modules["pynvml"]
        else:
            sys.modules["pynvml"] = before


@contextmanager
def board_of(case: Case, clock: Clock) -> Iterator[FakeNvml]:
    """A machine whose board misbehaves in that way."""
    board = FakeBoard(**{"name": NAME, "power_w": TRUE_W, "has_instant_power": False, **case.board})
    failing = dict(case.nvml.get("failing", {}))
    if case.no_counter:
        failing[ENERGY] = "NotSupported"
    if case.no_samples:
        failing |= {POWER: "NotSupported", FIELDS: "NotSupported"}
    over = case.over if case.makes is None else case.makes(clock)
    fake = FakeNvml(*case.boards, board, clock=lambda: clock.now_s, **{**case.nvml, "failing": failing, "over": over})
    said = case.torch_says or {"uuid": board.uuid.removeprefix("GPU-"), "name": board.name}
    with ExitStack() as stack:
        stack.enter_context(installed(fake))
        stack.enter_context(
            mock.patch.object(torch.cuda, "get_device_properties", return_value=SimpleNamespace(**said))
        )
        stack.enter_context(mock.patch.object(time, "perf_counter", clock.read))
        stack.enter_context(mock.patch.object(rapl, "POWERCAP", Path("/nowhere")))
        stack.enter_context(mock.patch.object(meter, "OPEN_TIMEOUT_S", 0.3))
        stack.enter_context(mock.patch.object(meter, "CLOSE_TIMEOUT_S", 0.1))
        yield fake
        fake.release.set()


def try_meter(case: Case) -> str:
    """What is wrong with what the meter said; empty when it is right."""
    problem = _tried(case)
    # On a busy machine a thread that is not served for half a second looks like a board that hangs: once more then.
    return _tried(case) if "power-meter-hung" in problem and case.wants == "metered" else problem


def _tried(case: Case) -> str:
    clock = Clock()
    with board_of(case, clock) as fake:
        spec = GpuSpec(gpu_id="a100", name=NAME, tdp_w=TDP_W)
        options = {"gpu_spec": spec, "gpu_utilization": MODEL_W / TDP_W, **case.options}

        def metering() -> Any:
            fake.began_s = clock.now_s
            fake.counts.clear()
            return open_meter(Machine(device="cuda:0"), torch_device="cuda:0", **options)

        with metering() as bench:
            problems = [_benchmark(case, bench, clock)]
        with metering() as training:
            problems.append(_train(case, training, clock))
    return "; ".join(problem for problem in problems if problem)


def pass_s(meter: PowerMeter, clock: Clock, seconds: float) -> None:
    """Time passes, and the meter looks at the board as often as its thread would."""
    for _ in range(round(seconds / STEP_S)):
        clock.now_s += STEP_S
        meter.energy_j()


def _benchmark(case: Case, meter: PowerMeter, clock: Clock) -> str:
    pass_s(meter, clock, IDLE_S)
    with meter.window():
        pass_s(meter, clock, WINDOW_S)
    pass_s(meter, clock, IDLE_S)
    reading = next((each for each in meter.readings() if each.device == "gpu_0"), None)
    codes = {caveat.code for caveat in meter.caveats()}
    problem = _odd_signals({**meter.gauges(), **dict(meter.signals())})
    if reading is None:
        return problem or _unmetered("benchmark", case, codes)
    is_metered = reading.source in ("counter", "sampled")
    if not is_metered:
        return (
            problem
            or _wrong_figure("modelled power", reading.power_w / MODEL_W, 0.01)
            or _unmetered("benchmark", case, codes)
        )
    if case.wants == "unmetered" and not case.begins_well:
        return f"benchmark: {reading.power_w:.4g} W are called metered"
    return problem or _wrong_figure("power", reading.power_w / TRUE_W, POWER_TOLERANCE)


def _train(case: Case, meter: PowerMeter, clock: Clock) -> str:
    began_s, began_j = clock.now_s, meter.energy_j(modelled=True)
    pass_s(meter, clock, TRAINING_S)
    spent_s, spent_j, is_metered = clock.now_s - began_s, meter.energy_j(modelled=True), meter.is_metered
    codes = {caveat.code for caveat in meter.caveats()}
    if case.spoken and case.spoken not in codes:
        return f"training: says {sorted(codes)}, not {case.spoken}"
    if spent_j is None:
        return _unmetered("training", case, codes)
    power_w = (spent_j - (began_j or 0.0)) / spent_s
    if is_metered:
        if case.wants == "unmetered":
            return f"training: {power_w:.4g} W are called metered"
        return _wrong_figure("energy", power_w / TRUE_W, ENERGY_TOLERANCE)
    filled = _wrong_figure("energy", power_w / TRUE_W, ENERGY_TOLERANCE)
    return (filled and _wrong_figure("modelled energy", power_w / MODEL_W, 0.05)) or _unmetered("training", case, codes)


def _unmetered(phase: str, case: Case, codes: set[str]) -> str:
    if case.wants == "metered":
        return f"{phase}: not metered, says {sorted(codes)}"
    return "" if codes - NO_REASONS else f"{phase}: unknown without a reason"


def _wrong_figure(what: str, ratio: float, tolerance: float) -> str:
    return "" if abs(ratio - 1.0) <= tolerance else f"{what} is {ratio:.3f} of the truth"


def _odd_signals(signals: dict[str, float]) -> str:
    ranges = {"temperature_c": (1, 150), "clock_ratio": (0, 1.5), "gpu_utilization": (0, 1)}
    for name, value in signals.items():
        low, high = ranges.get(name, (-200, 200))
        if not isinstance(value, float | int) or not low <= value <= high:
            return f"{name} is {value!r}"
    return ""


# --- whole trainings -----------------------------------------------------------------------------------------------

EPOCHS, EPOCH_S = 6, 0.5
WITHIN = {"benchmark": "within"}
# Faults that begin in the training begin after its second epoch; the benchmark's meter was opened anew for it.
LATE_S = 1.1


@dataclass(frozen=True)
class Training:
    """One training whose board misbehaves.

    Attributes:
        name: In words.
        always: Functions of NVML that answer otherwise from the start.
        late: Functions that do so in the training alone.
        promised: Whether the estimate must be metered; None when both will do.
        measured: Whether the outcome must be; None when both will do.
        options: Of the tracking.
    """

    name: str
    always: dict[str, Answer] = field(default_factory=dict)
    late: dict[str, Answer] = field(default_factory=dict)
    promised: bool | None = True
    measured: bool | None = True
    options: dict[str, Any] = field(default_factory=dict)


def trainings() -> tuple[Training, ...]:
    """Every training of the campaign."""
    no_counter, late = fails("NotSupported"), LATE_S
    lost, stuck = between(late, 99.0, fails("GpuIsLost")), stops(late)
    gone = between(0.6, 99.0, fails("GpuIsLost"))
    unloaded, none = between(late, 99.0, fails("Uninitialized")), always(None)
    unknown = {"promised": False, "measured": False}
    return (
        Training("nothing is wrong"),
        Training("counter frozen", {ENERGY: always(123_456_789)}),
        Training("power 0, no counter", {ENERGY: no_counter, POWER: always(0)}, **unknown),
        Training("power absurd, no counter", {ENERGY: no_counter, POWER: always(10**9)}, **unknown),
        Training("power negative, no counter", {ENERGY: no_counter, POWER: always(-5000)}, **unknown),
        Training("every third power call fails", {ENERGY: no_counter, POWER: every(3, fails())}),
        Training("spikes", {ENERGY: no_counter, POWER: every(7, always(15_000_000))}),
        Training("counter in joules", {ENERGY: times(1e-3)}),
        Training("counter NaN, power None", {ENERGY: always(math.nan), POWER: none}, **unknown),
        Training("NVML does not start", {"nvmlInit": fails("DriverNotLoaded")}, **unknown),
        Training("counter stops while training", late={ENERGY: stuck}),
        Training("counter starts again while training", late={ENERGY: shifted({late: -5e6})}),
        Training("lost while training", late={ENERGY: lost, POWER: lost}, measured=False),
        Training("unloaded while training", late={ENERGY: unloaded, POWER: unloaded}, measured=False),
        Training("hangs while training", late={ENERGY: between(late, 99.0, hanging(30.0))}, measured=False),
        Training("power becomes 0 while training", {ENERGY: no_counter}, {POWER: between(late, 99.0, always(0))},
                 measured=False),
        Training("within: nothing is wrong", options=WITHIN),
        Training("within: counter frozen", {ENERGY: always(123_456_789)}, options=WITHIN),
        Training("within: power 0, no counter", {ENERGY: no_counter, POWER: always(0)}, options=WITHIN, **unknown),
        Training("within: lost at once", {ENERGY: gone, POWER: gone}, options=WITHIN, promised=None, measured=False),
    )  # fmt: skip


def hanging(seconds: float) -> Answer:
    """A call that comes back after a while."""

    def answer(ask: Ask) -> Any:
        time.sleep(seconds)
        return ask.real()

    return answer


@contextmanager
def on_a_board(fake: FakeNvml) -> Iterator[None]:
    """A machine whose trainings, though on the CPU, are metered as if they ran on that board."""
    said = SimpleNamespace(uuid=fake.boards[0].uuid.removeprefix("GPU-"), name=fake.boards[0].name)
    real_open = ground.open_meter

    def open_gpu(machine: Machine, **options: Any) -> Any:
        fake.began_s = time.perf_counter()
        spec = GpuSpec(gpu_id="a100", name=NAME, tdp_w=TDP_W)
        gpu = {"torch_device": "cuda:0", "gpu_spec": spec, "cpu_power": None, "ram_w_per_gib": None}
        return real_open(dataclasses.replace(machine, device="cuda:0"), **{**options, **gpu})

    with (
        installed(fake),
        mock.patch.object(torch.cuda, "get_device_properties", return_value=said),
        mock.patch.object(ground, "open_meter", open_gpu),
    ):
        yield
        fake.release.set()


def try_training(training: Training) -> str:
    """What is wrong with the energy that one training was promised and found to take; empty when it is right."""
    fake = FakeNvml(FakeBoard(name=NAME, power_w=TRUE_W, has_instant_power=False), over=dict(training.always))
    model = torch.nn.Linear(8, 1)
    data = torch.utils.data.TensorDataset(torch.randn(64, 8), torch.randn(64, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    options: dict[str, Any] = {"epochs": EPOCHS, "budget_s": 2.0, "country": "DE", **training.options}
    with on_a_board(fake), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with greenlove.track(
            model, optimizer, torch.nn.MSELoss(), data, log_model=False, saved_view=False, **options
        ) as run:
            fake.over.update(training.late)
            for _ in run.epochs():
                _train_for(EPOCH_S, model, optimizer, data)
    return "; ".join(filter(None, (_judge_promise(training, run), _judge_outcome(training, run))))


def _train_for(seconds: float, model: Any, optimizer: Any, data: Any) -> None:
    """An epoch whose steps take that long."""
    batches = torch.utils.data.DataLoader(data, 16)
    for samples, labels in batches:
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(samples), labels).backward()
        optimizer.step()
        time.sleep(seconds / len(batches))


def _judge_promise(training: Training, run: Any) -> str:
    estimate, codes = run.estimate, {caveat.code for caveat in run.estimate.caveats}
    reading = next((each for each in run.log.power if each.device == "gpu_0"), None)
    is_metered = reading is not None and reading.source in ("counter", "sampled")
    if training.promised is not None and is_metered != training.promised:
        return f"estimate: metered is {is_metered}, says {sorted(codes)}"
    if not is_metered and not any(code.startswith(("power-", "energy-")) for code in codes - NO_REASONS):
        return "estimate: not metered without a reason"
    if reading is None:
        return "" if estimate.energy_kwh is None else "estimate: energy of nothing"
    wanted_w = TRUE_W if is_metered else TDP_W * ASSUMED_UTILIZATION
    return _wrong_figure("promised power", reading.power_w / wanted_w, POWER_TOLERANCE)


def _judge_outcome(training: Training, run: Any) -> str:
    outcome, grid = run.outcome, run.estimate.grid
    if outcome is None:
        return "no outcome"
    is_measured = outcome.energy_source == "measured"
    if training.measured is not None and is_measured != training.measured:
        return f"outcome: source is {outcome.energy_source!r}, says {outcome.energy_note!r}"
    if not is_measured and not outcome.energy_note:
        return "outcome: not measured without a reason"
    if outcome.energy_kwh is None:
        return "" if outcome.cost_usd is None and outcome.co2_g is None else "outcome: a cost without an energy"
    power_w = outcome.energy_kwh * J_PER_KWH / outcome.time_s
    off = _wrong_figure("energy", power_w / TRUE_W, ENERGY_TOLERANCE)
    if off and not is_measured:
        off = _wrong_figure("modelled energy", power_w / (TDP_W * ASSUMED_UTILIZATION), ENERGY_TOLERANCE)
    bill = outcome.energy_kwh * grid.price_usd_per_kwh.point
    return off or _wrong_figure("cost", outcome.cost_usd / bill, 1e-9)


# --- the campaign --------------------------------------------------------------------------------------------------


def meter_campaign(*, quick: bool = False) -> Count:
    """The meter alone, every case; ``quick`` leaves out most of each kind."""
    count = Count("boards that misbehave, the meter alone")
    for case in meter_cases()[:: 4 if quick else 1]:
        count.add(case.name, try_meter(case))
    return count


def training_campaign(*, quick: bool = False) -> Count:
    """Whole trainings through ``track``, in a store of their own; ``quick`` runs two of them."""
    count = Count("boards that misbehave, through track")
    with tempfile.TemporaryDirectory() as folder:
        environ = {"XDG_STATE_HOME": folder, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        with mock.patch.dict(os.environ, environ):
            for training in trainings()[: 2 if quick else None]:
                count.add(training.name, try_training(training))
    return count


def campaign(*, quick: bool = False) -> list[Count]:
    """Both parts."""
    return [meter_campaign(quick=quick), training_campaign(quick=quick)]


def main() -> int:
    quick = "--quick" in sys.argv
    counts = campaign(quick=quick)
    for count in counts:
        for problem in count.wrong:
            print(problem)
        print(f"{count.part}: {count.tried} tried, {count.right} right, {len(count.wrong)} wrong")
    return any(count.wrong for count in counts)


if __name__ == "__main__":
    sys.exit(main())
