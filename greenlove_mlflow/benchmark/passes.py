"""One pass over some batches, timed: the only loop that runs the user's step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

# Blocks are the unit of noise: long enough that a synchronisation is nothing, short enough for ten in a benchmark.
BLOCK_S = 0.5
# The durations of the first steps of a first contact are kept one by one.
FIRST_STEPS_KEPT = 64

Step = Callable[[Any], Any]
_END = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Where a pass ends when its data does not end before; one step is always run.

    Args:
        step_count: Steps at most.
        until_s: Clock time by which it ends: a step that would end later is not begun.
        beyond_first_s: The same, in seconds from the end of its first step.
        enough_step_count: With ``enough_s``: the pass ends once it has so many steps and seconds beyond the first.
        enough_s: Seconds beyond the first step that are enough.
        whole_step_count: Steps that make an epoch although the data goes on; None when the data's end does.
        reserve_s: What a step may take beyond what it is expected to, at most as much again.
        head_step_count: Steps of the first block: those that a fresh iterator makes slower or faster than others.
        each_step_apart: Synchronise after each of the first steps, to tell them apart.
        second_is_run: A second step is run however long the first took: compiling, tuning, building kernels and cold
            caches make a first step long, and only the second tells whether others are.
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
    """Consecutive steps between two synchronised edges."""

    start_s: float
    step_count: int
    duration_s: float
    data_wait_s: float
    cpu_s: float


@dataclass(slots=True)
class Pass:
    """What one pass measured; times are of ``time.perf_counter``.

    Attributes:
        start_s: When its first batch was asked for.
        duration_s: From then to the device being idle after the last step, callbacks between blocks left out.
        first_end_s: When its first step had ended.
        scatter_s2: Sum over its later blocks of the squared deviations of a step from its block's mean, as the host
            saw them.
        scatter_count: Steps in that sum, less one a block.
        close_s: Seconds that dropping the iterator took (workers of an unfinished pass ending).
        last_loss: What the last step returned.
    """

    start_s: float
    duration_s: float = 0.0
    step_count: int = 0
    whole: bool = False
    first_end_s: float = math.inf
    data_wait_s: float = 0.0
    scatter_s2: float = 0.0
    scatter_count: int = 0
    cpu_s: float = 0.0
    close_s: float = 0.0
    blocks: list[Block] = field(default_factory=list)
    last_loss: Any = None

    @property
    def first_steps_s(self) -> list[float]:
        """Durations of the steps that were timed one by one, from the first one on."""
        singles: list[float] = []
        for block in self.blocks:
            if block.step_count != 1 or len(singles) == FIRST_STEPS_KEPT:
                break
            singles.append(block.duration_s)
        return singles

    @property
    def steady_step_s(self) -> float:
        """Mean step without the first, seconds; the first itself when it is alone."""
        if self.step_count < 2:
            return self.duration_s
        return (self.duration_s - self.blocks[0].duration_s) / max(1, self.step_count - self.blocks[0].step_count)


def run_pass(
    batches: Iterable[Any],
    step: Step,
    limit: Limit,
    *,
    synchronize: Callable[[], None],
    at_block_edge: Callable[[float], None] | None = None,
) -> Pass:
    """One pass, timed from asking for the first batch to the device being idle after the last step.

    Args:
        batches: Iterated anew.
        step: The training step as a function of the batch.
        limit: Where it ends at the latest.
        synchronize: Waits until the device is idle; called at the edges of blocks only.
        at_block_edge: Told the clock at each edge; what it takes is left out of the pass.
    """
    synchronize()
    cpu_s, start_s = time.process_time(), time.perf_counter()
    done = Pass(start_s=start_s)
    iterator = iter(batches)
    while not done.whole and not _is_over(done, limit, start_s):
        block = _run_block(iterator, step, limit, done, start_s)
        synchronize()
        end_s, end_cpu_s = time.perf_counter(), time.process_time()
        block.duration_s, block.cpu_s = end_s - start_s, end_cpu_s - cpu_s
        _append(done, block, end_s)
        if at_block_edge is not None:
            at_block_edge(end_s)
            end_s, end_cpu_s = time.perf_counter(), time.process_time()
        start_s, cpu_s = end_s, end_cpu_s
    before_s = time.perf_counter()
    del iterator
    done.close_s = time.perf_counter() - before_s
    return done


def _run_block(iterator: Iterator[Any], step: Step, limit: Limit, done: Pass, start_s: float) -> Block:
    """The next steps of a pass up to an edge; the caller settles its duration after synchronising."""
    count, wait_s, square_s2, now_s = 0, 0.0, 0.0, start_s
    most = _steps_left(done, limit)
    if done.step_count < limit.head_step_count:
        most = min(most, limit.head_step_count - done.step_count)
    if limit.each_step_apart and len(done.blocks) < FIRST_STEPS_KEPT:
        most = 1
    edge_s = min(start_s + BLOCK_S, _deadline_s(done, limit) - _expected_step_s(done, limit))
    if math.isfinite(limit.enough_step_count) and done.step_count:
        edge_s = min(edge_s, max(start_s, done.first_end_s + limit.enough_s))
    while count < most:
        batch = next(iterator, _END)
        if batch is _END:
            done.whole = True
            break
        ready_s = time.perf_counter()
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
    return Block(start_s=start_s, step_count=count, duration_s=0.0, data_wait_s=wait_s, cpu_s=0.0)


def _append(done: Pass, block: Block, end_s: float) -> None:
    done.duration_s += block.duration_s
    done.cpu_s += block.cpu_s
    if block.step_count:
        done.step_count += block.step_count
        done.data_wait_s += block.data_wait_s
        done.blocks.append(block)
        done.first_end_s = min(done.first_end_s, end_s)
    elif done.blocks:
        # The data turned out to end right after the last edge; workers ending are part of an epoch.
        done.blocks[-1].duration_s += block.duration_s


def _steps_left(done: Pass, limit: Limit) -> float:
    left = limit.step_count - done.step_count
    return left if limit.whole_step_count is None else min(left, limit.whole_step_count - done.step_count)


def _deadline_s(done: Pass, limit: Limit) -> float:
    return min(limit.until_s, done.first_end_s + limit.beyond_first_s)


def _expected_step_s(done: Pass, limit: Limit) -> float:
    if not done.step_count or (done.step_count == 1 and limit.second_is_run):
        return 0.0
    # A step that falls into a burst takes longer; the very second one is worth the risk.
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
