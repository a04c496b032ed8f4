"""Noise of a benchmark: how much blocks of steps differ and are autocorrelated, and what new batch shapes cost.

Steps with a new shape say nothing about steps with known shapes, so they are treated separately and paid once: the ones
that were seen, and the ones still expected, from how quickly new shapes become rare.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from greenlove_mlflow.core.records import BlockRecord, EpochRecord

# Blocks shorter than this are joined: scheduler jitter is not a property of the training.
LEAST_BLOCK_S = 0.4
LARGEST_CORRELATION = 0.8
# On a virtual machine, blocks that stay alike for longer than this factor allows show the drift that was measured there
# and is counted apart; reports/accuracy_replay.py shows the ranges with and without.
LARGEST_FAST_CORRELATION_FACTOR = 2.0
# The pace has moved when the halves of the blocks differ by this much and the slope is statistically significant.
DRIFT_GAP_LOG = 0.02
TREND_T = 3.5
LARGEST_SETTLING_LOG = 0.15
LEAST_BLOCKS_FOR_TREND = 6
# A block belongs to a burst when it is this far above the median, and this many SDs of the usual scatter.
LEAST_BURST_LOG = 0.05
BURST_PER_SD = 3.0
LEAST_BLOCKS_FOR_BURSTS = 6
# For a normal distribution: SD over median absolute deviation.
SD_PER_MEDIAN_DEVIATION = 1.4826
# The largest of about twenty normal values is about this many SDs above their median.
PEAK_OF_CONTENT = 2.0
# With fewer blocks, a correlation is only a guess.
LEAST_BLOCKS_FOR_CORRELATION = 8
# Where new shapes hardly get rarer, the extrapolation diverges; no data has this many.
SLOWEST_DECAY = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """The noise of the timed passes.

    Args:
        log_sd: SD of the log cost per step of a block (s).
        correlation_factor: How many blocks carry the information of one (kappa), at least 1.
        block_count: Blocks (m).
        block_s: Mean length of a block, seconds.
        costs_s: Cost per step of each block, in the order they ran, seconds.
        starts_s: Start of each block, seconds from the start of the benchmark.
        content_log_sd: The part of ``log_sd`` explained by steps of different cost.
    """

    log_sd: float
    correlation_factor: float
    block_count: int
    block_s: float
    costs_s: tuple[float, ...] = ()
    starts_s: tuple[float, ...] = ()
    content_log_sd: float = 0.0

    @property
    def peak_log(self) -> float:
        """Log of the costliest block over the median one, beyond what the cost of single steps explains."""
        if not self.costs_s:
            return 0.0
        peak = math.log(max(self.costs_s) / float(np.median(self.costs_s)))
        return max(0.0, peak - PEAK_OF_CONTENT * self.content_log_sd)

    @property
    def machine_log_sd(self) -> float:
        """SD of the log cost of a block beyond what the cost of single steps explains."""
        return math.sqrt(max(0.0, self.log_sd**2 - self.content_log_sd**2))

    @property
    def hidden_log_sd(self) -> float:
        """The roughness that the cost of single steps may hide: one SD of the difference between two variances.

        A variance from m blocks is known to ``sqrt(2 / m)`` of itself.
        """
        return self.content_log_sd * math.sqrt(math.sqrt(2.0 / max(1, self.block_count)))

    @property
    def halves_gap_log(self) -> float:
        """Log of the median cost of the second half of the blocks over that of the first."""
        half = self.block_count // 2
        if not half:
            return 0.0
        return math.log(float(np.median(self.costs_s[-half:]) / np.median(self.costs_s[:half])))

    @property
    def is_drifting(self) -> bool:
        """Whether the pace moved during the measurement: the halves differ, and a linear trend explains it."""
        if self.block_count < LEAST_BLOCKS_FOR_TREND or abs(self.halves_gap_log) < DRIFT_GAP_LOG:
            return False
        return abs(_trend_t(np.log(self.costs_s))) > TREND_T

    @property
    def is_settling(self) -> bool:
        """Whether the pace moved no more than that of a machine warming up; a new neighbour moves it further."""
        return self.is_drifting and abs(self.halves_gap_log) < LARGEST_SETTLING_LOG

    @property
    def pace_to_expect(self) -> float:
        """Expected cost of future blocks over the mean of the timed ones.

        On a settling machine, the later half counts. A burst seen only once was, on average, more of a coincidence than
        one seen often: of the cost added by n bursts, n / (n + 1) is expected to recur.
        """
        if not self.costs_s:
            return 1.0
        costs = np.array(self.costs_s)
        if self.is_settling:
            return float(np.mean(costs[-(self.block_count // 2) :]) / np.mean(costs))
        bursts = _bursts(np.log(costs))
        count = int(bursts[0]) + int(np.sum(bursts[1:] & ~bursts[:-1]))
        if not count:
            return 1.0
        undisturbed_s, mean_s = float(np.mean(costs[~bursts])), float(np.mean(costs))
        return (undisturbed_s + count / (count + 1.0) * (mean_s - undisturbed_s)) / mean_s

    @property
    def degrees_of_freedom(self) -> float:
        """Degrees of freedom of the SD, corrected for autocorrelation."""
        return max(3.0, self.block_count / self.correlation_factor - 1.0)

    def without_drift(self, share: float) -> Noise:
        """The noise where a share of its longer correlation, 0 to 1, is drift that is counted apart."""
        fast = min(self.correlation_factor, LARGEST_FAST_CORRELATION_FACTOR)
        factor = self.correlation_factor + share * (fast - self.correlation_factor)
        return dataclasses.replace(self, correlation_factor=factor)


@dataclass(frozen=True, slots=True)
class Startup:
    """The cost of starting a fresh pass over the data.

    Args:
        overhead_s: Seconds per pass for iterator, workers and first batches.
        step_s: Mean step after the head of the pass, including its batch, seconds.
    """

    overhead_s: float
    step_s: float


def noise_of_blocks(epochs: Sequence[EpochRecord], blocks: Sequence[BlockRecord]) -> Noise:
    """The noise of the timed passes, from blocks of about half a second."""
    joined = list(_join(_units(epochs, blocks)))
    if not joined:
        return Noise(log_sd=0.0, correlation_factor=1.0, block_count=0, block_s=LEAST_BLOCK_S)
    costs = np.array([duration_s / steps for _, duration_s, steps in joined])
    logs = np.log(costs)
    count = len(joined)
    return Noise(
        log_sd=float(np.std(logs, ddof=1)) if count > 1 else 0.0,
        correlation_factor=_correlation_factor(logs),
        block_count=count,
        block_s=float(np.mean([duration_s for _, duration_s, _ in joined])),
        costs_s=tuple(costs.tolist()),
        starts_s=tuple(start_s for start_s, _, _ in joined),
        content_log_sd=_content_log_sd(epochs, joined),
    )


def startup_of_passes(epochs: Sequence[EpochRecord], blocks: Sequence[BlockRecord]) -> Startup | None:
    """The startup cost of a pass, from the timed passes; None without steps after a head."""
    passes = list(_passes(epochs, blocks))
    body = [block for record, own in passes for block in own[_head_count(record) :] if not block.is_first_use]
    steps = sum(block.step_count for block in body)
    if not steps:
        return None
    step_s = math.fsum(block.duration_s for block in body) / steps
    heads = [
        own[0].duration_s - own[0].step_count * step_s + record.close_s
        for record, own in passes
        if record.begins_fresh and len(own) > 1
    ]
    return Startup(overhead_s=max(0.0, float(np.median(heads))) if heads else 0.0, step_s=step_s)


def _passes(
    epochs: Sequence[EpochRecord], blocks: Sequence[BlockRecord]
) -> Iterator[tuple[EpochRecord, list[BlockRecord]]]:
    by_index: dict[int, list[BlockRecord]] = {}
    for block in blocks:
        by_index.setdefault(block.epoch_index, []).append(block)
    for record in epochs:
        if record.phase == "timed" and record.epoch_index in by_index:
            yield record, by_index[record.epoch_index]


def _head_count(record: EpochRecord) -> int:
    """Number of blocks at the start of a pass that are not steady: that of a fresh iterator."""
    return 1 if record.begins_fresh else 0


def _units(epochs: Sequence[EpochRecord], blocks: Sequence[BlockRecord]) -> Iterator[tuple[float, float, int]]:
    """Start, duration and steps of comparable units: whole short passes, or blocks after heads."""
    for record, own in _passes(epochs, blocks):
        known = not any(block.is_first_use for block in own)
        if known and record.whole and (len(own) == 1 or _is_a_unit(record)):
            yield record.start_s, record.duration_s, record.step_count
        else:
            behind = own[_head_count(record) :]
            yield from (
                (block.start_s, block.duration_s, block.step_count) for block in behind if not block.is_first_use
            )


def _is_a_unit(record: EpochRecord) -> bool:
    """Whether a whole pass is one unit: the same data each time, so that its content makes no difference."""
    return record.whole and record.duration_s < LEAST_BLOCK_S


def _content_log_sd(epochs: Sequence[EpochRecord], joined: Sequence[tuple[float, float, int]]) -> float:
    """SD of a block's log cost if its steps were independent, with the spread of steps within half a second."""
    scatter = [
        (record.step_sd_s * record.step_count / record.duration_s) ** 2
        for record in epochs
        if record.phase == "timed" and record.step_sd_s is not None and not _is_a_unit(record)
    ]
    if not scatter:
        return 0.0
    steps = float(np.mean([count for _, _, count in joined]))
    return math.sqrt(float(np.mean(scatter)) / max(1.0, steps))


