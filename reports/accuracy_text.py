"""The accuracy report's tables, pictures and words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# The aims of the project: median and 90th percentile of the error, coverage, half-width without and with a history of
# twenty runs, and the benchmark's median length.
AIMS = {
    "quiet": {"median": 0.015, "p90": 0.04, "width": 0.07, "later": 0.05, "benchmark_s": 8.0},
    "shared": {"median": 0.04, "p90": 0.11, "width": 0.14, "later": 0.12, "benchmark_s": 12.0},
}
UNSEEN = tuple(f"{kind}, unseen" for kind in AIMS)
COVERAGE_AIM = (0.93, 0.98)
CAP_S = 25.0
# Above these, what made trainings differ was the pace of computing and not waiting.
LEAST_SHARE, LEAST_CORRELATION = 0.95, 0.9
HISTORY_STEPS = (0, 3, 10, 20, 30)
_METHOD_NAMES = {
    "adaptive": "adaptive (ours)",
    "original": "the original's",
    # As records of earlier dates name it.
    "seed": "the original's",
    "green-love 0.2.2": "green-love 0.2.2",
}


def write_report(records: pd.DataFrame, folder: Path) -> None:
    """Write accuracy.md and its pictures."""
    records = with_errors(records)
    parts = ("simulated", "blind", "silent", "seed", "history", "store", "real")
    simulated, blind, silent, seed, history, store, real = (records[records["part"] == part] for part in parts)
    lines = ["# Accuracy", "", *_head(simulated, history), "", *_simulated(simulated, blind, silent, seed)]
    if len(history):
        lines += ["", *_history(history)]
    if len(store):
        lines += ["", *_store(store)]
    if len(real):
        lines += ["", *_real(real)]
    lines += ["", *_method()]
    (folder / "accuracy.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _draw(simulated, history, folder)


def with_errors(records: pd.DataFrame) -> pd.DataFrame:
    """The records with the log of promised over actual, whether the truth was inside, and the half-width."""
    frame = records.copy()
    frame["error"] = np.log(frame["promised_s"] / frame["actual_s"])
    frame["inside"] = (frame["low_s"] <= frame["actual_s"]) & (frame["actual_s"] <= frame["high_s"])
    frame["half_width"] = np.expm1((np.log(frame["high_s"]) - np.log(frame["low_s"].clip(lower=1e-9))) / 2.0)
    return frame


def _summary(group: pd.DataFrame) -> dict[str, float]:
    error = group["error"].abs()
    beyond = group["benchmark_s"] - group.get("first_step_s", pd.Series(0.0, index=group.index)).fillna(0.0)
    return {
        "n": len(group),
        "median": float(np.expm1(error.median())),
        "p90": float(np.expm1(error.quantile(0.9))),
        "inside": float(group["inside"].mean()),
        "width": float(group["half_width"].median()),
        "benchmark_s": float(group["benchmark_s"].median()),
        "worst_s": float(beyond.max()),
    }


def _rows(groups: Iterator[tuple[Any, pd.DataFrame]], names: Sequence[str]) -> list[str]:
    head = [*names, "n", "median error", "90th percentile", "inside", "half-width", "benchmark, median",
            "worst beyond the first step"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for key, group in groups:
        values = _summary(group)
        cells = [*(key if isinstance(key, tuple) else (key,))]
        cells += [f"{values['n']:.0f}", f"{values['median']:.1%}", f"{values['p90']:.1%}", f"{values['inside']:.1%}"]
        cells += [f"{values['width']:.1%}", f"{values['benchmark_s']:.1f} s", f"{values['worst_s']:.1f} s"]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return lines


def _in_order(frame: pd.DataFrame, columns: list[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    return iter(frame.groupby(columns if len(columns) > 1 else columns[0], sort=False))


def _head(simulated: pd.DataFrame, history: pd.DataFrame) -> list[str]:
    lines = ["Aims against figures, on simulated machines that no constant was chosen on:", "",
             "| machine | figure | aim | reached | |", "|---|---|---|---|---|"]  # fmt: skip
    for (kind, aims), machine in zip(AIMS.items(), UNSEEN, strict=True):
        group = simulated[simulated["machine"] == machine]
        if not len(group):
            continue
        values = _summary(group)
        later = history[(history["machine"] == machine) & (history["history"] >= 20)]
        checks = [
            ("median error", f"<= {aims['median']:.1%}", values["median"], values["median"] <= aims["median"]),
            ("90th percentile", f"<= {aims['p90']:.0%}", values["p90"], values["p90"] <= aims["p90"]),
            ("range holds the truth", "93 to 98%", values["inside"],
             COVERAGE_AIM[0] <= values["inside"] <= COVERAGE_AIM[1]),
            ("half-width, no history", f"<= {aims['width']:.0%}", values["width"], values["width"] <= aims["width"]),
        ]  # fmt: skip
        if len(later):
            width = _summary(later)["width"]
            checks.append(("half-width after 20 runs", f"<= {aims['later']:.0%}", width, width <= aims["later"]))
        lines += [f"| {kind} | {name} | {aim} | {value:.1%} | {_verdict(met)} |" for name, aim, value, met in checks]
        for name, aim, value in (("benchmark, median", aims["benchmark_s"], values["benchmark_s"]),
                                 ("worst beyond the first step", CAP_S, values["worst_s"])):  # fmt: skip
            lines.append(f"| {kind} | {name} | <= {aim:.0f} s | {value:.1f} s | {_verdict(value <= aim)} |")
    return lines


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def _simulated(simulated: pd.DataFrame, blind: pd.DataFrame, silent: pd.DataFrame, seed: pd.DataFrame) -> list[str]:
    words = "The real benchmark under a virtual clock; the training begins up to ten minutes later on the same machine."
    lines = ["## Simulated machines", "", words, "", *_rows(_in_order(simulated, ["machine"]), ["machine"])]
    lines += [
        "",
        "![errors on simulated machines](accuracy_errors.png)",
        "",
        *_against_a_perfect_clock(pd.concat([simulated, silent])),
    ]
    if len(blind):
        lines += ["", "The same benchmarks where the kernel says nothing of other programs:", "",
                  *_rows(_in_order(blind, ["machine"]), ["machine"])]  # fmt: skip
    if len(silent):
        words = (
            "Counters that stay calm while the pace does not (a GPU's neighbours and heat, the other guests of "
            "a hypervisor); smooth: a pace that tells less of its drift:"
        )
        lines += ["", words, "", *_rows(_in_order(silent, ["machine"]), ["machine"]), "", *_what_a_pace_tells()]
    unseen = simulated[simulated["machine"].isin(UNSEEN)]
    lines += ["", "By workload, on the unseen quiet and shared machines:", "",
              *_rows(_in_order(unseen, ["machine", "workload"]), ["machine", "workload"])]  # fmt: skip
    if len(seed):
        lines += ["", "The original's method on the same kinds of machines:", "",
                  *_rows(_in_order(seed, ["machine"]), ["machine"])]  # fmt: skip
    return lines


def _what_a_pace_tells() -> list[str]:
    words = (
        "A few seconds of pace tell the quiet machines from the shared ones only roughly, so a range that is right on "
        "average is too wide on the one and too narrow on the other; [accuracy_fit.md](accuracy_fit.md) shows which "
        "widths go with which coverage. A half-width below the 90th percentile of a perfect clock's errors (above) "
        "cannot hold them more than nine times in ten."
    )
    return [words]


def _against_a_perfect_clock(simulated: pd.DataFrame) -> list[str]:
    """Errors beside those of one who knows the work to the last step, and the machine's true mean pace so far."""
    words = (
        "How near any benchmark of that length could come: one that knew the training's work exactly, and the "
        "machine's true mean pace over the benchmark's own seconds."
    )
    lines = [words, "", "| machine | ours: median | 90th percentile | perfect clock: median | 90th percentile |",
             "|---|---|---|---|---|"]  # fmt: skip
    for machine, group in simulated.groupby("machine", sort=False):
        errors = group["error"].abs(), np.log(group["perfect_s"] / group["actual_s"]).abs()
        cells = [f"{np.expm1(each.quantile(share)):.1%}" for each in errors for share in (0.5, 0.9)]
        lines.append(f"| {machine} | " + " | ".join(cells) + " |")
    return lines


