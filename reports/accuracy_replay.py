"""Where the range of a real training on a virtual machine's CPU comes from, and whether a narrower one would hold.

    python reports/accuracy_replay.py [--keep FILE ...] [--output FOLDER]

Plays the kept epochs of real trainings again: the first seconds of each are the benchmark, the rest is what it must
promise. No training runs. Writes accuracy_replay.md. ``--keep`` adds the real trainings of an accuracy.parquet to
accuracy_replay.parquet, under the name of the file, so that later constants can be judged on days they have not seen.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from greenlove_mlflow.core.machine_signals import MachineSignals  # noqa: E402
from greenlove_mlflow.core.records import BenchmarkLog, BlockRecord, EpochRecord, Machine  # noqa: E402
from greenlove_mlflow.core.timing import noise as noise_module  # noqa: E402
from greenlove_mlflow.core.timing.adaptive_fit import fit_log  # noqa: E402
from greenlove_mlflow.core.timing.drift_prior import DriftModel  # noqa: E402
from greenlove_mlflow.core.timing.noise import noise_of_blocks  # noqa: E402
from greenlove_mlflow.core.workload import Workload  # noqa: E402
from greenlove_mlflow.tables import read_drift_model  # noqa: E402

RECORDS = HERE / "accuracy_replay.parquet"
BENCHMARKS_S = (3.5, 7.0, 10.0)
LEAST_BENCHMARK_EPOCHS, LEAST_TRAINING_EPOCHS = 5, 3
STEPS = 10
NO_LIMIT = 9.0  # the largest correlation factor that a noise has
MACHINE = Machine(device="cpu", cpu_name="a virtual machine's", visible_cpu_count=2)
# The counters of a virtual machine with nothing else to do: they respond, and are calm.
SIGNALS = MachineSignals(
    cpu_share=1.0, run_wait_share=0.003, steal_share=0.0, neighbour_share=0.01, load_ratio=0.6, is_virtual=True
)
# The constant of the virtual machine is judged on each day by those that suit the others best.
CANDIDATES = tuple(round(0.06 + 0.005 * step, 3) for step in range(13))
MISS_COST = 2.0 / 0.05


@dataclasses.dataclass(frozen=True)
class Case:
    """One training, cut into a benchmark and what it must promise."""

    day: str
    workload: str
    benchmark_s: float
    log: BenchmarkLog
    plan: Workload
    actual_s: float


def cut(durations_s: np.ndarray, benchmark_s: float) -> tuple[BenchmarkLog, int]:
    """A log of the first epochs, and how many they are; the very first is first contact."""
    ends_s = np.cumsum(durations_s)
    count = min(len(durations_s), int(np.searchsorted(ends_s, benchmark_s)) + 1)
    epochs, blocks = [], []
    for index in range(count):
        start_s, duration_s = float(ends_s[index] - durations_s[index]), float(durations_s[index])
        epochs.append(
            EpochRecord(
                epoch_index=index,
                phase="timed" if index else "first-contact",
                sample_count=STEPS,
                step_count=STEPS,
                duration_s=duration_s,
                start_s=start_s,
                whole=True,
            )
        )
        blocks.append(
            BlockRecord(epoch_index=index, phase="timed", start_s=start_s, step_count=STEPS, duration_s=duration_s)
        )
    log = BenchmarkLog(
        method="adaptive",
        machine=MACHINE,
        sample_count=STEPS,
        batch_size=1,
        steps_per_epoch=STEPS,
        epochs=tuple(epochs),
        blocks=tuple(blocks[1:]),
        duration_s=float(ends_s[count - 1]),
        machine_signals=SIGNALS,
    )
    return log, count


def cases(records: pd.DataFrame) -> Iterator[Case]:
    for row in records.itertuples():
        durations_s = np.asarray(row.epoch_durations_s, dtype=np.float64)
        for benchmark_s in BENCHMARKS_S:
            log, count = cut(durations_s, benchmark_s)
            left = len(durations_s) - count
            if count >= LEAST_BENCHMARK_EPOCHS and left >= LEAST_TRAINING_EPOCHS:
                plan = Workload(sample_count=STEPS, batch_size=1, epoch_count=left, steps_per_epoch=STEPS)
                yield Case(row.day, row.workload, benchmark_s, log, plan, float(durations_s[count:].sum()))


def judged(made: Sequence[Case], model: DriftModel, *, most_correlation: float | None = None) -> pd.DataFrame:
    """Error, range and interval score of each promise; ``most_correlation``: another limit of the fast noise's."""
    usual = noise_module.LARGEST_FAST_CORRELATION_FACTOR
    noise_module.LARGEST_FAST_CORRELATION_FACTOR = usual if most_correlation is None else most_correlation
    try:
        rows = []
        for each in made:
            promised = fit_log(each.log, each.plan, drift_model=model).predict(each.plan)
            low, high, took = (math.log(value) for value in (promised.low, promised.high, each.actual_s))
            missed = max(0.0, low - took) + max(0.0, took - high)
            noise = noise_of_blocks(each.log.epochs, each.log.blocks)
            rows.append(
                (
                    each.day,
                    each.benchmark_s,
                    noise.machine_log_sd,
                    math.log(promised.point) - took,
                    missed == 0.0,
                    promised.high / promised.point - 1.0,
                    high - low + MISS_COST * missed,
                )
            )
    finally:
        noise_module.LARGEST_FAST_CORRELATION_FACTOR = usual
    return pd.DataFrame(rows, columns=["day", "benchmark_s", "roughness", "error", "held", "width", "score"])