def _join(units: Iterator[tuple[float, float, int]]) -> Iterator[tuple[float, float, int]]:
    start_s, duration_s, steps = 0.0, 0.0, 0
    for unit_start_s, unit_s, unit_steps in units:
        start_s = start_s if steps else unit_start_s
        duration_s, steps = duration_s + unit_s, steps + unit_steps
        if duration_s >= LEAST_BLOCK_S:
            yield start_s, duration_s, steps
            duration_s, steps = 0.0, 0
    if duration_s >= LEAST_BLOCK_S / 2.0:
        yield start_s, duration_s, steps


def _bursts(logs: np.ndarray) -> np.ndarray:
    """Whether each block is far above the median, relative to the scatter of the others."""
    if len(logs) < LEAST_BLOCKS_FOR_BURSTS:
        return np.zeros(len(logs), dtype=bool)
    above = logs - np.median(logs)
    usual_sd = SD_PER_MEDIAN_DEVIATION * float(np.median(np.abs(above)))
    return np.asarray(above > max(LEAST_BURST_LOG, BURST_PER_SD * usual_sd))


def _trend_t(logs: np.ndarray) -> float:
    """The t statistic of a linear trend through the blocks, corrected for autocorrelation."""
    times = np.arange(len(logs)) - (len(logs) - 1) / 2.0
    slope = float(times @ logs) / float(times @ times)
    residuals = logs - logs.mean() - slope * times
    variance = float(residuals @ residuals) / (len(logs) - 2) * _correlation_factor(residuals)
    return slope / math.sqrt(variance / float(times @ times)) if variance > 0.0 else 0.0