def _history(history: pd.DataFrame) -> list[str]:
    words = "Trainings one after the other on one machine, each promised with what the ones before taught."
    lines = ["## As finished runs accumulate", "", words, "", *_by_finished_runs(history)]
    return [*lines, "", "![range against finished runs](accuracy_history.png)"]


def _store(store: pd.DataFrame) -> list[str]:
    last = store.iloc[-1]
    words = (
        f"The same for real: {len(store)} trainings of {store['workload'].iloc[0]}, about "
        f"{store['actual_s'].median():.0f} s each, tracked in one MLflow store. {store['measured_on'].iloc[0]}"
    )
    lines = ["## Tracked one after the other, for real", "", words, "", *_by_finished_runs(store)]
    return [*lines, "", f"The last promise was calibrated on {last['calibrated_on'] or 'nothing yet'}."]


def _by_finished_runs(records: pd.DataFrame) -> list[str]:
    lines = ["| machine | finished runs | n | median error | inside | half-width |", "|---|---|---|---|---|---|"]
    for machine, group in records.groupby("machine", sort=False):
        for low, high in zip(HISTORY_STEPS, (*HISTORY_STEPS[1:], 10**9), strict=True):
            chosen = group[(group["history"] >= low) & (group["history"] < high)]
            if len(chosen):
                values = _summary(chosen)
                cells = (machine, f"{low} to {int(chosen['history'].max())}", f"{values['n']:.0f}",
                         f"{values['median']:.1%}", f"{values['inside']:.1%}", f"{values['width']:.1%}")  # fmt: skip
                lines.append("| " + " | ".join(cells) + " |")
    return lines


