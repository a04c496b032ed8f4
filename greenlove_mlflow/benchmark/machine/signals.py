"""Machine signals during a benchmark: load from other processes, waiting time, throttling."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from greenlove_mlflow.core.machine_signals import MachineSignals
from greenlove_mlflow.core.records import Phase

_NS_PER_S = 1e9
# A clock this much faster or slower than the machine's own is simulated, and its signals are meaningless.
_CLOCK_TOLERANCE = 0.2


class SignalReader:
    """Reads this machine's signals; each reading takes well under a millisecond.

    Counters (rising): ``clock_s``, ``real_s``, ``cpu_s``, ``run_wait_s`` (this process ready but not running),
    ``steal_s`` (the hypervisor running others), ``busy_s`` (all processes). Gauges: ``load``, ``core_count``,
    ``virtual`` (1 in a virtual machine), ``clock_ratio`` and ``throttled`` of the GPU, ``temperature_c``. What cannot
    be read is absent.
    """

    def __init__(self, gpu: Any = None) -> None:
        """Args: ``gpu``: a function that returns the GPU's gauges by name; None without a GPU."""
        self._gpu = gpu
        self._constant = {"core_count": float(os.cpu_count() or 1)}
        is_virtual = is_virtual_machine()
        if is_virtual is not None:
            self._constant["virtual"] = float(is_virtual)

    def read(self) -> Mapping[str, float]:
        """The current readings, by name."""
        times = os.times()
        reading = {
            "clock_s": time.perf_counter(),
            "real_s": time.clock_gettime(time.CLOCK_MONOTONIC) if hasattr(time, "clock_gettime") else time.monotonic(),
            "cpu_s": times.user + times.system,
            **self._constant,
        }
        run_wait_s = _read_run_wait_s()
        if run_wait_s is not None:
            reading["run_wait_s"] = run_wait_s
        reading.update(_read_proc_stat())
        with contextlib.suppress(AttributeError, OSError):  # Windows; a container that hides it
            reading["load"] = os.getloadavg()[0]
        if self._gpu is not None:
            reading.update(self._gpu())
        return reading


def summarise_signals(readings: Sequence[tuple[Phase, Mapping[str, float]]]) -> MachineSignals:
    """The signals over the timed passes; none under a simulated clock."""
    timed = [reading for phase, reading in readings if phase in ("timed", "steady")] or [r for _, r in readings]
    if len(timed) < 2 or not _clock_is_real(timed):
        return MachineSignals()
    passed = {key: timed[-1][key] - timed[0][key] for key in timed[0] if key.endswith("_s") and key in timed[-1]}
    wall_s, cores, cpu_s = passed.get("clock_s", 0.0), timed[-1].get("core_count", 1.0), passed.get("cpu_s")
    load, virtual = _mean(timed, "load"), _mean(timed, "virtual")
    told = dataclasses.replace(
        summarise_board(timed),
        load_ratio=None if load is None else load / cores,
        is_virtual=None if virtual is None else virtual > 0.0,
    )
    if wall_s <= 0.0:
        return told
    steal_s, busy_s, run_wait_s = passed.get("steal_s"), passed.get("busy_s"), passed.get("run_wait_s")
    return dataclasses.replace(
        told,
        cpu_share=None if cpu_s is None else cpu_s / wall_s,
        run_wait_share=run_wait_s / (run_wait_s + cpu_s) if cpu_s and run_wait_s is not None else None,
        steal_share=None if steal_s is None else steal_s / (wall_s * cores),
        neighbour_share=(None if busy_s is None or cpu_s is None else max(0.0, busy_s - cpu_s) / (wall_s * cores)),
    )


def summarise_board(timed: Sequence[Mapping[str, float]]) -> MachineSignals:
    """A board's signals alone: means, and the change from the first reading to the last."""
    clocks = [reading["clock_ratio"] for reading in timed if reading.get("clock_ratio")]
    temperatures = [reading["temperature_c"] for reading in timed if "temperature_c" in reading]
    return MachineSignals(
        throttled_share=_mean(timed, "throttled"),
        clock_ratio=_mean(timed, "clock_ratio"),
        clock_change_ratio=clocks[-1] / clocks[0] - 1.0 if len(clocks) >= 2 else None,
        temperature_rise_c=temperatures[-1] - temperatures[0] if len(temperatures) >= 2 else None,
    )


def _mean(timed: Sequence[Mapping[str, float]], gauge: str) -> float | None:
    values = [reading[gauge] for reading in timed if gauge in reading]
    return sum(values) / len(values) if values else None


def _clock_is_real(timed: Sequence[Mapping[str, float]]) -> bool:
    first, last = timed[0], timed[-1]
    if "real_s" not in first or "clock_s" not in first:
        return True
    real_s, clock_s = last["real_s"] - first["real_s"], last["clock_s"] - first["clock_s"]
    return abs(clock_s - real_s) <= _CLOCK_TOLERANCE * max(real_s, 1e-3)


def _read_run_wait_s() -> float | None:
    """Seconds that the threads of this process were ready but not running; None if the kernel does not report it."""
    total_ns, found = 0, False
    try:
        for task in os.listdir("/proc/self/task"):  # noqa: PTH208 - read at every pass; creating a Path each time is slower
            try:
                content = Path(f"/proc/self/task/{task}/schedstat").read_text(encoding="ascii").split()
            except OSError:  # a thread that has just ended
                continue
            if len(content) >= 2:
                total_ns, found = total_ns + int(content[1]), True
    except OSError:
        return None
    return total_ns / _NS_PER_S if found else None


def is_virtual_machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether the CPU flags report a hypervisor; None if no flags are listed."""
    try:
        with cpuinfo.open(encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), None)
    except OSError:
        return None
    return None if flags is None else "hypervisor" in flags.split()


def _read_proc_stat() -> dict[str, float]:
    try:
        with open("/proc/stat", encoding="ascii") as file:  # noqa: PTH123 - as above
            words = file.readline().split()
        ticks_per_s = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return {}
    if len(words) < 9 or words[0] != "cpu":
        return {}
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) / ticks_per_s for word in words[1:9])
    return {"steal_s": steal, "busy_s": user + nice + system + irq + softirq}
