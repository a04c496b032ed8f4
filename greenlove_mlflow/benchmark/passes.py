"""A timed pass over batches: the only loop that runs the user's step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Blocks are the unit of noise: long enough to make a synchronisation negligible, short enough for ten per benchmark.
BLOCK_S = 0.5
# Number of first steps whose durations are recorded individually during first contact.
FIRST_STEPS_KEPT = 64

Step = Callable[[Any], Any]
# Returns the largest of the values that all ranks of a training give; each must ask, in the same order.
Agree = Callable[[float], float]
_END = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Where a pass ends unless its data ends first; at least one step is run.

    Args:
        step_count: Steps at most.
        until_s: Clock time by which it ends: a step that would end later is not started.
        beyond_first_s: The same limit, in seconds from the end of its first step.
        enough_step_count: With ``enough_s``: the pass ends after this many steps and seconds beyond the first step.
        enough_s: Seconds beyond the first step that are enough.
        whole_step_count: Steps in an epoch if the data continues beyond it; None if the epoch ends with the data.
        reserve_s: Seconds that a step may exceed its expected duration, at most by that duration again.
        head_step_count: Steps of the first block, which a fresh iterator makes slower or faster than the others.
        each_step_apart: Synchronise after each of the first steps, to time them individually.
        second_is_run: Run a second step however long the first took: compiling, tuning, building kernels and cold
            caches make a first step long, and only the second shows whether later ones are.
    """

    step_count: float = math.inf
    until_s: float = math.inf
    beyond_first_s: float = math.inf
    enough_step_count: float = math.inf
    enough_s: float = 0.0
    whole_step_count: int | None = None
    reserve_s: float = 0.0
    head_step_count: int = 1
    each_step_apart: bool = False
    second_is_run: bool = False


@dataclass(slots=True)
class Block:
    """Consecutive steps between two synchronised edges; ``is_first_use`` marks one step of a new shape."""

    start_s: float
    step_count: int
    duration_s: float
    data_wait_s: float
    cpu_s: float
    is_first_use: bool = False


class FirstUses:
    """Detects batches of a new shape: a GPU pays for kernels, heuristics and memory once per shape."""

    def __init__(self) -> None:
        self._seen: set[Hashable] = set()

    def is_new(self, batch: Any) -> bool:
        """Whether this is the first batch of its shape; the shape is remembered."""
        shape = _shape_of(batch)
        if shape in self._seen:
            return False
        self._seen.add(shape)
        return True


