"""A virtual clock and simulated machines under the real benchmark code: the truth is known, a second costs nothing.

``VirtualClock.installed()`` replaces ``time.perf_counter`` and ``time.process_time``; a ``SimulatedMachine`` moves the
clock by what a step, a batch or a fresh iterator costs in its present state; the rest is the package as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from scipy.signal import lfilter
from torch.utils.data import DataLoader, Dataset

from greenlove_mlflow.benchmark import BenchmarkPlan, Training, run_benchmark
from greenlove_mlflow.core.records import BenchmarkLog, Machine
from greenlove_mlflow.core.workload import Workload

GRID_S = 0.1
CORE_COUNT = 8.0
BENCHMARK_ROOM_S = 240.0


class VirtualClock:
    """Time that passes only when somebody says so."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.cpu_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s

    def process_time(self) -> float:
        return self.cpu_s

    def advance(self, wall_s: float, cpu_s: float | None = None) -> None:
        self.now_s += wall_s
        self.cpu_s += wall_s if cpu_s is None else cpu_s

    @contextmanager
    def installed(self) -> Iterator[VirtualClock]:
        with (
            mock.patch.object(time, "perf_counter", self.perf_counter),
            mock.patch.object(time, "process_time", self.process_time),
        ):
            yield self


@dataclass(frozen=True)
class MachineModel:
    """How a machine's pace changes, all on the log scale of the cost of the same work."""

    drift_sd: float = 0.0
    drift_tau_s: float = 300.0
    drift_shape: str = "ornstein"  # or "sine", "jumps"
    noise_sd: float = 0.0
    noise_tau_s: float = 0.2
    noise_tails: bool = False  # heavy ones
    step_cv: float = 0.0
    burst_every_s: float = 0.0
    burst_s: float = 1.0
    burst_factor: float = 1.5
    burst_takes_cpu: bool = True
    throttle: float = 0.0
    throttle_tau_s: float = 60.0
    neighbour_share: float = 0.0  # of all cores, what other programs keep busy


def quiet_machine(rng: np.random.Generator) -> MachineModel:
    """A machine of one's own: a slow drift of one or two percent."""
    return MachineModel(
        drift_sd=rng.uniform(0.01, 0.02),
        drift_tau_s=log_uniform(rng, 60.0, 1500.0),
        noise_sd=log_uniform(rng, 0.003, 0.03),
        noise_tau_s=log_uniform(rng, 0.1, 0.5),
        step_cv=log_uniform(rng, 0.005, 0.10),
        neighbour_share=log_uniform(rng, 0.001, 0.06),
    )


def shared_machine(rng: np.random.Generator) -> MachineModel:
    """A machine with neighbours: a slow drift of about five percent, and bursts."""
    return MachineModel(
        drift_sd=rng.uniform(0.04, 0.06),
        drift_tau_s=log_uniform(rng, 60.0, 1500.0),
        noise_sd=log_uniform(rng, 0.01, 0.06),
        noise_tau_s=log_uniform(rng, 0.1, 0.5),
        step_cv=log_uniform(rng, 0.01, 0.15),
        burst_every_s=log_uniform(rng, 5.0, 40.0),
        burst_s=log_uniform(rng, 0.3, 2.0),
        burst_factor=rng.uniform(1.15, 1.8),
        burst_takes_cpu=bool(rng.random() < 0.5),
        neighbour_share=log_uniform(rng, 0.03, 0.5),
    )


def other_quiet_machine(rng: np.random.Generator) -> MachineModel:
    """A quiet machine of another make than those that constants were chosen on: it drifts in waves or in jumps."""
    shape = "sine" if rng.random() < 0.5 else "jumps"
    return replace(quiet_machine(rng), drift_shape=shape, noise_tails=True)


def other_shared_machine(rng: np.random.Generator) -> MachineModel:
    """A shared machine of another make: waves or jumps, heavy-tailed noise, rarer and longer bursts."""
    return replace(
        shared_machine(rng),
        drift_shape="sine" if rng.random() < 0.5 else "jumps",
        noise_tails=True,
        burst_every_s=log_uniform(rng, 10.0, 60.0),
        burst_s=log_uniform(rng, 0.5, 4.0),
        burst_factor=rng.uniform(1.2, 2.0),
    )