def before(model: DriftModel) -> DriftModel:
    """The model with the drift of neighbours added to that of a virtual machine, which includes it."""
    return dataclasses.replace(model, virtual_log_sd=math.hypot(model.virtual_log_sd, model.shared_log_sd))


def without(model: DriftModel) -> dict[str, DriftModel]:
    """The model without one of its parts."""
    return {
        "the drift of a virtual machine": dataclasses.replace(model, virtual_log_sd=0.0, shared_log_sd=0.0),
        "drift by roughness": dataclasses.replace(model, drift_per_roughness=0.0),
        "the drift of a quiet machine": dataclasses.replace(model, quiet_log_sd=0.0, silent_log_sd=0.0),
    }


def by_other_days(made: Sequence[Case], model: DriftModel) -> tuple[pd.DataFrame, dict[str, float]]:
    """Each day judged with the constant that suits the other days best, and those constants."""
    found = {sd: judged(made, dataclasses.replace(model, virtual_log_sd=sd)) for sd in CANDIDATES}
    days = list(dict.fromkeys(each.day for each in made))
    best = {day: min(CANDIDATES, key=lambda sd: found[sd][found[sd]["day"] != day]["score"].sum()) for day in days}
    return pd.concat([found[best[day]][found[best[day]]["day"] == day] for day in days]), best


HEAD = ["| | n | median error | held | half-width, median | mean | score |", "|---|---|---|---|---|---|---|"]


def line(name: str, frame: pd.DataFrame) -> str:
    error = math.expm1(frame["error"].abs().median())
    cells = (
        f"{error:.1%}",
        f"{frame['held'].mean():.1%}",
        f"{frame['width'].median():.1%}",
        f"{frame['width'].mean():.1%}",
        f"{frame['score'].mean():.3f}",
    )
    return f"| {name} | {len(frame)} | " + " | ".join(cells) + " |"


def fixed(frame: pd.DataFrame, width: float) -> pd.DataFrame:
    """The same errors in ranges of one width."""
    half = math.log1p(width)
    missed = (frame["error"].abs() - half).clip(lower=0.0)
    return frame.assign(held=missed == 0.0, width=width, score=2.0 * half + MISS_COST * missed)


