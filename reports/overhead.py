"""What tracking costs a training: paired runs, and every part timed on its own.

python reports/overhead.py [--pairs 60] [--quick]

Writes overhead.md and the raw figures, overhead.csv, beside this file.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overhead_trials import (
    ENTER_AIM_S,
    STEP_AIM_S,
    STEPS_OF_BLOCK,
    TRIAL_AIM_S,
    Beside,
    background_share,
    entering_lines,
    make_subject,
    measure_steps,
    measure_trials,
    ratio_of_trials,
    step_lines,
    trial_lines,
    wait_until_quiet,
)
from scipy.special import stdtrit

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
IMPORT_REPEATS = 7
SAMPLE_REPEATS = 20_000
EMPTY_EPOCHS = 300
# The aims that these figures are held against.
AIM_SHARE = 0.001
LIMIT_SHARE = 0.005
IMPORT_AIM_S = 0.1


TEMPLATE = """# What tracking costs

Made by `reports/overhead.py` on {where}, with the demo's network and digits on one
thread and MLflow's default store, the load average at {load_before:.1f} at the start and {load:.1f} at the end. Where
that is above the number of cores, other programs took part in every figure.

## Judged by what was timed directly

Aim: at most {aim:.1%} of the training's time, never above {limit:.1%}. An epoch costs {epoch_ms:.2f} ms on the
training's own thread, of which it computes {epoch_cpu_ms:.2f} ms and waits its turn on a busy machine for the rest:

| an epoch of | is longer by | aim | computing alone |
|---|---|---|---|
{shares}

Beside it the sampler's and the writer's threads use {threads:.2%} of one core once the record has been sent. Handing
over one power sample takes {sample_us:.0f} us, so ten a second take {sampling:.3%} of one core.

## Parts

| part | figure |
|---|---|
{parts}

Aim for the import: at most {import_aim_s:g} s and none of the heavy packages.

## Entering a training

From the end of the benchmark to the first line of the body, medians of {entry_count} trainings of a process that has
tracked one before. Aim: at most {enter_aim_s:g} s.

| entering takes | figure |
|---|---|
{entering}

## A step

What a step of an optimizer is longer by while it is counted, the laps that end meanwhile included (an epoch of the
digits each in `track`), from blocks of {block_steps:,} steps of an optimizer with nothing to do, counted and bare in
turns, on the training's own thread. Medians over {block_count} pairs of blocks. Aim: at most {step_aim_us:g} us, in CPU
time.

| a step in | is longer by | in CPU time | counted over bare, in CPU time |
|---|---|---|---|
{steps}

## A trial of a sweep

CPU time that a trial takes beside its benchmark and its training, on all threads, from `track` to the end of its run.
Medians, and the range from the least to the most, of so many trials. Aim for a later trial of a study: at most
{trial_aim_s:g} s.

| trial | trials | CPU s beside its training | least to most | of it before the body | after the body |
|---|---|---|---|---|---|
{trials}

A trial that reuses a benchmark takes {trial_ratio:.0%} of what a training by itself takes beside its own.

## Paired runs

{pair_count} pairs of one epoch of {epoch_s:.1f} s, tracked and bare in turns on one model in one process, timed once
the record of the promise has been sent. A ratio of 1 is no cost. The range is a 95% t interval over pairs; its width
is the noise of the machine. The sampler's and the writer's threads run through both; their share stands above.