def smooth_quiet_machine(rng: np.random.Generator) -> MachineModel:
    """A quiet machine that drifts more than its smooth pace lets expect."""
    return MachineModel(
        drift_sd=rng.uniform(0.016, 0.03),
        drift_tau_s=log_uniform(rng, 60.0, 1500.0),
        drift_shape=str(rng.choice(["ornstein", "sine", "jumps"])),
        noise_sd=log_uniform(rng, 0.003, 0.02),
        noise_tau_s=log_uniform(rng, 0.1, 0.5),
        step_cv=log_uniform(rng, 0.005, 0.10),
    )


def smooth_shared_machine(rng: np.random.Generator) -> MachineModel:
    """A shared machine whose neighbours come rarely and mildly, so that a short look at it may see nothing of them."""
    return MachineModel(
        drift_sd=rng.uniform(0.045, 0.08),
        drift_tau_s=log_uniform(rng, 60.0, 1500.0),
        drift_shape=str(rng.choice(["ornstein", "sine", "jumps"])),
        noise_sd=log_uniform(rng, 0.006, 0.03),
        noise_tau_s=log_uniform(rng, 0.1, 0.5),
        step_cv=log_uniform(rng, 0.01, 0.12),
        burst_every_s=log_uniform(rng, 15.0, 90.0),
        burst_s=log_uniform(rng, 0.5, 4.0),
        burst_factor=rng.uniform(1.1, 1.6),
    )


def crowded_machine(rng: np.random.Generator) -> MachineModel:
    """A machine whose neighbours take half of it every now and then."""
    return replace(
        shared_machine(rng), burst_every_s=log_uniform(rng, 4.0, 15.0), burst_s=log_uniform(rng, 1.0, 8.0),
        burst_factor=2.0,
    )  # fmt: skip


def throttling_machine(rng: np.random.Generator) -> MachineModel:
    """A quiet machine that slows down as it heats up."""
    return replace(quiet_machine(rng), throttle=rng.uniform(0.03, 0.09), throttle_tau_s=log_uniform(rng, 20.0, 90.0))


@dataclass(frozen=True)
class Profile:
    """What a training costs on an undisturbed machine, in seconds."""

    name: str = "plain"
    sample_count: int = 4096
    batch_size: int = 8
    epoch_count: int = 20
    step_s: float = 0.01
    step_per_sample: bool = False  # a partial batch then costs its share
    fetch_s: float = 0.0  # per sample
    cold_fetch_s: float = 0.0  # per sample, on its first visit, in addition
    overhead_s: float = 0.0  # per fresh iterator
    first_step_s: float = 0.0  # once, in addition
    length_cv: float = 0.0  # of the cost of a batch, its content's doing
    drop_last: bool = False
    worker_count: int = 0

    @property
    def steps_per_epoch(self) -> int:
        whole, rest = divmod(self.sample_count, self.batch_size)
        return whole + (1 if rest and not self.drop_last else 0)

    def epoch_work_s(self, *, cold: bool = False) -> float:
        """Work of one epoch; the cold one pays for its first visits."""
        rest = self.sample_count % self.batch_size
        last = rest / self.batch_size if rest and self.step_per_sample and not self.drop_last else 1.0
        steps = self.steps_per_epoch - 1 + last
        samples = self.steps_per_epoch * self.batch_size if self.drop_last else self.sample_count
        fetch_s = samples * (self.fetch_s + (self.cold_fetch_s if cold else 0.0))
        return self.overhead_s + steps * self.step_s + fetch_s

    def total_work_s(self) -> float:
        return self.first_step_s + self.epoch_work_s(cold=True) + (self.epoch_count - 1) * self.epoch_work_s()


