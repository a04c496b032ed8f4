"""Sends a spool to MLflow in order, for live runs and for runs whose process is gone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from greenlove_mlflow.files import UnsafePathError
from greenlove_mlflow.tracking.spool.asides import LATER, REFUSED, Aside
from greenlove_mlflow.tracking.spool.boundary import first_line
from greenlove_mlflow.tracking.spool.delivery import Point, Thinner, create_run, deliver, deliver_points
from greenlove_mlflow.tracking.spool.events import (
    EndEvent,
    Event,
    ExperimentTagsEvent,
    LapEvent,
    MetricEvent,
    OddLine,
    PowerEvent,
    read_line,
    to_line,
)
from greenlove_mlflow.tracking.spool.mlflow_store import (
    is_gone,
    is_permanent,
    is_reachable,
    is_too_large,
    make_client,
)
from greenlove_mlflow.tracking.spool.spool import REFUSED_SPOOLS, Spool

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

# The most points that a store accepts in one request.
BATCH_SIZE = 1000


class StoreDownError(Exception):
    """The store does not answer; the rest waits."""


class RunGoneError(Exception):
    """The store reports the run as missing or deleted; the rest waits for the run to be restored."""


class Sender:
    """Sends a spool's events in order, each at least once; sending one twice changes nothing in the store.

    An event that fails although the store answers does not block the others: it is set aside and retried later, or
    filed as refused when the store will never accept it. A refused batch is halved until the bad point is isolated.

    Args:
        spool: The spool to send.
        store_uri: The store, with credentials if it needs any.
        stop: Called between events; true ends the round.
        complain: Called with a message about each problem.

    Attributes:
        sent_point_count: Metric points that have arrived so far.
        refused_count: Events that the store will never accept, and unreadable lines.
        request_count: Requests that the store has answered so far.
        has_reached_store: Whether the store has answered at all.
    """

    def __init__(
        self,
        spool: Spool,
        store_uri: str,
        *,
        stop: Callable[[], bool] = lambda: False,
        complain: Callable[[str], None] = logger.info,
    ) -> None:
        self.spool = spool
        self.sent_point_count = 0
        self.refused_count = 0
        self.request_count = 0
        self.has_reached_store = False
        self._uri = store_uri
        self._stop = stop
        self._complain = complain
        self._thinner = Thinner()
        self._batch: list[Point] = []
        self._read_offset = 0
        self._sent_offset = spool.acknowledged
        self._client: MlflowClient | None = None
        self._has_ended = False

    @property
    def client(self) -> MlflowClient:
        """The client of the store."""
        if self._client is None:
            self._client = make_client(self._uri)
        return self._client

    @property
    def run_id(self) -> str:
        """Id of the run that everything goes to; the run is created if it does not exist yet."""
        run_id = self.spool.header.run_id
        if run_id is None:
            run_id = create_run(self.client, self.spool.header)
            self.spool.set_run_id(run_id)
        return run_id

    @property
    def is_done(self) -> bool:
        """Whether the spool has ended and nothing is left to send."""
        return self._has_ended and not self._batch and not self.spool.asides.has(LATER)

    @property
    def is_whole(self) -> bool:
        """Whether the store has accepted everything."""
        return self.is_done and not self.spool.asides.has(REFUSED)

    def send(self, *, retry: bool = True) -> bool:
        """Send what has been written so far, return whether all was sent; ``retry`` includes what was set aside.

        Raises:
            StoreDownError: If the store does not answer.
            RunGoneError: If the run no longer exists in the store.
        """
        retry = retry and self.spool.asides.has(LATER)
        if self._read_offset >= self.spool.size and not self._batch and not retry:
            return True
        if not is_reachable(self._uri):
            raise StoreDownError(self.spool.header.store_uri)
        self._reach_run()
        self.has_reached_store = True
        if retry:
            self._send_later()
        for offset, event in self.spool.events(self._read_offset):
            if self._stop():
                return False
            self._take(offset, event)
            self._read_offset = offset
        self._send_batch()
        return True

    def keep_rest(self) -> bool:
        """Write what is unsent and only in memory to disk, and return whether nothing is left in memory."""
        return self.spool.keep_rest(self._sent_offset)

    def discard(self) -> None:
        """Remove a spool that is done; refused events are kept for the user to read and resend."""
        if self.spool.asides.has(REFUSED):
            self.spool.move(REFUSED_SPOOLS)
        else:
            self.spool.remove()

    def _take(self, offset: int, event: Event | OddLine) -> None:
        """Add one event to the batch or send it; an event that an earlier process sent only feeds the thinning."""
        is_new = offset > self._sent_offset
        if isinstance(event, OddLine):
            if is_new:
                self._refuse([Aside(event.line, event.reason)])
            return
        if isinstance(event, (MetricEvent, PowerEvent, LapEvent)):
            points = self._thinner.add(event)
            if is_new:
                self._batch += points
            if len(self._batch) >= BATCH_SIZE:
                self._read_offset = offset
                self._send_batch()
            return
        if isinstance(event, EndEvent):
            self._has_ended = True
            self._batch += self._thinner.rest()
        if is_new:
            self._send_batch()
            self._attempt(event)
            self._acknowledge(offset)

    def _send_batch(self) -> None:
        while self._batch:
            size = min(BATCH_SIZE, len(self._batch))
            self._send_points(self._batch[:size])
            del self._batch[:size]
        self._acknowledge(self._read_offset)

    def _send_points(self, points: Sequence[Point]) -> None:
        """Send points in one request, or in halves if the store refuses them together."""
        try:
            deliver_points(self.client, self.run_id, points)
        except Exception as error:  # noqa: BLE001 - a store may raise anything; it is sorted by kind
            self._check_store(error)
            if len(points) > 1 and (is_permanent(error) or is_too_large(error)):
                half = len(points) // 2
                self._send_points(points[:half])
                self._send_points(points[half:])
            else:
                self._set_aside([_event_of(point) for point in points], error)
        else:
            self.sent_point_count += len(points)
        self.request_count += 1

    def _acknowledge(self, offset: int) -> None:
        if offset > self._sent_offset:
            self._sent_offset = offset
            self.spool.acknowledge(offset)

    def _attempt(self, event: Event) -> None:
        try:
            deliver(self.client, self.spool, self.run_id, event)
        except Exception as error:  # noqa: BLE001 - a store may raise anything; it is sorted by kind
            self._check_store(error)
            self._set_aside([event], error)
        self.request_count += 1

    def _check_store(self, error: Exception) -> None:
        """End the round when the store no longer answers or no longer has the run."""
        if isinstance(error, UnsafePathError):
            return
        if is_permanent(error):
            if is_gone(self.client, self.run_id):
                raise RunGoneError(f"run {self.run_id} is not in the store, or deleted: {first_line(error)}") from error
        elif not is_reachable(self._uri):
            raise StoreDownError(self.spool.header.store_uri) from error

    def _set_aside(self, events: Sequence[Event], error: Exception) -> None:
        if isinstance(events[0], ExperimentTagsEvent):
            logger.info("the saved view of the experiment is left out: %s", first_line(error))
            return  # best effort: the format is internal to the page, and older stores accept only short tags
        asides = [
            Aside(to_line(event), first_line(error), event if getattr(event, "waits_at", None) is not None else None)
            for event in events
        ]
        if is_permanent(error) or isinstance(error, UnsafePathError):
            self._refuse(asides)
            return
        reason = asides[0].reason.rstrip(".")
        self._complain(f"MLflow does not take a part of run {self.spool.header.run_id} for now: {reason}")
        self.spool.asides.put(LATER, asides)

    def _refuse(self, asides: Sequence[Aside]) -> None:
        self.refused_count += len(asides)
        reason = asides[0].reason.rstrip(".")
        self._complain(f"MLflow refuses a part of run {self.spool.header.run_id} for good: {reason}")
        self.spool.asides.put(REFUSED, asides)

    def _send_later(self) -> None:
        """Retry what was set aside; what fails again is set aside again, after the rest."""
        waiting = self.spool.asides.read(LATER)
        tried_count = 0
        try:
            while tried_count < len(waiting):
                points, others = _leading_points(waiting[tried_count : tried_count + BATCH_SIZE])
                if points:
                    self._send_points(points)
                    tried_count += len(points)
                else:
                    for event in others:
                        self._attempt(event)
                    tried_count += 1
        finally:
            self.spool.asides.replace(LATER, self.spool.asides.read(LATER)[tried_count:])

    def _reach_run(self) -> None:
        try:
            _ = self.run_id
        except Exception as error:  # a store may raise anything; without the run nothing can be sent, so all waits
            raise StoreDownError(f"the run could not be created: {first_line(error)}") from error


def _event_of(point: Point) -> Event:
    return MetricEvent(key=point.key, value=point.value, timestamp_ms=point.timestamp_ms, step=point.step)


def _leading_points(asides: Sequence[Aside]) -> tuple[list[Point], list[Event]]:
    """The leading metric points of a list of lines; if it starts with another event, that event."""
    points: list[Point] = []
    for aside in asides:
        event = aside.event or read_line(aside.line)
        if not isinstance(event, MetricEvent):
            return points, [] if points or isinstance(event, OddLine) else [event]
        points.append(Point(key=event.key, value=event.value, timestamp_ms=event.timestamp_ms, step=event.step))
    return points, []
