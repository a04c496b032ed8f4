"""The promised range holds the truth on machines that no constant was chosen on, and is no wider than it must be."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest

from greenlove_mlflow.core.records import Machine
from greenlove_mlflow.core.timing.adaptive_fit import fit_log
from tests.support.clock import (
    CalmSignals,
    MachineKind,
    Profile,
    SimulatedMachine,
    SimulatedSignals,
    SimulatedTraining,
    other_quiet_machine,
    other_shared_machine,
    smooth_quiet_machine,
)

# Few and slow steps keep hundreds of replicas cheap; the clock is virtual.
PROFILES = (
    Profile("whole epochs", sample_count=160, step_s=0.05, epoch_count=60),
    Profile("truncated epochs", sample_count=8000, step_s=0.05, epoch_count=4),
    Profile("workers", sample_count=160, step_s=0.05, overhead_s=0.8, worker_count=2, epoch_count=60),
    Profile("compiled", sample_count=2400, step_s=0.06, first_step_s=6.0, epoch_count=10),
)
REPLICAS = 50


@dataclass
class Result:
    errors: np.ndarray
    inside: np.ndarray
    widths: np.ndarray
    benchmarks_s: np.ndarray


@functools.cache
def replay(kind: MachineKind, *, calm: bool = False, device: str = "cpu") -> Result:
    """``calm``: its counters say nothing of neighbours and heat, whatever its pace does."""
    rows = []
    for profile in PROFILES:
        for replica in range(REPLICAS):
            rng = np.random.default_rng([replica, len(profile.name)])
            machine = SimulatedMachine(kind(rng), seed=replica, horizon_s=2.0 * profile.total_work_s() + 700.0)
            training = SimulatedTraining(profile, machine)
            signals = CalmSignals(machine) if calm else SimulatedSignals(machine)
            log = training.benchmark(signals=signals, machine=Machine(device=device))
            promised = fit_log(log, training.workload(log)).predict(training.workload(log))
            actual_s = training.true_total_s(wait_s=rng.uniform(0.0, 300.0))
            error = abs(np.log(promised.point / actual_s))
            rows.append((error, promised.contains(actual_s), promised.log_half_width, log.duration_s))
    return Result(*np.array(rows, dtype=float).T)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "median", "p90", "width", "benchmark_s"),
    [(other_quiet_machine, 0.013, 0.04, 0.06, 9.0), (other_shared_machine, 0.045, 0.13, 0.15, 12.0)],
    ids=["quiet", "shared"],
)
def test_the_range_holds_on_machines_that_were_not_seen(
    kind: MachineKind, median: float, p90: float, width: float, benchmark_s: float
) -> None:
    result = replay(kind)
    assert len(result.errors) >= 200
    assert np.median(result.errors) < median
    assert np.quantile(result.errors, 0.9) < p90
    assert np.mean(result.inside) > 0.88
    assert np.median(result.widths) < width
    assert np.median(result.benchmarks_s) < benchmark_s


@pytest.mark.slow
def test_a_shared_machine_is_promised_a_wider_range_than_a_quiet_one() -> None:
    quiet, shared = replay(other_quiet_machine), replay(other_shared_machine)
    assert np.median(shared.widths) > 1.5 * np.median(quiet.widths)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
@pytest.mark.parametrize(
    ("kind", "inside", "width"),
    # Where counters say nothing, calm seconds are weak evidence of a quiet machine, so its range is wider than where
    # they speak: about 8.4 and 7.6% here, 8.6 and 8.0% in reports/accuracy.md.
    [(other_quiet_machine, 0.93, 0.085), (smooth_quiet_machine, 0.90, 0.080), (other_shared_machine, 0.86, 0.15)],
    ids=["quiet", "smooth", "shared"],
)
def test_counters_that_stay_calm_while_the_pace_does_not_narrow_nothing(
    kind: MachineKind, inside: float, width: float, device: str
) -> None:
    result = replay(kind, calm=True, device=device)
    assert np.mean(result.inside) > inside
    assert np.median(result.widths) < width
