"""Estimates, comparisons and tracked runs as light HTML fragments for notebooks: escaped, no script, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from greenlove_mlflow.words.plain_text import (
    RANGE_SENTENCE,
    comparison_header,
    estimate_lines,
    home_cells,
    offer_cells,
    range_sentences,
    rows_by_price,
)
from greenlove_mlflow.words.summary import asks_for_action, cheapest_first, next_time
from greenlove_mlflow.words.verdict import (
    happened_sentence,
    home_sentence,
    judgement_sentence,
    notice_words,
    outcome_table,
    progress_sentences,
    was_estimated_sentence,
    would_take_sentence,
)

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import Outcome
    from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow
    from greenlove_mlflow.core.provenance import Caveat


# Home has one colour and sign on every surface, offers another: orange and blue of Okabe and Ito's palette.
HOME_COLOUR, OFFER_COLOUR = "#d55e00", "#0072b2"
HOME_MARK, OFFER_MARK = "\u25c6", "\u25cf"
# The page's colours are inherited, so that a dark notebook stays dark.
_BOX = "font-family:system-ui,sans-serif;font-size:14px;line-height:1.45;max-width:70em;overflow-x:auto"
_CELL = "text-align:left;padding:2px 14px 2px 0;vertical-align:top;white-space:nowrap"
_HEAD = _CELL + ";border-bottom:1px solid currentColor;font-weight:600"
_SMALL = "font-size:12px;opacity:.8;margin:.4em 0 0"
_RUN_CELL = "text-align:left;padding:2px 14px 2px 0"


def format_estimate_html(estimate: Estimate) -> str:
    """An estimate as an HTML fragment: the four figures with their ranges and the caveats, all escaped."""
    rows = [
        f'<tr><th scope="row" style="{_CELL}">{escape(name)}</th>'
        f'<td style="{_CELL};font-weight:600">{escape(value)}</td>'
        f'<td style="{_CELL};opacity:.8">{escape(note)}</td></tr>'
        for name, value, note in estimate_lines(estimate)
    ]
    words = escape(" ".join(range_sentences(estimate)))
    note = f'<p style="{_SMALL}">{words}</p>' if words else ""
    return (
        f'<div style="{_BOX}"><table style="border-collapse:collapse"><tbody>{"".join(rows)}</tbody></table>'
        f"{note}{_caveats(estimate.caveats)}</div>"
    )


def format_comparison_html(comparison: Comparison) -> str:
    """A comparison as an HTML table, home first, all escaped."""
    head = "".join(f'<th scope="col" style="{_HEAD}">{escape(cell)}</th>' for cell in comparison_header(comparison))
    body = _row(home_cells(comparison), weight=600) + "".join(
        _row(offer_cells(comparison, row)) for row in _cheapest_first(comparison)
    )
    prices = comparison.prices
    note = f"{RANGE_SENTENCE} Prices of {prices.as_of or 'unknown date'}, {prices.source.producer or 'unknown source'}."
    return (
        f'<div style="{_BOX}"><table style="border-collapse:collapse"><thead><tr>{head}</tr></thead>'
        f'<tbody>{body}</tbody></table><p style="{_SMALL}">{escape(note)}</p>{_caveats(comparison.caveats)}</div>'
    )


def _cheapest_first(comparison: Comparison) -> list[ComparisonRow]:
    rentable = cheapest_first(comparison)
    return [*rentable, *(row for row in rows_by_price(comparison) if not any(row is each for each in rentable))]


def _row(cells: Sequence[str], weight: int = 400) -> str:
    first, *rest = cells
    mark, colour = (HOME_MARK, HOME_COLOUR) if weight > 400 else (OFFER_MARK, OFFER_COLOUR)
    return (
        f'<tr style="font-weight:{weight}"><th scope="row" style="{_CELL};font-weight:inherit">'
        f'<span aria-hidden="true" style="color:{colour}">{mark}</span> {escape(first)}</th>'
        + "".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in rest)
        + "</tr>"
    )


def _caveats(caveats: Iterable[Caveat]) -> str:
    """The caveats that ask for action, the others folded."""
    known = list(dict.fromkeys(caveats))
    asking = asks_for_action(known)
    rest = [each for each in known if each not in asking]
    counted = "1 assumption" if len(rest) == 1 else f"{len(rest)} assumptions"
    folded = f'<details><summary style="font-size:12px">{counted}</summary>{_list(rest)}</details>' if rest else ""
    return _list(asking) + folded


def _list(caveats: Iterable[Caveat]) -> str:
    items = "".join(f"<li><b>{escape(caveat.code)}</b>: {escape(caveat.message)}</li>" for caveat in caveats)
    return f'<ul style="margin:.4em 0 0;padding-left:1.2em;font-size:12px">{items}</ul>' if items else ""


def format_training_html(
    estimate: Estimate,
    comparison: Comparison | None,
    outcome: Outcome | None = None,
    *,
    how_to_open: str = "",
    refusal: str = "",
    is_running: bool = False,
) -> str:
    """An HTML fragment: what happened once epochs have run, else the estimate; the advice, the offers.

    Args:
        estimate: The estimate at home.
        comparison: The run on each offer; None without one.
        outcome: The outcome; None before the first epoch has ended.
        how_to_open: A command or URL that opens the run.
        refusal: Why the run is refused; empty when it is not.
        is_running: Whether the training has not ended, so that the outcome is that of its laps so far.
    """
    notice = notice_words("refused", refusal) if refusal else ""
    first = [notice] if notice else []
    if outcome is not None and is_running:
        first += [*progress_sentences(estimate, outcome, seen_at=""), was_estimated_sentence(estimate)]
    elif outcome is not None:
        first += [happened_sentence(estimate, outcome), judgement_sentence(estimate, outcome)]
    else:
        first.append(would_take_sentence(estimate) if refusal else home_sentence(estimate))
    if comparison is not None:
        first.append(next_time(comparison, has_ended=outcome is not None and not is_running))
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
    heads = "".join(f'<th scope="col" style="{_RUN_CELL}">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row" style="{_RUN_CELL}">{escape(row[0])}</th>'
        + "".join(f'<td style="{_RUN_CELL}">{escape(cell)}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f'<table style="border-collapse:collapse"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
