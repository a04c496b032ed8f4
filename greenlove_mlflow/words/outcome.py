"""What became of a run: its fate, what it took, and how that compares with the estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.outcome import time_error_ratio
from greenlove_mlflow.numbers import (
    NOT_MEASURED,
    UNKNOWN,
    format_co2_g,
    format_duration_s,
    format_epochs,
    format_kwh,
    format_money,
    format_share,
    format_time,
)
from greenlove_mlflow.words.verdict import home_sentence

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import Outcome
    from greenlove_mlflow.core.interval import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """How a run ended, or that it has not ended.

    Args:
        key: Its status in lower case.
        word: The status as shown.
        mark: A sign that tells it from others without colour.
    """

    key: str
    word: str
    mark: str


_FATES = {
    each.key: each
    for each in (
        Fate(key="running", word="RUNNING", mark="\u25b6"),
        Fate(key="finished", word="FINISHED", mark="\u2713"),
        Fate(key="refused", word="NOT RUN", mark="\u2298"),
        Fate(key="stopped", word="STOPPED", mark="\u25a0"),
        Fate(key="pruned", word="PRUNED", mark="\u2702"),
        Fate(key="failed", word="FAILED", mark="\u2717"),
        Fate(key="killed", word="KILLED", mark="\u2717"),
    )
}
_NOTICES = {"refused": "Not run", "stopped": "Stopped", "pruned": "Pruned"}
_ENDINGS = {
    "stopped": "then it was stopped",
    "pruned": "then it was pruned",
    "failed": "then it failed",
    "killed": "then it was killed",
}


def fate_of(status: str) -> Fate | None:
    """The fate of that status; None for no status.

    >>> fate_of("refused").word
    'NOT RUN'
    """
    return _FATES.get(status) or (Fate(key=status, word=status.upper(), mark="") if status else None)


def notice_words(status: str, reason: str) -> str:
    """The first words on a run that was refused, stopped or pruned, and why."""
    return f"{_NOTICES.get(status, status)}: {reason}."


def ran_although_words(reason: str) -> str:
    """The first words on a run that was refused and trained all the same."""
    return f"Ran although it was refused: {reason}."


def headline_sentences(estimate: Estimate, outcome: Outcome | None, *, status: str, notice: str) -> tuple[str, ...]:
    """What happened, before anything that was estimated; empty before the training.

    Args:
        estimate: The estimate.
        outcome: The outcome; None when nothing ran.
        status: Status of the run.
        notice: That the run was refused or stopped, and why; empty when it was not.
    """
    notices = (notice,) if notice else ()
    if outcome is None:
        return notices
    happened = happened_sentence(estimate, outcome, status)
    return (happened, *notices, judgement_sentence(estimate, outcome), *_energy_sentences(outcome))


def would_take_sentence(estimate: Estimate) -> str:
    """What a run that was refused would take here."""
    return home_sentence(estimate).replace("Training here takes", "Training here would take")


def happened_sentence(estimate: Estimate, outcome: Outcome, status: str = "") -> str:
    """One sentence with the time, energy, cost and CO2e that a run took, and how far it got if not to its end."""
    parts = [
        format_duration_s(outcome.time_s),
        format_kwh(outcome.energy_kwh, missing=""),
        format_money(outcome.cost_usd, missing=""),
        "" if outcome.co2_g is None else f"{format_co2_g(outcome.co2_g)} CO2e",
    ]
    listed = ", ".join(part for part in parts if part)
    if outcome.completed:
        return f"It took {listed}."
    ran = f"{len(outcome.epoch_durations_s):,} of {format_epochs(estimate.workload.epoch_count)} ran"
    ending = _ENDINGS.get(status, "")
    return f"{ran}{f', {ending}' if ending else ''}: {listed}."


def judgement_sentence(estimate: Estimate, outcome: Outcome) -> str:
    """One sentence on the time against its estimate; a run that was cut short is not judged."""
    estimated = format_duration_s(estimate.time_s)
    if not outcome.completed:
        return f"The estimate of {estimated} was for {format_epochs(estimate.workload.epoch_count)} and is not judged."
    ratio = time_error_ratio(outcome, estimate) or 1.0
    side = "within" if estimate.time_s.contains(outcome.time_s) else "outside"
    length = "longer" if ratio > 1.0 else "shorter"
    return f"That is {format_share(abs(ratio - 1.0))} {length} than the estimated {estimated}: {side} the range."


def outcome_table(estimate: Estimate, outcome: Outcome) -> list[tuple[str, str, str, str]]:
    """Rows of quantity, estimate, outcome and difference, headings first."""
    judged = outcome.completed
    ran = f"{len(outcome.epoch_durations_s)} of {format_epochs(estimate.workload.epoch_count)}"
    rows = [("", "estimated", "actual", "difference")]
    pairs = (
        ("time", format_time, estimate.time_s, outcome.time_s, UNKNOWN),
        (f"energy ({outcome.energy_source})" if outcome.energy_source else "energy", format_kwh, estimate.energy_kwh,
         outcome.energy_kwh, NOT_MEASURED),
        ("cost", format_money, estimate.cost_usd, outcome.cost_usd, UNKNOWN),
        ("CO2e", format_co2_g, estimate.co2_g, outcome.co2_g, UNKNOWN),
    )  # fmt: skip
    for name, words, promised, actual, missing in pairs:
        judgement = difference_words(promised, actual) if judged else ran
        rows.append((name, words(promised, missing=missing), words(actual, missing=missing), judgement))
    return rows


def difference_words(estimated: Interval | None, actual: float | None) -> str:
    """The difference between an outcome and its estimate, and whether the range held; empty where either is unknown."""
    if estimated is None or actual is None or estimated.point <= 0.0:
        return ""
    ratio = actual / estimated.point
    side = "within the range" if estimated.contains(actual) else "outside the range"
    return f"{format_share(abs(ratio - 1.0))} {'more' if ratio > 1.0 else 'less'}, {side}"


def _energy_sentences(outcome: Outcome) -> tuple[str, ...]:
    if not outcome.energy_note:
        return ()
    what = {"": "unknown", "measured": "measured, but"}.get(outcome.energy_source, outcome.energy_source)
    return (f"Its energy is {what}: {outcome.energy_note}.",)
