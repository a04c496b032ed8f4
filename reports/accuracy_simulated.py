"""Promises on simulated machines whose truth is known, made by the real benchmark under a virtual clock."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from greenlove_mlflow.benchmark import BenchmarkPlan
from greenlove_mlflow.core.timing.adaptive_fit import fit_log
from greenlove_mlflow.core.timing.drift import FinishedRun, finished_run, learned_drift
from tests.support.clock import (
    CalmSignals,
    MachineModel,
    Profile,
    SimulatedMachine,
    SimulatedSignals,
    SimulatedTraining,
    crowded_machine,
    other_quiet_machine,
    other_shared_machine,
    quiet_machine,
    shared_machine,
    smooth_quiet_machine,
    smooth_shared_machine,
    throttling_machine,
)

Record = dict[str, Any]
Kind = Callable[[np.random.Generator], MachineModel]

# The constants of the range were chosen on the first two kinds; no other was looked at for it.
KINDS: dict[str, Kind] = {
    "quiet": quiet_machine,
    "shared": shared_machine,
    "quiet, unseen": other_quiet_machine,
    "shared, unseen": other_shared_machine,
    "throttling, unseen": throttling_machine,
    "crowded, unseen": crowded_machine,
}
# Machines whose counters say nothing of what changes their pace: a GPU's neighbours, heat, a hypervisor's other guests.
SILENT: dict[str, Kind] = {
    "quiet, silent": other_quiet_machine,
    "smooth, silent": smooth_quiet_machine,
    "shared, silent": other_shared_machine,
    "smooth shared, silent": smooth_shared_machine,
}
PROFILES = (
    Profile("plain"),
    Profile("epoch of minutes", sample_count=200_000, step_s=0.02, epoch_count=5),
    Profile("GPU-like steps, 0.8 ms", sample_count=20_000, step_s=0.0008, epoch_count=100),
    Profile("GPU-like steps, 5 ms", sample_count=40_000, step_s=0.005, epoch_count=30),
    Profile("steps of 1.5 s", sample_count=3200, step_s=1.5, epoch_count=6),
    Profile("partial last batch", sample_count=83, step_s=0.03, step_per_sample=True, epoch_count=300),
    Profile("cached data", sample_count=8000, step_s=0.01, fetch_s=0.0002, cold_fetch_s=0.002, epoch_count=30),
    Profile("compiled", sample_count=16_000, step_s=0.01, first_step_s=8.0, epoch_count=10),
    Profile("workers start each epoch", sample_count=800, step_s=0.01, overhead_s=1.2, worker_count=2, epoch_count=100),
    Profile("variable length", sample_count=16_000, step_s=0.012, length_cv=0.4, epoch_count=12),
    Profile("data-bound", sample_count=16_000, step_s=0.002, fetch_s=0.001, epoch_count=20),
    Profile("smaller than a batch", sample_count=5, step_s=0.05, epoch_count=2000),
)
LONGEST_WAIT_S = 600.0


def promises(replicas: int, *, profiles: Sequence[Profile] = PROFILES, kinds: Sequence[str] = tuple(KINDS),
             method: Any = "adaptive", signals: bool = True, seed: int = 0) -> Iterator[Record]:  # fmt: skip
    """One record per machine, profile and replica: what was promised, and what it really took minutes later."""
    for kind in kinds:
        for profile in profiles:
            for replica in range(replicas):
                number = seed + 7919 * replica + number_of(kind + profile.name)
                yield promise(kind, profile, method, number, signals=signals)


def promise(kind: str, profile: Profile, method: Any, seed: int, *, signals: bool = True) -> Record:
    """One benchmark and one training on one machine; ``signals``: what its kernel says of it is read."""
    rng = np.random.default_rng(seed)
    machine = SimulatedMachine(
        {**KINDS, **SILENT}[kind](rng), seed=seed + 1, horizon_s=2.5 * profile.total_work_s() + 1500.0
    )
    training = SimulatedTraining(profile, machine)
    plan = BenchmarkPlan(method=method, epoch_count=profile.epoch_count)
    reader = CalmSignals(machine) if kind in SILENT else SimulatedSignals(machine)
    log = training.benchmark(plan, signals=reader if signals else None)
    mean_pace = machine.mean_pace(until_s=machine.clock.now_s)
    workload = training.workload(log)
    promised = fit_log(log, workload).predict(workload)
    actual_s = training.true_total_s(wait_s=rng.uniform(0.0, LONGEST_WAIT_S))
    first_s = log.first_contact_steps_s[0] if log.first_contact_steps_s else 0.0
    return {
        "machine": kind,
        "workload": profile.name,
        "method": method,
        "seed": seed,
        "promised_s": promised.point,
        "low_s": promised.low,
        "high_s": promised.high,
        "actual_s": actual_s,
        "perfect_s": mean_pace * profile.total_work_s(),
        "benchmark_s": log.duration_s,
        "first_step_s": first_s,
        "stop_reason": log.stop_reason,
    }


def histories(sequences: int, runs: int, *, kinds: Sequence[str], seed: int = 0) -> Iterator[Record]:
    """Trainings one after the other on one machine, each promised with what the ones before taught."""
    profile = Profile("plain", sample_count=8000, step_s=0.02, epoch_count=8)
    for kind in kinds:
        for sequence in range(sequences):
            number = seed + 7919 * sequence + number_of(kind)
            model = KINDS[kind](np.random.default_rng(number))
            machine = SimulatedMachine(model, seed=number + 1, horizon_s=600.0 * runs)
            finished: list[FinishedRun] = []
            for place in range(runs):
                yield _next_run(machine, profile, finished, machine_name=kind, sequence=sequence, history=place)
                machine.clock.advance(float(machine.rng.uniform(0.0, 200.0)))


def _next_run(machine: SimulatedMachine, profile: Profile, finished: list[FinishedRun], *, machine_name: str,
              sequence: int, history: int) -> Record:  # fmt: skip
    training = SimulatedTraining(profile, machine)
    log = training.benchmark()
    workload = training.workload(log)
    fit = fit_log(log, workload, drift=learned_drift(finished, machine=log.machine))
    promised, actual_s = fit.predict(workload), training.true_total_s()
    machine.clock.advance(actual_s)
    run = finished_run(fit, workload, actual_s, machine=log.machine)
    if run is not None:
        finished.append(run)
    return {
        "machine": machine_name,
        "workload": profile.name,
        "method": "adaptive",
        "seed": sequence,
        "history": history,
        "promised_s": promised.point,
        "low_s": promised.low,
        "high_s": promised.high,
        "actual_s": actual_s,
        "benchmark_s": log.duration_s,
        "first_step_s": log.first_contact_steps_s[0],
    }


def number_of(text: str) -> int:
    """A number that a text always gets, to seed what bears that name."""
    return zlib.crc32(text.encode()) % 100_003
