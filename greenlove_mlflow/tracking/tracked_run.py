"""TrackedRun: the MLflow run of one training. What is logged goes into the spool; the writer sends it."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.environment import state_folder
from greenlove_mlflow.errors import RunDataError
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.opening import find_run, forget_run, leave_runs
from greenlove_mlflow.tracking.progress import ProgressNote
from greenlove_mlflow.tracking.spool.boundary import OutOfTimeError, say, within
from greenlove_mlflow.tracking.spool.delivery import deliver_failure
from greenlove_mlflow.tracking.spool.events import LapEvent
from greenlove_mlflow.tracking.spool.header import Opened
from greenlove_mlflow.tracking.spool.mlflow_store import without_credentials
from greenlove_mlflow.tracking.spool.recovery import recover_quietly
from greenlove_mlflow.tracking.spool.run_events import FAILED, KILLED, RunEvents, ending_events, now_ms, status_of
from greenlove_mlflow.tracking.spool.sender import Sender
from greenlove_mlflow.tracking.spool.spool import Spool
from greenlove_mlflow.tracking.spool.writer import Writer
from greenlove_mlflow.words.verdict import notice_words, ran_although_words

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Unpack

    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import EarlierParts, Outcome
    from greenlove_mlflow.core.account.totals import Trial
    from greenlove_mlflow.core.offers.compare import Comparison
    from greenlove_mlflow.core.records import BenchmarkLog
    from greenlove_mlflow.core.timing.drift import FinishedRun
    from greenlove_mlflow.tracking.opening import RunOptions


logger = logging.getLogger(__name__)

HISTORY_DEADLINE_S = 3.0
EARLIER_DEADLINE_S = 15.0


class TrackedRun(RunEvents):
    """The MLflow run of a training; made by ``open_run``.

    No method raises because of MLflow or the disk, and none waits for a server. On ranks other than 0 every method
    does nothing.
    """

    def __init__(self, opened: Opened | None, state: Path) -> None:
        super().__init__(opened, state)
        self._pid = os.getpid()
        self._writer: Writer | None = None
        self._is_closed = False
        self._label = self._notice = self._failure = ""
        self._describes_experiment = self.is_continued = False
        self.study: TrackedRun | None = None
        self._progress = ProgressNote()
        self._laps_cut: tuple[LapEvent, ...] | None = None
        if opened is not None and self._spool is not None:
            self._sender = Sender(self._spool, opened.store_uri, stop=self._must_stop, complain=self._boundary.warn)
            self._writer = Writer(self._sender, self._boundary, last=lambda: recover_quietly(self._state))
            self._writer.start()

    def __enter__(self) -> TrackedRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_refused = error is None and self._label == names.STATUS_REFUSED
        self.close(FAILED if self._failure else KILLED if is_refused else status_of(error))

    @property
    def is_offline(self) -> bool:
        """Whether the run has not reached the server yet."""
        return self._opened is not None and self._opened.is_offline and not self._sender.has_reached_store

    @property
    def view_url(self) -> str | None:
        """The saved view of the run's experiment; None when the store has no pages or the run is not created yet."""
        from greenlove_mlflow.tracking.saved_view import view_url

        experiment_id = None if self._opened is None or self.url is None else self._opened.experiment_id
        return (
            None if experiment_id is None or self._opened is None else view_url(self._opened.store_uri, experiment_id)
        )

    @property
    def how_to_open(self) -> str:
        """A URL or a command that shows the run."""
        if self._opened is None:
            return ""
        if self._spool is not None and self.is_offline:
            return f"greenlove recover  (once {self._opened.header.store_uri} answers)"
        return self.url or f"mlflow server --backend-store-uri {without_credentials(self._opened.store_uri)}"

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """A block in which nothing is sent to MLflow, for timed code."""
        with contextlib.ExitStack() as quiet:
            for writer in (self._writer, None if self.study is None else self.study._writer):
                quiet.enter_context(contextlib.nullcontext() if writer is None else writer.paused())
            yield

    def log_estimates(
        self, estimate: Estimate, comparison: Comparison | None, log: BenchmarkLog | None, *, streamed: bool = False
    ) -> None:
        """Record the estimates, the benchmark's measurements and a note; takes milliseconds.

        Args:
            estimate: The estimate at home.
            comparison: The comparison with offers; None when there is none.
            log: The benchmark's log; None when another run holds the benchmark.
            streamed: Whether the log's power samples were already recorded as they were taken.
        """
        from greenlove_mlflow.tracking.estimates import keep_page, keep_points_and_estimates

        if self._spool is not None:
            with self._boundary.guard("keeping the estimates"):
                keep_points_and_estimates(self, estimate, comparison, log, streamed=streamed)
                keep_page(self, estimate, comparison, None)
            self._progress.open()

    def log_page(
        self, estimate: Estimate, comparison: Comparison | None, log: BenchmarkLog, *, saved_view: bool = True
    ) -> None:
        """Record the tables behind the estimates, the figures and the report; takes seconds, thread-safe.

        Args:
            estimate: The estimate at home.
            comparison: The comparison with offers; None when there is none.
            log: The benchmark's log.
            saved_view: Whether to save a view of the experiment page.
        """
        from greenlove_mlflow.tracking.estimates import keep_files, keep_page
        from greenlove_mlflow.tracking.saved_view import saved_view as make_saved_view

        if self._spool is None:
            return
        with self._boundary.guard("keeping what the estimates rest on"):
            keep_files(self, estimate, comparison, log)
        with self._boundary.guard("drawing the pictures and the report"):
            keep_page(self, estimate, comparison, log)
        self._progress.has_page = True
        if saved_view:
            self._describes_experiment = True
            with self._boundary.guard("saving a view of the experiment"):
                self.experiment_tags({names.TAG_SAVED_VIEW: make_saved_view(estimate, comparison)})

    def log_outcome(
        self,
        estimate: Estimate,
        comparison: Comparison | None,
        log: BenchmarkLog | None,
        outcome: Outcome | None,
        *,
        status: str = "",
    ) -> None:
        """Record the outcome, or the reason why there is none, and update the report.

        Args:
            estimate: The estimate at home.
            comparison: The comparison with offers; None when there is none.
            log: The benchmark's log; None when another run holds the benchmark and the report.
            outcome: The outcome; None when no epoch was run.
            status: How the training ended; from the outcome when empty.
        """
        from greenlove_mlflow.tracking.estimates import keep_outcome, keep_page
        from greenlove_mlflow.tracking.note import keep_description

        if self._spool is None or (outcome is None and not self._notice):
            return
        status = self._label or (FAILED.lower() if self._failure else status)
        with self._boundary.guard("keeping the outcome"):
            keep_outcome(self, estimate, outcome)
            keep_page(self, estimate, comparison, log, outcome=outcome, notice=self._notice, status=status)
        if self._describes_experiment and self._opened is not None and not self.is_offline:
            with self._boundary.guard("describing the experiment"):
                keep_description(self, self._opened, self._sender.client, outcome, status=status)

    def step_aside(self) -> None:
        """Let other runs become MLflow's active one, while this run stays open until ``close``."""
        for run_id in () if self._opened is None else self._opened.ours:
            forget_run(run_id)

    def earlier_parts(self, deadline_s: float = EARLIER_DEADLINE_S) -> EarlierParts | None:
        """What earlier parts of this training recorded, after sending what a killed part left on this machine.

        Their laps are recorded again, so that the file of all laps is complete; nothing changes in the store.
        """
        from greenlove_mlflow.tracking.earlier_parts import read_earlier_parts

        if self._spool is None or self.is_offline or self.run_id is None:
            return None
        run_id, state = self.run_id, self._state
        with self._boundary.guard("reading what earlier parts recorded"):
            try:
                within(deadline_s, lambda: recover_quietly(state))
                earlier, laps = within(deadline_s, lambda: read_earlier_parts(self._sender.client, run_id))
            except OutOfTimeError as error:
                self._boundary.warn(f"what earlier parts of the training took could not be read: {error}")
                return None
            for lap in laps:
                self._put(lap)
            return earlier
        return None

    def trials_of_study(self, *, first: bool = False) -> dict[str, Trial]:
        """This study's trials in the store, by run id; ``first`` sends what an interrupted process left here before."""
        from greenlove_mlflow.tracking.earlier_parts import read_trials

        study, state = self.as_study, self._state
        with self._boundary.guard("reading the trials of the study"):
            try:
                if first and self.was_study:
                    within(EARLIER_DEADLINE_S, lambda: recover_quietly(state))
                if study.run_id is not None and not self.is_offline:
                    return within(HISTORY_DEADLINE_S, lambda: read_trials(self._sender.client, study))
            except OutOfTimeError as error:
                self._boundary.warn(f"the trials of other processes are not in the study's totals: {error}")
        return {}

    def first_estimate(self) -> Estimate | None:
        """The estimate for the whole training from the start of its first part; None if the run has none."""
        from greenlove_mlflow.core.account.estimate import estimate_training
        from greenlove_mlflow.core.account.run_facts import RunFacts

        if self._spool is None or self.run_id is None or self.is_offline:
            return None
        run_id = self.run_id
        with self._boundary.guard("reading the first estimate"):
            try:
                run = within(HISTORY_DEADLINE_S, lambda: self._sender.client.get_run(run_id))
                return estimate_training(RunFacts.from_json(run.data.tags.get(names.TAG_STATS, "")))
            except (OutOfTimeError, RunDataError) as error:
                logger.info("the first estimate of the training is not compared with: %s", error)
        return None

    def log_open_outcome(self, estimate: Estimate, outcome: Outcome | None) -> None:
        """Record the outcome of a training without a known end, which had no estimate of its total."""
        from greenlove_mlflow.tracking.estimates import keep_outcome

        if self._spool is not None and outcome is not None:
            with self._boundary.guard("keeping the outcome"):
                keep_outcome(self, estimate, outcome)

    def log_epoch(
        self,
        epoch: int,
        duration_s: float,
        energy_j: float | None,
        forecast_s: Interval | None,
        *,
        is_epoch: bool = True,
    ) -> None:
        """Record one lap of the real training (an epoch or a number of steps) and the forecast made after it.

        Args:
            epoch: Index of the lap, from 0.
            duration_s: Duration of the lap, seconds.
            energy_j: Energy of the lap, joules; None when unknown.
            forecast_s: Forecast of the whole training, seconds; None without one.
            is_epoch: Whether the lap is an epoch.
        """
        ends = None if forecast_s is None else (forecast_s.point, forecast_s.low, forecast_s.high)
        lap = LapEvent(
            index=epoch,
            duration_s=float(duration_s),
            energy_j=None if energy_j is None else float(energy_j),
            forecast_s=ends,
            timestamp_ms=now_ms(),
            is_epoch=is_epoch,
        )
        self._put(lap)

    def log_progress(
        self, estimate: Estimate | None, comparison: Comparison | None, settle: Callable[[], Outcome | None]
    ) -> None:
        """Record in the note how far the training is, if due; ``settle`` makes the outcome up to the last lap."""
        if self._spool is not None and estimate is not None:
            with self._boundary.guard("writing the note"):
                self._progress.keep(self, estimate, comparison, settle)

    def cut_laps_again(self, durations_s: Sequence[float], energies_j: Sequence[float | None]) -> None:
        """Replace the laps in the file of all laps with these, for example once the epochs are known."""
        ended_ms = now_ms()
        ends_s = [sum(durations_s[: index + 1]) for index in range(len(durations_s))]
        self._laps_cut = tuple(
            LapEvent(
                index=index,
                duration_s=duration_s,
                energy_j=energy_j,
                forecast_s=None,
                timestamp_ms=ended_ms - round((ends_s[-1] - end_s) * 1000.0),
            )
            for index, (duration_s, energy_j, end_s) in enumerate(zip(durations_s, energies_j, ends_s, strict=True))
        )

    def say_status(self, status: str, reason: str) -> None:
        """Record that the training was ``refused`` or ``stopped``, and why; the tag stays whatever ends the run."""
        self._label = status
        self._notice = notice_words(status, reason)
        self.tags({names.TAG_STATUS: status, names.TAG_REASON: reason})

    def say_failed(self, reason: str) -> None:
        """Record at once that the training has failed elsewhere, as this process may be ended because of it."""
        self._failure, tags = reason, {names.TAG_STATUS: FAILED.lower(), names.TAG_REASON: reason}
        self.tags(tags)
        if (spool := self._spool) is None or (run_id := self.run_id) is None or self.is_offline:
            return
        # Not left to the writer alone, whose next round may be seconds away.
        ends_ms = now_ms() if self.is_ours else None
        with self._boundary.guard("recording the failure"):
            within(HISTORY_DEADLINE_S, lambda: deliver_failure(self._sender.client, spool, run_id, tags, ends_ms))

    def say_ran_although(self, reason: str) -> None:
        """Record that a refused training ran after all: it gets its usual status and keeps the reason for refusal."""
        self._label, self._notice = "", ran_although_words(reason)
        self.tags({names.TAG_STATUS: names.STATUS_RUNNING, names.TAG_REFUSAL: reason})

    def finished_runs(self, deadline_s: float = HISTORY_DEADLINE_S) -> tuple[FinishedRun, ...]:
        """The earlier finished runs of this store; empty when it does not answer in time."""
        from greenlove_mlflow.tracking.reading import finished_runs

        if self._opened is None or self.is_offline:
            return ()
        store_uri = self._opened.store_uri
        with self._boundary.guard("reading finished runs"):
            try:
                return within(deadline_s, lambda: finished_runs(store_uri))
            except OutOfTimeError as error:
                logger.info("the promise learns nothing from finished runs: %s", error)
        return ()

    def close(self, status: str = "FINISHED") -> None:
        """End the run if it was started here, and send the rest for at most ten seconds; a second call does nothing."""
        if self._spool is None or self._writer is None or self._opened is None:
            return
        if self._is_closed or os.getpid() != self._pid:
            return  # a forked worker must not end its parent's run
        self._is_closed = True
        is_sent = False
        with self._boundary.guard("ending the run"):
            for event in ending_events(self._spool, status, now_ms(), label=self._label, laps=self._laps_cut):
                self._put(event)
            self._spool.close()
            is_sent = self._writer.close()
        with self._boundary.guard("leaving the run"):
            leave_runs(self._opened.ours, status, is_sent=is_sent)
        if not is_sent:
            self._say_what_is_left(self._spool)

    def _must_stop(self) -> bool:
        return self._writer is not None and self._writer.must_stop

    def _say_what_is_left(self, spool: Spool) -> None:
        """Warn of what has not reached MLflow, and whether it will be lost with this process."""
        if self._sender.is_done:
            self._boundary.warn(f"MLflow refused a part of the run for good; it is kept in {spool.place}")
        elif spool.is_in_memory and not self._sender.keep_rest():
            say(
                f"MLflow has not taken everything, and what could not be written to {spool.place} is lost when this "
                f"process ends: a part of run {self.run_id or 'that could not be created'} was not recorded"
            )
        else:
            self._boundary.warn(
                f"MLflow has not taken everything in time; the rest waits in {spool.place} and is sent by "
                "`greenlove recover` or the next greenlove.track"
            )


def open_run(
    *, rank: int = 0, study: TrackedRun | None = None, state: Path | None = None, **options: Unpack[RunOptions]
) -> TrackedRun:
    """Open the run for a training: the active one, or a new one that ``close`` ends.

    Args:
        rank: Rank of this process in distributed training; nothing is recorded on ranks other than 0.
        study: The run of the study that this training is a trial of; it becomes the parent.
        state: The package's state folder; the platform's default when not given.
        **options: Which run it is; see ``RunOptions``.

    Raises:
        TrackingError: If the store answers but no run can be opened in it.
    """
    if rank != 0:
        return TrackedRun(None, Path())
    opened = find_run(study=None if study is None else study.as_study, **options)
    run = TrackedRun(opened, state_folder() if state is None else state)
    run.study = study
    return run
