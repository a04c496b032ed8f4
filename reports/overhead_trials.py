"""What a step, entering and a trial of a sweep cost; measured for ``overhead.py``."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

# The threads beside the training are done with the record when they use less than this for so many seconds on end.
QUIET_SHARE, QUIET_WAITS, MOST_WAITS = 0.05, 6, 120
# The aims that these figures are held against.
ENTER_AIM_S = 1.0
STEP_AIM_S = 20e-6
TRIAL_AIM_S = 0.3
STEPS_OF_BLOCK, STEP_BLOCKS = 2_000, 15
TRIALS_BY_THEMSELVES, TRIALS_OF_STUDY, TRIAL_EPOCHS = 4, 9, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What one training took beside its benchmark and its own steps.

    Args:
        how: ``by itself``, ``first of a study`` or ``later in a study``.
        enter_s: Seconds from the end of the benchmark to the body; from the call where no benchmark ran.
        enter_cpu_s: CPU seconds from the call to the body, on all threads, without the benchmark.
        after_cpu_s: CPU seconds from the body's beginning to the end of the run, on all threads, without the training.
    """

    how: str
    enter_s: float
    enter_cpu_s: float
    after_cpu_s: float

    @property
    def cpu_s(self) -> float:
        """CPU seconds in all."""
        return self.enter_cpu_s + self.after_cpu_s


def measure_trials(quick: bool) -> list[Beside]:
    """Trainings by themselves, and the trials of a study, each on a network of its own."""
    import greenlove_mlflow as greenlove

    alone, trials = (2, 3) if quick else (TRIALS_BY_THEMSELVES, TRIALS_OF_STUDY)
    found = [run_trial("by itself") for _ in range(alone)][1:]
    with greenlove.study("overhead-study", trials=trials, summary=False):
        found += [run_trial("later in a study" if number else "first of a study") for number in range(trials)]
    return found


def run_trial(how: str) -> Beside:
    """One short training, with what it took beside benchmark and steps."""
    import greenlove_mlflow as greenlove
    from greenlove_mlflow.cli.demo import train_one_epoch
    from greenlove_mlflow.pipeline import estimating

    benchmark = {"cpu_s": 0.0, "ended_s": time.perf_counter()}
    run_benchmark = estimating.run_benchmark

    def timed(*parts: Any, **options: Any) -> Any:
        begun_cpu_s = time.process_time()
        log = run_benchmark(*parts, **options)
        benchmark.update(cpu_s=time.process_time() - begun_cpu_s, ended_s=time.perf_counter())
        return log

    model, optimizer, criterion, loader = make_subject()
    estimating.run_benchmark = timed
    begun_cpu_s = time.process_time()
    try:
        with greenlove.track(
            model, optimizer, criterion, loader, epochs=TRIAL_EPOCHS, run_name=f"overhead-{how}"
        ) as run:
            entered_s, entered_cpu_s, thread_s = time.perf_counter(), time.process_time(), 0.0
            for _ in run.epochs():
                inside_s = time.thread_time()
                train_one_epoch(model, loader, optimizer, criterion)
                thread_s += time.thread_time() - inside_s
    finally:
        estimating.run_benchmark = run_benchmark
    return Beside(
        how=how,
        enter_s=entered_s - benchmark["ended_s"],
        enter_cpu_s=entered_cpu_s - begun_cpu_s - benchmark["cpu_s"],
        after_cpu_s=time.process_time() - entered_cpu_s - thread_s,
    )


def measure_steps(quick: bool) -> list[dict[str, float]]:
    """Blocks of steps of an optimizer with nothing to do, counted by ``track`` or ``watch`` and bare, in turns."""
    import greenlove_mlflow as greenlove

    pairs: list[dict[str, float]] = []
    blocks = 3 if quick else STEP_BLOCKS
    model, optimizer, criterion, loader = make_subject()
    with greenlove.track(
        model, optimizer, criterion, loader, epochs=10_000, budget_s=2.0, run_name="overhead-steps"
    ) as run:
        wait_until_quiet()
        pairs += [time_steps("track", optimizer, number) for number in range(blocks)]
    model, optimizer, criterion, loader = make_subject()
    with greenlove.watch(optimizer, steps=10_000_000, run_name="overhead-watch") as run:
        while run.estimate is None:  # its first steps are the benchmark
            optimizer.step()
        wait_until_quiet()
        pairs += [time_steps("watch", optimizer, number) for number in range(blocks)]
    return pairs


