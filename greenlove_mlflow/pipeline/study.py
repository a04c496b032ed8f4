"""``study``: the trials of a sweep as one whole, with one benchmark, one account and limits over all of them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.core.account.totals import (
    NOTHING,
    Totals,
    Trial,
    broken_by,
    committed,
    forecast_of_trials,
    spent,
    spent_of,
)
from greenlove_mlflow.core.workload import Limits
from greenlove_mlflow.environment import read_environment
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.pipeline import checks
from greenlove_mlflow.pipeline.live.policy import Policy
from greenlove_mlflow.terminal import is_terminal, say_on_stderr
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.note import keep_study

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import Outcome
    from greenlove_mlflow.core.speed.gpus import Probes
    from greenlove_mlflow.pipeline.live.running_estimate import Estimated
    from greenlove_mlflow.tracking import TrackedRun

# The studies open in this process. Not a context variable: the threads in which a library runs its trials start without
# any, and their trials belong to the study as well.
_OPEN: list[Study] = []
_OPENING = threading.Lock()
# The reason of a pruned trial whose library gave none.
UNSAID = "not worth its time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A finished benchmark that later trials of the same workload reuse.

    Args:
        estimated: Its log, the estimate made from it and the comparison.
        run_id: The run that holds it; None while the server cannot be reached.
    """

    estimated: Estimated
    run_id: str | None


class TrialUnderWay:
    """One trial of a study from its beginning to its end.

    Args:
        study: Its study.
        tracked: The run it is recorded in.

    Attributes:
        workload: What trials of the same cost have in common; empty where too little is known of the training.
        account: What it was estimated to take and what it took.
    """

    def __init__(self, study: Study, tracked: TrackedRun) -> None:
        self.study = study
        self.tracked = tracked
        self.thread_id = threading.get_ident()
        self.workload = ""
        self.account = Trial()

    def policy(self, policy: Policy) -> Policy:
        """The trial's own policy, and what is left of the study's limits."""
        return _PolicyOfTrial(
            limits=policy.limits,
            confirm=policy.confirm,
            on_refusal=policy.on_refusal,
            on_limit=policy.on_limit,
            trial=self,
        )

    def prune(self, reason: str) -> None:
        """Say that the trial is given up early, which is no failure."""
        with self.study._lock:
            self.study.pruned_count += 1
        self.tracked.say_status(names.STATUS_PRUNED, reason or UNSAID)

    def end(self, estimate: Estimate | None, outcome: Outcome | None, *, is_whole: bool) -> None:
        """Settle the trial; a second call does nothing."""
        if self.account.has_ended:
            return
        if estimate is not None and self.account.estimated is None:
            self.study.take_estimate(self, estimate)
        self.account = Trial(
            estimated=self.account.estimated if estimate is None else Totals.of_estimate(estimate),
            spent=None if outcome is None else Totals.of_outcome(outcome),
            is_whole=is_whole,
            has_ended=True,
        )
        self.study._settle()


@dataclass(frozen=True, kw_only=True)
class _PolicyOfTrial(Policy):
    trial: TrialUnderWay

    @property
    def is_limited(self) -> bool:
        return self.limits is not None or self.trial.study.limits is not None

    def refusal(self, estimate: Estimate) -> str:
        return self.trial.study._refusal(self.trial, estimate) or Policy.refusal(self, estimate)

    def spent(self, outcome: Outcome | None) -> str:
        return Policy.spent(self, outcome) or self.trial.study._spent_by(self.trial, outcome)


