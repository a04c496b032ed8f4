"""The note of a re-estimation: a few lines of Markdown, the verdict first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from greenlove_mlflow.reestimation.batch import Batch
    from greenlove_mlflow.reestimation.results import Summary

MOST_TRANSITIONS = 10


def transitions_frame(summary: Summary) -> pd.DataFrame:
    """Counts of changes from one best choice to another, by price version, most frequent first."""
    rows = [
        {"version": version, "best_before": before, "best_now": now, "run_count": count}
        for (version, before, now), count in summary.transitions.most_common()
    ]
    return pd.DataFrame(rows, columns=["version", "best_before", "best_now", "run_count"])


def make_note(batch: Batch) -> str:
    """The text of the run's page."""
    summary = batch.summary
    versions = [sheet.version for sheet in batch.offers.sheets]
    prices = versions[0] if len(versions) == 1 else f"{len(versions)} dates from {versions[0]} to {versions[-1]}"
    verdict = (
        f"**{summary.run_count:,} runs estimated again with the prices of {prices}: for "
        f"{summary.changed_run_count:,} of them the best choice is another one now.**"
    )
    counts = f"{batch.written.run_count:,} runs were written back; {len(batch.skipped):,} were left out (skipped.json)."
    lines = [verdict, "", counts, ""]
    frame = transitions_frame(summary).head(MOST_TRANSITIONS)
    if not frame.empty:
        lines += ["| prices | best choice before | now | runs |", "|---|---|---|---|"]
        lines += [
            f"| {_plain(version)} | {_plain(before)} | {_plain(now)} | {count:,} |"
            for version, before, now, count in frame.itertuples(index=False)
        ]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """A name escaped for a table cell."""
    return text.replace("|", "/").replace("<", "(").replace(">", ")").replace("\n", " ")
