"""A tracked run as a light HTML fragment for notebooks: no script, everything escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from greenlove_mlflow.words.html import format_comparison_html, format_estimate_html
from greenlove_mlflow.words.verdict import outcome_table, verdict_sentences

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import Outcome
    from greenlove_mlflow.core.offers.compare import Comparison

_CELL = "text-align:left;padding:2px 14px 2px 0"


def format_training_html(
    estimate: Estimate,
    comparison: Comparison | None,
    outcome: Outcome | None = None,
    *,
    how_to_open: str = "",
    refusal: str = "",
) -> str:
    """An HTML fragment with the verdict, the estimate, the offers and, once epochs have run, the outcome.

    Args:
        estimate: The estimate at home.
        comparison: The run on each offer; None without one.
        outcome: The outcome; None before the first epoch has ended.
        how_to_open: A command or URL that opens the run.
        refusal: Why the run is refused; empty when it is not.
    """
    parts = [f"<p><b>{escape(sentence)}</b></p>" for sentence in verdict_sentences(estimate, comparison)]
    if refusal:
        parts.append(f"<p>Not run: {escape(refusal)}</p>")
    parts.append(format_estimate_html(estimate))
    if comparison is not None:
        parts.append(f"<details><summary>On each offer</summary>{format_comparison_html(comparison)}</details>")
    if outcome is not None:
        parts.append(_outcome_html(estimate, outcome))
    if how_to_open:
        parts.append(f"<p>To look at the run: <code>{escape(how_to_open)}</code></p>")
    return f'<div style="font-family:system-ui,sans-serif">{"".join(parts)}</div>'


def _outcome_html(estimate: Estimate, outcome: Outcome) -> str:
    head, *rows = outcome_table(estimate, outcome)
    heads = "".join(f'<th scope="col" style="{_CELL}">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row" style="{_CELL}">{escape(row[0])}</th>'
        + "".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f'<table style="border-collapse:collapse"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