class Study:
    """A study while it is open; ``track``, ``watch`` and the callbacks record their trainings as its trials.

    Attributes:
        name: Name of the study and of its run.
        trials: Trials planned in all; None when unknown.
        limits: Limits over all trials; None without any.
        must_stop: Why no further trial may run; empty while one may.
        estimate: What all trials were estimated to take when the first one was; None before.
        pruned_count: Trials that were given up early.
    """

    def __init__(
        self, tracked: TrackedRun, *, name: str, trials: int | None, limits: Limits | None, **how: bool
    ) -> None:
        self.name = name
        self.trials = trials
        self.limits = limits
        self.must_stop = ""
        self.estimate: Totals | None = None
        self.pruned_count = 0
        self.tracked = tracked
        self.process_id = os.getpid()
        self.benchmarks: dict[str, Benchmark] = {}
        self.fitting: set[str] = set()
        self.probes: Probes = {}
        self._seen: set[str] = set()
        self._has_said_departure = False
        self._lock = threading.RLock()
        self._begun: list[TrialUnderWay] = []
        self._elsewhere: dict[str, Trial] = {}
        self._reuses, self._says, self._is_shared = how["reuse"], how["says"], how["is_shared"]
        if self._is_shared:
            self._read_elsewhere()

    @property
    def run_id(self) -> str | None:
        """Id of the study's MLflow run; None while the server cannot be reached."""
        return self.tracked.run_id

    @property
    def url(self) -> str | None:
        """URL of the study's run; None when the store has no pages."""
        return self.tracked.url

    @property
    def trial_count(self) -> int:
        """Trials begun so far, those of other processes included as far as they are known."""
        return len(self._all())

    @property
    def spent(self) -> Totals:
        """What the trials that are over have taken: s, kWh, US dollars, grams CO2e."""
        return spent(self._all())

    @property
    def forecast(self) -> Totals | None:
        """What all trials will take, those that are over included; None before the first estimate."""
        return forecast_of_trials(self._all(), self.trials)

    def pruned(self, reason: str = "") -> None:
        """Say that the trial under way in this thread is given up early, which is no failure.

        Args:
            reason: Why, for its run's page.

        Raises:
            InvalidInputError: If no trial is under way in this thread.
        """
        mine = [each for each in self._begun if each.thread_id == threading.get_ident() and not each.account.has_ended]
        if not mine:
            raise InvalidInputError("no trial of this study is under way in this thread: call pruned() inside track()")
        mine[-1].prune(reason)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The study in a few sentences."""
        of_all = "" if self.trials is None else f" of {self.trials}"
        pruned = f", {self.pruned_count} of them pruned" if self.pruned_count else ""
        lines = [f"{self.name}: {self.trial_count}{of_all} trials begun{pruned}. Spent: {self.spent}."]
        forecast = self.forecast
        if forecast is not None and self.trials is not None:
            lines.append(f"All {self.trials} trials: {forecast}, benchmarks aside and if none is pruned.")
        if self.must_stop:
            lines.append(f"No further trial: {self.must_stop}.")
        return lines

    @contextmanager
    def trial(self, tracked: TrackedRun) -> Iterator[TrialUnderWay]:
        """A trial from the beginning to the end of the block."""
        trial = TrialUnderWay(self, tracked)
        if self._is_shared:
            self._read_elsewhere()
        with self._lock:
            self._begun.append(trial)
        try:
            yield trial
        finally:
            trial.end(None, None, is_whole=False)

    def is_first_of(self, workload: str) -> bool:
        """Whether no earlier trial was of that workload; true once for each."""
        with self._lock:
            is_first = workload not in self._seen
            self._seen.add(workload)
            return is_first

    def known(self, workload: str) -> Benchmark | None:
        """The benchmark to reuse for that workload; None if there is none."""
        return self.benchmarks.get(workload) if self._reuses else None

    def take_estimate(self, trial: TrialUnderWay, estimate: Estimate) -> None:
        """Take the estimate of a trial; after the first one, say what all trials will take."""
        with self._lock:
            trial.account = Trial(estimated=Totals.of_estimate(estimate))
            forecast = self.forecast
            is_first = self.estimate is None
            if is_first:
                self.estimate = forecast
        if is_first and forecast is not None and self.trials is not None:
            self._record()
            if self._says:
                breaks = () if self.limits is None else broken_by(NOTHING, forecast, self.limits)
                limits = (
                    "" if not breaks else f"; more than {' and '.join(each.split(' (')[0] for each in breaks)} allows"
                )
                say_on_stderr(f"{self.trials} trials like this one take {forecast}{limits}")

    def say_departure(self, message: str) -> None:
        """Say that the forecast of a trial has left its estimate's range; only once, as trials share the cause."""
        with self._lock:
            is_first, self._has_said_departure = not self._has_said_departure, True
        if is_first:
            say_on_stderr(message)

    def exhausted(self) -> str:
        """Which of the study's limits are spent, so that no trial needs a benchmark any more; empty when none."""
        said = () if self.limits is None else spent_of(self.spent, self.limits)
        if said:
            self.must_stop = f"the study has reached {' and '.join(said)}"
        return self.must_stop if said else ""

    def _refusal(self, trial: TrialUnderWay, estimate: Estimate) -> str:
        """Why a trial with that estimate may not run."""
        if trial.account.estimated is None:
            self.take_estimate(trial, estimate)
        if self.limits is None:
            return ""
        others = committed(self._all(but=trial))
        broken = broken_by(others, Totals.of_estimate(estimate), self.limits)
        if broken:
            self.must_stop = f"the study would break {' and '.join(broken)}"
            return self.must_stop
        return ""

    def _spent_by(self, trial: TrialUnderWay, outcome: Outcome | None) -> str:
        """Which of the study's limits are spent with what the trial has taken so far."""
        if self.limits is None or outcome is None:
            return ""
        others = [each for each in self._all(but=trial) if each.has_ended]
        so_far = Trial(spent=Totals.of_outcome(outcome), has_ended=True)
        said = spent_of(spent([*others, so_far]), self.limits)
        if said:
            self.must_stop = f"the study has reached {' and '.join(said)}"
        return self.must_stop if said else ""

    def _settle(self) -> None:
        if self._is_shared:
            self._read_elsewhere()
        self._record()

    def _all(self, but: TrialUnderWay | None = None) -> list[Trial]:
        with self._lock:
            mine = {each.tracked.run_id for each in self._begun}
            others = [trial for run_id, trial in self._elsewhere.items() if run_id not in mine]
            return [*others, *(each.account for each in self._begun if each is not but)]

    def _record(self) -> None:
        """Keep the totals so far in the study's run."""
        with self._lock:
            keep_study(self.tracked, self.spent, self.forecast, (self.trial_count, self.pruned_count), self.lines())

    def _read_elsewhere(self) -> None:
        """Read the trials that other processes recorded, or this one before it was interrupted."""
        found = self.tracked.trials_of_study(first=not self._elsewhere)
        with self._lock:
            self._elsewhere = found

    def _close(self) -> None:
        """Record the last totals, with trials that processes of their own have added."""
        self._read_elsewhere()
        self._record()


