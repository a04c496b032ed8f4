"""From a spool to MLflow, in order: the one sender, of a live run as of one whose process is gone."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from greenlove_mlflow.tracking.spool import spool as kinds
from greenlove_mlflow.tracking.spool.boundary import first_line
from greenlove_mlflow.tracking.spool.delivery import create_run, deliver, deliver_points, event_of, point_of
from greenlove_mlflow.tracking.spool.mlflow_store import is_permanent, is_reachable, make_client
from greenlove_mlflow.tracking.spool.spool import Event, Spool, parse_event, write_whole
from greenlove_mlflow.tracking.spool.thinning import Point, Thinner

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

# What a store takes in one request.
BATCH_SIZE = 1000


class StoreDownError(Exception):
    """The store does not answer; what is left waits."""


class Sender:
    """Sends a spool's events in order, each at least once; whatever comes twice is the same in the store.

    An event that fails although the store answers does not hold up the others: it is set aside and tried again later,
    or filed as refused when the store will never take it.

    Args:
        spool: What to send.
        store_uri: Where, with credentials if it needs any.
        stop: Asked between events; true ends the round.
        complain: Told in words what went wrong.

    Attributes:
        sent_point_count: Metric points sent so far.
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
        """The client of this store."""
        if self._client is None:
            self._client = make_client(self._uri)
        return self._client

    @property
    def run_id(self) -> str:
        """The run that everything goes to; created first when it is not there yet."""
        run_id = self.spool.header.run_id
        if run_id is None:
            run_id = create_run(self.client, self.spool.header)
            self.spool.set_run_id(run_id)
        return run_id

    @property
    def is_done(self) -> bool:
        """Whether the spool has ended and nothing of it is left to send."""
        return self._has_ended and not self._batch and not self._later.exists()

    def send(self, *, retry: bool = True) -> bool:
        """Whether all that has been written so far has been sent; ``retry`` tries again what was set aside.

        Raises:
            StoreDownError: If the store does not answer.
        """
        retry = retry and self._later.exists()
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

    def discard(self) -> None:
        """Remove a spool that is done; refused events stay for a person to read, beside the other spools."""
        self.spool.close()
        self.spool.unlock()
        if (self.spool.folder / kinds.REFUSED).exists():
            keep = self.spool.folder.parent.parent / "refused"
            keep.mkdir(parents=True, exist_ok=True)
            self.spool.folder.replace(keep / self.spool.folder.name)
        else:
            shutil.rmtree(self.spool.folder, ignore_errors=True)

    def _take(self, offset: int, event: Event) -> None:
        """Make one event a point of the batch or a request; what an earlier process sent only feeds the thinning."""
        is_new = offset > self._sent_offset
        if event[0] in (kinds.METRIC, kinds.POWER):
            point = self._thinner.add(point_of(event))
            if point is not None and is_new:
                self._batch.append(point)
            if len(self._batch) >= BATCH_SIZE:
                self._read_offset = offset
                self._send_batch()
            return
        if event[0] == kinds.END:
            self._has_ended = True
            self._batch += self._thinner.rest()
        if is_new:
            self._send_batch()
            self._attempt(event)
            self._acknowledge(offset)

    def _send_batch(self) -> None:
        while self._batch:
            points = self._batch[:BATCH_SIZE]
            try:
                deliver_points(self.client, self.run_id, points)
            except Exception as error:  # noqa: BLE001 - a store may raise anything; _set_aside sorts it by kind
                self._set_aside([event_of(point) for point in points], error)
            self.request_count += 1
            self.sent_point_count += len(points)
            del self._batch[:BATCH_SIZE]
        self._acknowledge(self._read_offset)

    def _acknowledge(self, offset: int) -> None:
        if offset > self._sent_offset:
            self._sent_offset = offset
            self.spool.acknowledge(offset)

    def _attempt(self, event: Event) -> None:
        try:
            deliver(self.client, self.spool, self.run_id, event)
        except Exception as error:  # noqa: BLE001 - a store may raise anything; _set_aside sorts it by kind
            self._set_aside([event], error)
        self.request_count += 1

    def _set_aside(self, events: Sequence[Event], error: Exception) -> None:
        permanent = is_permanent(error)
        if not permanent and not is_reachable(self._uri):
            raise StoreDownError(self.spool.header.store_uri) from error
        if events[0][0] == kinds.EXPERIMENT_TAGS:
            logger.info("the saved view of the experiment is left out: %s", first_line(error))
            return  # best effort: its format is the page's own, and older stores take only short tags
        self._complain(f"MLflow did not take {events[0][0]} of run {self.spool.header.run_id}: {first_line(error)}")
        path = self.spool.folder / kinds.REFUSED if permanent else self._later
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(event) + "\n" for event in events)

    @property
    def _later(self) -> Path:
        return self.spool.folder / kinds.LATER

    def _send_later(self) -> None:
        """Try again what was set aside; what fails again is set aside again, behind the rest."""
        tried_bytes = 0
        try:
            for line in self._later.read_bytes().splitlines(keepends=True):
                if (event := parse_event(line)) is not None:
                    self._attempt(event)
                tried_bytes += len(line)
        finally:
            rest = self._later.read_bytes()[tried_bytes:]
            if rest:
                write_whole(self._later, rest.decode())
            else:
                self._later.unlink()

    def _reach_run(self) -> None:
        try:
            _ = self.run_id
        except Exception as error:
            raise StoreDownError(f"the run could not be created: {first_line(error)}") from error