def _real(real: pd.DataFrame) -> list[str]:
    lines = ["## Real trainings", "", " ".join(dict.fromkeys(real["measured_on"])), ""]
    done = real[real["promised_s"].notna() & real["actual_s"].notna()] if "promised_s" in real else real[:0]
    lines += _rows(iter((_METHOD_NAMES[str(key)], group) for key, group in done.groupby("method", sort=False)),
                   ["method"])  # fmt: skip
    lines += ["", "| workload | method | promised | range | took | error | inside | benchmark |", "|" + "---|" * 8]
    for _, row in real.iterrows():
        name = f"| {row['workload']} | {_METHOD_NAMES[row['method']]} "
        if pd.isna(row.get("promised_s")):
            lines.append(f"{name}| {row.get('problem', 'no promise')} | | | | | |")
            continue
        span = f"{row['low_s']:.1f} to {row['high_s']:.1f} s"
        error, inside = f"{np.expm1(row['error']):+.1%}", "yes" if row["inside"] else "no"
        cells = [f"{row['promised_s']:.1f} s", span, f"{row['actual_s']:.1f} s", error, inside]
        lines.append(f"{name}| " + " | ".join([*cells, f"{row['benchmark_s']:.1f} s"]) + " |")
    return [*lines, "", *_floor(done)]


