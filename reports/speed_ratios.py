"""How well speed ratios are told, by each basis, from what was published: ``python reports/speed_ratios.py``.

Writes ``speed_ratios.md`` beside it, its figures and every row behind it (``speed_ratios.parquet``). The constants that
it tests were fitted by ``speed_ratios_fit.py`` on half of the GPUs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import speed_ratios_checks as checks
import speed_ratios_data as data
import speed_ratios_outside as outside
from matplotlib.figure import Figure
from speed_ratios_checks import BOTH, BRIDGE, CHOSEN, LEFT_OUT, MLPERF, MLPERF_OUT, ONE

from greenlove_mlflow.core.speed.ratio import speed_ratio
from greenlove_mlflow.tables import read_table, write_parquet
from greenlove_mlflow.tables.published_speeds import read_ratio_evidence

HERE = Path(__file__).resolve().parent
NAME = "speed_ratios"
# Check, way, what it is, and the median error that was aimed at (None: no aim was set).
LINES: tuple[tuple[str, str, str, float | None], ...] = (
    (LEFT_OUT, "any", "throughput, any workload: a task from the others", 0.14),
    (LEFT_OUT, "others", "the plain geometric mean of the others (no range)", None),
    (LEFT_OUT, "all", "the plain geometric mean of all, the task itself included (no range)", None),
    (LEFT_OUT, "kind", "throughput, kind known: a task, leaning on those of its group", 0.10),
    (CHOSEN, "task", "throughput, task chosen: the same task after two to four years of software", None),
    (CHOSEN, "kind", "throughput, kind known: another task after two to four years of software", None),
    (BRIDGE, "task", "throughput over a bridge, task chosen", 0.10),
    (BRIDGE, "kind", "throughput over a bridge, kind known", 0.10),
    (BRIDGE, "any", "throughput over a bridge, any workload", None),
    (MLPERF, "kind", "MLPerf against Lambda's tasks, kind known", 0.20),
    (MLPERF, "any", "MLPerf against Lambda's tasks, any workload", 0.20),
    (MLPERF_OUT, "kind", "MLPerf: a benchmark from the others, leaning on those of its group", None),
    (MLPERF_OUT, "any", "MLPerf: a benchmark from the others, any workload", None),
    (ONE, "kind", "specs, one of the two GPUs measured, kind known", 0.20),
    (ONE, "any", "specs, one of the two GPUs measured, any workload", 0.20),
    (BOTH, "kind", "specs alone, kind known", 0.20),
    (BOTH, "any", "specs alone, any workload", 0.20),
    (BOTH, "seed", "specs alone, 0.7 x TFLOPS + 0.3 x bandwidth (no range)", None),
)
WITHOUT_A_RANGE = ("others", "all", "seed")
BASES = {"throughput": (LEFT_OUT, CHOSEN, BRIDGE), "MLPerf": (MLPERF, MLPERF_OUT), "specs": (ONE, BOTH)}
SERVERS = ("a100", "a40", "h100", "h200", "b200", "gh200")


def main() -> None:
    """Run every check and write the report."""
    frame = checks.all_checks()
    model = read_table("speed_ratio_model")
    throughput = read_table("gpu_throughput")
    numbers = frame.select_dtypes("float").columns
    write_parquet(
        # Six digits are more than was measured.
        frame.astype(dict.fromkeys(numbers, "float32")),
        HERE / f"{NAME}.parquet",
        metadata={
            "greenlove.report": NAME,
            "greenlove.constants": model.version,
            "greenlove.throughput": throughput.version,
        },
    )
    scatter(frame).savefig(HERE / f"{NAME}_scatter.png", dpi=110)
    errors(frame).savefig(HERE / f"{NAME}_errors.png", dpi=110)
    text = render(frame, model.version, throughput.version)
    (HERE / f"{NAME}.md").write_text(text, encoding="utf-8", newline="\n")
    print(text)


def render(frame: pd.DataFrame, constants: str, throughput: str) -> str:
    """The report as Markdown."""
    fitted = ", ".join(f"`{gpu}`" for gpu in sorted(data.fitted_half()))
    return f"""# Speed ratios against what was measured

Written by `python reports/speed_ratios.py` from `gpu_throughput` {throughput} (Lambda), `mlperf`, `gpu_specs` and the
constants `speed_ratio_model` {constants}; every row behind it is in `speed_ratios.parquet`. Nothing here was run by us:
it is published throughput told from other published throughput.

