"""The note of a running training: how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.outcome import Outcome
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.tracking.names import NOTE_TAG
from greenlove_mlflow.tracking.note import make_note

if TYPE_CHECKING:
    from greenlove_mlflow.tracking.spool.run_events import RunEvents

# A note is written again after a twentieth of the time so far, but neither more often nor less often than this.
LEAST_S, MOST_S, SHARE = 15.0, 600.0, 0.05


class ProgressNote:
    """The note of a running training, rewritten now and then after a lap.

    Attributes:
        has_page: Whether the run holds a report page, which the note names.
    """

    def __init__(self) -> None:
        self.has_page = False
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
            note = make_note(
                estimate, comparison, run_id=run.run_id, so_far=so_far, seen_at=seen_at, has_page=self.has_page
            )
            run.tags({NOTE_TAG: note})
