"""Aims of the comparison against figures, each made from records that are there; nothing is trained or timed.

    python reports/aims.py [--output FOLDER]

Writes aims.md from silicon.parquet, accuracy.parquet, accuracy_replay.md, speed_ratios.md and the tables.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from accuracy_text import with_errors  # noqa: E402
from silicon import read_records  # noqa: E402

from greenlove_mlflow.core.account.estimate import estimate_training  # noqa: E402
from greenlove_mlflow.core.account.run_facts import RunFacts  # noqa: E402
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval  # noqa: E402
from greenlove_mlflow.core.offers.compare import compare_offers  # noqa: E402
from greenlove_mlflow.core.offers.offer import Rental  # noqa: E402
from greenlove_mlflow.core.offers.step_on_offer import HomeSteps, StepOnOffer, step_on_offer  # noqa: E402
from greenlove_mlflow.core.records import StepProfile  # noqa: E402
from greenlove_mlflow.core.speed.gpus import SpeedRatio  # noqa: E402
from greenlove_mlflow.core.speed.ratio import speed_ratio  # noqa: E402
from greenlove_mlflow.core.speed.specs import counted_ratio  # noqa: E402
from greenlove_mlflow.tables import (  # noqa: E402
    read_default_pue,
    read_gpu_specs,
    read_instance_start,
    read_kernel_factors,
    read_price_sheet,
)
from greenlove_mlflow.tables.published_speeds import read_ratio_evidence  # noqa: E402
from tests.support.factories import some_statistics  # noqa: E402

SPECS = {spec.gpu_id: spec for spec in read_gpu_specs()}
H200, A100 = SPECS["nvidia-h200-sxm-141gb"], SPECS["nvidia-a100-sxm4-80gb"]
# Precision, kind, operations and bytes of a step of each profile: operations by 6 x parameters x samples, bytes by
# the sizes of activations, weights and optimizer state.
WORK = {
    "small CNN": ("fp32", "convolutional", 1e8, 0.01e9),
    "ResNet-18": ("bf16", "convolutional", 0.11e12, 3.0e9),
    "BERT-base": ("bf16", "transformer", 4.2e12, 20.0e9),
    "wide MLP": ("fp32", "other", 0.309e12, 3.5e9),
    "LSTM": ("fp32", "recurrent", 2.47e12, 3.0e9),
}
# An LSTM of three layers over 128 steps.
RECURRENT_STEPS = {"LSTM": 384}
Row = tuple[str, str, str, str]


def profiles() -> pd.DataFrame:
    """The measured profiles by their short names."""
    records = read_records(HERE / "silicon.parquet")
    found = records[records["kind"] == "profile"]
    names = [next((name for name in WORK if workload.startswith(name)), "") for workload in found["workload"]]
    return found.assign(name=names)[[bool(name) for name in names]].set_index("name")


def on_offer(home: StepProfile, ratio: SpeedRatio) -> StepOnOffer:
    return step_on_offer(
        HomeSteps.of([home]),
        log_ratio=np.log([ratio.ratio.point]),
        ratio_log_sd=np.array([ratio.ratio.log_half_width / NORMAL_QUANTILE_95]),
        is_whole=np.zeros(1),
    )


def replayed(name: str, measured: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Of each board at least as fast as an A100: ratio of the board's part, and of the whole step, to the H200."""
    row, precision, kind = measured.loc[name], WORK[name][0], WORK[name][1]
    home = StepProfile(loader_s=0.0, fetch_s=0.0, host_s=row["host_s"], device_busy_s=row["device_busy_s"])
    asked = {"evidence": read_ratio_evidence(), "precision": precision, "model_kind": kind}
    least = speed_ratio(H200, A100, **asked).ratio.point
    found = {}
    for spec in SPECS.values():
        ratio = speed_ratio(H200, spec, **asked)
        if ratio.ratio.point >= least:
            longest = on_offer(home, ratio).longest
            found[spec.gpu_id] = (ratio.ratio.point, 1.0 / float(longest.point[0]))
    return found


