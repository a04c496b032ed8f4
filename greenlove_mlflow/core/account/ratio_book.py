"""Speed ratios of runs that their first comparison lacks: by the tables, cached per home GPU, or by your own runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Iterable, Mapping

from greenlove_mlflow.core.account.run_facts import OfferRatio, RunFacts
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval
from greenlove_mlflow.core.speed.gpus import GpuSpec, ProbeResult, SpeedRatio
from greenlove_mlflow.core.speed.ratio import RatioEvidence, speed_ratio
from greenlove_mlflow.errors import InvalidInputError

# More kinds of home than an experiment holds; beyond them the book starts anew rather than grow.
MOST_KNOWN = 4096


def is_same_workload(one: RunFacts, other: RunFacts) -> bool:
    """Whether two runs trained the same model structure with the same batch, precision and data shape."""
    return bool(one.workload_fingerprint) and one.workload_fingerprint == other.workload_fingerprint


def measured_ratio(home: RunFacts, other: RunFacts) -> Interval | None:
    """How many times faster the other machine takes a step than home; None for another workload.

    Compares the time per step of a later epoch on each machine. The range combines the noise and the slow drift of both
    benchmarks on the log scale; the spread between two boards of one model is added where the ratio is used.
    """
    if not is_same_workload(home, other):
        return None
    seconds = [each.fit.epoch_s / each.fit.steps_per_epoch for each in (home, other)]
    if min(seconds) <= 0.0:
        return None
    width = NORMAL_QUANTILE_95 * math.hypot(_log_sd(home), _log_sd(other))
    return Interval.from_log_width(seconds[0] / seconds[1], width)


def _log_sd(statistics: RunFacts) -> float:
    fit = statistics.fit
    noise = fit.noise_log_sd * math.sqrt(fit.correlation_factor / max(1, fit.block_count))
    return math.hypot(noise, fit.drift_log_sd)


class RatioBook:
    """The speed ratio of any run's machine against any GPU of the specs table.

    Args:
        specs: The specs table by its key.
        evidence: Gives the published measurements of relative GPU speed; called for a ratio that no run has stored.
    """

    def __init__(self, specs: Mapping[str, GpuSpec], evidence: Callable[[], RatioEvidence]) -> None:
        self.specs = specs
        self._evidence = evidence
        self._known: dict[Hashable, SpeedRatio | None] = {}

    def ratio_of(self, statistics: RunFacts, gpu_id: str) -> SpeedRatio | None:
        """The ratio stored with the run, else one computed from tables; None where GPU or home's speed is unknown."""
        for kept in statistics.ratios:
            if kept.gpu_id == gpu_id:
                return kept.speed_ratio
        if gpu_id not in self.specs:
            return None
        home = statistics.home
        if home is None:
            # Probes and counts belong to a single run, so caching them is pointless.
            return self._work_out(statistics, statistics.probe, gpu_id)
        counts = (statistics.gpu_count, statistics.home_gpu_count)
        key = (
            home,
            gpu_id,
            statistics.precision,
            statistics.task,
            statistics.model_kind,
            statistics.fit.method,
            counts,
        )
        if key not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[key] = self._work_out(statistics, home, gpu_id)
        return self._known[key]

    def completed(self, statistics: RunFacts, gpu_ids: Iterable[str]) -> RunFacts:
        """The facts with a ratio for each of those GPUs and without texts: what an estimate elsewhere needs.

        With these, a run can be estimated on GPUs that its first comparison left out where no table is available, as on
        a Spark worker.
        """
        found = {gpu_id: self.ratio_of(statistics, gpu_id) for gpu_id in gpu_ids}
        return dataclasses.replace(
            statistics,
            fit=dataclasses.replace(statistics.fit, caveats=()),
            ratios=tuple(
                OfferRatio(gpu_id=gpu_id, speed_ratio=SpeedRatio(ratio=ratio.ratio, basis=ratio.basis))
                for gpu_id, ratio in found.items()
                if ratio is not None
            ),
            caveats=(),
        )

    def _work_out(self, statistics: RunFacts, hardware: GpuSpec | ProbeResult | None, gpu_id: str) -> SpeedRatio | None:
        try:
            return speed_ratio(
                hardware,
                self.specs[gpu_id],
                evidence=self._evidence(),
                precision=statistics.precision,
                task=statistics.task,
                model_kind=statistics.model_kind,
                profile=statistics.scaled_profile,
                gpu_count=statistics.gpu_count,
                home_gpu_count=statistics.home_gpu_count,
                by_original=statistics.fit.method != "adaptive",
            )
        except InvalidInputError:
            # No published speed for this GPU or this many of them, or the run's task is no longer in any table.
            return None
