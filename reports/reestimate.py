"""What estimating thousands of runs again costs, against reading the same runs with the bare ``search_runs``.

    python reports/reestimate.py [--keep FOLDER] [--quick]

Fills a store with synthetic runs through MLflow's real API (minutes; ``--keep`` names a folder to keep the stores in
and to find them again), then times each part in fresh processes. Writes reestimate.md, reestimate.json and
reestimate.png beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT)]

REPEATS = 3
START_S = 3.0
MOST_RATIO = 1.4
# Runs of an experiment that are made through MLflow's API, which takes a tenth of a second for each; the others are
# copies of their rows.
MADE_COUNT = 2000
MOST_ARITHMETIC = 0.05
Result = dict[str, Any]


def run_part(part: str, folder: Path, **arguments: Any) -> Result:
    """One part in a process of its own."""
    options = arguments.pop("options", {})
    command = [sys.executable, str(HERE / "reestimate_parts.py"), part, "--options", json.dumps(options)]
    command += [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=folder, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def filled(uri: str, name: str, run_count: int) -> float | None:
    """An experiment of so many runs; seconds a run took to make, None when it was there."""
    from mlflow import MlflowClient
    from reestimate_store import fill

    told = [*fill(MlflowClient(uri), name, run_count)]
    print(f"{name}: {run_count} runs", told[-1] if told else "were there", flush=True)
    return told[-1][1] / run_count if told else None


def measure(uri: str, name: str, folder: Path, repeats: int) -> Result:
    """Bare and ours in turns, the fastest of each: what a neighbour on the machine adds is not ours."""
    both: dict[str, list[Result]] = {"bare": [], "ours": []}
    for _ in range(repeats):
        both["bare"].append(run_part("bare", folder, uri=uri, experiment=name))
        both["ours"].append(run_part("ours", folder, uri=uri, experiment=name, options={"dry_run": True}))
    best = {part: min(results, key=lambda each: each["wall_s"]) for part, results in both.items()}
    print(name, {part: round(each["wall_s"], 2) for part, each in best.items()}, flush=True)
    return {**best, "all": both, "load": os.getloadavg()[0]}


def measure_sqlite(folder: Path, counts: Sequence[int], repeats: int) -> Result:
    from reestimate_store import copy_runs

    uri = f"sqlite:///{folder / 'store.db'}"
    found: Result = {}
    for count in counts:
        filled(uri, f"r{count}", min(count, MADE_COUNT))
        copy_runs(folder / "store.db", f"r{count}", count)
        found[str(count)] = measure(uri, f"r{count}", folder, repeats)
    largest = f"r{max(counts)}"
    found["kept"] = run_part("ours", folder, uri=uri, experiment=largest)
    found["again"] = run_part("ours", folder, uri=uri, experiment=largest)
    write = {"write_back": True, "prices": "2026-06-11", "dry_run": False}
    smallest = f"r{min(counts)}"
    found["written"] = run_part("ours", folder, uri=uri, experiment=smallest, options=write)
    found["written_again"] = run_part("ours", folder, uri=uri, experiment=smallest, options=write)
    return found


def measure_http(folder: Path, count: int, repeats: int) -> Result:
    from tests.support.server import running_server

    with running_server(folder / "server") as server:
        made_s = filled(server.uri, f"http{count}", count)
        return {**measure(server.uri, f"http{count}", folder, repeats), "made_s": made_s}


def write_report(figures: Result, output: Path) -> None:
    """The rendered report, its figures and its picture."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "reestimate.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    draw(figures).savefig(output / "reestimate.png")
    (output / "reestimate.md").write_text(render(figures), encoding="utf-8")


TEMPLATE = """# What estimating thousands of runs again costs

Made by `reports/reestimate.py` on {where}, {date}. Synthetic runs, made through MLflow's
own API by the code that `track` keeps a promise with: about 60 metrics, 12 params, 10 tags each, and in one of
them (about {tag} characters) everything that an estimate needs. Beyond {made:,} of an experiment they are copies of
their rows, each with statistics of its own. Each is estimated again on the {offers} offers
of {versions} dated price sheets. "Bare" is `MlflowClient.search_runs` over the same runs in the same pages of
500, and nothing else. Both in fresh processes, in turns, {repeats} times; the fastest of each is shown, because
the machine has two cores and neighbours (load average while timing: {loads}). CPU seconds are the process's own,
and the neighbours are not in them.{older}

| store | runs | bare, s | ours, s | ratio | aim: 1.4 x bare + 3 s | bare, CPU s | ours, CPU s | ms a run |
|---|---|---|---|---|---|---|---|---|
{rows}

Start-up (Python, MLflow, pandas, the tables) is {startup:.1f} s of ours and {startup_bare:.1f} s of the bare
search, and is not in the columns above.

![Where the time goes](reestimate.png)

## Where the time goes

| store | runs | search | read the statistics | arithmetic | rows and sums | rest |
|---|---|---|---|---|---|---|
{parts}

The aim for the arithmetic is less than 5% of the whole. Artifacts read: {artifacts}.

## Memory

| runs | bare, MiB | ours, MiB | more |
|---|---|---|---|
{memory}

Ten times the runs make ours {growth:.0f} MiB larger: a page is priced, written to Parquet and let go; ids and
reasons of runs that were left out are all that grows. All {row_count:,} rows of {largest:,} runs are
{file_mib:.1f} MiB of Parquet.

## Kept, done again, written back

| what | seconds |
|---|---|
{more}

## Past one machine

The model as `mlflow.pyfunc.spark_udf` in local mode, {spark_runs} runs x {offers} offers, each row carrying the
run's statistics; warm, start of the session and its workers ({cold:.0f} s) apart.

| cores | rows a second | against one core |
|---|---|---|
{spark}

One process of ours, without Spark, prices {ours_rows:,.0f} rows a second once the runs are read: Spark is for
more memory and cores than one machine has, not for fewer seconds on it.
"""


