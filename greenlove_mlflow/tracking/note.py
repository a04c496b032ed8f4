"""The note on a run's page: the verdict, then the picture, then all quantities with their ranges."""

from __future__ import annotations

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.outcome import Outcome
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.tracking.names import ARTIFACT_PLOTS, TAG_VALUE_LIMIT
from greenlove_mlflow.words.estimate import estimate_lines
from greenlove_mlflow.words.verdict import outcome_sentences, verdict_sentences

NOTE_TAG = "mlflow.note.content"


def make_note(
    estimate: Estimate,
    comparison: Comparison | None,
    *,
    run_id: str | None,
    outcome: Outcome | None = None,
    notice: str = "",
) -> str:
    """The note in GitHub Markdown, within MLflow's size limit.

    The page collapses a note after its first lines, so the notice (that the training was refused) and the verdict come
    first. A picture can be shown by a relative address, on servers that serve artifacts.

    Args:
        estimate: The estimate at home.
        comparison: The comparison with offers; None when there is none.
        run_id: Id of the run, to show its picture; None to show none.
        outcome: The outcome; None when there is none yet.
        notice: Text shown first; empty without one.
    """
    verdict = [
        *filter(None, [notice]),
        *(outcome_sentences(estimate, outcome) if outcome else ()),
        *verdict_sentences(estimate, comparison),
    ]
    parts = [" ".join(_plain(sentence) for sentence in verdict)]
    if run_id is not None and comparison is not None:
        picture = f"get-artifact?path={ARTIFACT_PLOTS}/crusoe.png&run_uuid={run_id}"
        parts.append(f"![time, cost and CO2e here and on each offer]({picture})")
    rows = [f"| {name} | {_plain(value)} | {_plain(words)} |" for name, value, words in estimate_lines(estimate)]
    parts.append("\n".join(["| | here | priced with |", "|---|---|---|", *rows]))
    caveats = [*estimate.caveats, *(comparison.caveats if comparison else ())]
    tail = "The whole report is the artifact `greenlove/report.html`."
    return _joined(parts, [f"- {_plain(caveat.message)} (`{caveat.code}`)" for caveat in caveats], tail)


def _joined(parts: list[str], caveats: list[str], tail: str) -> str:
    """The parts with as many caveats as fit."""
    text = "\n\n".join(parts)
    kept: list[str] = []
    for line in caveats:
        if len(text) + sum(map(len, kept)) + len(kept) + len(line) + len(tail) + 10 < TAG_VALUE_LIMIT:
            kept.append(line)
    return "\n\n".join([text, *(["\n".join(kept)] if kept else []), tail])[: TAG_VALUE_LIMIT - 1]


def _plain(text: str) -> str:
    """The text escaped for Markdown, since names of GPUs and places come from outside."""
    text = text.replace("\\", "\\\\").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
    for char in "|*_`[]":
        text = text.replace(char, f"\\{char}")
    return text
