"""How far a training is: in its note while it runs, and as its outcome after its process is gone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.estimate import Estimate, estimate_training
from greenlove_mlflow.core.account.outcome import Outcome, outcome_of_laps
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.errors import RunDataError
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.names import NOTE_TAG
from greenlove_mlflow.tracking.note import make_note, with_what_happened
from greenlove_mlflow.tracking.spool.events import (
    Event,
    LapEvent,
    MetricEvent,
    ParamsEvent,
    TagsEvent,
)
from greenlove_mlflow.tracking.values import outcome_values

if TYPE_CHECKING:
    from greenlove_mlflow.tracking.spool.run_events import RunEvents
    from greenlove_mlflow.tracking.spool.spool import Spool

# A note is written again after a twentieth of the time so far, but neither more often nor less often than this.
LEAST_S, MOST_S, SHARE = 15.0, 600.0, 0.05


class ProgressNote:
    """The note of a running training, rewritten now and then after a lap."""

    def __init__(self) -> None:
        self._began_s = self._due_s = time.perf_counter()
        self._is_open = False

    def open(self) -> None:
        """From now on the run holds a note, which may be rewritten."""
        self._began_s = time.perf_counter()
        self._due_s, self._is_open = self._began_s + LEAST_S, True

    def keep(
        self, run: RunEvents, estimate: Estimate, comparison: Comparison | None, settle: Callable[[], Outcome | None]
    ) -> None:
        """Rewrite the run's note if that is due.

        Args:
            run: The run; one that was not started here keeps its note.
            estimate: The estimate at home.
            comparison: The comparison with offers; None when there is none.
            settle: Makes the outcome up to the last lap.
        """
        now_s = time.perf_counter()
        if not self._is_open or now_s < self._due_s or not run.is_ours:
            return
        self._due_s = now_s + min(MOST_S, max(LEAST_S, SHARE * (now_s - self._began_s)))
        so_far = settle()
        if so_far is not None:
            seen_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            note = make_note(estimate, comparison, run_id=run.run_id, so_far=so_far, seen_at=seen_at)
            run.tags({NOTE_TAG: note})


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
    for _, event in spool.events():
        if isinstance(event, TagsEvent) and NOTE_TAG in event.texts:
            return with_what_happened(event.texts[NOTE_TAG], estimate, outcome, status=status)
    return make_note(estimate, None, run_id=None, outcome=outcome, status=status, has_page=False)
