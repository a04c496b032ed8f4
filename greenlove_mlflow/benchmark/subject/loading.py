"""Cost of loading a batch: the throughput of the workers, and the work left to the training thread."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

# How long the loader is timed alone, and how long starting its workers may take for that.
WATCHED_S = 0.35
LONGEST_STARTUP_S = 0.6
MOST_ROUNDS = 8
# A worker's next batch is ready after this many times its loading time.
READY_AFTER_BATCHES = 2.0
LONGEST_SETTLING_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfiledLoader:
    """The batches of a profiled step.

    Args:
        batches: Iterated anew, as in training.
        worker_count: Number of loader processes; 0 if the training thread loads.
        prefetch_steps: Batches prefetched when an iterator starts.
        startup_s: Seconds that a fresh iterator takes before its first batch, beyond a step's own time.
        spare_batch: A batch for steps if no time is left for the loader.
    """

    batches: Iterable[Any]
    worker_count: int = 0
    prefetch_steps: int = 0
    startup_s: float = 0.0
    spare_batch: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """Cost of loading one batch; None where it was not measured, with the reason.

    Args:
        loader_s: Sustained seconds per batch of the workers; 0 without workers.
        fetch_s: Seconds that the training thread spends on a batch that is ready.
        reason: Why something is None.
    """

    loader_s: float | None = None
    fetch_s: float | None = None
    reason: str = ""


class Batches:
    """Batches for profiled steps: from one iterator, restarted at its end, or the spare batch if time is short.

    Args:
        loader: Source of the batches.
        takes_long: Whether a step alone uses up the time available.

    Attributes:
        uses_spare: Whether the spare batch is used.
        is_at_end: Whether the data has ended once.
    """

    def __init__(self, loader: ProfiledLoader, *, takes_long: bool = False) -> None:
        self.loader = loader
        self._iterator: Iterator[Any] | None = None
        self.uses_spare = loader.spare_batch is not None and (takes_long or loader.startup_s > LONGEST_STARTUP_S)
        self.is_at_end = False

    def next(self) -> Any:
        """The next batch; workers are not restarted for one more batch, which would take too long."""
        if self.uses_spare:
            return self.loader.spare_batch
        if self._iterator is None:
            self._iterator = iter(self.loader.batches)
        for batch in self._iterator:
            return batch
        self.is_at_end = True
        if self.loader.worker_count and self.loader.spare_batch is not None:
            self.uses_spare = True
            return self.loader.spare_batch
        self._iterator = iter(self.loader.batches)
        return next(self._iterator)

    def close(self) -> None:
        """Release the iterator and its workers."""
        self._iterator = None


def measure_loading(batches: Batches, *, fetch_s: float) -> Loading:
    """Measure the cost of loading a batch in a pass without training.

    Args:
        batches: Batches from the loader.
        fetch_s: Loading time of a batch if the training thread loads it, seconds.
    """
    loader = batches.loader
    if not loader.worker_count:
        return Loading(loader_s=0.0, fetch_s=fetch_s)
    if batches.uses_spare:
        return Loading(reason="no time was left to watch the loader alone")
    arrivals_s = [_next_s(batches)]
    until_s = arrivals_s[0] + WATCHED_S
    least = loader.worker_count + 1
    while len(arrivals_s) < least or (arrivals_s[-1] < until_s and len(arrivals_s) < MOST_ROUNDS * least):
        arrived_s = _next_s(batches)
        if batches.is_at_end or arrived_s > until_s + WATCHED_S:
            break
        arrivals_s.append(arrived_s)
    loader_s = _pace_s(arrivals_s, loader.worker_count)
    if loader_s is None:
        return Loading(reason="the loader gave too few batches to tell its pace")
    # After this wait the workers have a batch ready, so only fetching it is timed.
    time.sleep(min(LONGEST_SETTLING_S, READY_AFTER_BATCHES * loader.worker_count * loader_s))
    begun_s = time.perf_counter()
    fetch_s = _next_s(batches) - begun_s
    if batches.is_at_end:
        return Loading(loader_s=loader_s, reason="the data ended before a batch could be fetched by itself")
    return Loading(loader_s=loader_s, fetch_s=fetch_s)


def _next_s(batches: Batches) -> float:
    batches.next()
    return time.perf_counter()


def _pace_s(arrivals_s: list[float], worker_count: int) -> float | None:
    """Seconds per batch, over rounds of one batch per worker; None with less than one round after the first.

    >>> _pace_s([1.0, 1.0, 3.0, 3.0, 5.0, 5.0], 2)
    1.0
    """
    rounds = (len(arrivals_s) - 1) // worker_count
    if rounds < 1:
        return None
    return (arrivals_s[rounds * worker_count] - arrivals_s[0]) / (rounds * worker_count)
