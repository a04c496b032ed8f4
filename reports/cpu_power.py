"""How well the power of a slice of a server is told: ``python reports/cpu_power.py``.

Each server chip of 32 threads or more, with its own thread count withheld, at 8, 16 and 32 visible threads, against its
design power times the threads' share. Writes ``cpu_power.md`` beside it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from greenlove_mlflow.core.energy.cpu_power import CpuModel, cpu_family, cpu_power
from greenlove_mlflow.tables import read_cpu_models, read_table

HERE = Path(__file__).resolve().parent
VISIBLE = (8, 16, 32)
LEAST_THREADS = 32
# Names that clouds show, and what makers and providers say of the chips: threads of the socket and its design power.
SEEN = (
    ("AMD EPYC 7R13 Processor", 8, "AWS c6a; 48 cores, 225 W"),
    ("AMD EPYC 7B12", 8, "Google n2d; Rome"),
    ("AMD EPYC 7B13", 8, "Google n2d and c2d; Milan"),
    ("AMD EPYC 9B14", 8, "Google c3d; Genoa"),
    ("AMD EPYC 9R14", 8, "AWS m7a; Genoa"),
    ("AMD EPYC", 8, "a virtual machine that hides the model"),
    ("Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz", 8, "AWS p3.2xlarge; 18 cores, 145 W"),
    ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", 104, "Google a3; 350 W, 112 threads class"),
    ("Intel(R) Xeon(R) Platinum 8480C", 96, "Azure ND H100 v5; 350 W, 112 threads class"),
    ("Intel(R) Xeon(R) Platinum 8581C CPU @ 2.10GHz", 8, "Google n4; Emerald Rapids"),
    ("Intel(R) Xeon(R) Processor @ 2.20GHz", 8, "Google n1"),
    ("Intel(R) Xeon(R) 6972P", 32, "96 cores, 500 W"),
    ("Neoverse-N1", 8, "AWS Graviton2, Ampere Altra"),
    ("AMD Ryzen Threadripper PRO 7995WX 96-Cores", 192, "350 W"),
    ("13th Gen Intel(R) Core(TM) i9-13900", 32, "base 65 W, turbo 219 W"),
)


def main() -> None:
    """Run the check and write the report."""
    frame = withheld()
    text = render(frame, read_table("cpu_tdp").version)
    (HERE / "cpu_power.md").write_text(text, encoding="utf-8", newline="\n")
    print(text)


def withheld() -> pd.DataFrame:
    """Every chip at every number of visible threads, told without its own thread count."""
    models = read_cpu_models()
    rows = []
    for model in models:
        if (model.thread_count or 0) < LEAST_THREADS or cpu_family(model.name) is None:
            continue
        blind = [_without_threads(each) if each.name == model.name else each for each in models]
        for visible in VISIBLE:
            told = cpu_power(model.name, visible, blind)
            truth = model.tdp_w * visible / (model.thread_count or 1)
            rows.append(
                {
                    "cpu": model.name,
                    "visible": visible,
                    "truth": truth,
                    "told": told.interval_w.point,
                    "low": told.interval_w.low,
                    "high": told.interval_w.high,
                    "is_held": told.interval_w.low <= truth <= told.interval_w.high,
                    "is_above_socket": told.interval_w.high > model.tdp_w,
                }
            )
    return pd.DataFrame(rows)


def _without_threads(model: CpuModel) -> CpuModel:
    return dataclasses.replace(model, thread_count=None)


def render(frame: pd.DataFrame, version: str) -> str:
    """The report as Markdown."""
    lines = []
    for visible, part in frame.groupby("visible"):
        off = np.exp(np.median(np.abs(np.log(part["told"] / part["truth"])))) - 1.0
        lean = np.exp(np.median(np.log(part["told"] / part["truth"])))
        width = np.exp(np.median(np.log(part["high"] / part["low"]) / 2.0))
        lines.append(
            f"| {visible} | {len(part)} | {part['is_held'].mean():.0%} | {off:.0%} | x {lean:.2f} | x {width:.2f} | "
            f"{int(part['is_above_socket'].sum())} |"
        )
    return f"""# Power of a slice of a server

Written by `python reports/cpu_power.py` from `cpu_tdp` {version}: {frame["cpu"].nunique()} server chips of
{LEAST_THREADS} threads or more, each told without its own thread count. The truth is the chip's design power times the
threads' share. Aim: held 90% of the time, never above the socket.

| visible threads | chips | held | median error | told over true | range | above the socket |
|---|---|---|---|---|---|---|
{chr(10).join(lines)}

## Names that systems show
| CPU | visible | told | note | what is known |
|---|---|---|---|---|
{chr(10).join(_seen_line(*each) for each in SEEN)}
"""


def _seen_line(name: str, visible: int, known: str) -> str:
    told = cpu_power(name, visible, read_cpu_models(), system_cpu_count=visible)
    watts = told.interval_w
    return (
        f"| `{name}` | {visible} | {watts.point:.0f} W ({watts.low:.0f} to {watts.high:.0f}) | {told.note} | {known} |"
    )


if __name__ == "__main__":
    main()
