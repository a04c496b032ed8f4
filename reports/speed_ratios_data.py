"""Pairs of GPUs with what was published about both, and the spreads that the fit and the report share."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np

from greenlove_mlflow.core.speed.gpus import GpuSpec, Precision, RatioModel, group_of_task
from greenlove_mlflow.core.speed.published import (
    LogRatio,
    Prediction,
    RatioEvidence,
    is_at,
    mlperf_log_ratios,
    predict_new_workload,
)
from greenlove_mlflow.core.speed.spec_offsets import blended, plausible, rates_of
from greenlove_mlflow.tables import read_gpu_specs, read_mlperf, read_suite_bridges, read_throughput

# FP32 as the tables print it is TF32 where the GPU has it.
PRECISIONS: tuple[Precision, ...] = ("fp16", "tf32")
SUITES = ("v0", "v1", "v2")
MIN_TASKS = 4
# The tasks whose published batch the memory of a GPU does not decide.
ORDINARY_TASKS = ("resnet50", "ssd", "bert_base_squad", "bert_large_squad", "gnmt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two GPUs in one suite."""

    suite: str
    precision: str
    home: GpuSpec
    offer: GpuSpec
    found: tuple[LogRatio, ...]

    @property
    def log_memory_ratio(self) -> float:
        """Log of the offer's memory over home's."""
        return math.log((self.offer.memory_gib or 1.0) / (self.home.memory_gib or 1.0))


@functools.lru_cache(maxsize=1)
def specs() -> dict[str, GpuSpec]:
    """The specs table by its key."""
    return {spec.gpu_id: spec for spec in read_gpu_specs()}


def evidence(model: RatioModel | None = None) -> RatioEvidence:
    """The tables' evidence with other constants than the table's."""
    return RatioEvidence(
        throughput=read_throughput(),
        bridges=read_suite_bridges(),
        mlperf=read_mlperf(),
        specs=read_gpu_specs(),
        model=model or RatioModel(),
    )


@functools.lru_cache(maxsize=8)
def cells(precision: str) -> dict[tuple[str, str], dict[str, float]]:
    """Log throughput by suite and GPU, then task."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in read_throughput():
        if is_at(row, precision) and row.gpu_count == 1 and row.suite in SUITES:
            found.setdefault((row.suite, row.gpu_id), {})[row.task] = math.log(row.throughput)
    return found


@functools.lru_cache(maxsize=1)
def measured_gpus() -> tuple[str, ...]:
    """Every GPU with published throughput, by architecture and key."""
    ids = {gpu_id for precision in PRECISIONS for _, gpu_id in cells(precision)}
    return tuple(sorted(ids, key=lambda gpu_id: (specs()[gpu_id].architecture, gpu_id)))


def gpus_without_tf32() -> frozenset[str]:
    """Every GPU whose published FP32 is FP32: too few to set half of them aside."""
    return frozenset(gpu_id for _, gpu_id in cells("fp32"))


def fitted_half() -> frozenset[str]:
    """Every other GPU: the ones that constants are fitted on."""
    return frozenset(measured_gpus()[::2])


def pairs_within(precision: str, gpus: frozenset[str] | None = None) -> list[Pair]:
    """Every pair of those GPUs in every suite that has both on enough tasks."""
    found = []
    for suite in SUITES:
        here = {gpu_id: tasks for (name, gpu_id), tasks in cells(precision).items() if name == suite}
        for home, offer in itertools.combinations(sorted(set(here) & gpus if gpus else here), 2):
            tasks = sorted(here[home].keys() & here[offer].keys())
            if len(tasks) >= MIN_TASKS:
                logs = tuple(
                    LogRatio(task=task, log_ratio=here[offer][task] - here[home][task], within=suite) for task in tasks
                )
                found.append(
                    Pair(suite=suite, precision=precision, home=specs()[home], offer=specs()[offer], found=logs)
                )
    return found


def newest_pairs(precision: str, gpus: frozenset[str] | None = None) -> list[Pair]:
    """Every pair of those GPUs once, in the newest suite that has both."""
    newest = {(pair.home.gpu_id, pair.offer.gpu_id): pair for pair in pairs_within(precision, gpus)}
    return list(newest.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteChange:
    """How the log ratio of two GPUs at one task changed from one suite to a newer one."""

    precision: str
    suites: str
    task: str
    change: float
    prior_log_sd: float


def suite_changes(tasks: tuple[str, ...], model: RatioModel) -> list[SuiteChange]:
    """Every such change that the tables hold, beside the SD that the model's prior gives the two GPUs."""
    found = []
    for precision in PRECISIONS:
        by_pair: dict[tuple[str, str], list[Pair]] = {}
        for pair in pairs_within(precision):
            by_pair.setdefault((pair.home.gpu_id, pair.offer.gpu_id), []).append(pair)
        for one, other in (two for pairs in by_pair.values() for two in itertools.combinations(pairs, 2)):
            logs = {each.task: each.log_ratio for each in one.found}
            found += [
                SuiteChange(
                    precision=precision,
                    suites=f"{one.suite} to {other.suite}",
                    task=each.task,
                    change=each.log_ratio - logs[each.task],
                    prior_log_sd=model.tasks_at(precision).prior_log_sd(each.log_ratio, one.log_memory_ratio),
                )
                for each in other.found
                if each.task in logs and each.task in tasks
            ]
    return found


