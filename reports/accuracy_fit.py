"""Fit what the pace tells of a simulated machine whose counters say nothing, and what is then possible.

    python reports/accuracy_fit.py [--replicas 15] [--seed 40000000] [--output FOLDER]

Prints the constants ``silent_middle_roughness`` and ``silent_steepness`` of the table ``drift_model`` and writes
accuracy_fit.md. The machines are made here and drift as an Ornstein-Uhlenbeck process; ``reports/accuracy.py`` judges
the constants on machines of other kinds (waves, jumps, heavy tails) and other seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import optimize

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from accuracy_simulated import LONGEST_WAIT_S, PROFILES, Kind, number_of  # noqa: E402

from greenlove_mlflow.core.records import BenchmarkLog  # noqa: E402
from greenlove_mlflow.core.timing.adaptive_fit import fit_log  # noqa: E402
from greenlove_mlflow.core.timing.drift_prior import DriftModel, silent_roughness  # noqa: E402
from greenlove_mlflow.core.timing.noise import noise_of_blocks  # noqa: E402
from greenlove_mlflow.core.workload import Workload  # noqa: E402
from greenlove_mlflow.tables import read_drift_model  # noqa: E402
from tests.support.clock import (  # noqa: E402
    CalmSignals,
    MachineModel,
    Profile,
    SimulatedMachine,
    SimulatedTraining,
    log_uniform,
    quiet_machine,
    shared_machine,
)

# What the odds of a shared machine may be before the benchmark; the constants are for even odds.
SHARED_BEFORE = (0.2, 0.35, 0.5, 0.65)
MISS_COST = 2.0 / 0.05


def smoother_quiet(rng: np.random.Generator) -> MachineModel:
    """A quiet machine that drifts somewhat more than its pace lets expect."""
    return MachineModel(
        drift_sd=rng.uniform(0.012, 0.026),
        drift_tau_s=log_uniform(rng, 60.0, 1500.0),
        noise_sd=log_uniform(rng, 0.003, 0.025),
        noise_tau_s=log_uniform(rng, 0.1, 0.5),
        step_cv=log_uniform(rng, 0.005, 0.10),
    )


def smoother_shared(rng: np.random.Generator) -> MachineModel:
    """A shared machine whose neighbours come more rarely."""
    return MachineModel(
        drift_sd=rng.uniform(0.04, 0.07),
        drift_tau_s=log_uniform(rng, 60.0, 1500.0),
        noise_sd=log_uniform(rng, 0.006, 0.04),
        noise_tau_s=log_uniform(rng, 0.1, 0.5),
        step_cv=log_uniform(rng, 0.01, 0.12),
        burst_every_s=log_uniform(rng, 10.0, 60.0),
        burst_s=log_uniform(rng, 0.4, 3.0),
        burst_factor=rng.uniform(1.1, 1.7),
    )


KINDS: dict[str, tuple[Kind, bool]] = {
    "quiet": (quiet_machine, False),
    "quiet, smoother": (smoother_quiet, False),
    "shared": (shared_machine, True),
    "shared, smoother": (smoother_shared, True),
}


@dataclasses.dataclass(frozen=True)
class Benchmarked:
    """One benchmark on a machine whose counters stand still, and what the training then took."""

    kind: str
    log: BenchmarkLog
    workload: Workload
    actual_s: float


def benchmark(kind: str, profile: Profile, seed: int) -> Benchmarked:
    rng = np.random.default_rng(seed)
    horizon_s = 2.5 * profile.total_work_s() + 1500.0
    machine = SimulatedMachine(KINDS[kind][0](rng), seed=seed + 1, horizon_s=horizon_s)
    training = SimulatedTraining(profile, machine)
    log = training.benchmark(signals=CalmSignals(machine))
    actual_s = training.true_total_s(wait_s=rng.uniform(0.0, LONGEST_WAIT_S))
    return Benchmarked(kind=kind, log=log, workload=training.workload(log), actual_s=actual_s)


def fit_odds(made: list[Benchmarked], model: DriftModel) -> tuple[float, float]:
    """Middle roughness and steepness of a logistic regression of shared on the log of the roughness."""
    noises = [noise_of_blocks(each.log.epochs, each.log.blocks) for each in made]
    rough = np.log([silent_roughness(noise, model) for noise in noises])
    is_shared = np.array([KINDS[each.kind][1] for each in made])

    def surprise(constants: np.ndarray) -> float:
        sign = np.where(is_shared, -1.0, 1.0)
        return float(np.logaddexp(0.0, sign * constants[1] * (rough - constants[0])).mean())

    found = optimize.minimize(surprise, np.array([math.log(0.015), 2.0]), method="Nelder-Mead", options={"xatol": 1e-4})
    return float(np.exp(found.x[0])), float(found.x[1])


def judged(made: list[Benchmarked], model: DriftModel) -> pd.DataFrame:
    rows = []
    for each in made:
        promised = fit_log(each.log, each.workload, drift_model=model).predict(each.workload)
        low, high, took = (math.log(value) for value in (promised.low, promised.high, each.actual_s))
        score = high - low + MISS_COST * (max(0.0, low - took) + max(0.0, took - high))
        width = promised.high / promised.point - 1.0
        rows.append((each.kind, promised.contains(each.actual_s), width, score))
    return pd.DataFrame(rows, columns=["kind", "held", "width", "score"])


def render(made: list[Benchmarked], middle: float, steepness: float, model: DriftModel, seed: int) -> str:
    lines = [
        "# What the pace tells of a machine whose counters say nothing",
        "",
        f"Written by `python reports/accuracy_fit.py`: {len(made)} benchmarks on simulated machines of four kinds",
        f"(seed {seed}) whose kernel reports no other load. None of them is among those of `accuracy.md`.",
        "",
        f"A logistic regression of *shared* on the log of the roughness gives the middle {middle:.4f} and the",
        f"steepness {steepness:.2f}. `drift_model` has {model.silent_middle_roughness:g} and",
        f"{model.silent_steepness:g}.",
        "",
        "The pace of a few seconds tells the two apart only roughly, so a range that holds on the shared machines is",
        "wider than need be on the quiet ones. How wide depends on how many machines are expected to be shared before",
        "anything is measured; the constants are for even odds. Held, and median half-width; score: the width of the",
        "log range plus 40 times what it missed by, the proper score of a 95% range, least where it serves best:",
        "",
        "| shared before | " + " | ".join(KINDS) + " | all | score |",
        "|---|" + "---|" * (len(KINDS) + 2),
    ]
    for before in SHARED_BEFORE:
        moved = middle * ((1.0 - before) / before) ** (1.0 / steepness)
        frame = judged(
            made, dataclasses.replace(model, silent_middle_roughness=moved, silent_steepness=steepness)
        )  # fmt: skip
        parts = [frame[frame["kind"] == kind] for kind in KINDS]
        cells = [f"{part['held'].mean():.1%}, {part['width'].median():.1%}" for part in parts]
        cells += [f"{frame['held'].mean():.1%}", f"{frame['score'].mean():.4f}"]
        lines.append(f"| {before:.0%} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=15, help="per kind of machine and workload")
    parser.add_argument("--seed", type=int, default=40_000_000)
    parser.add_argument("--output", type=Path, default=HERE)
    given = parser.parse_args()
    made = [
        benchmark(kind, profile, given.seed + 104_729 * replica + number_of(kind + profile.name))
        for replica in range(given.replicas)
        for kind in KINDS
        for profile in PROFILES
    ]
    model = read_drift_model()
    middle, steepness = fit_odds(made, model)
    text = render(made, middle, steepness, model, given.seed)
    (given.output / "accuracy_fit.md").write_text(text, encoding="utf-8")
    print(f"silent_middle_roughness {middle:.4f}\nsilent_steepness {steepness:.3f}")


if __name__ == "__main__":
    main()
