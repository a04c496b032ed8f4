"""The original's formulas: scaled epochs averaged over all sizes, and their interval.

Source: the README of the original, ``A(N) = mean(e_ik N / k)``, ``T = e1 + e2 + e3 + (B - 3) A``,
``T +- 1.96 sqrt(B) sigma``, Spearman's rank correlation of size and run total.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import BenchmarkLog, EpochRecord
from greenlove_mlflow.core.timing.diagnostics import FitFindings, diagnose
from greenlove_mlflow.core.timing.fit import OriginalFit
from greenlove_mlflow.core.timing.growth import Growth, fit_growth, spearman_rho
from greenlove_mlflow.core.timing.noise import noise_of_blocks
from greenlove_mlflow.core.workload import Workload
from greenlove_mlflow.errors import BenchmarkError

ORIGINAL_RANGE_CAVEAT = Caveat.of("original-range")
TOO_FEW_EPOCHS_CAVEAT = Caveat.of("too-few-epochs")


def fit_original(log: BenchmarkLog, workload: Workload) -> OriginalFit:
    """The fit by the original's formulas: scaled warm-up epochs, and mean and SD of the scaled steady ones."""
    runs = _runs(log)
    warm_up = [record for records in runs.values() for record in records if record.phase == "warm-up"]
    steady = [record for records in runs.values() for record in records if record.phase == "steady"]
    caveats = [ORIGINAL_RANGE_CAVEAT]
    if not steady:
        steady = warm_up or list(log.epochs_of("exploration"))
        caveats.append(TOO_FEW_EPOCHS_CAVEAT)
    if not steady:
        raise BenchmarkError("the original's method finished no epoch within its cap; try method='adaptive'")
    scaled = [record.scaled_s(log.sample_count) for record in steady]
    mean_s = math.fsum(scaled) / len(scaled)
    growth = _growth(steady, _spearman_of_runs(runs))
    findings = FitFindings(
        mode="original",
        one_off_s=0.0,
        epoch_s=mean_s,
        overhead_s=0.0,
        total_s=workload.epoch_count * mean_s,
        noise=noise_of_blocks((), ()),
        growth=growth,
    )
    return OriginalFit(
        method="original",
        sample_count=log.sample_count,
        steps_per_epoch=log.steps_per_epoch,
        epoch_s=mean_s,
        warm_up_s=_warm_up_means(runs, log),
        sigma_s=_sample_sd(scaled),
        spearman_rho=_spearman_of_runs(runs),
        affine_intercept_s=None if growth is None else growth.intercept_s,
        affine_slope_s=None if growth is None else growth.slope_s,
        affine_r2=None if growth is None else growth.r2,
        caveats=(*caveats, *diagnose(log, workload, findings)),
    )


def _growth(steady: Sequence[EpochRecord], rho: float | None) -> Growth | None:
    growth = fit_growth([record.sample_count for record in steady], [record.duration_s for record in steady])
    return None if growth is None else dataclasses.replace(growth, spearman_rho=rho)


def _runs(log: BenchmarkLog) -> dict[int, list[EpochRecord]]:
    """The exploration records by size, in the order they ran."""
    runs: dict[int, list[EpochRecord]] = {}
    for record in log.epochs_of("warm-up", "steady"):
        if record.whole:
            runs.setdefault(record.sample_count, []).append(record)
    return runs


def _warm_up_means(runs: dict[int, list[EpochRecord]], log: BenchmarkLog) -> tuple[float, ...]:
    means = []
    for index in range(log.warm_up_epoch_count):
        values = [
            records[index].scaled_s(log.sample_count)
            for records in runs.values()
            if index < len(records) and records[index].phase == "warm-up"
        ]
        if not values:
            break
        means.append(math.fsum(values) / len(values))
    return tuple(means)


def _spearman_of_runs(runs: dict[int, list[EpochRecord]]) -> float | None:
    """Spearman's correlation of size and run total, over the runs not cut short by the cap."""
    longest = max((len(records) for records in runs.values()), default=0)
    complete = {size: records for size, records in runs.items() if len(records) == longest}
    totals = [math.fsum(record.duration_s for record in records) for records in complete.values()]
    return spearman_rho(list(complete), totals)


def _sample_sd(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
