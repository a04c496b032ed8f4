"""A tracked run as a light HTML fragment for notebooks: no script, everything escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from greenlove_mlflow.words.html import format_comparison_html, format_estimate_html
from greenlove_mlflow.words.outcome import (
    happened_sentence,
    judgement_sentence,
    notice_words,
    outcome_table,
    would_take_sentence,
)
from greenlove_mlflow.words.summary import advice
from greenlove_mlflow.words.verdict import home_sentence

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
    """An HTML fragment: what happened once epochs have run, else the estimate; the advice, the offers.

    Args:
        estimate: The estimate at home.
        comparison: The run on each offer; None without one.
        outcome: The outcome; None before the first epoch has ended.
        how_to_open: A command or URL that opens the run.
        refusal: Why the run is refused; empty when it is not.
    """
    notice = notice_words("refused", refusal) if refusal else ""
    first = [notice] if notice else []
    first += [] if outcome is None else [happened_sentence(estimate, outcome), judgement_sentence(estimate, outcome)]
    if outcome is None:
        first.append(would_take_sentence(estimate) if refusal else home_sentence(estimate))
    if comparison is not None:
        first.append(f"{'Next time: ' if outcome else ''}{advice(comparison)}")
    parts = [f"<p><b>{escape(sentence)}</b></p>" for sentence in first]
    if outcome is None:
        parts.append(format_estimate_html(estimate))
    else:
        parts.append(_outcome_html(estimate, outcome))
        parts.append(f"<details><summary>The estimate</summary>{format_estimate_html(estimate)}</details>")
    if comparison is not None:
        parts.append(f"<details><summary>On each offer</summary>{format_comparison_html(comparison)}</details>")
    if how_to_open:
        parts.append(f"<p>To look at the run: <code>{escape(how_to_open)}</code></p>")
    return f'<div style="font-family:system-ui,sans-serif">{"".join(parts)}</div>'


def _outcome_html(estimate: Estimate, outcome: Outcome) -> str:
    head, *rows = [
        (name, happened, promised, off) for name, promised, happened, off in outcome_table(estimate, outcome)
    ]
    heads = "".join(f'<th scope="col" style="{_CELL}">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row" style="{_CELL}">{escape(row[0])}</th>'
        + "".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f'<table style="border-collapse:collapse"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