def _floor(done: pd.DataFrame) -> list[str]:
    """How far the same training differs between processes: no promise can be nearer than that."""
    totals = done.groupby("workload")["actual_s"].apply(list)
    logs = [np.log(np.array(values)) for values in totals if len(values) >= 2]
    if not logs:
        return []
    freedom = sum(len(values) - 1 for values in logs)
    sd = float(np.sqrt(sum(float(((values - values.mean()) ** 2).sum()) for values in logs) / freedom))
    halves = [np.log(np.mean(d[len(d) // 2 :]) / np.mean(d[: len(d) // 2])) for d in done["epoch_durations_s"]
              if d is not None and len(d) >= 4]  # fmt: skip
    gap_sd = float(np.std(halves))
    words = (
        f"The floor: the same training in another process took {np.expm1(sd):.1%} more or less (SD of the log over "
        f"{len(logs)} workloads), and the second half of a training differed from its first by "
        f"{np.expm1(gap_sd):.1%} (SD)."
    )
    # The mean of two independent halves varies half as much as their difference does.
    within = gap_sd / 2.0
    left = float(np.sqrt(max(0.0, sd**2 - within**2)))
    words += (
        f" So what changes within one process alone makes trainings differ by {np.expm1(within):.1%}. The rest, "
        f"{np.expm1(left):.1%} (the squares add), is slower drift or what a process is born with, such as its memory "
        "layout."
    )
    return [words, *_why(done), ""]


def _why(done: pd.DataFrame) -> list[str]:
    """Whether a training that took longer waited for the machine, or computed more slowly."""
    known = done[done["train_cpu_s"].notna()] if "train_cpu_s" in done else done[:0]
    if not len(known):
        return []
    share = float((known["train_cpu_s"] / known["actual_s"]).median())
    # Each training against the mean of its workload, so that workloads of different length compare.
    logs = [np.log(known.groupby("workload")[name].transform(lambda each: each / each.mean()))
            for name in ("actual_s", "train_cpu_s")]  # fmt: skip
    together = float(np.corrcoef(*logs)[0, 1]) if len(known) > 2 else float("nan")
    words = (
        f"Over {len(known)} of these trainings the process computed {share:.0%} of the time (median), and CPU seconds "
        f"went with seconds (correlation {together:.2f})."
    )
    if share > LEAST_SHARE and together > LEAST_CORRELATION:
        words += (
            " So a training that took longer did not wait: the same arithmetic on the same data went more slowly. "
            "Cache, memory and clock are shared with machines that this one cannot see."
        )
    return ["", words]


def _method() -> list[str]:
    return [
        "## How it was made",
        "",
        "- Error: promised over actual, on the log scale. Half-width: of the promised 95% range, upper side.",
        "- Simulated machines: `tests/support/clock.py`. Quiet: a slow drift of one to two percent. Shared: of four to",
        "  six, with bursts. The constants of the range were chosen on the kinds without *unseen*; the unseen drift in",
        "  waves or jumps, with heavier tails and rarer, longer bursts. Their figures were looked at between choices.",
        "  All noise is this project's assumption. Constants of machines whose counters say nothing were fitted by",
        "  `accuracy_fit.py` on machines of its own.",
        "- Their kernel says how long the process waited, and what others compute: 0.1 to 6% of the cores on a",
        "  quiet machine, 3 to 50% on a shared one. That too is assumed; a table above shows promises without it.",
        "- Real trainings: each method in a fresh process that promises first and then trains to the end.",
        "- Every record is in `accuracy.parquet`.",
    ]


def _draw(simulated: pd.DataFrame, history: pd.DataFrame, folder: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    axes = figure.add_subplot()
    kinds = list(dict.fromkeys(simulated["machine"]))
    errors = [np.expm1(simulated[simulated["machine"] == kind]["error"]) for kind in kinds]
    axes.boxplot(errors, whis=(5, 95), showfliers=False)
    axes.set_xticks(range(1, len(kinds) + 1), [kind.replace(", ", ",\n") for kind in kinds])
    axes.axhline(0.0, color="#52606d", linewidth=0.8)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set(ylabel="promised over actual, less one", title="Errors on simulated machines (box: half, whiskers: 90%)")
    figure.savefig(folder / "accuracy_errors.png", dpi=120)
    if not len(history):
        return
    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for machine, group in history.groupby("machine", sort=False):
        by_count = group.groupby("history")
        line = axes.plot(by_count["half_width"].median(), label=f"{machine}: half-width promised")[0]
        errors = np.expm1(by_count["error"].apply(lambda values: values.abs().quantile(0.95)))
        axes.plot(errors, ":", color=line.get_color(), label=f"{machine}: error that 19 in 20 stay below")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set(xlabel="finished runs", ylim=(0.0, None), title="The range as finished runs accumulate")
    axes.legend(frameon=False)
    figure.savefig(folder / "accuracy_history.png", dpi=120)