def render(figures: Result) -> str:
    sqlite, http = figures["sqlite"], figures["http"]
    measured = [("SQLite", count, sqlite[str(count)]) for count in figures["counts"]]
    measured.append(("http", figures["http_count"], http))
    _, largest, big = measured[len(figures["counts"]) - 1]
    small = measured[0][2]
    priced_s = sum(big["ours"]["parts_s"][part] for part in ("decode", "arithmetic", "rows"))
    one = figures["spark"][0]["row_count"] / figures["spark"][0]["wall_s"] if figures["spark"] else 0.0
    return TEMPLATE.format(
        where=f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        date=figures["date"],
        tag=figures["tag_length"],
        made=MADE_COUNT,
        older=_older(figures),
        offers=figures["offer_count"],
        versions=figures["version_count"],
        repeats=figures["repeats"],
        rows="\n".join(_row(store, count, each) for store, count, each in measured),
        startup=big["ours"]["whole_s"] - big["ours"]["wall_s"],
        startup_bare=big["bare"]["whole_s"] - big["bare"]["wall_s"],
        loads=", ".join(f"{each['load']:.0f}" for *_, each in measured),
        parts="\n".join(_parts(store, count, each) for store, count, each in measured),
        artifacts=sum(each["ours"]["artifact_reads"] for *_, each in measured),
        memory="\n".join(_memory(count, each) for store, count, each in measured if store == "SQLite"),
        growth=big["ours"]["rss_mib"] - small["ours"]["rss_mib"],
        row_count=big["ours"]["row_count"],
        largest=largest,
        file_mib=big["ours"]["file_bytes"] / 2**20,
        more=_more(sqlite, figures),
        spark_runs=figures["spark_runs"],
        cold=figures["spark"][0]["cold_s"] if figures["spark"] else float("nan"),
        spark="\n".join(
            f"| {each['cores']} | {each['row_count'] / each['wall_s']:,.0f} | "
            f"{each['row_count'] / each['wall_s'] / one:.2f} |"
            for each in figures["spark"]
        ),
        ours_rows=big["ours"]["row_count"] / priced_s,
    )


def _older(figures: Result) -> str:
    """What was timed on an earlier day than the rest, with the offers of that day."""
    older: dict[str, str] = figures.get("older", {})
    days = dict.fromkeys(older.values())
    return "".join(
        f"\nNot timed again since {day}: {', '.join(what for what in older if older[what] == day)}." for day in days
    )