def bound_by_host(measured: pd.DataFrame) -> Row:
    found = [times for name in ("small CNN", "ResNet-18", "BERT-base") for times in replayed(name, measured).values()]
    whole = [time for _, time in found]
    return (
        "three host-bound profiles of an H200, replayed on any board at least as fast as an A100",
        "time ratio 0.95 to 1.05",
        (
            f"{min(whole):.2f} to {max(whole):.2f} ({len(found)} pairs; the board's own ratio "
            f"{min(r for r, _ in found):.2f} to {max(r for r, _ in found):.2f})"
        ),
        verdict(min(whole) >= 0.95 and max(whole) <= 1.05),
    )


def bound_by_board(measured: pd.DataFrame) -> Row:
    found = [pair for pair in replayed("wide MLP", measured).values() if pair[0] <= 2.0]
    apart = max(abs(math.log(whole / board)) for board, whole in found)
    held = [line.split("|")[5].strip() for line in lines_of("speed_ratios.md") if line.startswith(BASES)]
    is_met = all(0.90 <= float(each.rstrip("%")) / 100.0 <= 0.98 for each in held) and apart < 0.01
    return (
        "device-bound trainings",
        "as before: 93 to 95% held",
        (
            f"{' / '.join(held)} held by throughput, MLPerf and specs; the wide MLP within "
            f"{math.expm1(apart):.1%} of the published ratio"
        ),
        verdict(is_met),
    )


BASES = ("| throughput | ", "| MLPerf | ", "| specs | ")


def from_a_cpu(measured: pd.DataFrame) -> Row:
    """The steps that an H200 took, held against what their work, as counted on a CPU, lets expect."""
    factors, inside, errors = read_kernel_factors(), [], []
    for name, (precision, kind, flop, moved) in WORK.items():
        row = measured.loc[name]
        launches = factors.per_operator * row["operator_count"]
        launches += factors.per_recurrent_step * RECURRENT_STEPS.get(name, 0)
        profile = StepProfile(loader_s=0.0, fetch_s=0.0, host_s=1.0, launch_count=launches, flop_count=flop,
                              moved_bytes=moved, on_cpu=True)  # fmt: skip
        ratio = counted_ratio(profile, H200, precision, model_kind=kind)
        if ratio is None:
            raise SystemExit(f"the work of {name} gives no ratio")
        longest = on_offer(profile, ratio).longest
        low, high = (float(np.exp(longest.log_quantile(each))[0]) for each in (0.025, 0.975))
        inside.append(low <= row["step_s"] <= high)
        errors.append(abs(math.log(float(longest.point[0]) / row["step_s"])))
    return (
        "networks counted on a CPU, on an H200",
        "range holds the measured step 8 of 9 times",
        (
            f"{sum(inside)} of {len(inside)}, median error {math.expm1(float(np.median(errors))):.0%} (kernels per "
            "operator were fitted on the same five)"
        ),
        verdict(sum(inside) >= 8 / 9 * len(inside)),
    )


def on_a_gpu() -> Row:
    records = read_records(HERE / "silicon.parquet")
    known = records[(records["kind"] == "promise") & records["actual_s"].notna() & records["promised_s"].notna()]
    error = np.log(known["promised_s"] / known["actual_s"]).abs()
    inside = (known["low_s"] <= known["actual_s"]) & (known["actual_s"] <= known["high_s"])
    held = known["was_inside"].where(known["was_inside"].notna(), inside).astype(bool)
    middle = math.expm1(error.median())
    return (
        "estimate on a GPU against a fresh process",
        "median error <= 6%, held 9 of 10",
        (
            f"{middle:.0%}, {held.sum()} of {len(known)}: measured before first uses were told from steady steps, and "
            "not measured again since"
        ),
        verdict(middle <= 0.06 and held.mean() >= 0.9),
    )


