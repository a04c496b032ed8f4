"""Speed ratios held against measurements that no table of ours holds, or that are withheld from it.

``speed_ratios_outside.csv`` has each with its source. It was split by source and pair of GPUs before anything was
fitted: ``seen`` may shape the constants, ``unseen`` only judges them. A matrix product's ratio is an upper bound of a
training's.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import speed_ratios_data as data

from greenlove_mlflow.core.speed.published import RatioEvidence
from greenlove_mlflow.core.speed.ratio import speed_ratio
from greenlove_mlflow.tables.published_speeds import read_ratio_evidence

MEASURED = Path(__file__).resolve().parent / "speed_ratios_outside.csv"
# Suites of gpu_throughput that are themselves among the measurements.
OWN_SUITES = frozenset({"timm-2025", "exxact-2026"})


@functools.lru_cache(maxsize=1)
def withheld() -> RatioEvidence:
    """The tables' evidence without the suites that are judged here."""
    known = read_ratio_evidence()
    rows = tuple(row for row in known.throughput if row.suite not in OWN_SUITES)
    return dataclasses.replace(known, throughput=rows)


def outside(evidence: RatioEvidence | None = None) -> pd.DataFrame:
    """Every measured ratio beside what is told of it, with its kind named."""
    known = evidence or withheld()
    rows = []
    for row in pd.read_csv(MEASURED).to_dict("records"):
        home, offer = data.specs()[row["home"]], data.specs()[row["offer"]]
        told = speed_ratio(home, offer, evidence=known, precision=row["precision"], model_kind=row["model_kind"])
        measured = row["offer_speed"] / row["home_speed"]
        bound = row["is_upper_bound"] == "yes"
        rows.append(
            {
                **{name: row[name] for name in ("source", "workload", "model_kind", "precision", "split")},
                "pair": f"{_short(home.name)} to {_short(offer.name)}",
                "is_bound": bound,
                "measured": measured,
                "told": told.ratio.point,
                "low": told.ratio.low,
                "high": told.ratio.high,
                "basis": told.basis,
                "is_held": told.ratio.low <= measured and (bound or measured <= told.ratio.high),
                "error": math.nan if bound else math.expm1(abs(math.log(told.ratio.point / measured))),
            }
        )
    return pd.DataFrame(rows)


def _short(name: str) -> str:
    return name.removeprefix("NVIDIA ").removeprefix("AMD ").removeprefix("Intel ").removeprefix("GeForce ")


def summary(frame: pd.DataFrame, by: list[str]) -> str:
    """Held and median error by some columns, as the lines of a Markdown table."""
    lines = []
    for key, part in frame.groupby(by, sort=False):
        names = " | ".join(str(each) for each in key)
        error = part["error"].median()
        width = math.sqrt(float(np.exp(np.median(np.log(part["high"] / part["low"])))))
        shown = "" if math.isnan(error) else f"{error:.0%}"
        lines.append(f"| {names} | {len(part)} | {part['is_held'].mean():.0%} | {shown} | x {width:.2f} |")
    return "\n".join(lines)


def _share(frame: pd.DataFrame) -> str:
    return f"{frame['is_held'].mean():.0%}"


def _off(frame: pd.DataFrame) -> str:
    return f"{frame['error'].median():.0%}"


def by_their_like(trainings: pd.DataFrame) -> tuple[int, float, float]:
    """How far a training is from the mean of the others of its pair, precision and kind, and from what is told.

    Returns:
        Trainings that have others, the median error of that mean, and that of what is told of the same trainings.
    """
    logs = np.log(trainings["measured"])
    alike = logs.groupby([trainings[name] for name in ("pair", "precision", "model_kind")])
    count = alike.transform("size")
    has_others = count > 1
    mean_of_others = (alike.transform("sum") - logs)[has_others] / (count[has_others] - 1)
    error = np.expm1((logs[has_others] - mean_of_others).abs())
    return int(has_others.sum()), float(error.median()), float(trainings["error"][has_others].median())


def render(frame: pd.DataFrame) -> str:
    """The section of the report."""
    trainings = frame[~frame["is_bound"]]
    unseen = frame[frame["split"] == "unseen"]
    mixed = trainings[trainings["precision"].isin(["fp16", "bf16"])]
    missed = frame[~frame["is_held"]]
    alike, own_error, told_error = by_their_like(trainings)
    listed = "\n".join(
        f"- {row.pair}, {row.workload}, {row.precision}: measured {row.measured:.2f}, told {row.told:.2f} "
        f"({row.low:.2f} to {row.high:.2f}), by {row.basis}."
        for row in missed.itertuples()
    )
    return f"""## Outside
{len(frame)} ratios that others measured (`speed_ratios_outside.csv`), none of them in the tables when they are told,
each with the model's kind named. Split by source and pair of GPUs before anything was fitted: what is *unseen* shaped
no constant. A matrix product's ratio is taken as an upper bound. `tf32` is a V100 in FP32 against an A100 with TF32.

Held: {_share(frame)} of all, {_share(unseen)} of the unseen. Median error: {_off(mixed)} in mixed precision,
{_off(trainings)} of all trainings, {_off(unseen)} of the unseen. Aim: at least 90% held, median error at most 18%.
Not much more can be told of a pair and a kind: the mean of what the others of the same pair, precision and kind
measured is off by {own_error:.0%} ({alike} trainings that have others), what is told of these by {told_error:.0%}.

| source | precision | split | ratios | held | median error | range |
|---|---|---|---|---|---|---|
{summary(frame, ["source", "precision", "split"])}

| pair | precision | ratios | held | median error | range |
|---|---|---|---|---|---|
{summary(frame, ["pair", "precision"])}

Not held:

{listed or "none."}
"""


if __name__ == "__main__":
    print(render(outside()))
