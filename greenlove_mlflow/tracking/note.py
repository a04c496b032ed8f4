"""The note on a run's page: what happened or what is estimated, then the picture, then all quantities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.outcome import Outcome
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.tracking.names import ARTIFACT_PLOTS, STATUS_REFUSED, TAG_VALUE_LIMIT
from greenlove_mlflow.words.estimate import estimate_lines
from greenlove_mlflow.words.outcome import headline_sentences, would_take_sentence
from greenlove_mlflow.words.summary import advice, asks_for_action
from greenlove_mlflow.words.verdict import home_sentence, outcome_table

NOTE_TAG = "mlflow.note.content"
_TAIL = "How it is known, how to cite it, and everything else: `greenlove/report.html`."


def make_note(
    estimate: Estimate,
    comparison: Comparison | None,
    *,
    run_id: str | None,
    outcome: Outcome | None = None,
    notice: str = "",
    status: str = "",
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
    """
    sentences = list(headline_sentences(estimate, outcome, status=status, notice=notice))
    if outcome is None:
        sentences.append(would_take_sentence(estimate) if status == STATUS_REFUSED else home_sentence(estimate))
    if comparison is not None:
        sentences.append(f"{'Next time: ' if outcome else ''}{advice(comparison)}")
    parts = [" ".join(_plain(sentence) for sentence in sentences)]
    if run_id is not None and comparison is not None:
        picture = f"get-artifact?path={ARTIFACT_PLOTS}/crusoe.png&run_uuid={run_id}"
        parts.append(f"![time, cost and CO2e here and on each offer]({picture})")
    parts.append("\n".join(_table(estimate, outcome)))
    caveats = list(dict.fromkeys([*estimate.caveats, *(comparison.caveats if comparison else ())]))
    asking = asks_for_action(caveats)
    rest = len(caveats) - len(asking)
    tail = f"{rest} {'assumption' if rest == 1 else 'assumptions'}. {_TAIL}" if rest else _TAIL
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
