"""The note of a re-estimation: a few lines of Markdown, the verdict of the newest prices first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from greenlove_mlflow.reestimation.batch import Batch
    from greenlove_mlflow.reestimation.results import Summary

MOST_DATES = 12


def changes_frame(summary: Summary) -> pd.DataFrame:
    """Counts of changes from the first best choice to that by the newest prices, most frequent first."""
    rows = [
        {"best_before": before, "best_now": now, "run_count": count}
        for (before, now), count in summary.transitions.most_common()
    ]
    return pd.DataFrame(rows, columns=["best_before", "best_now", "run_count"])


def verdict_words(run_count: int, changed_run_count: int, version: str) -> str:
    """One sentence on whether the newest prices change any best choice.

    >>> verdict_words(8, 0, "2026-09-28")
    'With the prices of 2026-09-28, none of 8 runs has another best choice than when first compared.'
    """
    changed = f"{changed_run_count:,}" if changed_run_count else "none"
    runs = "1 run" if run_count == 1 else f"{run_count:,} runs"
    has = "have" if changed_run_count > 1 else "has"
    return f"With the prices of {version}, {changed} of {runs} {has} another best choice than when first compared."


def history_lines(history: pd.DataFrame) -> list[tuple[str, str]]:
    """The dates of the prices, newest first, each with the best choices then, as text."""
    lines = []
    for version, rows in reversed(list(history.groupby("version", sort=False))):
        then = ", ".join(f"{_name(str(row.best))} ({row.run_count:,})" for row in rows.itertuples())
        missing = rows["not_listed"].iloc[0]
        lines.append((str(version), f"{then}; {missing} not listed" if missing else then))
    return lines


def make_note(batch: Batch) -> str:
    """The text of the run's page."""
    summary = batch.summary
    newest = batch.offers.sheets[-1].version
    what = "plans that never ran" if batch.planned else "runs that trained"
    lines = [f"**{verdict_words(summary.run_count, summary.changed_run_count, newest)}**", ""]
    lines.append(
        f"{summary.run_count:,} {what} were estimated again; {batch.written.run_count:,} were written back; "
        f"{len(batch.skipped):,} were left out (skipped.json)."
    )
    if len(batch.offers.sheets) > 1 or summary.changed_run_count:
        lines += ["", "| prices of | best choice then (runs) |", "|---|---|"]
        dates = history_lines(summary.history())[:MOST_DATES]
        lines += [f"| {_plain(version)} | {_plain(then)} |" for version, then in dates]
    return "\n".join(lines)


def _name(best: str) -> str:
    return {"": "unknown", "local": "here"}.get(best, best)


def _plain(text: str) -> str:
    """A name escaped for a table cell."""
    return text.replace("|", "/").replace("<", "(").replace(">", ")").replace("\n", " ")
