"""Which trainings take time in proportion to their data, and which do not.

    python reports/linearity.py [--quick] [--longest-s 2.0] [--repeats 3] [--output FOLDER]

Times epochs of each model over a grid of sizes of one data set of MNIST's shape, fits a straight line, tests what the
line misses, and writes linearity.md, linearity.parquet and two pictures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT)]

FIRST_SIZE = 256
EPOCHS_IN_A_ROW = 12
LEAST_RHO = 0.9
_COLUMNS = ("model", "largest size", "epoch there", "overhead", "per sample", "R2", "Spearman", "lack of fit p",
            "bend", "power", "reading")  # fmt: skip


def time_model(name: str, runner: Any, *, longest_s: float, repeats: int) -> Iterator[dict[str, Any]]:
    """One record per epoch: sizes double until one takes ``longest_s``, and take turns ``repeats`` times."""
    size = min(FIRST_SIZE, runner.sample_count)
    runner.run_epoch(size)  # what is paid once, is paid here
    sizes = [size]
    while _time(runner, sizes[-1]) < longest_s / 2.0 and sizes[-1] < runner.sample_count:
        sizes.append(min(runner.sample_count, 2 * sizes[-1]))
    for repeat in range(repeats):
        for each in sizes:
            yield _record(name, "sizes", each, repeat, _time(runner, each))
    small = sizes[max(0, len(sizes) - 3)]
    for epoch in range(EPOCHS_IN_A_ROW):
        yield _record(name, "epochs", small, epoch, _time(runner, small))


def _time(runner: Any, size: int) -> float:
    began_s = time.perf_counter()
    runner.run_epoch(size)
    return time.perf_counter() - began_s


def _record(model: str, part: str, size: int, index: int, duration_s: float) -> dict[str, Any]:
    return {"model": model, "part": part, "sample_count": size, "index": index, "duration_s": duration_s}


def read_growth(records: pd.DataFrame) -> dict[str, Any]:
    """The growth of every model, in the order they were timed; None where there were too few sizes."""
    from greenlove_mlflow.core.timing.growth import fit_growth

    sizes = records[records["part"] == "sizes"]
    return {
        model: fit_growth(group["sample_count"].tolist(), group["duration_s"].tolist())
        for model, group in sizes.groupby("model", sort=False)
    }


def read_verdict(growth: Any) -> str:
    """What a growth says about a model, in words."""
    if growth is None:
        return "too few sizes"
    if growth.is_bent and growth.exponent > 1.1:
        return "faster than the data: not linear"
    if growth.spearman_rho is not None and growth.spearman_rho < LEAST_RHO:
        return "in disorder: this machine was busy"
    if growth.is_bent:
        return "nearly linear"
    return "linear"


def write_report(records: pd.DataFrame, folder: Path, note: str) -> None:
    """Write linearity.md and its pictures."""
    growths = read_growth(records)
    lines = ["# Linearity", "", "Seconds of an epoch against the samples in it.", "", note, "",
             "| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]  # fmt: skip
    for model, growth in growths.items():
        sizes = records[(records["model"] == model) & (records["part"] == "sizes")]
        largest = int(sizes["sample_count"].max())
        seconds = float(sizes[sizes["sample_count"] == largest]["duration_s"].mean())
        cells = [model, f"{largest:,}", f"{seconds:.2f} s", *_cells(growth), read_verdict(growth)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "![time against size](linearity_sizes.png)",
        "",
        "![epoch times](linearity_epochs.png)",
        "",
        "- Overhead: the line's intercept. Bend: how far the largest size lies above the line of the smaller ones.",
        "  Power: the exponent of size over the upper half of the sizes; 1 is linear, 2 is quadratic.",
        "- Lack of fit: the F test of the line against repeated epochs; below 0.01 and with a bend above 3% the line",
        "  does not hold. Rank correlation alone cannot tell: it is 1 for every curve that rises.",
        "- Data: scikit-learn's 1,797 handwritten digits of 8 x 8, scaled up to 28 x 28 and repeated with a little",
        "  noise to 60,000, MNIST's shape; it is not MNIST. Sequences are the rows of a picture.",
        "- Every epoch is in `linearity.parquet`.",
    ]
    (folder / "linearity.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _draw(records, growths, folder)


def _cells(growth: Any) -> list[str]:
    if growth is None:
        return [""] * 7
    p = "" if growth.lack_of_fit_p is None else f"{growth.lack_of_fit_p:.2g}"
    return [
        f"{1000.0 * growth.intercept_s:.1f} ms", f"{1e6 * growth.slope_s:.1f} us", f"{growth.r2:.4f}",
        f"{growth.spearman_rho:.2f}", p, f"{growth.bend:+.0%}", f"{growth.exponent:.2f}",
    ]  # fmt: skip


def _draw(records: pd.DataFrame, growths: dict[str, Any], folder: Path) -> None:
    from matplotlib.figure import Figure

    columns = 3
    rows = -(-len(growths) // columns)
    figures = {name: Figure(figsize=(9.5, 2.6 * rows), layout="constrained") for name in ("sizes", "epochs")}
    for place, (model, growth) in enumerate(growths.items(), start=1):
        own = records[records["model"] == model]
        sizes, epochs = own[own["part"] == "sizes"], own[own["part"] == "epochs"]
        axes = figures["sizes"].add_subplot(rows, columns, place)
        axes.plot(sizes["sample_count"], sizes["duration_s"], "o", markersize=3, color="#1b7f5c")
        if growth is not None:
            grid = np.linspace(0.0, sizes["sample_count"].max(), 50)
            axes.plot(grid, growth.intercept_s + growth.slope_s * grid, color="#9aa5b1", linewidth=1.0)
        axes.set_title(f"{model}: {read_verdict(growth)}", fontsize=8)
        axes.set_xlabel("samples", fontsize=8)
        axes.set_ylabel("seconds", fontsize=8)
        axes.set_ylim(0.0, None)
        axes = figures["epochs"].add_subplot(rows, columns, place)
        axes.plot(epochs["index"] + 1, epochs["duration_s"], "o-", markersize=3, color="#1b7f5c")
        axes.set_title(model, fontsize=8)
        axes.set_xlabel("epoch", fontsize=8)
        axes.set_ylabel("seconds", fontsize=8)
        axes.set_ylim(0.0, None)
    for name, figure in figures.items():
        figure.savefig(folder / f"linearity_{name}.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="half a minute: whether the report can be made")
    parser.add_argument("--longest-s", type=float, default=2.0, help="sizes double up to an epoch of so many seconds")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--note", default="", help="what must be said about the machine")
    parser.add_argument("--output", type=Path, default=HERE)
    given = parser.parse_args()
    from accuracy import describe_machine
    from linearity_models import make_runners

    from greenlove_mlflow.tables.store.exports import write_parquet

    given.output.mkdir(parents=True, exist_ok=True)
    longest_s = 0.15 if given.quick else given.longest_s
    runners = make_runners(4000 if given.quick else 60_000)
    records = pd.DataFrame(
        record
        for name, runner in runners.items()
        for record in time_model(name, runner, longest_s=longest_s, repeats=2 if given.quick else given.repeats)
    )
    write_parquet(records, given.output / "linearity.parquet", metadata={"greenlove.table": "linearity"})
    write_report(records, given.output, f"{describe_machine()}. {given.note}".strip())


if __name__ == "__main__":
    main()