def _row(store: str, count: int, each: Result) -> str:
    bare, ours = each["bare"], each["ours"]
    allowed = MOST_RATIO * bare["wall_s"] + START_S
    cells = [
        store,
        f"{count:,}",
        f"{bare['wall_s']:.2f}",
        f"{ours['wall_s']:.2f}",
        f"{ours['wall_s'] / bare['wall_s']:.2f}",
        f"{allowed:.1f}: {'kept' if ours['wall_s'] <= allowed else 'missed'}",
        f"{bare['cpu_s']:.2f}",
        f"{ours['cpu_s']:.2f}",
        f"{1000 * ours['wall_s'] / count:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def shares(ours: Result) -> dict[str, float]:
    """Of the whole, what each part takes."""
    parts = {part: ours["parts_s"].get(part, 0.0) for part in ("search", "decode", "arithmetic", "rows")}
    parts["rest"] = max(0.0, ours["wall_s"] - sum(parts.values()))
    return {part: seconds / ours["wall_s"] for part, seconds in parts.items()}


def _parts(store: str, count: int, each: Result) -> str:
    cells = " | ".join(f"{share:.1%}" for share in shares(each["ours"]).values())
    return f"| {store} | {count:,} | {cells} |"


def _memory(count: int, each: Result) -> str:
    bare, ours = each["bare"]["rss_mib"], each["ours"]["rss_mib"]
    return f"| {count:,} | {bare:.0f} | {ours:.0f} | {ours - bare:.0f} |"


def _more(sqlite: Result, figures: Result) -> str:
    largest, smallest = max(figures["counts"]), min(figures["counts"])
    kept, again, written, twice = (sqlite[name] for name in ("kept", "again", "written", "written_again"))
    made_s = figures["http"]["made_s"]
    made = "" if made_s is None else f"\n| a synthetic run made over http | {made_s:.3f} |"
    return (
        f"| {largest:,} runs, kept in a run: Parquet, table, picture, inputs | {kept['wall_s']:.1f} |\n"
        f"| the same again: no second run | {again['wall_s']:.1f} |\n"
        f"| {smallest:,} runs with one date of prices, written back: {written['metric_count']:,} values in "
        f"{written['written_count']:,} runs | {written['wall_s']:.1f} |\n"
        f"| the same again: {twice['metric_count']} values written | {twice['wall_s']:.1f} |{made}"
    )


def draw(figures: Result) -> Any:
    """Seconds a run, bare beside ours by part."""
    from greenlove_mlflow.plots.canvas import BLUE, GREEN, ORANGE, PURPLE, SOFT, VERMILLION, open_canvas, style_axes

    sqlite, http = figures["sqlite"], figures["http"]
    measured = [(f"{count:,} runs, SQLite", count, sqlite[str(count)]) for count in figures["counts"]]
    measured.append((f"{figures['http_count']:,} runs, http", figures["http_count"], http))
    figure = open_canvas(
        title="Milliseconds a run: the bare search, and estimating again",
        subtitle=(
            f"{figures['offer_count']} offers of {figures['version_count']} price dates for each run; "
            "start-up of the process left out"
        ),
        caption=f"Made by reports/reestimate.py, {figures['date']}.",
        height_in=0.62 * len(measured) + 1.0,
    )
    axes = figure.subplots()
    colors = {"search": BLUE, "decode": ORANGE, "arithmetic": VERMILLION, "rows": GREEN, "rest": PURPLE}
    words = {"search": "search_runs", "decode": "reading the statistics", "rows": "rows and sums", "rest": "the rest"}
    for row, (_, count, each) in enumerate(measured):
        axes.barh(
            row - 0.2, 1000 * each["bare"]["wall_s"] / count, 0.34, color=SOFT, label="bare" if row == 0 else None
        )
        left = 0.0
        for part, share in shares(each["ours"]).items():
            width = 1000 * share * each["ours"]["wall_s"] / count
            label = words.get(part, part) if row == 0 else None
            axes.barh(row + 0.2, width, 0.34, left=left, color=colors[part], label=label)
            left += width
    axes.set_yticks(range(len(measured)), [name for name, *_ in measured])
    axes.invert_yaxis()
    style_axes(axes, x_label="milliseconds a run", grid="x")
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    return figure


PARTS = ("sqlite", "http", "spark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="folder to keep the stores in, and to find them again")
    parser.add_argument("--quick", action="store_true", help="few runs, once, nothing of it to be believed")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="how often each part is timed")
    parser.add_argument("--only", choices=PARTS, nargs="*", default=PARTS, help="parts to time again; others stay")
    parser.add_argument("--output", type=Path, default=HERE, help="folder to write into")
    given = parser.parse_args()
    stated = given.output / "reestimate.json"
    figures: Result = {} if set(given.only) == set(PARTS) else json.loads(stated.read_text(encoding="utf-8"))
    if figures:
        earlier = {part: figures["older"].get(part, figures["date"]) if "older" in figures else figures["date"]
                   for part in PARTS if part not in given.only}  # fmt: skip
        figures["older"] = earlier
    sizes: Result = {"counts": [1000, 10_000], "http_count": 1000, "spark_runs": 1000, "repeats": given.repeats}
    if given.quick:
        sizes = {"counts": [20, 60], "http_count": 20, "spark_runs": 20, "repeats": 1}
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.keep or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        figures |= {**sizes, **collect(folder, given.only, sizes)}
    write_report(figures, given.output)
    print(render(figures))


def collect(folder: Path, parts: Sequence[str], sizes: Result) -> Result:
    """The figures of those parts, and what they were made of."""
    from reestimate_store import synthetic_statistics

    from greenlove_mlflow.reestimation.pricing import OfferColumns, read_sheets
    from greenlove_mlflow.tables import table_versions

    found: Result = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "offer_count": len(OfferColumns(sheets=read_sheets("all"), regions={}).offers),
        "version_count": len(table_versions("crusoe_prices")),
        "tag_length": round(statistics.fmean(len(synthetic_statistics(seed).to_json()) for seed in range(50))),
    }
    if "sqlite" in parts:
        found["sqlite"] = measure_sqlite(folder, sizes["counts"], sizes["repeats"])
    if "http" in parts:
        found["http"] = measure_http(folder, sizes["http_count"], sizes["repeats"])
    if "spark" in parts:
        options = {"run_count": sizes["spark_runs"]}
        found["spark"] = [run_part("spark", folder, options={**options, "cores": cores}) for cores in (1, 2)]
    return found


if __name__ == "__main__":
    main()