def _correlation_factor(logs: np.ndarray) -> float:
    """(1 + rho) / (1 - rho) with the lag-1 correlation, corrected for small-sample bias."""
    count = len(logs)
    centred = logs - logs.mean()
    power = float(centred @ centred)
    if count < LEAST_BLOCKS_FOR_CORRELATION or power <= 0.0:
        return 1.0
    raw = float(centred[1:] @ centred[:-1]) / power
    rho = min(LARGEST_CORRELATION, max(0.0, (raw * (count - 1) + 1.0) / (count - 4)))
    return (1.0 + rho) / (1.0 - rho)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstUseCost:
    """The cost of first uses of shapes.

    Args:
        seen_s: Seconds beyond steady steps in the timed passes.
        expected_s: Seconds beyond steady steps still to come.
    """

    seen_s: float = 0.0
    expected_s: float = 0.0

    @property
    def total_s(self) -> float:
        """Seconds that a run in a fresh process pays for all of them."""
        return self.seen_s + self.expected_s


def first_use_cost(blocks: Sequence[BlockRecord], step_s: float) -> FirstUseCost:
    """The cost of first uses in the timed passes and after them.

    Args:
        blocks: Blocks of the timed passes, in the order they ran.
        step_s: Seconds of a steady step.
    """
    new = [block for block in blocks if block.is_first_use]
    seen_s = math.fsum(max(0.0, block.duration_s - block.step_count * step_s) for block in new)
    if not new:
        return FirstUseCost()
    return FirstUseCost(seen_s=seen_s, expected_s=seen_s / len(new) * _expected_count(blocks))


def excess_s(blocks: Sequence[BlockRecord], epoch_index: int, step_s: float) -> float:
    """Seconds beyond steady steps that first uses cost one epoch record."""
    return first_use_cost([block for block in blocks if block.epoch_index == epoch_index], step_s).seen_s


def _expected_count(blocks: Sequence[BlockRecord]) -> float:
    """Shapes still to come, if each stretch of steps shows a fixed share of the new shapes of the one before."""
    half = sum(block.step_count for block in blocks) / 2.0
    early = late = steps = 0
    for block in blocks:
        steps += block.step_count
        if block.is_first_use and steps <= half:
            early += 1
        elif block.is_first_use:
            late += 1
    decay = min(SLOWEST_DECAY, late / early) if early else SLOWEST_DECAY
    return late * decay / (1.0 - decay) if late else 0.0