def simulated() -> Iterator[Row]:
    records = with_errors(pd.read_parquet(HERE / "accuracy.parquet"))
    silent = records[records["part"] == "silent"]
    for kind, names, width, error in (
        ("quiet", ("quiet, silent", "smooth, silent"), 0.06, 0.016),
        ("shared", ("shared, silent", "smooth shared, silent"), 0.13, 0.045),
    ):
        for name in names:
            group = silent[silent["machine"] == name]
            held, half = group["inside"].mean(), group["half_width"].median()
            middle = math.expm1(group["error"].abs().median())
            yield (
                f"simulated, counters that say nothing: {name.removesuffix(', silent')}",
                f"held 93 to 98%, half-width <= {width:.0%}, median error <= {error:.1%} ({kind})",
                f"{held:.1%}, {half:.1%}, {middle:.1%}",
                verdict(0.93 <= held <= 0.98 and half <= width and middle <= error),
            )


def real() -> Row:
    records = with_errors(pd.read_parquet(HERE / "accuracy.parquet"))
    ours = records[(records["part"] == "real") & (records["method"] == "adaptive") & records["actual_s"].notna()]
    now = next(line for line in lines_of("accuracy_replay.md") if "both counted once (now)" in line).split("|")
    held, width = now[4].strip(), now[5].strip()
    return (
        "real trainings on a CPU",
        "held 11 of 12, half-width <= 25%",
        (
            f"{ours['inside'].sum()} of {len(ours)}, {ours['half_width'].median():.0%}, median error "
            f"{math.expm1(ours['error'].abs().median()):.1%} as measured; {held} and {width} when 142 trainings are "
            "played again with the ranges of today"
        ),
        verdict(float(held.rstrip("%")) >= 11 / 12 * 100 and float(width.rstrip("%")) <= 25.0),
    )


def cost_shown() -> Row:
    """The rent of a training on each offer, against the sheet's price times the smallest instance it is sold in."""
    sheet, start_s = read_price_sheet("newest"), read_instance_start()[0]
    facts: RunFacts = some_statistics()
    ratio = SpeedRatio(ratio=Interval.exactly(2.0), basis="given")
    comparison = compare_offers(
        estimate_training(facts),
        sheet=sheet,
        ratios={offer.gpu_id: ratio for offer in sheet.offers},
        specs=SPECS,
        regions={},
        pue=read_default_pue("cloud")[0],
        rental=Rental(start_s=start_s),
        billing=("on-demand", "spot"),
    )
    priced = [row for row in comparison.rows if row.estimate.cost_usd is not None]
    time_s = comparison.home.time_s.point / 2.0 + start_s.point
    bills = [(row.offer.price_usd_per_hour or 0.0) * min(row.offer.gpu_counts) * time_s / 3600.0 for row in priced]
    shown = [row.estimate.cost_usd.point for row in priced if row.estimate.cost_usd is not None]
    apart = max(abs(one / other - 1.0) for one, other in zip(shown, bills, strict=True))
    in_eights = sum(min(row.offer.gpu_counts) == 8 for row in priced)
    return (
        "cost shown",
        "what the provider bills for the smallest instance",
        (
            f"the same on all {len(priced)} priced offers of {sheet.version}, {in_eights} of them rented in eights "
            f"(apart by {apart:.0e}), the start of {start_s.point:.0f} s included"
        ),
        verdict(apart < 1e-12),
    )


def lines_of(name: str) -> list[str]:
    return (HERE / name).read_text(encoding="utf-8").splitlines()


def verdict(is_met: bool) -> str:
    return "met" if is_met else "**missed**"


def render() -> str:
    measured = profiles()
    rows = [
        bound_by_host(measured), from_a_cpu(measured), bound_by_board(measured), on_a_gpu(), *simulated(), real(),
        cost_shown(),
    ]  # fmt: skip
    head = [
        "# Aims of the comparison",
        "",
        "Made by `python reports/aims.py` from the records of [silicon.md](silicon.md), [accuracy.md](accuracy.md),",
        "[accuracy_replay.md](accuracy_replay.md) and [speed_ratios.md](speed_ratios.md).",
        "",
        "| figure | aim | reached | |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE)
    given = parser.parse_args()
    (given.output / "aims.md").write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