def open_study() -> Study | None:
    """The study that is open in this process; None outside of one, and in a process forked from it."""
    mine = [each for each in _OPEN if each.process_id == os.getpid()]
    return mine[-1] if mine else None


def trial_of(study: Study | None, tracked: TrackedRun) -> AbstractContextManager[TrialUnderWay | None]:
    """The trial that a training is in its study; None outside of one."""
    return nullcontext() if study is None else study.trial(tracked)


@contextmanager
def study(
    name: str,
    *,
    trials: int | None = None,
    limits: Limits | None = None,
    reuse: bool = True,
    experiment: str | None = None,
    nested: bool | None = None,
    run_id: str | None = None,
    summary: bool | None = None,
) -> Iterator[Study]:
    """Record the trials of a sweep under one MLflow run, with one benchmark for equal workloads and limits over all.

    Every ``track``, ``watch`` or callback inside the block, in whichever thread, becomes a nested child of the study's
    run. The first trial of a workload is benchmarked; later trials of the same model structure, shapes, optimizer,
    batch size, data and settings reuse that benchmark (caveat ``benchmark-reused``). The study's run holds what the
    trials have taken and what all of them will take: hours, kWh, US dollars, kg CO2e.

    Args:
        name: Name of the study's run.
        trials: Trials planned in all, at least 1; without it no total is forecast.
        limits: Limits over all trials: hours, US dollars, kWh, kg CO2e. A trial whose estimate no longer fits is
            refused, and a running one ends when a limit is reached.
        reuse: Whether equal workloads share a benchmark; False benchmarks every trial.
        experiment: MLflow experiment for a new run; the active or default one when not given.
        nested: Whether to open a child of the active run; by default the active run becomes the study's own.
        run_id: Id of a study's run to continue, after an interruption or from another process; its trials so far count.
        summary: Whether to say on stderr what all trials will take; by default when it is a terminal.

    Raises:
        InvalidInputError: If an argument is invalid, a study is open already, or the process is one of several ranks.
        TrackingError: If the MLflow store cannot be used; raised before anything runs.
    """
    from greenlove_mlflow.tracking import open_run

    checked = _checked(name, trials, limits, reuse, summary)
    tracked = open_run(experiment=experiment, run_name=name, nested=nested, run_id=run_id, kind=names.KIND_STUDY)
    with tracked:
        tracked.params({} if trials is None else {names.PARAM_TRIALS: str(trials)})
        opened = Study(tracked, is_shared=tracked.was_study, **checked)
        with _OPENING:
            _OPEN.append(opened)
        try:
            yield opened
        finally:
            with _OPENING:
                _OPEN.remove(opened)
            opened._close()


def _checked(name: str, trials: int | None, limits: Limits | None, reuse: bool, summary: bool | None) -> dict[str, Any]:
    from greenlove_mlflow.benchmark.ranks import world_size

    if open_study() is not None:
        raise InvalidInputError("a study is open already in this process: its trials belong to one study at a time")
    count = world_size(read_environment().world_size)
    if count > 1:
        raise InvalidInputError(f"a study runs in one process, this is one of {count} ranks; use track for each trial")
    return {
        "name": checks.text("name", name),
        "trials": None if trials is None else checks.whole("trials", trials),
        "limits": Policy(limits=limits).limits,
        "reuse": checks.flag("reuse", reuse),
        "says": is_terminal(sys.stderr) if summary is None else checks.flag("summary", summary),
    }
