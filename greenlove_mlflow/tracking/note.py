"""The note on a run's page: what happened or what is estimated, then the picture, then all quantities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.outcome import Outcome
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.quantity import known_figures
from greenlove_mlflow.tracking.names import (
    ARTIFACT_PLOTS,
    STATUS_REFUSED,
    STUDY,
    STUDY_FORECAST,
    STUDY_PRUNED,
    STUDY_TRIALS,
    TAG_VALUE_LIMIT,
)
from greenlove_mlflow.words.estimate import estimate_lines
from greenlove_mlflow.words.outcome import headline_sentences, outcome_table, would_take_sentence
from greenlove_mlflow.words.summary import advice, asks_for_action
from greenlove_mlflow.words.verdict import home_sentence

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.totals import Totals
    from greenlove_mlflow.tracking.spool.run_events import RunEvents

NOTE_TAG = "mlflow.note.content"
_TAIL_WITHOUT_PAGE = "How it is known, how to cite it, and everything else: `greenlove report` with this run's id."
_TAIL = "How it is known, how to cite it, and everything else: `greenlove/report.html`."


def make_note(
    estimate: Estimate,
    comparison: Comparison | None,
    *,
    run_id: str | None,
    outcome: Outcome | None = None,
    notice: str = "",
    status: str = "",
    has_page: bool = True,
) -> str:
    """The note in GitHub Markdown, within MLflow's size limit.

    The page collapses a note after its first lines, so what happened (or that the training was refused) comes first. A
    picture can be shown by a relative address, on servers that serve artifacts.

    Args:
        estimate: The estimate at home.
        comparison: The comparison with offers; None when there is none.
        run_id: Id of the run, to show its picture; None to show none.
        outcome: The outcome; None when there is none yet.
        notice: Text shown first; empty without one.
        status: Status of the run; empty when unknown.
        has_page: Whether the run holds pictures and the report.
    """
    sentences = list(headline_sentences(estimate, outcome, status=status, notice=notice))
    if outcome is None:
        sentences.append(would_take_sentence(estimate) if status == STATUS_REFUSED else home_sentence(estimate))
    if comparison is not None:
        sentences.append(f"{'Next time: ' if outcome else ''}{advice(comparison)}")
    parts = [" ".join(_plain(sentence) for sentence in sentences)]
    if has_page and run_id is not None and comparison is not None:
        picture = f"get-artifact?path={ARTIFACT_PLOTS}/crusoe.png&run_uuid={run_id}"
        parts.append(f"![time, cost and CO2e here and on each offer]({picture})")
    parts.append("\n".join(_table(estimate, outcome)))
    caveats = list(dict.fromkeys([*estimate.caveats, *(comparison.caveats if comparison else ())]))
    asking = asks_for_action(caveats)
    rest = len(caveats) - len(asking)
    where = _TAIL if has_page else _TAIL_WITHOUT_PAGE
    tail = f"{rest} {'assumption' if rest == 1 else 'assumptions'}. {where}" if rest else where
    return _joined(parts, asking, tail)


def _table(estimate: Estimate, outcome: Outcome | None) -> list[str]:
    """The four figures: what happened beside its estimate, else the estimate and what it was priced with."""
    if outcome is None:
        rows = [(name, value, words) for name, value, words in estimate_lines(estimate)]
        return ["| | here | priced with |", "|---|---|---|", *(_row(row) for row in rows)]
    _, *lines = outcome_table(estimate, outcome)
    rows = [(name, happened, promised) for name, promised, happened, _ in lines]
    return ["| | happened | estimated |", "|---|---|---|", *(_row(row) for row in rows)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def keep_study(
    run: RunEvents,
    spent: Totals,
    forecast: Totals | None,
    counts: tuple[int, int],
    lines: Sequence[str],
) -> None:
    """Keep the totals of a study in its run: metrics by the number of trials and, in a run of ours, the note.

    Args:
        run: The study's run.
        spent: What its trials have taken.
        forecast: What all of them will take; None before the first estimate.
        counts: Trials begun, and those of them that were pruned.
        lines: The study in a few sentences.
    """
    step = counts[0]
    run.metric(STUDY_TRIALS, float(counts[0]), step)
    run.metric(STUDY_PRUNED, float(counts[1]), step)
    for quantity, value in known_figures(spent):
        run.metric(f"{STUDY}/{quantity.column}", value.point, step)
    for quantity, value in () if forecast is None else known_figures(forecast):
        key = f"{STUDY_FORECAST}_{quantity.column}"
        run.metric(key, value.point, step)
        run.metric(f"{key}_lo", value.low, step)
        run.metric(f"{key}_hi", value.high, step)
    if run.is_ours:
        run.tags({NOTE_TAG: "\n\n".join(_plain(line) for line in lines)[: TAG_VALUE_LIMIT - 1]})


def _joined(parts: list[str], caveats: Sequence[Caveat], tail: str) -> str:
    """The parts with as many caveats as fit."""
    text = "\n\n".join(parts)
    kept: list[str] = []
    for caveat in caveats:
        line = f"- {_plain(caveat.message)} (`{caveat.code}`)"
        if len(text) + sum(map(len, kept)) + len(kept) + len(line) + len(tail) + 20 < TAG_VALUE_LIMIT:
            kept.append(line)
    listed = ["To act on:", "\n".join(kept)] if kept else []
    return "\n\n".join([text, *listed, tail])[: TAG_VALUE_LIMIT - 1]


def _plain(text: str) -> str:
    """The text escaped for Markdown, since names of GPUs and places come from outside."""
    text = text.replace("\\", "\\\\").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
    for char in "|*_`[]":
        text = text.replace(char, f"\\{char}")
    return text
