"""The drift to expect of a machine, from measured noise and kernel counters during the benchmark.

A benchmark of ten seconds cannot see a drift of minutes. But a machine whose pace is steady within a percent, and whose
counters show no other load, is exclusive and drifts by one or two percent; a machine with bursts or neighbours drifts
as they come and go. Counters narrow the range only where they have been seen to respond. The constants were chosen on
simulated machines (quiet and shared, with an Ornstein-Uhlenbeck drift) and validated on others (waves, jumps, heavy
tails, rarer and longer bursts, unresponsive counters); ``reports/accuracy.py`` shows the resulting coverage, and
``reports/accuracy_fit.py`` fits those for machines without usable counters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from greenlove_mlflow.core.records import BenchmarkLog
from greenlove_mlflow.core.timing.drift import PRIOR_DEGREES_OF_FREEDOM, Drift
from greenlove_mlflow.core.timing.noise import Noise

# One block has no spread.
LEAST_BLOCKS_FOR_ROUGHNESS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftModel:
    """The constants that turn a benchmark's noise and counters into the expected drift of the run after it.

    The defaults are those of the table's newest version, for fits without a table. SDs are of natural logarithms;
    shares are of the time of the timed passes, 0 to 1.

    Args:
        quiet_log_sd: Drift of a machine without other load, where counters show that.
        silent_log_sd: The same without usable counters: missing counters, or ones never seen to respond, are no
            evidence.
        shared_log_sd: Additional drift of a machine shared with others.
        unseen_bursts_log: Average log excess of a run on a shared machine over a benchmark of seconds, as bursts are
            rare.
        largest_log_sd: Upper limit of the expected drift.
        middle_roughness: Roughness at which a machine with usable counters is as likely shared as quiet.
        silent_middle_roughness: The same without usable counters, where only the pace is evidence.
        steepness: How sharply that probability changes with usable counters.
        silent_steepness: The same without them: how much of the odds a benchmark's pace can tell.
        least_roughness: Least roughness on a machine without usable counters; a smoother pace says no more.
        peak_per_sd: Divisor that converts a block's peak into an equivalent SD.
        drift_per_roughness: Drift per roughness: rough machines drift more than smooth ones, shared or not.
        drift_per_contention: Drift per contention: the load of others may vanish, or double, later.
        busy_share: Share above which other load is certain.
        told_share: Share above which a counter is known to respond.
        calm_neighbours_share: Share that others may take on cores that the training does not need, without any effect.
        busy_neighbours_share: Share above which others certainly compete for cache, memory and clock.
        crowded_load_ratio: Multiple of the training's own load above which other load is certain.
        throttled_log_sd: Additional drift while heat or power limits reduce the clock.
        virtual_log_sd: Drift of a virtual machine, whose counters do not show its neighbours, in place of
            ``shared_log_sd``.
    """

    quiet_log_sd: float = 0.014
    silent_log_sd: float = 0.014
    shared_log_sd: float = 0.055
    unseen_bursts_log: float = 0.012
    largest_log_sd: float = 0.20
    middle_roughness: float = 0.018
    silent_middle_roughness: float = 0.016
    steepness: float = 6.0
    silent_steepness: float = 1.4
    least_roughness: float = 0.002
    peak_per_sd: float = 2.5
    drift_per_roughness: float = 0.35
    drift_per_contention: float = 0.25
    busy_share: float = 0.03
    told_share: float = 0.002
    calm_neighbours_share: float = 0.05
    busy_neighbours_share: float = 0.10
    crowded_load_ratio: float = 1.2
    throttled_log_sd: float = 0.06
    virtual_log_sd: float = 0.10


def prior_drift(log: BenchmarkLog, noise: Noise, model: DriftModel) -> Drift:
    """The drift to expect before any finished run is taken into account."""
    signals = log.machine_signals
    contention = contention_share(log)
    told = _tells_of_neighbours(log, model)
    shared = max(_looks_shared(noise, model, told=told), _shared_by_signals(log, contention, model))
    floor = model.quiet_log_sd if told else model.silent_log_sd
    # The drift measured on a virtual machine includes that of its neighbours, so it replaces theirs.
    neighbours = max(shared * model.shared_log_sd**2, (log.virtual_share * model.virtual_log_sd) ** 2)
    variance = floor**2 + neighbours + (model.drift_per_roughness * noise.machine_log_sd) ** 2
    variance += (model.drift_per_contention * contention) ** 2
    if noise.is_drifting:
        variance += noise.halves_gap_log**2  # the pace may move as far again
    if signals.is_clock_falling or (signals.throttled_share or 0.0) > model.busy_share:
        variance += model.throttled_log_sd**2
    return Drift(
        log_sd=min(model.largest_log_sd, math.sqrt(variance)),
        degrees_of_freedom=PRIOR_DEGREES_OF_FREEDOM,
        bias_log=shared * model.unseen_bursts_log,
    )


def _looks_shared(noise: Noise, model: DriftModel, *, told: bool) -> float:
    """Probability that others use the machine, by the roughness of its pace, 0 to 1.

    Without usable counters the odds follow a power of the roughness. The power is low: a short benchmark of a shared
    machine often looks calm, and a calm reading is then weak evidence.
    """
    if told:
        return _odds_share(_roughness(noise, model) / model.middle_roughness, model.steepness)
    if noise.block_count < LEAST_BLOCKS_FOR_ROUGHNESS:
        return 0.5
    return _odds_share(silent_roughness(noise, model) / model.silent_middle_roughness, model.silent_steepness)


def _odds_share(relative_roughness: float, steepness: float) -> float:
    """Probability whose odds are a power of the roughness."""
    return 1.0 / (1.0 + math.pow(relative_roughness, -steepness))


def silent_roughness(noise: Noise, model: DriftModel) -> float:
    """The roughness of a machine without usable counters: measured, or what the cost of single steps may hide."""
    return max(_roughness(noise, model), noise.hidden_log_sd, model.least_roughness)


def _roughness(noise: Noise, model: DriftModel) -> float:
    return max(noise.machine_log_sd, noise.peak_log / model.peak_per_sd, 1e-6)


def contention_share(log: BenchmarkLog) -> float:
    """Share of the timed passes in which this process was ready to run but others ran, 0 to 1.

    Uses the kernel's count of waiting time (and the hypervisor's of stolen time) where available; else, on a CPU, the
    CPU seconds per second compared with those of the best blocks.
    """
    signals = log.machine_signals
    said = max(signals.run_wait_share or 0.0, signals.steal_share or 0.0)
    return min(1.0, max(said, _contention_by_blocks(log) if signals.run_wait_share is None else 0.0))


def contention_by_others(log: BenchmarkLog) -> float:
    """The share of ``contention_share`` that others' load can explain, 0 to 1.

    A process with more threads than cores waits for itself, and does so on any machine.
    """
    signals = log.machine_signals
    others = 1.0 if signals.neighbour_share is None else signals.neighbour_share
    return max(signals.steal_share or 0.0, min(contention_share(log), others))


def _contention_by_blocks(log: BenchmarkLog) -> float:
    if not _is_on_cpu_alone(log):
        return 0.0
    blocks = [block for block in log.blocks if block.cpu_s is not None and block.duration_s > block.data_wait_s]
    if len(blocks) < 3:
        return 0.0
    rates = np.array([block.cpu_s for block in blocks]) / np.array([block.duration_s for block in blocks])
    weights = np.array([block.duration_s for block in blocks])
    best = max(1.0, float(np.quantile(rates, 0.95)))
    waits = sum(block.data_wait_s for block in blocks) / float(weights.sum())
    # Waiting for a disk or a network is not contention.
    busy = float(np.average(rates, weights=weights)) / best + waits
    return min(1.0, max(0.0, 1.0 - busy))


def _shared_by_signals(log: BenchmarkLog, contention: float, model: DriftModel) -> float:
    """Certainty that others use this machine, by its counters, 0 to 1."""
    load, neighbours = log.machine_signals.load_ratio, log.machine_signals.neighbour_share
    evidence = [_rise(contention, 0.0, model.busy_share)]
    if load is not None and (neighbours is None or neighbours > model.calm_neighbours_share):
        evidence.append(_rise(load, 1.0, model.crowded_load_ratio))
    if _is_on_cpu_alone(log):
        evidence.append(_rise(neighbours or 0.0, model.calm_neighbours_share, model.busy_neighbours_share))
    return max(evidence)


def _rise(value: float, low: float, high: float) -> float:
    """0 up to ``low``, 1 from ``high`` on, linear in between."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _is_on_cpu_alone(log: BenchmarkLog) -> bool:
    """Whether the training runs on the CPU in this process alone, so that all other CPU load is by others."""
    return log.machine.device.split(":")[0] == "cpu" and not log.worker_count


def _tells_of_neighbours(log: BenchmarkLog, model: DriftModel) -> bool:
    """Whether the machine's counters have been seen to respond to others' load on the training's processor.

    No host counter shows what else uses a GPU, its memory or its thermal budget; a counter at 0 may not be counting.
    """
    signals = log.machine_signals
    if signals.run_wait_share is None or not _is_on_cpu_alone(log):
        return False
    return max(signals.neighbour_share or 0.0, signals.run_wait_share) >= model.told_share