def _shape_of(value: Any) -> Hashable:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return tuple(shape)
    if isinstance(value, Mapping):
        return tuple((key, _shape_of(each)) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(_shape_of(each) for each in value)
    return None


@dataclass(slots=True)
class Pass:
    """Measurements of one pass; clock times are those of ``time.perf_counter``.

    Attributes:
        start_s: When its first batch was requested.
        duration_s: From then until the device is idle after the last step, without callbacks between blocks.
        first_end_s: When its first step had ended.
        first_wait_s: Seconds to get its first batch, including a fresh iterator and its workers; None if not
            observed.
        scatter_s2: Sum over its later blocks of the squared deviations of a step from its block's mean, timed on the
            host.
        scatter_count: Steps in that sum, minus one per block.
        close_s: Seconds to drop the iterator (stopping the workers of an unfinished pass).
        last_loss: Return value of the last step.
    """

    start_s: float
    duration_s: float = 0.0
    step_count: int = 0
    whole: bool = False
    first_end_s: float = math.inf
    data_wait_s: float = 0.0
    first_wait_s: float | None = None
    scatter_s2: float = 0.0
    scatter_count: int = 0
    cpu_s: float = 0.0
    close_s: float = 0.0
    blocks: list[Block] = field(default_factory=list)
    last_loss: Any = None

    @property
    def first_steps_s(self) -> list[float]:
        """Durations of the individually timed steps, starting with the first."""
        singles: list[float] = []
        for block in self.blocks:
            if block.step_count != 1 or len(singles) == FIRST_STEPS_KEPT:
                break
            singles.append(block.duration_s)
        return singles

    @property
    def steady_step_s(self) -> float:
        """Mean step without the first, seconds; the first step if it is the only one."""
        if self.step_count < 2:
            return self.duration_s
        return (self.duration_s - self.blocks[0].duration_s) / max(1, self.step_count - self.blocks[0].step_count)

    def append(self, block: Block, end_s: float) -> None:
        """Add a block that ended at a clock time; a block without steps adds its time to the previous one."""
        self.duration_s += block.duration_s
        self.cpu_s += block.cpu_s
        if block.step_count:
            self.step_count += block.step_count
            self.data_wait_s += block.data_wait_s
            self.blocks.append(block)
            self.first_end_s = min(self.first_end_s, end_s)
        elif self.blocks:
            # The data ended right after the last edge; stopping the workers is part of an epoch.
            self.blocks[-1].duration_s += block.duration_s


def run_pass(
    batches: Iterable[Any],
    step: Step,
    limit: Limit,
    *,
    synchronize: Callable[[], None],
    at_block_edge: Callable[[float], None] | None = None,
    first_uses: FirstUses | None = None,
    agree: Agree | None = None,
) -> Pass:
    """Run one pass, timed from requesting the first batch until the device is idle after the last step.

    Args:
        batches: Iterated anew.
        step: The training step as a function of the batch.
        limit: Where it ends at the latest.
        synchronize: Waits until the device is idle; called at the edges of blocks only.
        at_block_edge: Called with the clock time at each edge; its duration is left out of the pass.
        first_uses: Detects steps of new shapes, each of which becomes a separate block.
        agree: On several ranks: agrees at each edge whether another block follows and how many steps it has; its
            duration is left out of the pass.
    """
    synchronize()
    step_count = None if agree is None else _agreed_head(limit, agree)
    cpu_s, start_s = time.process_time(), time.perf_counter()
    done = Pass(start_s=start_s)
    iterator = _Iterator(batches, first_uses)
    while not done.whole and not (_is_over(done, limit, start_s) if agree is None else not step_count):
        block = _run_block(iterator, step, limit, done, start_s, step_count=step_count)
        synchronize()
        end_s, end_cpu_s = time.perf_counter(), time.process_time()
        block.duration_s, block.cpu_s = end_s - start_s, end_cpu_s - cpu_s
        done.append(block, end_s)
        if at_block_edge is not None:
            at_block_edge(end_s)
        if agree is not None:
            step_count = _agreed_steps(done, limit, agree)
        if at_block_edge is not None or agree is not None:
            end_s, end_cpu_s = time.perf_counter(), time.process_time()
        start_s, cpu_s = end_s, end_cpu_s
    before_s = time.perf_counter()
    del iterator
    done.close_s = time.perf_counter() - before_s
    return done


class _Iterator:
    """An iterator over batches that can take one batch back."""

    def __init__(self, batches: Iterable[Any], first_uses: FirstUses | None) -> None:
        self._iterator: Iterator[Any] = iter(batches)
        self._first_uses = first_uses
        self._kept: Any = _END
        self.is_first_use = False

    def next(self) -> Any:
        """The next batch, the kept one first; ``_END`` at the end."""
        if self._kept is not _END:
            batch, self._kept = self._kept, _END
            return batch
        batch = next(self._iterator, _END)
        self.is_first_use = batch is not _END and self._first_uses is not None and self._first_uses.is_new(batch)
        return batch

    def keep(self, batch: Any) -> None:
        """Put a batch back, to be returned next."""
        self._kept = batch


def _run_block(
    iterator: _Iterator, step: Step, limit: Limit, done: Pass, start_s: float, *, step_count: int | None
) -> Block:
    """Run the next steps of a pass up to an edge, or ``step_count``; the caller sets the duration when all is idle."""
    count, wait_s, square_s2, now_s = 0, 0.0, 0.0, start_s
    most, edge_s = _most_steps(done, limit), _edge_s(done, limit, start_s)
    if step_count is not None:
        most, edge_s = step_count, math.inf
    is_first_use = False
    while count < most:
        batch = iterator.next()
        if batch is _END:
            done.whole = True
            break
        ready_s = time.perf_counter()
        if iterator.is_first_use:
            if count:
                # Its step becomes a separate block: this one ends here, with the batch already fetched.
                iterator.keep(batch)
                wait_s += ready_s - now_s
                break
            is_first_use, most = True, 1
        if not done.step_count and not count:
            done.first_wait_s = ready_s - start_s
        done.last_loss = step(batch)
        end_s = time.perf_counter()
        count += 1
        wait_s += ready_s - now_s
        square_s2 += (end_s - now_s) * (end_s - now_s)
        now_s = end_s
        if end_s >= edge_s:
            break
    if done.blocks and count > 1:
        done.scatter_s2 += max(0.0, square_s2 - (now_s - start_s) ** 2 / count)
        done.scatter_count += count - 1
    return Block(
        start_s=start_s, step_count=count, duration_s=0.0, data_wait_s=wait_s, cpu_s=0.0, is_first_use=is_first_use
    )


def _agreed_head(limit: Limit, agree: Agree) -> int:
    """Steps of the first block on all ranks, which begin it together."""
    most = min(_most_steps(Pass(start_s=0.0), limit), float(limit.head_step_count))
    return int(-agree(-max(1.0, most)))


def _agreed_steps(done: Pass, limit: Limit, agree: Agree) -> int:
    """Steps of the next block on all ranks; 0 once any of them is to end the pass."""
    now_s = time.perf_counter()
    if agree(float(_is_over(done, limit, now_s) or done.whole)):
        return 0
    in_time = (_edge_s(done, limit, now_s) - now_s) / max(done.steady_step_s, 1e-9)
    return int(-agree(-max(1.0, min(_most_steps(done, limit), in_time))))


def _most_steps(done: Pass, limit: Limit) -> float:
    """Maximum steps of the next block."""
    if limit.each_step_apart and len(done.blocks) < FIRST_STEPS_KEPT:
        return 1
    most = _steps_left(done, limit)
    in_head = limit.head_step_count - done.step_count
    return min(most, in_head) if in_head > 0 else most


def _edge_s(done: Pass, limit: Limit, start_s: float) -> float:
    """Clock time after which the next block ends with the running step."""
    edge_s = min(start_s + BLOCK_S, _deadline_s(done, limit) - _expected_step_s(done, limit))
    if math.isfinite(limit.enough_step_count) and done.step_count:
        edge_s = min(edge_s, max(start_s, done.first_end_s + limit.enough_s))
    return edge_s


def _steps_left(done: Pass, limit: Limit) -> float:
    left = limit.step_count - done.step_count
    return left if limit.whole_step_count is None else min(left, limit.whole_step_count - done.step_count)


def _deadline_s(done: Pass, limit: Limit) -> float:
    return min(limit.until_s, done.first_end_s + limit.beyond_first_s)


def _expected_step_s(done: Pass, limit: Limit) -> float:
    if not done.step_count or (done.step_count == 1 and limit.second_is_run):
        return 0.0
    # A step that falls into a burst takes longer; the second step is worth that risk.
    reserve_s = 0.0 if done.step_count == 1 else min(done.steady_step_s, limit.reserve_s)
    return done.steady_step_s + reserve_s


def _is_over(done: Pass, limit: Limit, now_s: float) -> bool:
    if not done.step_count:
        return False
    if limit.whole_step_count is not None and done.step_count >= limit.whole_step_count:
        done.whole = True
    if _steps_left(done, limit) <= 0 or now_s + _expected_step_s(done, limit) > _deadline_s(done, limit):
        return True
    return done.step_count >= limit.enough_step_count and now_s - done.first_end_s >= limit.enough_s
