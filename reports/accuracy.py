"""How right promises are: on real trainings, on simulated machines, and as finished runs accumulate.

    python reports/accuracy.py [--quick] [--replicas 50] [--workloads 12] [--train-seconds 15] [--output FOLDER]

Writes accuracy.md, accuracy.parquet (every record) and two pictures. The real part needs the extra ``reports`` for
the comparison with the original package. ``--parts`` makes some parts anew, or none, and takes the others from the
records that are there.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT)]

PARTS = ("simulated", "blind", "silent", "seed", "history", "store", "real")
# What depends on the machine that made it; the other parts run under a virtual clock.
ON_THIS_MACHINE = ("store", "real")
Record = dict[str, Any]


def make_records(part: str, given: argparse.Namespace) -> Iterable[Record]:
    """The records of one part."""
    import accuracy_simulated as simulated
    from accuracy_text import UNSEEN

    replicas = 1 if given.quick else given.replicas
    kinds = UNSEEN[:1] if given.quick else UNSEEN
    if part == "simulated":
        kinds = tuple(simulated.KINDS)[:2] if given.quick else tuple(simulated.KINDS)
        profiles = simulated.PROFILES[:2] if given.quick else simulated.PROFILES
        return simulated.promises(replicas, kinds=kinds, profiles=profiles, seed=given.seed)
    if part == "blind":
        profiles = simulated.PROFILES[:2] if given.quick else simulated.PROFILES
        return simulated.promises(replicas, kinds=UNSEEN, profiles=profiles, signals=False, seed=given.seed)
    if part == "silent":
        names = tuple(simulated.SILENT)[:1] if given.quick else tuple(simulated.SILENT)
        profiles = simulated.PROFILES[:2] if given.quick else simulated.PROFILES
        return simulated.promises(replicas, kinds=names, profiles=profiles, seed=given.seed)
    if part == "seed":
        profiles = simulated.PROFILES[5:6] if given.quick else simulated.PROFILES
        fewer = max(1, replicas // 10)
        return simulated.promises(fewer, kinds=kinds, profiles=profiles, method="original", seed=given.seed)
    if part == "history":
        runs = (1, 6) if given.quick else (given.sequences, 31)
        return simulated.histories(*runs, kinds=kinds, seed=given.seed)
    if part == "store":
        from accuracy_store import tracked_records

        count, seconds = (1, 0.5) if given.quick else (given.tracked, given.tracked_seconds)
        return tracked_records(count, train_seconds=seconds)
    return _make_real(given)


def _make_real(given: argparse.Namespace) -> Iterable[Record]:
    from accuracy_real import METHODS, real_records
    from accuracy_workloads import WORKLOADS

    has_peer = importlib.util.find_spec("green_love") is not None
    ours, asked = 1 if given.quick else given.repeats, given.methods or METHODS
    names = ["softmax-regression"] if given.quick else list(WORKLOADS)[: given.workloads]
    return real_records(
        names,
        train_seconds=2.0 if given.quick else given.train_seconds,
        peer_workloads=names[: given.peer_workloads] if has_peer and not given.quick else [],
        limit_s=90.0 if given.quick else given.limit_s,
        seed_cap_s=3.0 if given.quick else 90.0,
        methods=[each for each in METHODS if each in asked for _ in range(ours if each == "adaptive" else 1)],
    )


def read_records(path: Path) -> pd.DataFrame:
    """The records of an earlier report; none when there is no such report."""
    return pd.read_parquet(path) if path.exists() else pd.DataFrame({"part": []})


def write_records(records: pd.DataFrame, path: Path, note: str) -> None:
    from greenlove_mlflow.tables.store.exports import write_parquet

    write_parquet(records, path, metadata={"greenlove.table": "accuracy", "greenlove.source": note})


def describe_machine() -> str:
    import torch

    from greenlove_mlflow.benchmark import read_machine

    machine = read_machine("cpu")
    return (
        f"{machine.cpu_name}, {machine.visible_cpu_count} cores, torch {torch.__version__}, Python "
        f"{platform.python_version()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute or two: whether the report can be made")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--replicas", type=int, default=50, help="per simulated machine and workload")
    parser.add_argument("--sequences", type=int, default=20, help="simulated machines with a history")
    parser.add_argument("--tracked", type=int, default=24, help="real trainings tracked in one store")
    parser.add_argument("--tracked-seconds", type=float, default=45.0, help="of each of these, about")
    parser.add_argument("--workloads", type=int, default=12, help="real trainings")
    parser.add_argument("--methods", nargs="+", help="of the real trainings; all when not given")
    parser.add_argument("--repeats", type=int, default=3, help="of our own method on each real training")
    parser.add_argument("--peer-workloads", type=int, default=12, help="of them, shown to the original package too")
    parser.add_argument("--train-seconds", type=float, default=15.0, help="of each real training, about")
    parser.add_argument("--limit-s", type=float, default=400.0, help="for one method on one real workload")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--note", default="", help="what else must be said about the machine")
    parser.add_argument("--output", type=Path, default=HERE)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    path = given.output / "accuracy.parquet"
    records = read_records(path)
    for part in given.parts:
        made = pd.DataFrame(list(make_records(part, given)))
        made.insert(0, "part", part)
        if part in ON_THIS_MACHINE:
            made["measured_on"] = f"{describe_machine()}. {given.note}".strip()
        parts = {str(name): frame for name, frame in records.groupby("part")} | {part: made}
        records = pd.concat([parts[name] for name in PARTS if name in parts], ignore_index=True)
        # After each part, so that what took an hour is not lost with what fails after it.
        write_records(records, path, "reports/accuracy.py")
    from accuracy_text import write_report

    write_report(records, given.output)


if __name__ == "__main__":
    main()