| tracked over bare | ratio | 95% range |
|---|---|---|
{ratios}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured figure: what it is of, its value and unit."""

    part: str
    name: str
    value: float
    unit: str


def measure_import() -> list[Figure]:
    """Time of ``import greenlove_mlflow`` in fresh interpreters, and what it brings along."""
    script = (
        "import time, sys; t = time.perf_counter(); import greenlove_mlflow; "
        "print(time.perf_counter() - t, sum(m in sys.modules for m in ('torch', 'mlflow', 'pandas', 'numpy')))"
    )
    durations, heavy = [], 0
    for _ in range(IMPORT_REPEATS):
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
        duration_s, heavy_count = done.stdout.split()
        durations.append(float(duration_s))
        heavy = max(heavy, int(heavy_count))
    return [
        Figure(part="import", name="import greenlove_mlflow, median", value=statistics.median(durations), unit="s"),
        Figure(part="import", name="of torch, mlflow, pandas, numpy loaded by it", value=heavy, unit=""),
    ]


def measure_writer() -> list[Figure]:
    """Time that one power sample, and one metric, take on the thread that hands them over."""
    from greenlove_mlflow.core.records import PowerSample
    from greenlove_mlflow.tracking import open_run

    with open_run(run_name="overhead-writer") as tracked:
        begun_s = time.perf_counter()
        for number in range(SAMPLE_REPEATS):
            tracked.log_power_sample(PowerSample(at_s=number / 10.0, device="gpu_0", power_w=300.0))
        sample_s = (time.perf_counter() - begun_s) / SAMPLE_REPEATS
        begun_s = time.perf_counter()
        for number in range(SAMPLE_REPEATS // 10):
            tracked.metric("green/train/epoch_s", 1.0, number)
        metric_s = (time.perf_counter() - begun_s) / (SAMPLE_REPEATS // 10)
    return [
        Figure(part="writer", name="one power sample", value=sample_s, unit="s"),
        Figure(part="writer", name="one metric", value=metric_s, unit="s"),
    ]


def measure_parts(idle_s: float) -> list[Figure]:
    """Time to enter and to leave beyond the benchmark, per epoch, and of the threads beside the training."""
    import greenlove_mlflow as greenlove

    subject = make_subject()
    begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
    with greenlove.track(*subject, epochs=EMPTY_EPOCHS + 2, budget_s=3.0, run_name="overhead-parts") as run:
        beyond_s = time.perf_counter() - begun_s - run.log.duration_s
        beyond_cpu_s = time.process_time() - begun_cpu_s - sum(record.cpu_s or 0.0 for record in run.log.epochs)
        epochs = run.epochs()
        next(epochs)
        recording_s, recording_cpu_s = wait_until_quiet()
        share = background_share(idle_s)
        next(epochs)
        inside_s, inside_cpu_s = time.perf_counter(), time.thread_time()
        empty_count = sum(1 for _ in epochs)
        epoch_cpu_s = (time.thread_time() - inside_cpu_s) / empty_count
        epoch_s = (time.perf_counter() - inside_s) / empty_count
        leaving_s = time.perf_counter()
    left_s = time.perf_counter() - leaving_s
    page, render_s = render_page(run, run.log)
    return [
        Figure(part="enter", name="enter, beyond the benchmark", value=beyond_s, unit="s"),
        Figure(part="enter", name="enter, beyond the benchmark, in CPU time", value=beyond_cpu_s, unit="s"),
        Figure(part="enter", name="then the record is sent beside the training, for", value=recording_s, unit="s"),
        Figure(part="enter", name="and takes, in CPU time", value=recording_cpu_s, unit="s"),
        Figure(part="threads", name="sampler and writer afterwards", value=share, unit="of a core"),
        Figure(part="epoch", name="one epoch, on the training's own thread", value=epoch_s, unit="s"),
        Figure(part="epoch", name="one epoch, on that thread, in CPU time", value=epoch_cpu_s, unit="s"),
        Figure(part="leave", name="leave, the rest of the record sent", value=left_s, unit="s"),
        Figure(part="report", name="render the report", value=render_s, unit="s"),
        Figure(part="report", name="size of the report", value=len(page.encode()) / 1e6, unit="MB"),
    ]


def render_page(run: Any, log: Any) -> tuple[str, float]:
    from greenlove_mlflow.report import ReportContent, render_report

    content = ReportContent(estimate=run.estimate, comparison=run.comparison, log=log, outcome=run.outcome)
    render_report(content)
    begun_s = time.perf_counter()
    page = render_report(content)
    return page, time.perf_counter() - begun_s


def measure_pairs(pair_count: int) -> list[dict[str, float]]:
    """Epochs of one training, tracked and bare in turns, each pair in the other order than the last.

    A machine's pace moves within seconds by more than tracking costs, and differs between processes; so both take
    turns in one process, on one model.
    """
    import greenlove_mlflow as greenlove

    subject = make_subject()
    pairs = []
    with greenlove.track(*subject, epochs=pair_count + 1, budget_s=2.0, run_name="overhead-pairs") as run:
        epochs = run.epochs()
        next(epochs)
        wait_until_quiet()
        for number in range(pair_count):
            pair: dict[str, float] = {}
            for arm in ("bare", "tracked") if number % 2 else ("tracked", "bare"):
                pair[f"{arm}_s"], pair[f"{arm}_cpu_s"] = time_epoch(subject, epochs if arm == "tracked" else None)
            pairs.append(pair)
    return pairs


def time_epoch(subject: tuple[Any, ...], epochs: Any) -> tuple[float, float]:
    """Seconds, and CPU seconds of this thread, of one epoch; with ``epochs``, of what tracking does before it too."""
    from greenlove_mlflow.cli.demo import train_one_epoch

    model, optimizer, criterion, loader = subject
    begun_s, begun_cpu_s = time.perf_counter(), time.thread_time()
    if epochs is not None:
        next(epochs)
    train_one_epoch(model, loader, optimizer, criterion)
    return time.perf_counter() - begun_s, time.thread_time() - begun_cpu_s


def ratio_with_range(pairs: list[dict[str, float]], name: str) -> tuple[float, float, float]:
    """Geometric mean over pairs of tracked over bare, and its 95% t interval on the log scale."""
    logs = [math.log(pair[f"tracked_{name}"] / pair[f"bare_{name}"]) for pair in pairs]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return math.exp(mean), math.nan, math.nan
    half = float(stdtrit(len(logs) - 1, 0.975)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def render(
    figures: list[Figure],
    pairs: list[dict[str, float]],
    trials: list[Beside],
    steps: list[dict[str, float]],
    load_before: float,
) -> str:
    value = {figure.name: figure.value for figure in figures}
    epoch_cost_s, sample_cost_s = value["one epoch, on the training's own thread"], value["one power sample"]
    epoch_cpu_s = value["one epoch, on that thread, in CPU time"]
    threads = value["sampler and writer afterwards"]
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return TEMPLATE.format(
        where=where,
        load=os.getloadavg()[0],
        load_before=load_before,
        entry_count=sum(each.how == "by itself" for each in trials),
        enter_aim_s=ENTER_AIM_S,
        entering="\n".join(entering_lines(trials)),
        block_steps=STEPS_OF_BLOCK,
        block_count=len(steps) // 2,
        step_aim_us=STEP_AIM_S * 1e6,
        steps="\n".join(step_lines(steps)),
        trial_aim_s=TRIAL_AIM_S,
        trials="\n".join(trial_lines(trials)),
        trial_ratio=ratio_of_trials(trials),
        aim=AIM_SHARE,
        limit=LIMIT_SHARE,
        epoch_ms=epoch_cost_s * 1e3,
        epoch_cpu_ms=epoch_cpu_s * 1e3,
        shares="\n".join(share_line(epoch_s, epoch_cost_s, epoch_cpu_s) for epoch_s in (0.1, 1.0, 10.0, 60.0)),
        threads=threads,
        sample_us=sample_cost_s * 1e6,
        sampling=sample_cost_s * 10.0,
        parts="\n".join(f"| {figure.name} | {show(figure)} |" for figure in figures),
        import_aim_s=IMPORT_AIM_S,
        pair_count=len(pairs),
        epoch_s=statistics.median(pair["bare_s"] for pair in pairs),
        ratios="\n".join(ratio_lines(pairs)),
    )


def share_line(epoch_s: float, cost_s: float, cpu_s: float) -> str:
    return f"| {epoch_s:g} s | {cost_s / epoch_s:.3%} | {verdict(cost_s / epoch_s)} | {verdict(cpu_s / epoch_s)} |"


def verdict(share: float) -> str:
    return "met" if share <= AIM_SHARE else "within the limit" if share <= LIMIT_SHARE else "missed"


def ratio_lines(pairs: list[dict[str, float]]) -> list[str]:
    names = {
        "s": "an epoch",
        "cpu_s": "its CPU time on the training's thread",
    }
    lines = []
    for name, words in names.items():
        ratio, low, high = ratio_with_range(pairs, name)
        lines.append(f"| {words} | {ratio:.4f} | {low:.4f} to {high:.4f} |")
    return lines


def show(figure: Figure) -> str:
    if figure.unit == "s":
        return f"{figure.value:.2f} s" if figure.value >= 1.0 else f"{figure.value * 1e3:.3g} ms"
    if figure.unit == "of a core":
        return f"{figure.value:.2%} of a core"
    return f"{figure.value:.3g} {figure.unit}".strip()


def write_raw(
    path: Path,
    figures: list[Figure],
    pairs: list[dict[str, float]],
    trials: list[Beside],
    steps: list[dict[str, float]],
) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["part", "name", "value", "unit"])
        rows.writerows([figure.part, figure.name, repr(figure.value), figure.unit] for figure in figures)
        for number, pair in enumerate(pairs):
            rows.writerows([f"pair {number}", name, repr(value), "s"] for name, value in pair.items())
        for number, trial in enumerate(trials):
            for name in ("enter_s", "enter_cpu_s", "after_cpu_s"):
                rows.writerow([f"trial {number} {trial.how}", name, repr(getattr(trial, name)), "s"])
        for number, pair in enumerate(steps):
            part = f"steps {number} {'watch' if pair['is_watch'] else 'track'}"
            rows.writerows([part, name, repr(value), "s"] for name, value in pair.items() if name != "is_watch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=60, help="of one epoch, tracked and bare")
    parser.add_argument("--quick", action="store_true", help="few pairs and short waits, to see that it can be made")
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args()
    pair_count, idle_s = (4, 1.0) if given.quick else (given.pairs, 10.0)
    here, load_before = Path.cwd(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = str(Path(folder) / "state")
        os.chdir(folder)
        try:
            figures = [*measure_import(), *measure_writer(), *measure_parts(idle_s)]
            trials, steps = measure_trials(given.quick), measure_steps(given.quick)
            pairs = measure_pairs(pair_count)
        finally:
            os.chdir(here)
    given.out.mkdir(parents=True, exist_ok=True)
    write_raw(given.out / "overhead.csv", figures, pairs, trials, steps)
    (given.out / "overhead.md").write_text(render(figures, pairs, trials, steps, load_before), encoding="utf-8")
    print((given.out / "overhead.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