def render(records: pd.DataFrame, made: Sequence[Case], model: DriftModel) -> str:
    now, old = judged(made, model), judged(made, before(model), most_correlation=NO_LIMIT)
    crossed, best = by_other_days(made, model)
    quarters = pd.qcut(now["roughness"], 4, labels=["calmest quarter", "second", "third", "roughest quarter"])
    days = records.groupby("day", sort=False).size()
    lines = [
        "# Where the range of a real training comes from",
        "",
        f"Written by `python reports/accuracy_replay.py`, which trains nothing: the epochs of {len(records)} real",
        "trainings of about 15 s on a virtual machine of two cores, kept on "
        + ", ".join(f"{day} ({count})" for day, count in days.items())
        + ".",
        f"The first {', '.join(f'{each:g}' for each in BENCHMARKS_S)} s of each are the benchmark, the rest is what it",
        "must promise. Score: width of the log range plus 40 times what it missed by, the proper score of a 95%",
        "range; less is better.",
        "",
        "## What was counted twice",
        "",
        "The drift of a virtual machine was measured with its neighbours, and theirs was added again. Blocks that stay",
        "alike for seconds are that same drift, and widened the fast noise too: most where the benchmark was longest.",
        "",
        *HEAD,
        line("both counted twice", old),
        line("drift of neighbours counted once", judged(made, model, most_correlation=NO_LIMIT)),
        line("**both counted once (now)**", now),
        "",
        *HEAD,
        *(line(f"benchmark of {each:g} s, before", old[old["benchmark_s"] == each]) for each in BENCHMARKS_S),
        *(line(f"benchmark of {each:g} s, now", now[now["benchmark_s"] == each]) for each in BENCHMARKS_S),
        *(line(f"{name}, before", old[quarters == name]) for name in quarters.cat.categories[[0, 3]]),
        *(line(f"{name}, now", now[quarters == name]) for name in quarters.cat.categories[[0, 3]]),
        "",
        "## What is left",
        "",
        "The range with one of its parts left out:",
        "",
        *HEAD,
        line("all parts", now),
        *(line(f"without {name}", judged(made, each)) for name, each in without(model).items()),
        line("without correlation of the fast noise", judged(made, model, most_correlation=1.0)),
        "",
        "Ranges of one width, whatever the benchmark showed:",
        "",
        *HEAD,
        *(line(f"always {width:.0%}", fixed(now, width)) for width in (0.20, 0.25, 0.30, 0.35)),
        "",
        f"The constant `virtual_log_sd` is {model.virtual_log_sd:g}. Each day judged with the value that suits the",
        "other days best (" + ", ".join(f"{day}: {value:g}" for day, value in best.items()) + "):",
        "",
        *HEAD,
        line("by other days", crossed),
        *(line(f"{day}, now", now[now["day"] == day]) for day in days.index),
        "",
    ]
    return "\n".join(lines)


def keep(paths: Sequence[Path]) -> None:
    """Add the real trainings of other records, each training once."""
    from greenlove_mlflow.tables.store.exports import write_parquet

    parts = [pd.read_parquet(RECORDS)] if RECORDS.exists() else []
    for path in paths:
        found = pd.read_parquet(path)
        found = found[(found["part"] == "real") & found["epoch_durations_s"].notna()]
        parts.append(found.assign(day=path.stem)[["day", "workload", "method", "epoch_durations_s"]])
    whole = pd.concat(parts, ignore_index=True)
    text = whole["epoch_durations_s"].map(lambda each: np.asarray(each).tobytes())
    whole = whole[~text.duplicated()].reset_index(drop=True)
    write_parquet(whole, RECORDS, metadata={"greenlove.table": "accuracy_replay"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, nargs="*", default=[])
    parser.add_argument("--output", type=Path, default=HERE)
    given = parser.parse_args()
    if given.keep:
        keep(given.keep)
    records = pd.read_parquet(RECORDS)
    text = render(records, list(cases(records)), read_drift_model())
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "accuracy_replay.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
