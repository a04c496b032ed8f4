"""Published measurements of two GPUs as log ratios, and what they predict for an unpublished workload.

The ratios are by task, within a suite, across suites, and by MLPerf. Everything is antisymmetric by construction: the
evidence for b against a is the negative of that for a against b.

An unpublished workload is predicted by universal kriging. Tasks are correlated within groups, so the best prediction
weights the workload's own group more the more the groups differ, and near-duplicates do not count twice. Its range is
that of a new workload, not of the mean.

Source: best linear unbiased prediction with an unknown mean (universal kriging), e.g. Cressie, Statistics for Spatial
Data, section 3.4; the scale by a scaled inverse chi-squared prior, which gives a t distribution.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.core.speed.gpus import (
    GpuSpec,
    MlperfRow,
    Precision,
    RatioModel,
    SuiteBridge,
    TaskModel,
    ThroughputRow,
    group_of_task,
    table_precision,
)

# A suite with fewer common tasks is less informative than more tasks over a bridge.
MIN_COMMON_TASKS = 3
# On several GPUs these communicate so much that they measure the links, not the GPUs.
LINK_BOUND_BENCHMARKS = frozenset({"bert", "dlrm", "dlrm_dcnv2"})
_LINKED_FORMS = frozenset({"SXM", "OAM", "superchip"})
Cells = Mapping[str, Mapping[tuple[str, str], float]]
Minutes = Mapping[str, Mapping[tuple[str, str, int], float]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RatioEvidence:
    """All published measurements of relative GPU speed, from the tables."""

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
        bridge_log_sd: SD added by bridging suites; 0 within one suite.
    """

    task: str
    log_ratio: float
    within: str
    bridge_log_sd: float = 0.0


def throughput_log_ratios(
    evidence: RatioEvidence, home_id: str, offer_id: str, precision: Precision
) -> tuple[LogRatio, ...]:
    """Log ratios by task: from the newest suite that measured both on enough tasks, else also over a bridge."""
    shared = same_suite_log_ratios(evidence, home_id, offer_id, precision)
    if len(shared) >= MIN_COMMON_TASKS:
        return shared
    tasks = {each.task for each in shared}
    bridged = _over_a_bridge(evidence, table_precision(precision), home_id, offer_id)
    return (*shared, *(each for each in bridged if each.task not in tasks))


def same_suite_log_ratios(
    evidence: RatioEvidence, home_id: str, offer_id: str, precision: Precision
) -> tuple[LogRatio, ...]:
    """Log ratios by task within the newest suite that measured both on enough tasks, else in the fullest one."""
    cells = _log_throughputs(evidence, table_precision(precision))
    homes, offers = cells.get(home_id, {}), cells.get(offer_id, {})
    by_suite: dict[str, list[LogRatio]] = defaultdict(list)
    for suite, task in sorted(homes.keys() & offers.keys()):
        log_ratio = offers[suite, task] - homes[suite, task]
        by_suite[suite].append(LogRatio(task=task, log_ratio=log_ratio, within=suite))
    enough = [suite for suite, found in by_suite.items() if len(found) >= MIN_COMMON_TASKS]
    if enough:
        return tuple(by_suite[max(enough)])
    fullest: list[LogRatio] = max(by_suite.values(), key=len) if by_suite else []
    return tuple(fullest)


def mlperf_log_ratios(evidence: RatioEvidence, home: GpuSpec, offer: GpuSpec) -> tuple[LogRatio, ...]:
    """Log ratios by benchmark: best times in the newest round that has both at the same, smallest number of GPUs.

    Where only one side's GPUs have fast links, benchmarks bound by the links are left out.
    """
    alike = has_fast_links(home) == has_fast_links(offer)
    found: dict[str, LogRatio] = {}
    homes, offers = (_best_minutes(evidence).get(spec.gpu_id, {}) for spec in (home, offer))
    # Older rounds first and, within a round, more GPUs first: later entries replace earlier ones.
    for key in sorted(homes.keys() & offers.keys(), key=lambda key: (key[0], -key[2], key[1])):
        round_, benchmark, count = key
        if alike or benchmark not in LINK_BOUND_BENCHMARKS:
            within = f"round {round_}, {count} GPUs"
            found[benchmark] = LogRatio(task=benchmark, log_ratio=math.log(homes[key] / offers[key]), within=within)
    return tuple(found[benchmark] for benchmark in sorted(found))


def mlperf_partners(evidence: RatioEvidence, gpu_id: str) -> frozenset[str]:
    """Every other GPU that some MLPerf round has together with this one at the same number of GPUs."""
    best = _best_minutes(evidence)
    own = best.get(gpu_id, {}).keys()
    return frozenset(other for other, minutes in best.items() if other != gpu_id and own & minutes.keys())


def is_published(evidence: RatioEvidence, gpu_id: str) -> bool:
    """Whether any published training run used that GPU."""
    precisions = ("fp16", "tf32")
    return gpu_id in _best_minutes(evidence) or any(gpu_id in _log_throughputs(evidence, each) for each in precisions)


def has_throughput(evidence: RatioEvidence, gpu_id: str, precision: Precision) -> bool:
    """Whether a training throughput of that GPU at a precision is published."""
    return gpu_id in _log_throughputs(evidence, table_precision(precision))