def chosen_noise(tasks: tuple[str, ...], model: RatioModel) -> float:
    """SD about the published ratio of a task, in units of the prior's, from how it changed between suites."""
    changes = [abs(each.change) / each.prior_log_sd for each in suite_changes(tasks, model)]
    return float(np.quantile(changes, 0.95)) / 1.96


def bridge_errors() -> list[tuple[str, str, str, str, float]]:
    """Error of the log throughput of a GPU in a newer suite, bridged by the other GPUs: precision, suites, ..."""
    found = []
    for precision in PRECISIONS:
        for older, newer in itertools.pairwise(SUITES):
            here = cells(precision)
            both = [gpu for gpu in measured_gpus() if (older, gpu) in here and (newer, gpu) in here]
            for task in sorted({task for gpu in both for task in here[older, gpu]}):
                gains = {
                    gpu: here[newer, gpu][task] - here[older, gpu][task]
                    for gpu in both
                    if task in here[newer, gpu] and task in here[older, gpu]
                }
                if len(gains) < 2:
                    continue
                for gpu, gain in gains.items():
                    others = [value for other, value in gains.items() if other != gpu]
                    found.append((precision, f"{older} to {newer}", gpu, task, gain - float(np.median(others))))
    return found


def bridge_log_sd() -> float:
    """SD of what a bridge adds to a GPU whatever the task."""
    by_gpu: dict[tuple[str, str, str], list[float]] = {}
    for precision, suites, gpu, _, error in bridge_errors():
        by_gpu.setdefault((precision, suites, gpu), []).append(error)
    return float(np.sqrt(np.mean([np.median(errors) ** 2 for errors in by_gpu.values()])))


def spec_log_ratio(home: GpuSpec, offer: GpuSpec, model: RatioModel) -> float:
    """Log ratio of two GPUs by the blend of their specs alone, fp16."""
    found = blended(model.blend_at("fp16", None), rates_of(home, "fp16"), rates_of(offer, "fp16"))
    return math.nan if found is None else found[0]


def mlperf_pairs() -> list[tuple[Pair, tuple[LogRatio, ...]]]:
    """Pairs that both Lambda (newest suite, fp16) and MLPerf know, with MLPerf's log ratios."""
    known = evidence()
    found = []
    for pair in newest_pairs("fp16"):
        by_spec = spec_log_ratio(pair.home, pair.offer, known.model)
        logs = plausible(mlperf_log_ratios(known, pair.home, pair.offer), by_spec)
        if logs:
            found.append((pair, logs))
    return found


def mlperf_log_sd(gpus: frozenset[str], tasks: tuple[str, ...], model: RatioModel) -> float:
    """The least further SD with which ranges by MLPerf hold 95% of Lambda's tasks, for pairs with such a GPU."""
    guesses = []
    for pair, logs in mlperf_pairs():
        if {pair.home.gpu_id, pair.offer.gpu_id} & gpus:
            guesses += [
                (each.log_ratio, _predicted(logs, group_of_task(each.task), pair, model))
                for each in pair.found
                if each.task in tasks
            ]
    for further in np.arange(0.0, 0.5, 0.01):
        held = [abs(log_ratio - guess.log_ratio) <= guess.log_half_width(further) for log_ratio, guess in guesses]
        if np.mean(held) >= 0.95:
            return float(further)
    raise ValueError("no SD up to 0.5 makes ranges by MLPerf hold what Lambda measured")


def _predicted(logs: tuple[LogRatio, ...], group: str, pair: Pair, model: RatioModel) -> Prediction:
    return predict_new_workload(logs, model.tasks_at("fp16"), group=group, log_memory_ratio=pair.log_memory_ratio)


def foreign_log_sd(model: RatioModel) -> float:
    """Root mean square of MLPerf ratios of AMD and NVIDIA GPUs about the blend of specs."""
    return float(np.sqrt(np.mean([error**2 for *_, error in foreign_errors(model)])))


def foreign_errors(model: RatioModel) -> list[tuple[str, str, str, float]]:
    """Error of the blend of specs between AMD and NVIDIA GPUs by MLPerf: both keys, benchmark, log error."""
    known = evidence(model)
    ids = sorted({row.gpu_id for row in read_mlperf()})
    found = []
    for home, offer in ((specs()[one], specs()[other]) for one, other in itertools.combinations(ids, 2)):
        if {home.vendor, offer.vendor} != {"AMD", "NVIDIA"}:
            continue
        by_spec = spec_log_ratio(home, offer, model)
        found += [
            (home.gpu_id, offer.gpu_id, each.task, each.log_ratio - by_spec)
            for each in plausible(mlperf_log_ratios(known, home, offer), by_spec)
        ]
    return found
