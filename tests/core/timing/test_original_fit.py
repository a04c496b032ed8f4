"""The original's formulas on recorded epoch times, worked by hand to the last digit."""

from __future__ import annotations

import math
from typing import Any

import pytest

from greenlove_mlflow.core.records import BenchmarkLog, EpochRecord
from greenlove_mlflow.core.timing.adaptive_fit import fit_log
from greenlove_mlflow.errors import BenchmarkError
from tests.support.factories import a_log, a_workload

# Seconds per epoch at three sizes of a data set of N = 1000; the first three epochs of each run are warm-up.
RUNS = {
    100: [0.9, 0.6, 0.5, 0.40, 0.44, 0.42],
    200: [1.4, 1.0, 0.9, 0.84, 0.80, 0.82],
    500: [2.5, 2.25, 2.0, 2.10, 2.00, 2.05],
}


def a_seed_log(runs: dict[int, list[float]], **over: Any) -> BenchmarkLog:
    epochs = [
        EpochRecord(
            epoch_index=0,
            phase="warm-up" if index < 3 else "steady",
            sample_count=size,
            step_count=size // 10,
            duration_s=duration_s,
            whole=True,
        )
        for size, durations in runs.items()
        for index, duration_s in enumerate(durations)
    ]
    return a_log(method="original", epochs=tuple(epochs), **over)


def test_the_formulas_are_those_of_the_readme() -> None:
    # e_ik * N/k. Warm-up: 9, 7, 5 | 6, 5, 4.5 | 5, 4.5, 4.
    # e1 = (9 + 7 + 5) / 3 = 7; e2 = (6 + 5 + 4.5) / 3 = 31/6; e3 = (5 + 4.5 + 4) / 3 = 4.5.
    # Steady: 4.0, 4.4, 4.2 | 4.2, 4.0, 4.1 | 4.2, 4.0, 4.1: sum 37.2, mean A = 37.2 / 9 = 62/15.
    # Deviations from 62/15, in 1/30: -4, 8, 2, 2, -4, -1, 2, -4, -1: squares 16+64+4+4+16+1+4+16+1 = 126.
    # sigma^2 = 126 / 900 / 8 = 0.0175.
    # B = 20: T = 7 + 31/6 + 9/2 + 17 * 62/15 = 50/3 + 1054/15 = 1304/15.
    # half = 1.96 * sqrt(20) * sqrt(0.0175) = 1.96 * sqrt(0.35).
    workload = a_workload(epoch_count=20)
    fit = fit_log(a_seed_log(RUNS), workload)
    predicted = fit.predict(workload)
    assert fit.warm_up_s == pytest.approx((7.0, 31.0 / 6.0, 4.5), rel=1e-15)
    assert fit.epoch_s == pytest.approx(62.0 / 15.0, rel=1e-15)
    assert fit.sigma_s == pytest.approx(math.sqrt(0.0175), rel=1e-14)
    assert predicted.point == pytest.approx(1304.0 / 15.0, rel=1e-15)
    half_s = 1.959963984540054 * math.sqrt(0.35)
    assert predicted.high - predicted.point == pytest.approx(half_s, rel=1e-12)
    assert predicted.point - predicted.low == pytest.approx(half_s, rel=1e-12)
    assert fit.spearman_rho == 1.0  # run totals 3.26 < 5.76 < 12.9


@pytest.mark.parametrize(("epochs", "seconds"), [(1, 7.0), (2, 7.0 + 31.0 / 6.0), (3, 50.0 / 3.0)])
def test_a_training_no_longer_than_its_warm_up_is_the_sum_of_the_first_epochs(epochs: int, seconds: float) -> None:
    workload = a_workload(epoch_count=epochs)
    assert fit_log(a_seed_log(RUNS), workload).predict(workload).point == pytest.approx(seconds, rel=1e-15)


def test_the_range_never_falls_below_nothing() -> None:
    wild = {100: [0.1, 0.1, 0.1, 0.001, 9.0], 200: [0.1, 0.1, 0.1, 9.0, 0.001]}
    workload = a_workload(epoch_count=4)
    assert fit_log(a_seed_log(wild), workload).predict(workload).low == 0.0


def test_other_warm_ups_and_extras_are_counted() -> None:
    log = a_seed_log(RUNS, warm_up_epoch_count=3)
    workload = a_workload(
        epoch_count=20, validation_s=2.0, validation_every_epochs=5, extra_per_epoch_s=0.5, one_off_s=3
    )
    assert fit_log(log, workload).predict(workload).point == pytest.approx(1304.0 / 15.0 + 8.0 + 10.0 + 3.0)


def test_rank_correlation_is_absent_below_three_sizes_and_lower_out_of_order() -> None:
    two = {size: RUNS[size] for size in (100, 200)}
    assert fit_log(a_seed_log(two), a_workload()).spearman_rho is None
    swapped = {100: RUNS[200], 200: RUNS[100], 500: RUNS[500]}
    assert fit_log(a_seed_log(swapped), a_workload()).spearman_rho == pytest.approx(0.5)
    fit = fit_log(a_seed_log({100: RUNS[500], 200: RUNS[200], 500: RUNS[100]}), a_workload())
    assert fit.spearman_rho == pytest.approx(-1.0)
    assert "spearman-low" in [caveat.code for caveat in fit.caveats]


def test_a_run_that_the_cap_cut_short_counts_its_epochs_but_not_its_total() -> None:
    cut = {**RUNS, 700: [3.5, 3.2, 3.0, 2.87]}
    fit = fit_log(a_seed_log(cut), a_workload())
    assert fit.epoch_s == pytest.approx((37.2 + 2.87 / 0.7) / 10.0)
    assert fit.spearman_rho == 1.0


def test_warm_up_alone_still_gives_an_estimate_that_says_so() -> None:
    fit = fit_log(a_seed_log({100: [0.9, 0.6]}), a_workload())
    assert fit.epoch_s == pytest.approx(7.5)
    assert {"too-few-epochs", "original-range"} <= {caveat.code for caveat in fit.caveats}
    with pytest.raises(BenchmarkError, match="adaptive"):
        fit_log(a_seed_log({}), a_workload())
