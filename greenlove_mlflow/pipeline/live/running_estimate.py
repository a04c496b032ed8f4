"""Account: a running training with its estimate, made aside, its forecasts and its outcome."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from greenlove_mlflow.core.account.estimate import estimate_for_time
from greenlove_mlflow.core.account.outcome import (
    EarlierParts,
    Outcome,
    estimate_with_earlier_parts,
    settle_outcome,
    with_earlier_parts,
)
from greenlove_mlflow.core.timing.forecast import forecast_total_s
from greenlove_mlflow.numbers import format_laps, format_time
from greenlove_mlflow.terminal import say_on_stderr

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.laps import LapPlan
    from greenlove_mlflow.core.interval import Interval
    from greenlove_mlflow.core.offers.compare import Comparison
    from greenlove_mlflow.core.provenance import Caveat
    from greenlove_mlflow.core.records import BenchmarkLog
    from greenlove_mlflow.pipeline.live.lap_meter import LapMeter

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
# The lowest priority: on a busy machine the training's threads come first.
NICENESS = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """A finished benchmark with the estimate and comparison made from it.

    Args:
        log: The benchmark's log.
        estimate: The estimate of the training here.
        comparison: The comparison with offers; None when none was made, or could be.
        rest: The part that is still being recorded in the background; None when there is none.
    """

    log: BenchmarkLog
    estimate: Estimate
    comparison: Comparison | None = None
    rest: Background[None] | None = None

    def with_caveat(self, caveat: Caveat) -> Estimated:
        """The same with a caveat added to the estimate."""
        estimate = dataclasses.replace(self.estimate, caveats=(*self.estimate.caveats, caveat))
        return dataclasses.replace(self, estimate=estimate)


class Account:
    """A training compared with its estimate.

    Args:
        laps: Times and meters the training.
        earlier: Totals of its earlier parts; None when there were none.
        say: Tells the user, once, that the forecast has left the estimate's range.

    Attributes:
        estimated: The benchmark and its estimate; None until there is one.
        forecast: The estimate updated from the laps done so far; None before there is an estimate.
        forecasts_s: The forecast of this part after each lap, seconds.
    """

    def __init__(
        self, laps: LapMeter, earlier: EarlierParts | None, *, say: Callable[[str], None] = say_on_stderr
    ) -> None:
        self.estimated: Estimated | None = None
        self.forecast: Estimate | None = None
        self.forecasts_s: list[Interval] = []
        self.earlier = earlier
        self._laps = laps
        self._say = say
        self._has_said = False

    def take(self, estimated: Estimated) -> None:
        """Take the benchmark and its estimate, once made."""
        self.estimated, self.forecast = estimated, estimated.estimate

    def add_caveat(self, caveat: Caveat) -> None:
        """Add a caveat to the estimate."""
        if self.estimated is not None:
            self.estimated = self.estimated.with_caveat(caveat)

    def of_all_parts(self, estimate: Estimate) -> Estimate:
        """The estimate of the whole training, including earlier parts."""
        return estimate if self.earlier is None else estimate_with_earlier_parts(estimate, self.earlier)

    def settle(self, plan: LapPlan, *, with_laps: bool = True) -> Outcome | None:
        """The outcome up to the end of the last lap; None while there is no estimate.

        Args:
            plan: Plan of the training; one without an end is never complete.
            with_laps: Whether to include each lap rather than the totals only.
        """
        if self.estimated is None:
            return None
        settled = settle_outcome(
            self.estimated.estimate,
            epoch_durations_s=tuple(self._laps.durations_s) if with_laps else (),
            time_s=self._laps.at_s,
            energy_j=self._laps.energy_j,
            is_metered=self._laps.is_metered,
            energy_note=self._laps.energy_note,
            forecasts_s=tuple(self.forecasts_s) if with_laps else (),
        )
        if self.earlier is not None:
            settled = with_earlier_parts(settled, self.earlier)
        return dataclasses.replace(
            settled,
            completed=settled.completed and plan.lap_count is not None,
            lap_steps=None if plan.is_epoch else plan.steps_per_lap,
        )

    def forecast_again(self, plan: LapPlan) -> Interval | None:
        """Update the forecast and return the whole training's, earlier parts included, in s; None without an estimate.

        The first time that the forecast has left the estimate's range, a message says so.
        """
        if self.estimated is None or self.forecast is None or plan.left_count is None:
            return None
        estimate = self.estimated.estimate
        facts, estimated_s = estimate.statistics, estimate.time_s
        if facts is None:
            self.forecasts_s.append(estimated_s)
            return estimated_s
        total_s = forecast_total_s(facts.home_fit, estimate.workload, self._laps.durations_s, self._laps.at_s)
        heads_for, estimated = format_time(total_s), format_time(estimated_s)
        reads_alike = format_time(total_s, with_range=False) == format_time(estimated_s, with_range=False)
        if not self._has_said and not reads_alike and _are_apart(total_s, estimated_s):
            self._has_said = True
            done = format_laps(len(self._laps.durations_s), is_epoch=plan.is_epoch)
            message = f"after {done} the training heads for {heads_for}, outside the estimated {estimated}"
            logger.info("%s", message)
            self._say(message)
        self.forecast = estimate_for_time(facts, total_s)
        self.forecasts_s.append(total_s)
        return total_s if self.earlier is None else total_s.shifted(self.earlier.time_s)


def _are_apart(one: Interval, other: Interval) -> bool:
    return one.low > other.high or one.high < other.low


class Background(Generic[Result]):
    """A job that starts at once in its own thread, or at the end of the process, when there are no new ones, here.

    Args:
        work: The job.
        name: Name of the thread.
        waits: Whether the job is done only when somebody waits for it, in their thread.
    """

    def __init__(self, work: Callable[[], Result], *, name: str, waits: bool = False) -> None:
        self._work = work
        self._results: list[Result] = []
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._waits = waits
        self._thread = threading.Thread(target=self._run_aside, name=name, daemon=True)
        if waits:
            return
        try:
            self._thread.start()
        except RuntimeError:
            logger.debug("no thread can be started any more: %s is done in this one", name)
            self._run()

    @property
    def is_done(self) -> bool:
        """Whether the job has ended."""
        return self._done.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait up to ``timeout_s`` seconds and return whether the job has ended."""
        if self._waits:
            self._waits = False
            self._run()
        return self._done.wait(timeout_s)

    def result(self) -> Result:
        """Wait for the job and return its result, or raise its exception."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run_aside(self) -> None:
        _give_way()
        self._run()

    def _run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised again by ``result``
            self._error = error
        finally:
            self._done.set()


def _give_way() -> None:
    """Give this thread the lowest priority where the system has priorities per thread; else do nothing."""
    if hasattr(os, "setpriority") and hasattr(threading, "get_native_id"):
        with contextlib.suppress(OSError, ValueError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