class SimulatedMachine:
    """A machine whose clock moves as its model says.

    Args:
        model: How its pace changes.
        seed: Of everything that is random.
        horizon_s: For how long its pace is laid out.
    """

    def __init__(self, model: MachineModel, *, seed: int = 0, horizon_s: float = 7200.0) -> None:
        self.model = model
        self.clock = VirtualClock()
        self.rng = np.random.default_rng(seed)
        count = int((horizon_s + BENCHMARK_ROOM_S) / GRID_S) + 2
        self._factor, self._cpu_part = self._lay_out(count)
        self._done_s = np.concatenate([[0.0], np.cumsum(GRID_S / self._factor)])
        self._grid_s = np.arange(len(self._done_s)) * GRID_S
        self._factors = self._factor.tolist()
        self._cpu_parts = self._cpu_part.tolist()
        self._noise: list[float] = []

    def _lay_out(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        model = self.model
        log_pace = self._drift(count)
        noise = self._ornstein(count, model.noise_sd, model.noise_tau_s)
        log_pace += noise * self.rng.standard_gamma(1.5, count) / 1.5 if model.noise_tails else noise
        if model.throttle:
            warm = 1.0 - np.exp(-np.arange(count) * GRID_S / model.throttle_tau_s)
            log_pace += model.throttle * warm
        cpu_part = np.ones(count)
        if model.burst_every_s:
            for index in np.flatnonzero(self.rng.random(count) < GRID_S / model.burst_every_s):
                end = index + max(1, int(self.rng.exponential(model.burst_s) / GRID_S))
                log_pace[index:end] += np.log(model.burst_factor)
                if model.burst_takes_cpu:
                    cpu_part[index:end] /= model.burst_factor
        return np.exp(log_pace), cpu_part

    def _drift(self, count: int) -> np.ndarray:
        model, at_s = self.model, np.arange(count) * GRID_S
        if model.drift_shape == "sine":
            period_s, phase = 2.0 * np.pi * model.drift_tau_s, self.rng.uniform(0.0, 2.0 * np.pi)
            return np.sqrt(2.0) * model.drift_sd * np.sin(2.0 * np.pi * at_s / period_s + phase)
        if model.drift_shape == "jumps":
            jumps = np.cumsum(self.rng.random(count) < GRID_S / model.drift_tau_s)
            return self.rng.standard_normal(jumps[-1] + 1)[jumps] * model.drift_sd
        return self._ornstein(count, model.drift_sd, model.drift_tau_s)

    def _ornstein(self, count: int, sd: float, tau_s: float) -> np.ndarray:
        if not sd:
            return np.zeros(count)
        keep = np.exp(-GRID_S / tau_s)
        shocks = self.rng.standard_normal(count) * sd * np.sqrt(1.0 - keep**2)
        shocks[0] = self.rng.standard_normal() * sd
        return lfilter([1.0], [1.0, -keep], shocks)

    def spend(self, work_s: float, *, noise_cv: float = 0.0) -> None:
        """Let the clock pass what ``work_s`` seconds of work take from now on."""
        if noise_cv:
            if not self._noise:
                self._noise = self.rng.standard_normal(1024).tolist()
            spread = min(noise_cv, 1.0)
            work_s *= np.exp(spread * self._noise.pop() - spread * spread / 2.0)
        index = int(self.clock.now_s / GRID_S)
        wall_s = work_s * self._factors[index] if work_s < GRID_S else self.finish_s(self.clock.now_s, work_s)
        self.clock.advance(wall_s, wall_s * self._cpu_parts[index])

    def mean_pace(self, *, until_s: float) -> float:
        """Seconds per second of work from the start on, as a clock without any error would have it."""
        return until_s / float(np.interp(until_s, self._grid_s, self._done_s))

    def finish_s(self, start_s: float, work_s: float) -> float:
        """Seconds that ``work_s`` seconds of work take from ``start_s`` on."""
        begun = np.interp(start_s, self._grid_s, self._done_s)
        if begun + work_s > self._done_s[-1]:
            raise ValueError("the machine's pace is not laid out so far; raise horizon_s")
        return float(np.interp(begun + work_s, self._done_s, self._grid_s) - start_s)


class SimulatedSignals:
    """What the kernel of a simulated machine says of it, by the names of ``benchmark.machine.signals``."""

    def __init__(self, machine: SimulatedMachine) -> None:
        self.machine = machine

    def read(self) -> dict[str, float]:
        clock, others = self.machine.clock, CORE_COUNT * self.machine.model.neighbour_share
        waited_s = clock.now_s - clock.cpu_s
        return {
            "clock_s": clock.now_s,
            "real_s": clock.now_s,
            "cpu_s": clock.cpu_s,
            "run_wait_s": waited_s,
            "busy_s": clock.now_s * (1.0 + others),
            "core_count": CORE_COUNT,
            "load": 1.0 + others,
        }


class CalmSignals:
    """Counters that stand still while the pace does not: neighbours and heat that the kernel knows nothing of."""

    def __init__(self, machine: SimulatedMachine) -> None:
        self.clock = machine.clock

    def read(self) -> dict[str, float]:
        now_s = self.clock.now_s
        return {
            "clock_s": now_s,
            "real_s": now_s,
            "cpu_s": now_s,
            "run_wait_s": 0.0,
            "busy_s": now_s,
            "core_count": CORE_COUNT,
            "load": 1.0,
        }


class _Samples(Dataset[int]):
    def __init__(self, profile: Profile, machine: SimulatedMachine) -> None:
        self.profile, self.machine, self.seen = profile, machine, set[int]()

    def __len__(self) -> int:
        return self.profile.sample_count

    def __getitem__(self, index: int) -> int:
        work_s = self.profile.fetch_s
        if self.profile.cold_fetch_s and index not in self.seen:
            self.seen.add(index)
            work_s += self.profile.cold_fetch_s
        if work_s:
            self.machine.spend(work_s)
        return index


class _Loader:
    """A loader whose fresh iterator costs something, which torch's own cannot under a virtual clock."""

    def __init__(self, profile: Profile, machine: SimulatedMachine) -> None:
        self.profile, self.machine = profile, machine
        self.batch_size, self.num_workers = profile.batch_size, profile.worker_count
        self.dataset = range(profile.sample_count)

    def __len__(self) -> int:
        return self.profile.steps_per_epoch

    def __iter__(self) -> Iterator[torch.Tensor]:
        self.machine.spend(self.profile.overhead_s)
        left = self.profile.sample_count
        for _ in range(len(self)):
            count = min(left, self.batch_size)
            if self.profile.fetch_s:
                self.machine.spend(self.profile.fetch_s * count)
            left -= count
            yield torch.empty(count)


@dataclass
class SimulatedTraining:
    """A profile on a machine, ready for the real benchmark."""

    profile: Profile
    machine: SimulatedMachine
    steps_run: int = 0
    training: Training = field(init=False)

    def __post_init__(self) -> None:
        model = torch.nn.Linear(1, 1)
        self.training = Training(
            model=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.0),
            criterion=None,
            data=self._data(),
            train_step=self._step,
        )

    def _data(self) -> Any:
        if self.profile.overhead_s or self.profile.worker_count:
            return _Loader(self.profile, self.machine)
        return DataLoader(
            _Samples(self.profile, self.machine),
            batch_size=self.profile.batch_size,
            shuffle=True,
            drop_last=self.profile.drop_last,
            collate_fn=torch.tensor,
        )

    def _step(self, model: Any, batch: torch.Tensor, *_: Any) -> None:
        profile, machine = self.profile, self.machine
        work_s = profile.step_s
        if profile.step_per_sample:
            work_s *= len(batch) / profile.batch_size
        if not self.steps_run:
            work_s += profile.first_step_s
        self.steps_run += 1
        machine.spend(work_s, noise_cv=float(np.hypot(machine.model.step_cv, profile.length_cv)))

    def benchmark(self, plan: BenchmarkPlan | None = None, **options: Any) -> BenchmarkLog:
        plan = plan or BenchmarkPlan(epoch_count=self.profile.epoch_count)
        options.setdefault("signals", SimulatedSignals(self.machine))
        options.setdefault("machine", Machine(device="cpu"))
        with self.machine.clock.installed():
            return run_benchmark(self.training, plan, **options)

    def workload(self, log: BenchmarkLog) -> Workload:
        return Workload(
            sample_count=log.sample_count,
            batch_size=log.batch_size,
            epoch_count=self.profile.epoch_count,
            steps_per_epoch=log.steps_per_epoch,
        )

    def true_total_s(self, *, wait_s: float = 0.0) -> float:
        """Seconds the whole training takes when it begins ``wait_s`` seconds from now."""
        profile = self.profile
        cv = float(np.hypot(self.machine.model.step_cv, profile.length_cv))
        steps = profile.steps_per_epoch * profile.epoch_count
        wobble = 1.0 + cv / np.sqrt(steps) * self.machine.rng.standard_normal()
        return self.machine.finish_s(self.machine.clock.now_s + wait_s, profile.total_work_s() * wobble)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


MachineKind = Callable[[np.random.Generator], MachineModel]
