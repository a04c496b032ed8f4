"""Faults tried on the package, part by part: how many were tried, right and wrong; written to faults.md.

    python reports/faults.py [--quick] [part ...]

Parts: spools, stores, stats, state, nvml; all when none is named.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "reports")]

from faults_count import NAMES_KEPT, Count  # noqa: E402

OUTPUT = ROOT / "reports" / "faults.md"
STATS_COUNT, QUICK_STATS_COUNT = 3000, 150


def spools(*, quick: bool) -> list[Count]:
    from faults_spool import count_spools

    return [count_spools(quick=quick)]


def stores(*, quick: bool) -> list[Count]:
    from faults_processes import count_processes
    from faults_store import campaign

    return [*campaign(quick=quick), count_processes(quick=quick)]


def stats(*, quick: bool) -> list[Count]:
    from faults_stats import count_stats

    return [count_stats(limit=QUICK_STATS_COUNT if quick else STATS_COUNT)]


def state(*, quick: bool) -> list[Count]:
    from faults_state import count_state

    return [count_state(quick=quick)]


def nvml(*, quick: bool) -> list[Count]:
    from faults_nvml import campaign

    return campaign(quick=quick)


PARTS: dict[str, Callable[..., list[Count]]] = {
    "spools": spools,
    "stores": stores,
    "stats": stats,
    "state": state,
    "nvml": nvml,
}


def report(counts: list[Count]) -> str:
    """The counts of those parts as a page, and what was tried."""
    lines = [
        "# Faults tried",
        "",
        "Made by `python reports/faults.py`. Each case is right when nothing of the training is harmed or lost, no",
        "figure is wrong, and what could not be done is said.",
        "",
        "| part | tried | right | wrong |",
        "|---|---|---|---|",
        *(f"| {each.part} | {each.tried} | {each.right} | {len(each.wrong)} |" for each in counts),
        (
            f"| all | {sum(each.tried for each in counts)} | {sum(each.right for each in counts)} "
            f"| {sum(len(each.wrong) for each in counts)} |"
        ),
    ]
    wrong = [f"- {problem}" for each in counts for problem in each.wrong]
    tried = [
        line
        for each in counts
        if each.tried <= NAMES_KEPT
        for line in ("", f"## {each.part[0].upper()}{each.part[1:]}", "", f"{'; '.join(each.names)}.")
    ]
    return "\n".join([*lines, "", *(["## Wrong", "", *wrong, ""] if wrong else [])]) + "\n".join([*tried, ""])


def run_parts(names: list[str], *, quick: bool) -> list[Count]:
    """The counts of those parts, each tried in a process of its own, all at once."""
    with tempfile.TemporaryDirectory() as folder:
        began = {}
        for name in names:
            command = [sys.executable, __file__, name, "--into", f"{folder}/{name}", *(["--quick"] if quick else [])]
            began[name] = subprocess.Popen(command, stdout=sys.stderr)
        counts = []
        for name, process in began.items():
            process.wait()
            into = Path(folder, name)
            if not into.exists():
                counts.append(Count(name, tried=1, wrong=[f"{name}: ended with exit code {process.returncode}"]))
                continue
            counts += [Count(**each) for each in json.loads(into.read_text(encoding="utf-8"))]
    return counts


def main() -> int:
    quick, arguments = "--quick" in sys.argv, [each for each in sys.argv[1:] if each != "--quick"]
    if "--into" in arguments:
        name, _, into = arguments
        counts = PARTS[name](quick=quick)
        Path(into).write_text(json.dumps([dataclasses.asdict(each) for each in counts]), encoding="utf-8")
        return 0
    counts = run_parts(arguments or list(PARTS), quick=quick)
    page = report(counts)
    print(page)
    if not quick and not arguments:
        OUTPUT.write_text(page, encoding="utf-8")
    return any(each.wrong for each in counts)


if __name__ == "__main__":
    sys.exit(main())
