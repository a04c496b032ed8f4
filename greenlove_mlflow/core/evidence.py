"""What published measurements say about two GPUs: log ratios task by task, within a suite, across suites, by MLPerf.

Everything is antisymmetric by construction: the evidence for b against a is the negative of that for a against b.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from greenlove_mlflow.core.estimate import Source
from greenlove_mlflow.core.gpus import GpuSpec, MlperfRow, Precision, SuiteBridge, ThroughputRow
from greenlove_mlflow.core.ratio_model import RatioModel, table_precision

# A suite with fewer common tasks says less than more tasks over a bridge.
MIN_COMMON_TASKS = 3
# On several GPUs these exchange so much that the links between them decide, not the GPUs.
LINK_BOUND_BENCHMARKS = frozenset({"bert", "dlrm", "dlrm_dcnv2"})
_LINKED_FORMS = frozenset({"SXM", "OAM", "superchip"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RatioEvidence:
    """Everything that tables know about how fast GPUs are against each other."""

    throughput: tuple[ThroughputRow, ...] = ()
    bridges: tuple[SuiteBridge, ...] = ()
    mlperf: tuple[MlperfRow, ...] = ()
    specs: tuple[GpuSpec, ...] = ()
    model: RatioModel = field(default_factory=RatioModel)
    throughput_source: Source | None = None
    mlperf_source: Source | None = None
    specs_source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRatio:
    """One published comparison of two GPUs.

    Args:
        task: What was trained.
        log_ratio: Log of how many times faster the second one is.
        within: The suite or round, or the two that were bridged.
        bridge_log_sd: SD that bridging suites adds; 0 within one suite.
    """

    task: str
    log_ratio: float
    within: str
    bridge_log_sd: float = 0.0


def throughput_log_ratios(
    evidence: RatioEvidence, home_id: str, offer_id: str, precision: Precision, *, gpu_count: int = 1
) -> tuple[LogRatio, ...]:
    """Log ratios by task: of the newest suite that measured both on enough tasks, else over a bridge as well."""
    cells = _log_throughputs(evidence, table_precision(precision), gpu_count)
    shared = _within_one_suite(cells, home_id, offer_id)
    if len(shared) >= MIN_COMMON_TASKS:
        return shared
    tasks = {each.task for each in shared}
    bridged = _over_a_bridge(evidence, table_precision(precision), cells, home_id, offer_id)
    return (*shared, *(each for each in bridged if each.task not in tasks))


def mlperf_log_ratios(evidence: RatioEvidence, home: GpuSpec, offer: GpuSpec) -> tuple[LogRatio, ...]:
    """Log ratios by benchmark: best times in the newest round that has both with as many GPUs, as few as there are.

    Where the GPUs of one side are linked and those of the other are not, benchmarks bound by the link are left out.
    """
    alike = has_fast_links(home) == has_fast_links(offer)
    found: dict[str, LogRatio] = {}
    for (round_, benchmark, count), minutes in _best_minutes(evidence):
        times = minutes.get(home.gpu_id), minutes.get(offer.gpu_id)
        if times[0] is None or times[1] is None or not (alike or benchmark not in LINK_BOUND_BENCHMARKS):
            continue
        within = f"round {round_}, {count} GPUs"
        found[benchmark] = LogRatio(task=benchmark, log_ratio=math.log(times[0] / times[1]), within=within)
    return tuple(found[benchmark] for benchmark in sorted(found))


def mlperf_partners(evidence: RatioEvidence, gpu_id: str) -> frozenset[str]:
    """Every other GPU that some round of MLPerf has beside this one, with as many GPUs."""
    beside = (minutes.keys() for _, minutes in _best_minutes(evidence) if gpu_id in minutes)
    return frozenset(other for others in beside for other in others if other != gpu_id)


def has_fast_links(spec: GpuSpec) -> bool:
    """Whether several such GPUs are linked by more than PCIe."""
    return spec.form_factor in _LINKED_FORMS


Cells = Mapping[tuple[str, str], Mapping[str, float]]


@lru_cache(maxsize=64)
def _log_throughputs(evidence: RatioEvidence, precision: str, gpu_count: int) -> Cells:
    cells: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in evidence.throughput:
        if row.precision == precision and row.gpu_count == gpu_count and row.throughput > 0.0:
            cells[row.suite, row.task][row.gpu_id] = math.log(row.throughput)
    return cells


@lru_cache(maxsize=8)
def _best_minutes(evidence: RatioEvidence) -> tuple[tuple[tuple[str, str, int], Mapping[str, float]], ...]:
    """Best minutes by GPU for each round, benchmark and count; older rounds first, then more GPUs first."""
    best: dict[tuple[str, str, int], dict[str, float]] = defaultdict(dict)
    for row in evidence.mlperf:
        times = best[row.round, row.benchmark, row.accelerator_count]
        times[row.gpu_id] = min(row.minutes, times.get(row.gpu_id, math.inf))
    return tuple(sorted(best.items(), key=lambda item: (item[0][0], -item[0][2], item[0][1])))


def _within_one_suite(cells: Cells, home_id: str, offer_id: str) -> tuple[LogRatio, ...]:
    by_suite: dict[str, list[LogRatio]] = defaultdict(list)
    for (suite, task), logs in sorted(cells.items()):
        if home_id in logs and offer_id in logs:
            by_suite[suite].append(LogRatio(task=task, log_ratio=logs[offer_id] - logs[home_id], within=suite))
    enough = [suite for suite, found in by_suite.items() if len(found) >= MIN_COMMON_TASKS]
    if enough:
        return tuple(by_suite[max(enough)])
    fullest: list[LogRatio] = max(by_suite.values(), key=len) if by_suite else []
    return tuple(fullest)


def _over_a_bridge(
    evidence: RatioEvidence, precision: str, cells: Cells, home_id: str, offer_id: str
) -> tuple[LogRatio, ...]:
    found: list[LogRatio] = []
    suites = sorted({suite for suite, _ in cells})
    for task in sorted({task for _, task in cells}):
        home_suites = [suite for suite in suites if home_id in cells.get((suite, task), {})]
        offer_suites = [suite for suite in suites if offer_id in cells.get((suite, task), {})]
        pairs = sorted(
            ((one, other) for one in home_suites for other in offer_suites),
            key=lambda pair: (abs(suites.index(pair[0]) - suites.index(pair[1])), -suites.index(max(pair))),
        )
        for home_suite, offer_suite in pairs:
            bridge = _bridge(evidence, task, precision, home_suite, offer_suite)
            if bridge is not None:
                raw = cells[offer_suite, task][offer_id] - cells[home_suite, task][home_id]
                within = home_suite if home_suite == offer_suite else f"{home_suite} bridged to {offer_suite}"
                found.append(
                    LogRatio(task=task, log_ratio=raw - bridge[0], within=within, bridge_log_sd=math.sqrt(bridge[1]))
                )
                break
    return tuple(found)


def _bridge(
    evidence: RatioEvidence, task: str, precision: str, from_suite: str, to_suite: str
) -> tuple[float, float] | None:
    """Log speed-up of the same GPU from one suite to another, and its variance; None without a bridge."""
    if from_suite == to_suite:
        return 0.0, 0.0
    if from_suite > to_suite:
        back = _bridge(evidence, task, precision, to_suite, from_suite)
        return None if back is None else (-back[0], back[1])
    steps = _bridges(evidence).get((task, precision), {})
    log_ratio = variance = 0.0
    suite = from_suite
    while suite != to_suite:
        ahead = [each for each in steps.get(suite, ()) if each.to_suite <= to_suite]
        if not ahead:
            return None
        step = max(ahead, key=lambda each: each.to_suite)
        log_ratio += math.log(step.ratio_median)
        variance += _bridge_variance(step)
        suite = step.to_suite
    return log_ratio, variance


@lru_cache(maxsize=8)
def _bridges(evidence: RatioEvidence) -> Mapping[tuple[str, str], Mapping[str, tuple[SuiteBridge, ...]]]:
    found: dict[tuple[str, str], dict[str, tuple[SuiteBridge, ...]]] = defaultdict(dict)
    for row in evidence.bridges:
        of_task = found[row.task, row.precision]
        of_task[row.from_suite] = (*of_task.get(row.from_suite, ()), row)
    return found


def _bridge_variance(bridge: SuiteBridge) -> float:
    """Variance of one more GPU's log speed-up, from the range over the GPUs that ran both suites.

    The range over its expectation in SDs (0.87 times the square root of the count, good to 10 % from 2 to 12 GPUs).
    """
    spread = math.log(bridge.ratio_max / bridge.ratio_min)
    return (spread / (0.87 * math.sqrt(max(2, bridge.gpu_count)))) ** 2 * (1.0 + 1.0 / max(2, bridge.gpu_count))
