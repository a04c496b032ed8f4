"""RankLink: ties the ranks of one training together while it runs.

Rank 0 decides and the others follow, at the same step or at the end of the same lap. In the training's thread nothing
waits for another rank, with one exception: at the end of an epoch that may be the last, because there are limits, the
others wait for rank 0's decision. If it does not come, as rank 0 may be waiting for them in an exchange of a longer
epoch, they give that up and follow decisions by steps alone. A rank that cannot be reached is trained without.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.benchmark.ranks import Ranks, words_on_death
from greenlove_mlflow.core.account.all_ranks import RankRecords, log_of_ranks
from greenlove_mlflow.core.account.estimate import estimate_training
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.codec import from_plain, to_plain
from greenlove_mlflow.errors import BenchmarkError, GreenloveError, LimitReached, TrainingRefused
from greenlove_mlflow.pipeline.live.rank_power import RankMeter, Reporter

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.records import BenchmarkLog, PowerSample
    from greenlove_mlflow.power import PowerMeter

logger = logging.getLogger(__name__)

# The other ranks look for a decision to stop every so many steps. Gradients are exchanged in each, so a rank is at most
# one step ahead of what rank 0 has decided, once its device is idle.
LOOK_STEPS = 8
LEAST_STEPS_AHEAD = 2
LOOK_S, REPORT_S = 0.25, 1.0
# Ranks close their windows within a block of each other, and leave the training at about the same time.
RECORDS_TIMEOUT_S, STEPS_OF_RECORDS = 5.0, 3.0
END_TIMEOUT_S = 10.0
ESTIMATE_TIMEOUT_S = 60.0
# Longer than most validations on rank 0 alone, shorter than the timeouts that the exchanges of a training have.
LAP_TIMEOUT_S = 300.0
_STOPS, _UNWAITED = "stops", "unwaited"
# A rank that fails waits this long for rank 0 to record it, as its launcher may end rank 0 next.
NOTED_TIMEOUT_S = 5.0
_AFTER_THE_LAST = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Rank 0's decision that the training ends.

    Args:
        reason: Why.
        refusal: Why the estimate was refused; empty when a limit was spent.
        raises: Whether it ends the training by an exception.
        at_step: Optimizer step at which all ranks act on it.
    """

    reason: str
    refusal: str
    raises: bool
    at_step: int


