"""What a training whose process is gone took, by its spool: its outcome and its note."""

from __future__ import annotations

import math
from collections.abc import Iterator

from greenlove_mlflow.core.account.estimate import Estimate, estimate_training
from greenlove_mlflow.core.account.outcome import Outcome, outcome_of_laps
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.errors import RunDataError
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.names import NOTE_TAG, TAG_VALUE_LIMIT
from greenlove_mlflow.tracking.outcomes import outcome_values
from greenlove_mlflow.tracking.spool.events import Event, LapEvent, MetricEvent, ParamsEvent, TagsEvent
from greenlove_mlflow.tracking.spool.spool import Spool
from greenlove_mlflow.untrusted import markdown_cell
from greenlove_mlflow.words.verdict import headline_sentences, home_sentence


def outcome_in(spool: Spool) -> tuple[Estimate, Outcome] | None:
    """The estimate and the outcome of a training whose process is gone, by the laps in its spool.

    None if the spool holds an outcome, no lap, or no estimate, as where the training continued an earlier part.
    """
    stats, lap_steps, laps = "", "", []
    for _, event in spool.events():
        if isinstance(event, TagsEvent):
            stats = event.texts.get(names.TAG_STATS, stats)
        elif isinstance(event, ParamsEvent):
            lap_steps = event.texts.get(names.PARAM_LAP_STEPS, lap_steps)
        elif isinstance(event, LapEvent):
            laps.append(event)
        elif isinstance(event, MetricEvent) and event.key == names.ACTUAL_TIME_H:
            return None
    if not laps or not stats:
        return None
    try:
        estimate = estimate_training(RunFacts.from_json(stats))
    except RunDataError:
        return None
    energies_j = [lap.energy_j for lap in laps if lap.energy_j is not None]
    outcome = outcome_of_laps(
        estimate,
        [lap.duration_s for lap in laps],
        math.fsum(energies_j) if len(energies_j) == len(laps) else None,
        lap_steps=int(lap_steps) if lap_steps.isdecimal() else None,
    )
    return estimate, outcome


def outcome_events(outcome: Outcome, at_ms: int) -> Iterator[Event]:
    """The events that record such an outcome."""
    for key, value in outcome_values(outcome, None).items():
        yield MetricEvent(key=key, value=value, timestamp_ms=at_ms, step=0)
    if outcome.energy_source:
        yield TagsEvent(texts={f"{names.TAG_POWER_SOURCE}.actual": outcome.energy_source})


def note_of_killed(spool: Spool, estimate: Estimate, outcome: Outcome, *, status: str) -> str:
    """The note of a training whose process is gone: how far it got, then the first note, of its estimate."""
    notes = (event.texts.get(NOTE_TAG, "") for _, event in spool.events() if isinstance(event, TagsEvent))
    before = next((note for note in notes if note), markdown_cell(home_sentence(estimate)))
    sentences = headline_sentences(estimate, outcome, status=status, notice="")
    happened = " ".join(markdown_cell(each) for each in sentences)
    return f"{happened}\n\nBefore it ran:\n\n{before}"[: TAG_VALUE_LIMIT - 1]
