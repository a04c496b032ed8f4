"""The tables and words of the report on real GPUs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Cell = Callable[[Any], str]


def write_report(records: pd.DataFrame, folder: Path) -> None:
    """Write silicon.md from the records."""
    promises, profiles = (records[records["kind"] == kind] for kind in ("promise", "profile"))
    words = (
        "Made by `python reports/silicon.py` from all records in silicon.parquet; a machine with a GPU adds its own. "
        "Each training is promised in one process and run in another."
    )
    lines = ["# On real GPUs", "", words, ""]
    lines += [*_machines(records), "", *_promises(promises), "", *_energy(promises), "", *_profiles(profiles), "",
              *_boards(promises), "", *_kernels(profiles)]  # fmt: skip
    (folder / "silicon.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _machines(records: pd.DataFrame) -> list[str]:
    seen = records[["board", "host_cpu", "torch", "credit"]].fillna("").drop_duplicates()
    rows = [f"| {row.board} | {row.host_cpu} | {row.torch} | {row.credit} |" for row in seen.itertuples()]
    return ["| board | host | torch | measured |", "|---|---|---|---|", *rows]


def _promises(promises: pd.DataFrame) -> list[str]:
    known = promises[promises["promised_s"].notna() & promises["actual_s"].notna()].copy()
    lines = ["## Promises against trainings", ""]
    if known.empty:
        return [*lines, "None yet."]
    known["error"] = np.log(known["promised_s"] / known["actual_s"])
    inside = (known["low_s"] <= known["actual_s"]) & (known["actual_s"] <= known["high_s"])
    known["inside"] = known["was_inside"].where(known["was_inside"].notna(), inside).astype(bool)
    middle = math.expm1(known["error"].abs().median())
    lines += [
        f"{len(known)} trainings: median error {middle:.0%}, range held {known['inside'].sum()} of {len(known)}.",
        "",
    ]
    return lines + _table(
        known,
        [("board", "board", str), ("training", "workload", str), ("promised s", "promised_s", _three),
         ("low", "low_s", _three), ("high", "high_s", _three), ("took s", "actual_s", _three),
         ("off", "error", lambda value: f"{math.expm1(value):+.0%}"), ("in range", "inside", _yes),
         ("first epoch s", "first_epoch_s", _three), ("later epochs s", "later_epoch_s", _three),
         ("caveats", "caveats", _text)],
    )  # fmt: skip


def _energy(promises: pd.DataFrame) -> list[str]:
    known = promises[promises["counter_kwh"].notna()]
    lines = ["## Energy against the board's counter", ""]
    if known.empty:
        return [*lines, "None yet."]
    lines += ["The promise counts board, CPU and memory; the counter the board alone.", ""]
    return lines + _table(
        known,
        [("board", "board", str), ("training", "workload", str), ("promised Wh", "promised_kwh", _watt_hours),
         ("low", "low_kwh", _watt_hours), ("high", "high_kwh", _watt_hours), ("metered Wh", "metered_kwh", _watt_hours),
         ("counter Wh", "counter_kwh", _watt_hours), ("board W", "board_w", _three)],
    )  # fmt: skip


def _profiles(profiles: pd.DataFrame) -> list[str]:
    known = profiles[profiles["step_s"].notna()].copy()
    lines = ["## Where the time of a step goes", ""]
    if known.empty:
        return [*lines, "None yet."]
    thread_s = known["host_s"] + known["fetch_s"].fillna(0.0)
    longest_s = pd.concat([thread_s, known["device_busy_s"], known["loader_s"]], axis=1).max(axis=1)
    known["busy"] = known["device_busy_s"] / longest_s
    known["against"] = longest_s / known["step_s"]
    lines += ["`step = max(loader, fetch + host, device)`; the last column is that maximum over the step as timed.", ""]
    return lines + _table(
        known,
        [("board", "board", str), ("training", "workload", str), ("step ms", "step_s", _milliseconds),
         ("loader", "loader_s", _milliseconds), ("fetch", "fetch_s", _milliseconds), ("host", "host_s", _milliseconds),
         ("kernels", "device_busy_s", _milliseconds), ("launches", "launch_count", _whole),
         ("waits", "sync_count", _whole),
         ("board works", "busy", _percent), ("board W", "board_w", _whole), ("bound by", "bound_by", _text),
         ("max / step", "against", _three), ("not measured because", "note", _text)],
    )  # fmt: skip


def _boards(promises: pd.DataFrame) -> list[str]:
    """The ratio of two boards where both trained the same."""
    lines = ["## One board against another", ""]
    known = promises[promises["actual_s"].notna() & (promises["board"] != "CPU")]
    means = known.groupby(["workload", "board"], sort=False)["actual_s"].mean().unstack()
    rows = []
    for workload, times in means.iterrows():
        boards = [board for board in means.columns if times[board] == times[board]]
        for index, one in enumerate(boards):
            rows += [
                f"| {workload} | {one} | {other} | {times[one] / times[other]:.2f} |" for other in boards[index + 1 :]
            ]
    if not rows:
        return [*lines, "No training was run on two boards yet."]
    return [
        *lines,
        "Whole trainings, hosts and all.",
        "",
        "| training | from | to | times faster |",
        "|---|---|---|---|",
        *rows,
    ]


def _kernels(profiles: pd.DataFrame) -> list[str]:
    known = profiles[profiles["operator_count"].notna() & profiles["launch_count"].notna()].copy()
    lines = ["## Operators counted on a CPU against kernels launched", ""]
    if known.empty:
        return [*lines, "None yet."]
    known["ratio"] = known["launch_count"] / known["operator_count"]
    return lines + _table(
        known,
        [("training", "workload", str), ("operators that are no view", "operator_count", _whole),
         ("kernels", "launch_count", _whole), ("kernels / operator", "ratio", lambda value: f"{value:.1f}")],
    )  # fmt: skip


def _table(frame: pd.DataFrame, columns: Sequence[tuple[str, str, Cell]]) -> list[str]:
    def row(values: Iterable[str]) -> str:
        return "| " + " | ".join(values) + " |"

    lines = [row(title for title, _, _ in columns), "|" + "---|" * len(columns)]
    for record in frame.to_dict("records"):
        cells = ("" if _is_unknown(record[name]) else cell(record[name]) for _, name, cell in columns)
        lines.append(row(cells))
    return lines


def _is_unknown(value: Any) -> bool:
    return value is None or value != value


def _yes(value: bool) -> str:
    return "yes" if value else "**no**"


def _text(value: Any) -> str:
    return str(value).replace("|", "/")


def _three(value: float) -> str:
    return f"{value:.3g}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _milliseconds(value: float) -> str:
    return f"{1000.0 * value:.3g}"


def _watt_hours(value: float) -> str:
    return f"{1000.0 * value:.3g}"
