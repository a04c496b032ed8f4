"""Faults tried on the package, part by part: how many were tried, right and wrong; written to faults.md.

    python reports/faults.py [--quick] [part ...]

Parts: spools, stores, stats, state, nvml; all when none is named.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "reports")]

from faults_count import Count  # noqa: E402

OUTPUT = ROOT / "reports" / "faults.md"
STATS_COUNT, QUICK_STATS_COUNT = 3000, 150


def spools(*, quick: bool) -> list[Count]:
    from faults_spool import count_spools

    return [count_spools(quick=quick)]


def stores(*, quick: bool) -> list[Count]:
    from faults_store import campaign

    return campaign(quick=quick)


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


def report(counts: list[Count], names: list[str]) -> str:
    """The counts of those parts as a page."""
    lines = [
        "# Faults tried",
        "",
        f"Made by `python reports/faults.py {' '.join(names)}`. Each case is right when nothing of the training is",
        "harmed or lost, no figure is wrong, and what could not be done is said.",
        "",
        "| part | tried | right | wrong |",
        "|---|---|---|---|",
        *(f"| {each.part} | {each.tried} | {each.right} | {len(each.wrong)} |" for each in counts),
    ]
    wrong = [f"- {problem}" for each in counts for problem in each.wrong]
    return "\n".join([*lines, "", *(["## Wrong", "", *wrong, ""] if wrong else [])])


def main() -> int:
    names = [name for name in sys.argv[1:] if not name.startswith("-")] or list(PARTS)
    quick, counts = "--quick" in sys.argv, []
    for name in names:
        began_s = time.perf_counter()
        counts += PARTS[name](quick=quick)
        print(f"{name}: {time.perf_counter() - began_s:.0f} s", file=sys.stderr)
    page = report(counts, names)
    print(page)
    if not quick:
        OUTPUT.write_text(page, encoding="utf-8")
    return any(each.wrong for each in counts)


if __name__ == "__main__":
    sys.exit(main())