def has_fast_links(spec: GpuSpec) -> bool:
    """Whether several such GPUs are linked by something faster than PCIe."""
    return spec.form_factor in _LINKED_FORMS


def is_at(row: ThroughputRow, precision: str) -> bool:
    """Whether a published run applies to a precision."""
    if precision == "fp16" or row.precision == "fp16":
        return row.precision == precision
    return precision == "tf32" or not row.uses_tf32


@lru_cache(maxsize=64)
def _log_throughputs(evidence: RatioEvidence, precision: str) -> Cells:
    """Log throughput of a single GPU, by GPU, then suite and task.

    The tables' FP32 ran with TF32 where the GPU has it: all of it applies to ``tf32``, only the rest to ``fp32``.
    """
    cells: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for row in evidence.throughput:
        if is_at(row, precision) and row.gpu_count == 1 and row.throughput > 0.0:
            cells[row.gpu_id][row.suite, row.task] = math.log(row.throughput)
    return dict(cells)


@lru_cache(maxsize=64)
def _best_minutes(evidence: RatioEvidence) -> Minutes:
    """Best minutes by GPU, then round, benchmark and number of GPUs."""
    best: dict[str, dict[tuple[str, str, int], float]] = defaultdict(dict)
    for row in evidence.mlperf:
        key = (row.round, row.benchmark, row.accelerator_count)
        best[row.gpu_id][key] = min(row.minutes, best[row.gpu_id].get(key, math.inf))
    return dict(best)


def _over_a_bridge(evidence: RatioEvidence, precision: str, home_id: str, offer_id: str) -> tuple[LogRatio, ...]:
    cells = _log_throughputs(evidence, precision)
    homes, offers = cells.get(home_id, {}), cells.get(offer_id, {})
    order = sorted({suite for suite, _ in (*homes, *offers)})
    found: list[LogRatio] = []
    for task in sorted({task for _, task in homes} & {task for _, task in offers}):
        pairs = [(one, other) for one, name in homes if name == task for other, name in offers if name == task]
        # The shortest bridge and, among those, the one between the newest suites.
        newest = sorted(pairs, key=max, reverse=True)
        nearest = sorted(newest, key=lambda pair: abs(order.index(pair[0]) - order.index(pair[1])))
        for home_suite, offer_suite in nearest:
            bridge = _bridge(evidence, task, precision, home_suite, offer_suite)
            if bridge is not None:
                raw = offers[offer_suite, task] - homes[home_suite, task]
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
    printed = "fp16" if precision == "fp16" else "fp32"
    steps = _bridges(evidence).get((task, printed), {})
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
    """Variance of another GPU's log speed-up, from the range over the GPUs that ran both suites.

    The range divided by its expectation in SDs (0.87 times the square root of the count, within 10% for 2 to 12 GPUs).
    """
    spread = math.log(bridge.ratio_max / bridge.ratio_min)
    return (spread / (0.87 * math.sqrt(max(2, bridge.gpu_count)))) ** 2 * (1.0 + 1.0 / max(2, bridge.gpu_count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A log ratio, its SD, and the degrees of freedom of its t distribution."""

    log_ratio: float
    log_sd: float
    degrees_of_freedom: float

    def log_half_width(self, extra_log_sd: float = 0.0) -> float:
        """Half-width of the 95% range on the log scale, with an additional independent SD."""
        return t_quantile_975(self.degrees_of_freedom) * math.hypot(self.log_sd, extra_log_sd)


def predict_new_workload(
    found: Sequence[LogRatio], model: TaskModel, *, group: str | None = None, log_memory_ratio: float = 0.0
) -> Prediction:
    """The log ratio of a new workload, from the published tasks of two GPUs.

    Args:
        found: Published log ratios, one per task, at least one.
        model: The task model.
        group: The group of tasks that the workload belongs to; None for any.
        log_memory_ratio: Log of the offer's memory over home's; 0 when unknown.
    """
    groups = [group_of_task(each.task) for each in found]
    logs = np.array([each.log_ratio for each in found])
    least_variance = max(model.prior_log_sd(0.0, log_memory_ratio) ** 2, 1e-6)
    shared = model.group_variance * np.array([[float(one == two) for two in groups] for one in groups])
    # The SD of a bridge is absolute; the prior's scale converts it to the model's units.
    own = [model.noise_of(each.task) + each.bridge_log_sd**2 / least_variance for each in found]
    inverse = np.linalg.inv(shared + np.diag(own))
    weights = inverse.sum(axis=0)
    precision = float(weights.sum())
    mean = float(weights @ logs) / precision
    residual = logs - mean
    prior = model.prior_log_sd(mean, log_memory_ratio) ** 2
    freedom = len(logs) - 1
    squares = float(residual @ inverse @ residual)
    scale = (model.prior_weight * prior + squares) / (model.prior_weight + freedom)
    towards = model.group_variance * np.array([float(each == group) for each in groups])
    log_ratio = mean + float(towards @ inverse @ residual)
    left = model.group_variance + 1.0 - float(towards @ inverse @ towards)
    left += (1.0 - float(towards @ weights)) ** 2 / precision
    return Prediction(
        log_ratio=log_ratio,
        log_sd=math.sqrt(scale * left),
        degrees_of_freedom=model.prior_weight + freedom,
    )


def t_quantile_975(degrees_of_freedom: float) -> float:
    """The 97.5% quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, 0.975))