class RankLink:
    """One training's tie to its other ranks.

    Args:
        ranks: The ranks.
        device: Name of this rank's training device, such as ``gpu_0``.
        synchronize: Waits until the device is idle.
        may_stop: Whether rank 0 may decide to stop, as it has limits.
        on_failure: Called on rank 0, in a thread, when another rank has failed.
        on_sample: Takes the power of the other ranks, on rank 0.

    Attributes:
        ranks: The ranks.
        window_reason: Why rank 0's window has closed; empty while it is open.
        failure: Which rank has failed and why, on rank 0; empty while none has.
        has_ended: Whether the body has ended here.
    """

    def __init__(
        self,
        ranks: Ranks,
        *,
        device: str,
        synchronize: Callable[[], None],
        may_stop: bool,
        on_failure: Callable[[str], None],
        on_sample: Callable[[PowerSample], None],
    ) -> None:
        self.ranks = ranks
        self.window_reason = ""
        self.failure = ""
        self.has_ended = False
        self._on_failure = on_failure
        self._on_sample = on_sample
        self._device = device
        self._synchronize = synchronize
        self._may_stop = may_stop
        self._stop: Stop | None = None
        self._stop_lap: int | None = None
        self._waits_at_laps = True
        self._meter: RankMeter | None = None
        self._reporter: Reporter | None = None
        self._seen_s: dict[int, float] = {}
        self._reported_s = -math.inf

    @property
    def is_leader(self) -> bool:
        """Whether this is rank 0."""
        return self.ranks.is_leader

    @contextmanager
    def metered(self, opened: AbstractContextManager[PowerMeter]) -> Iterator[PowerMeter | RankMeter]:
        """This rank's meter; rank 0's includes what the others report."""
        with opened as own:
            if self.is_leader:
                self._meter = RankMeter(own, self.ranks)
            else:
                self._reporter = Reporter(own, self.ranks, self._device)
            ended = threading.Event()
            thread = threading.Thread(target=self._look_until, args=(ended,), name="greenlove-ranks", daemon=True)
            thread.start()
            try:
                yield own if self._meter is None else self._meter
            finally:
                ended.set()
                thread.join(2.0 * REPORT_S)

    def _look_until(self, ended: threading.Event) -> None:
        try:
            while not ended.wait(LOOK_S) and not self.ranks.is_lost:
                self._look()
        except Exception as error:  # noqa: BLE001 - whatever fails here, the training goes on
            logger.warning("what the ranks report is not followed any more: %s", error)

    def _look(self) -> None:
        now_s = time.perf_counter()
        is_due, self._reported_s = now_s - self._reported_s >= REPORT_S, max(self._reported_s, now_s - REPORT_S)
        if is_due:
            self._reported_s = now_s
        if self._reporter is not None:
            if is_due:
                self._reporter.report()
            self.window_reason = self.window_reason or self.ranks.read("window") or ""
        elif self._meter is not None:
            if is_due:
                self._meter.refresh()
                for sample in self._meter.latest_samples(self._seen_s):
                    self._on_sample(sample)
            self._note_failure()

    def _note_failure(self) -> None:
        if self.failure:
            return
        self.failure = self.ranks.failure
        if self.failure and not self.failure.startswith("rank 0:"):
            self._on_failure(self.failure)
            self.ranks.post("noted", True)

    def _note_death(self) -> None:
        if dead := self.ranks.dead:
            self._on_failure(words_on_death(dead))

    def log_of_all(self, log: BenchmarkLog) -> BenchmarkLog:
        """On rank 0: the log of all ranks, which close their windows now."""
        self.ranks.post("window", log.stop_reason)
        # They close at the end of the step that they are in.
        timeout_s = RECORDS_TIMEOUT_S + STEPS_OF_RECORDS * RankRecords.of(log).step_s
        found = self.ranks.wait_for_others("records", timeout_s=timeout_s)
        return _with_others(log, found, self.ranks.boards)

    def send_estimate(self, estimate: Estimate | None) -> None:
        """On rank 0: send the estimate to the other ranks, or that there is none."""
        facts = None if estimate is None else estimate.statistics
        self.ranks.post("estimate", "" if facts is None else facts.to_json())

    def exchange_records(self, log: BenchmarkLog) -> Estimate:
        """On another rank: send what it has measured to rank 0, and wait for the estimate.

        Raises:
            GreenloveError: If rank 0 makes none.
        """
        self.ranks.post("records", to_plain(RankRecords.of(log)))
        text = self.ranks.wait_for("estimate", timeout_s=ESTIMATE_TIMEOUT_S)
        if not text:
            raise BenchmarkError("rank 0 made no estimate")
        return estimate_training(RunFacts.from_json(text))

    def propose(self, reason: str, *, refusal: str, raises: bool, step_count: int) -> None:
        """On rank 0: decide that all ranks stop, soon after ``step_count`` steps or at the end of the lap."""
        if self._stop is not None:
            return
        at_step = -(-(step_count + LEAST_STEPS_AHEAD) // LOOK_STEPS) * LOOK_STEPS
        self._stop = Stop(reason=reason, refusal=refusal, raises=raises, at_step=at_step)
        self.ranks.post("stop", asdict(self._stop))
        # Reading it back makes sure that the store has it before the next step.
        self.ranks.read("stop")

    def next_look(self, step_count: int) -> float:
        """The next step at which a decision may be due; infinite without limits."""
        return (step_count // LOOK_STEPS + 1) * LOOK_STEPS if self._may_stop else math.inf

    def due_stop(self, step_count: int) -> Stop | None:
        """The decision that all ranks act on after this step; None while there is none."""
        if not self._may_stop or step_count % LOOK_STEPS:
            return None
        if not self.is_leader and self._stop is None:
            self._synchronize()
            self._stop = _read_stop(self.ranks.read("stop"))
        return self._stop if self._stop is not None and self._stop.at_step <= step_count else None

    def stop_after_lap(self, lap_count: int) -> Stop | None:
        """The decision that all ranks act on at the end of this lap, which all of them reach; None to go on."""
        if not self._may_stop:
            return None
        if self.is_leader:
            if self._stop is not None and self._stop_lap is None and self._claims(_STOPS):
                self._stop_lap = lap_count
            self._post_lap(lap_count)
            return None if self._stop_lap is None else self._stop
        found = self._decision_on(lap_count)
        if found is None:
            return None
        _, stop_lap, stop = found
        return _read_stop(stop) if stop_lap is not None and stop_lap <= lap_count else None

    @property
    def ends_laps_together(self) -> bool:
        """Whether all ranks wait at the end of a lap for rank 0's decision."""
        return bool(self.ranks.read("laps", rank=None) != _UNWAITED)

    def _claims(self, what: str) -> bool:
        """Whether rank 0 stops the training at a lap, or no rank waits for that any more: what was claimed first."""
        return self.ranks.claim("laps", json.dumps(what)) == json.dumps(what)

    def _decision_on(self, lap_count: int) -> Any:
        """What rank 0 says at the end of a lap; None where it is not waited for."""
        if not self._waits_at_laps:
            return None
        try:
            return self.ranks.wait_for("lap", timeout_s=LAP_TIMEOUT_S, is_due=lambda found: found[0] >= lap_count)
        except GreenloveError as error:
            self._waits_at_laps = not self._claims(_UNWAITED)
            if not self._waits_at_laps:
                logger.warning("rank 0 did not decide on lap %d and is not waited for again: %s", lap_count, error)
                return None
        # Rank 0 has decided to stop, and has said at which lap or is about to.
        try:
            return self.ranks.wait_for("lap", is_due=lambda found: found[1] is not None)
        except GreenloveError as error:
            logger.warning("rank 0 did not decide on lap %d: %s", lap_count, error)
            self._may_stop = False
            return None

    def _post_lap(self, lap_count: int) -> None:
        self.ranks.post("lap", [lap_count, self._stop_lap, None if self._stop is None else asdict(self._stop)])

    def end(self, error: BaseException | None = None) -> None:
        """End the tie when the body has ended; rank 0 waits a few seconds for the last figures of the others."""
        self.has_ended = True
        is_failure = isinstance(error, Exception) and not isinstance(error, (TrainingRefused, LimitReached))
        if is_failure and error is not None:
            self.ranks.fail(error)
        if self._reporter is not None:
            self._reporter.report(is_final=True)
        self.ranks.post("ended", True)
        if self.is_leader:
            # No other rank waits for a decision any more.
            self._post_lap(_AFTER_THE_LAST)
            if error is None:
                self.ranks.wait_for_others("ended", timeout_s=END_TIMEOUT_S)
            self._note_failure()
            if is_failure and (self.failure or "rank 0:").startswith("rank 0:"):
                # An exchange fails here when the other rank is killed, which could not say so.
                self._note_death()
            if self._meter is not None:
                self._meter.refresh()
        elif is_failure:
            self._wait_until_noted()

    def _wait_until_noted(self) -> None:
        try:
            self.ranks.wait_for("noted", timeout_s=NOTED_TIMEOUT_S)
        except GreenloveError as error:
            logger.info("rank 0 did not note the failure: %s", error)


@contextmanager
def link_ended(link: RankLink | None) -> Iterator[None]:
    """The body of a training, after which its tie to other ranks ends, if it has one."""
    try:
        yield
    except BaseException as error:
        if link is not None:
            link.end(error)
        raise
    if link is not None:
        link.end()


@contextmanager
def deaths_noted(link: RankLink | None, note: Callable[[str], None]) -> Iterator[None]:
    """A block in which rank 0 records the death of another rank before the launcher ends it for that.

    A launcher sends SIGTERM to the ranks that are left, and there is no other way to record before it works. A handler
    that the program has set is left alone. If the body has ended on rank 0 by then, as an exchange with a dead rank
    fails, the block goes on to its end first.

    Args:
        link: This rank's tie to the others; None when it trains alone.
        note: Records why the training has failed.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if link is None or not link.is_leader or not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    own_pid, is_due = os.getpid(), threading.Event()

    def note_dead(link: RankLink) -> None:
        if dead := link.ranks.dead:
            note(words_on_death(dead))

    def on_sigterm(number: int, frame: object) -> None:
        if os.getpid() == own_pid:
            if link.has_ended:
                is_due.set()
                return
            # In a thread of its own: this one may hold a lock that recording needs.
            thread = threading.Thread(target=note_dead, args=(link,), name="greenlove-death", daemon=True)
            thread.start()
            thread.join(NOTED_TIMEOUT_S)
        _end_by_sigterm()

    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is on_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if is_due.is_set():
            _end_by_sigterm()


def _end_by_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def gather_log(log: BenchmarkLog, ranks: Ranks) -> BenchmarkLog:
    """After a benchmark before the training: the log of all ranks on rank 0, a rank's own on the others."""
    ranks.post("records", to_plain(RankRecords.of(log)))
    ranks.agree(0.0)
    return _with_others(log, ranks.read_others("records"), ranks.boards) if ranks.is_leader else log


def share_estimate(make: Callable[[], Estimate], ranks: Ranks) -> Estimate:
    """What ``make`` returns on rank 0, on all ranks."""
    made: list[Estimate] = []

    def facts() -> str:
        made.append(make())
        return "" if made[0].statistics is None else made[0].statistics.to_json()

    text = ranks.from_leader(facts)
    return made[0] if made else estimate_training(RunFacts.from_json(text))


def _with_others(log: BenchmarkLog, found: dict[int, Any], boards: tuple[str | None, ...]) -> BenchmarkLog:
    return log_of_ranks(log, {rank: from_plain(RankRecords, each) for rank, each in found.items()}, boards)


def _read_stop(content: Any) -> Stop | None:
    return None if content is None else Stop(**content)