Each line takes something away from the tables, asks `speed_ratio` about a pair of GPUs, and compares with what was
taken away. *Error* is how far the ratio is off, whichever way (a ratio of 2.0 told as 1.8 is off by 11%). *Held* is
how often the 95% range holds the measured ratio; *range* is its typical half-width as a factor. *Fresh* counts only
pairs of which neither GPU had a part in fitting the constants.

## By basis
{by_basis(frame)}

What each way of asking gives:

{by_way(frame)}

{verdict(frame)}

![Told against measured](speed_ratios_scatter.png)

![Errors by basis](speed_ratios_errors.png)

{outside.render(outside.outside())}
## By suite
The newest suite that has both GPUs of a pair is the one that is used. Suite v0 (2020 and 2021) is mostly laptops,
workstation cards and GPUs of 2017 to 2019, where the published batch follows the memory; suites v1 (2022) and v2 (2024)
are what a comparison with a cloud of today rests on.

{by_suite(frame)}

## By task
Throughput, one task left out, all suites. A task is told better by its group than by the mean where it has a group:
convolutions (resnet50, ssd, maskrcnn) and large matrix products (BERT, and GNMT, which is recurrent but moves with
BERT). Transformer-XL, Tacotron 2 and WaveGlow follow the memory that their published batch fills, so they count for
little and stand alone; that is why a transformer leans on BERT and GNMT and not on Transformer-XL. A recurrent model is
told as any workload: its two published tasks, GNMT and Tacotron 2, do not move together, and what others measured of
such models lies between (`speed_ratios_outside.csv`, its seen half).

{by_task(frame)}

## What an H100 user sees at fp16
{h100_table()}

## Other makers
How far the blend of specs is from MLPerf between AMD and NVIDIA GPUs (log, before any correction). An AMD GPU that
MLPerf has carries this as its own offset; one that it has not gets a range as wide as these are.

{foreign_table()}

## How the constants were made
Fitted on {len(data.fitted_half())} of {len(data.measured_gpus())} GPUs, every other one by architecture and name:
{fitted}.

- How tasks differ (`group_variance`, `task_noise`, `base_log_sd`, ...): the greatest t density of held-out tasks over
  pairs of fitted GPUs, with and without the group known, pulled weakly towards the start. The prior's weight is held
  at 4, as in the first study of these tables; left free it runs off to 0.
- The blend of specs: non-negative least squares of mean log ratios on the logs of matrix TFLOPS, FP32 TFLOPS and
  bandwidth. A measured GPU then keeps its distance from its specs, one that nobody measured takes part of the mean of
  its architecture. `blend_log_sd` is what remains.
- `mlperf_log_sd`, `bridge_log_sd`, `chosen_noise`: the spread of what the tables hold twice. The GPUs that are in two
  suites (8 and 2) are too few to halve, so those three were not tested on others.
- 8% between two boards of one model is always added (Sinha et al., SC22, arXiv 2208.11035).

## Limits
- All of this is GPU-bound training of published models with tuned loaders; a training that waits for its data gains
  less.
- Pairs share GPUs, so the rows are not independent, and shares of 95% from a few dozen GPUs are themselves uncertain
  by a few points.
- Suites v1 and v2 hold {len({g for (s, g) in data.cells("fp16") if s != "v0"})} GPUs. No consumer GPU of 2025 and no
  laptop of 2023 or newer is among those that were measured.