def time_steps(how: str, optimizer: Any, number: int) -> dict[str, float]:
    """Seconds, and CPU seconds of this thread, that a step takes in one block of each kind."""
    from torch.optim import optimizer as torch_optimizer

    # Any optimizer of these parameters is counted, by a hook that all optimizers of the process call.
    hooks = torch_optimizer._global_optimizer_post_hooks
    ours = dict(hooks)
    pair: dict[str, float] = {"is_watch": float(how == "watch")}
    for arm in ("bare", "counted") if number % 2 else ("counted", "bare"):
        if arm == "bare":
            hooks.clear()
        step = optimizer.step
        begun_s, begun_cpu_s = time.perf_counter(), time.thread_time()
        for _ in range(STEPS_OF_BLOCK):
            step()
        pair[f"{arm}_cpu_s"] = (time.thread_time() - begun_cpu_s) / STEPS_OF_BLOCK
        pair[f"{arm}_s"] = (time.perf_counter() - begun_s) / STEPS_OF_BLOCK
        hooks.update(ours)
    return pair


def entering_lines(trials: list[Beside]) -> list[str]:
    alone = [each for each in trials if each.how == "by itself"]
    wall_s = statistics.median(each.enter_s for each in alone)
    cpu_s = statistics.median(each.enter_cpu_s for each in alone)
    met = "met" if wall_s <= ENTER_AIM_S else "missed"
    return [
        f"| on the clock | {wall_s:.2f} s ({met}) |",
        f"| of all CPU time from the call to the body, beside the benchmark | {cpu_s:.2f} s |",
    ]


def step_lines(pairs: list[dict[str, float]]) -> list[str]:
    lines = []
    for number, how in enumerate(("`track`", "`watch`")):
        own = [pair for pair in pairs if pair["is_watch"] == number]
        wall_us, cpu_us = (
            statistics.median(pair[f"counted_{name}"] - pair[f"bare_{name}"] for pair in own) * 1e6
            for name in ("s", "cpu_s")
        )
        ratio = statistics.median(pair["counted_cpu_s"] / pair["bare_cpu_s"] for pair in own)
        lines.append(f"| {how} | {wall_us:.1f} us | {cpu_us:.1f} us | {ratio:.2f} |")
    return lines


def trial_lines(trials: list[Beside]) -> list[str]:
    lines = []
    for how in ("by itself", "first of a study", "later in a study"):
        own = [each for each in trials if each.how == how]
        costs = [each.cpu_s for each in own]
        enter_s = statistics.median(each.enter_cpu_s for each in own)
        after_s = statistics.median(each.after_cpu_s for each in own)
        lines.append(
            f"| {how} | {len(own)} | {statistics.median(costs):.2f} | {min(costs):.2f} to {max(costs):.2f} "
            f"| {enter_s:.2f} | {after_s:.2f} |"
        )
    return lines


def ratio_of_trials(trials: list[Beside]) -> float:
    """CPU time beside a later trial of a study over that beside a training by itself, medians."""
    medians = [
        statistics.median(each.cpu_s for each in trials if each.how == how) for how in ("later in a study", "by itself")
    ]
    return medians[0] / medians[1]


def wait_until_quiet() -> tuple[float, float]:
    """Seconds, and CPU seconds, until the threads beside the training have nothing more to do than sample."""
    begun_s, begun_cpu_s, quiet_count = time.perf_counter(), time.process_time(), 0
    busy_s, busy_cpu_s = 0.0, 0.0
    for _ in range(MOST_WAITS):
        quiet_count = quiet_count + 1 if background_share(1.0) < QUIET_SHARE else 0
        if quiet_count == 0:
            busy_s, busy_cpu_s = time.perf_counter() - begun_s, time.process_time() - begun_cpu_s
        # The writer sends every few seconds, so one quiet second is no end.
        if quiet_count >= QUIET_WAITS:
            break
    return busy_s, busy_cpu_s


def background_share(seconds: float) -> float:
    """CPU share that the other threads of the process take while this one sleeps."""
    begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    return (time.process_time() - begun_cpu_s) / (time.perf_counter() - begun_s)


def make_subject() -> tuple[Any, ...]:
    """The demo's network and digits."""
    import torch

    from greenlove_mlflow.cli.demo import BATCH_SIZE, load_digits_dataset, make_network

    # Threads that wait for each other magnify what other programs do to an epoch, and with it the noise of a ratio.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = make_network()
    loader = torch.utils.data.DataLoader(load_digits_dataset(), batch_size=BATCH_SIZE, shuffle=True)
    return model, torch.optim.Adam(model.parameters(), lr=1e-3), torch.nn.CrossEntropyLoss(), loader