"""


def by_basis(frame: pd.DataFrame) -> str:
    """Every way of asking with a range together, basis by basis."""
    lines = ["| basis | pairs | rows | median error | held | |", "|---|---|---|---|---|---|"]
    for basis, choices in BASES.items():
        rows = frame[frame["check"].isin(choices) & ~frame["by"].isin(WITHOUT_A_RANGE)]
        held = rows["is_held"].mean()
        pairs = {frozenset(pair) for pair in zip(rows["home"], rows["offer"], strict=True)}
        cells = [basis, f"{len(pairs)}", f"{len(rows)}", f"{rows['error'].median():.1%}", f"{held:.1%}"]
        cells.append("within 90 to 98%" if _is_fair(held) else "outside 90 to 98%")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def by_way(frame: pd.DataFrame) -> str:
    """Every check on a line, both precisions."""
    lines = [
        "| told from | precision | rows | median error | aim | 90% within | held | range | fresh: error, held |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for check, by, words, aim in LINES:
        for precision in data.PRECISIONS:
            rows = _of(frame, check, by, precision)
            if rows.empty:
                continue
            fresh = rows[rows["halves"] == "tested"]
            has_range = by not in WITHOUT_A_RANGE
            cells = [
                words,
                precision,
                f"{len(rows)}",
                f"**{rows['error'].median():.1%}**",
                "" if aim is None else f"<= {aim:.0%}",
                f"{rows['error'].quantile(0.9):.0%}",
                f"{rows['is_held'].mean():.1%}" if has_range else "",
                f"x {rows['range_factor'].median():.2f}" if has_range else "",
                f"{fresh['error'].median():.1%}" + (f", {fresh['is_held'].mean():.1%}" if has_range else ""),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(frame: pd.DataFrame) -> str:
    """Which aims are missed and which ranges hold too little or too much, in words."""
    said = []
    for check, by, words, aim in LINES:
        for precision in data.PRECISIONS:
            rows = _of(frame, check, by, precision)
            if rows.empty or by in WITHOUT_A_RANGE:
                continue
            median, held = rows["error"].median(), rows["is_held"].mean()
            if aim is not None and median > aim:
                said.append(f"- {words}, {precision}: the median error of {median:.1%} misses the aim of {aim:.0%}.")
            if not _is_fair(held):
                said.append(f"- {words}, {precision}: the ranges hold {held:.1%}, outside 90 to 98%.")
    left_out = frame[frame["check"] == LEFT_OUT]
    newer = _medians(left_out[(left_out["by"] == "any") & (left_out["suite"] != "v0")])
    said.append(
        f"- Within suites v1 and v2 alone, which the aim of 14% was worked out on, any workload is told with a median "
        f"error of {newer}."
    )
    floor = _medians(left_out[left_out["by"] == "all"])
    said.append(
        f"- Over all suites the aim of 14% for any workload lies below what a mean can give: that of all tasks, the "
        f"one that is told included, is off by {floor}. Tasks differ by more, so to name the kind is what helps."
    )
    by_lambda, own = (frame[frame["check"] == check]["is_held"].mean() for check in (MLPERF, MLPERF_OUT))
    said.append(
        f"- MLPerf's ranges hold {by_lambda:.1%} on the {len(data.mlperf_pairs())} pairs that it shares with Lambda, "
        f"all of one maker, and {own:.1%} on its own, AMD's GPUs among them."
    )
    return "Where this falls short, and where it does not:\n\n" + "\n".join(said)


def by_suite(frame: pd.DataFrame) -> str:
    """Leave-one-task-out by suite, and for offers of a data centre in the newer two."""
    lines = [
        "| pairs | precision | rows | any workload | kind known | held, any | held, kind |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = frame[frame["check"] == LEFT_OUT]
    newer = rows["suite"] != "v0"
    server = rows["offer"].map(_is_server) | rows["home"].map(_is_server)
    choices = [(f"suite {suite}", rows["suite"] == suite) for suite in data.SUITES]
    choices += [("v1 and v2, one of them a data centre GPU", newer & server), ("all", rows["suite"] != "")]
    for name, mask in choices:
        for precision in data.PRECISIONS:
            here = rows[mask & (rows["precision"] == precision)]
            each, kind = here[here["by"] == "any"], here[here["by"] == "kind"]
            lines.append(
                f"| {name} | {precision} | {len(each)} | {each['error'].median():.1%} | {kind['error'].median():.1%} | "
                f"{each['is_held'].mean():.1%} | {kind['is_held'].mean():.1%} |"
            )
    return "\n".join(lines)


def by_task(frame: pd.DataFrame) -> str:
    """Median error of each task left out, by the mean and by its group."""
    rows = frame[frame["check"] == LEFT_OUT]
    table = rows.pivot_table(index="task", columns=["precision", "by"], values="error", aggfunc="median")
    lines = ["| task | fp16, any | fp16, kind | tf32, any | tf32, kind |", "|---|---|---|---|---|"]
    for task, row in table.iterrows():
        cells = [row.get((precision, by), np.nan) for precision in data.PRECISIONS for by in ("any", "kind")]
        lines.append(f"| {task} | " + " | ".join("" if np.isnan(cell) else f"{cell:.1%}" for cell in cells) + " |")
    return "\n".join(lines)


def h100_table() -> str:
    """The ratios of H200 and B200 to H100 SXM by task, kind and mean."""
    known, specs = read_ratio_evidence(), data.specs()
    home = specs["nvidia-h100-sxm5-80gb"]
    offers = [specs[gpu] for gpu in ("nvidia-h200-sxm-141gb", "nvidia-b200-sxm-180gb")]
    ways: list[tuple[str, dict[str, str]]] = [(task, {"task": task}) for task in data.ORDINARY_TASKS]
    ways += [(f"a {kind} model", {"model_kind": kind}) for kind in ("convolutional", "transformer")]
    ways.append(("any workload", {}))
    lines = ["| workload | " + " | ".join(offer.name for offer in offers) + " |", "|---|---|---|"]
    for name, way in ways:
        found = [speed_ratio(home, offer, evidence=known, precision="fp16", **way).ratio for offer in offers]
        lines.append(f"| {name} | " + " | ".join(f"{r.point:.2f} ({r.low:.2f} to {r.high:.2f})" for r in found) + " |")
    return "\n".join(lines)


def foreign_table() -> str:
    """Errors of specs between makers, by AMD GPU."""
    rows = pd.DataFrame(
        data.foreign_errors(read_ratio_evidence().model), columns=["home", "offer", "benchmark", "log_error"]
    )
    rows["amd"] = rows["home"].where(rows["home"].str.startswith("amd"), rows["offer"])
    rows["signed"] = rows["log_error"].where(rows["offer"] == rows["amd"], -rows["log_error"])
    lines = ["| AMD GPU | comparisons | mean: faster (+) or slower (-) than its specs |", "|---|---|---|"]
    for gpu, here in rows.groupby("amd"):
        lines.append(f"| {gpu} | {len(here)} | {here['signed'].mean():+.2f} |")
    return "\n".join(lines)


def scatter(frame: pd.DataFrame) -> Figure:
    """Told against measured ratios, one panel a basis."""
    figure = Figure(figsize=(11, 7.4), layout="constrained")
    ways = {(LEFT_OUT, "any"), (LEFT_OUT, "kind"), (BRIDGE, "kind"), (MLPERF, "kind"), (ONE, "kind"), (BOTH, "seed")}
    shown = [line for line in LINES if line[:2] in ways]
    for index, (check, by, words, _) in enumerate(shown):
        axes = figure.add_subplot(2, 3, index + 1)
        rows = frame[(frame["check"] == check) & (frame["by"] == by)]
        axes.loglog(rows["actual"], rows["predicted"], ".", markersize=2, alpha=0.25, color="#2b6cb0")
        ends = np.array([rows["actual"].min(), rows["actual"].max()])
        axes.loglog(ends, ends, color="black", linewidth=0.8)
        axes.set_title(words.split(":")[0].split(" (")[0], fontsize=9)
        axes.set_xlabel("measured ratio", fontsize=8)
        axes.set_ylabel("told ratio", fontsize=8)
        axes.tick_params(which="both", labelsize=7)
    return figure


def errors(frame: pd.DataFrame) -> Figure:
    """How the errors of each line are spread, with the aim beside the median."""
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    axes = figure.add_subplot()
    for index, (check, by, _, aim) in enumerate(LINES):
        rows = frame[(frame["check"] == check) & (frame["by"] == by)]["error"]
        low, middle, high = rows.quantile([0.25, 0.5, 0.9])
        axes.plot([low, high], [index, index], color="#a0aec0", linewidth=5, solid_capstyle="butt")
        axes.plot(middle, index, "o", color="#2b6cb0")
        if aim is not None:
            axes.plot(aim, index, "|", color="#c05621", markersize=14, markeredgewidth=2)
    axes.set_yticks(range(len(LINES)), [words for _, _, words, _ in LINES], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("error of the ratio: 25 to 90% of rows (bar), median (dot), aim for the median (mark)", fontsize=8)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(axis="x", linewidth=0.3)
    return figure


def _medians(rows: pd.DataFrame) -> str:
    """Median errors in words, by precision."""
    medians = rows.groupby("precision")["error"].median()
    return ", ".join(f"{medians[each]:.1%} at {each}" for each in data.PRECISIONS)


def _is_fair(held: float) -> bool:
    """Whether ranges of 95% hold about as often as they say."""
    return bool(0.90 <= held <= 0.98)


def _of(frame: pd.DataFrame, check: str, by: str, precision: str) -> pd.DataFrame:
    return frame[(frame["check"] == check) & (frame["by"] == by) & (frame["precision"] == precision)]


def _is_server(gpu_id: str) -> bool:
    return any(gpu_id.startswith(f"nvidia-{name}-") or gpu_id == f"nvidia-{name}" for name in SERVERS)


if __name__ == "__main__":
    main()
