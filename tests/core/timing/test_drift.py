"""What finished runs teach: a range that shrinks to the record, and still holds."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from greenlove_mlflow.core.timing.adaptive_fit import fit_log
from greenlove_mlflow.core.timing.drift import (
    Drift,
    FinishedRun,
    Trained,
    conformal_bound,
    finished_run,
    learn_drift,
    learned_drift,
    misses_by_chance,
)
from tests.support.clock import MachineModel, Profile, SimulatedMachine, SimulatedTraining
from tests.support.factories import a_fit, a_machine, a_workload, an_original_fit

HERE = a_machine()
PRIOR = Drift(log_sd=0.03)


def a_run(log_ratio: float = 0.01, **over: Any) -> FinishedRun:
    fields = {
        "log_ratio": log_ratio,
        "machine_fingerprint": HERE.fingerprint,
        "processor_name": HERE.processor_name,
        "prior_log_sd": 0.03,
    }
    return FinishedRun(**{**fields, **over})


def some_runs(sd: float, count: int, *, mean: float = 0.0, seed: int = 0, **over: Any) -> list[FinishedRun]:
    return [a_run(mean + sd * float(z), **over) for z in np.random.default_rng(seed).standard_normal(count)]


def test_without_runs_the_prior_stands() -> None:
    assert learn_drift([], machine=HERE, prior=PRIOR) == PRIOR
    assert learn_drift(some_runs(0.01, 2), machine=HERE, prior=PRIOR) == PRIOR
    assert learn_drift([], machine=HERE).log_sd > 0.0
    assert learned_drift(some_runs(0.01, 2), machine=HERE) is None
    assert learned_drift(some_runs(0.01, 3), machine=HERE) == learn_drift(some_runs(0.01, 3), machine=HERE)


def test_the_variance_shrinks_from_the_prior_to_the_record_by_hand() -> None:
    runs = [a_run(value) for value in (0.01, -0.01, 0.02, -0.02)]
    # scale^2 = (10 + 2 (1/3)^2 + 2 (2/3)^2) / 14 = (10 + 10/9) / 14 = 50/63.
    drift = learn_drift(runs, machine=HERE, prior=PRIOR)
    assert drift.log_sd == pytest.approx(0.03 * math.sqrt(50.0 / 63.0), rel=1e-12)
    assert drift.degrees_of_freedom == 14.0
    assert drift.run_count == 4


def test_the_noise_that_a_benchmark_knew_of_is_no_drift() -> None:
    noisy = [a_run(value, statistical_log_sd=0.05) for value in (0.05, -0.05, 0.05, -0.05)]
    assert learn_drift(noisy, machine=HERE, prior=PRIOR).scale == pytest.approx(math.sqrt(10.0 / 14.0))


def test_runs_that_wander_widen_the_range() -> None:
    assert learn_drift(some_runs(0.12, 30), machine=HERE, prior=PRIOR).log_sd > 0.08


def test_this_machine_comes_before_its_kind_and_its_kind_before_all() -> None:
    twin = a_machine(host="other")
    stranger = a_machine(host="third", cpu_name="Another CPU")
    own, kin = some_runs(0.01, 5), some_runs(0.02, 6, machine_fingerprint=twin.fingerprint)
    others = some_runs(0.05, 7, machine_fingerprint=stranger.fingerprint, processor_name="Another CPU")
    assert learn_drift([*own, *kin, *others], machine=HERE).calibrated_on.startswith("5 finished runs on this machine")
    new = a_machine(host="new")
    assert "11 finished runs on a Test CPU" in learn_drift([*own, *kin, *others], machine=new).calibrated_on
    assert "7 finished runs on other machines" in learn_drift(others, machine=HERE).calibrated_on


def test_a_bias_is_corrected_only_when_chance_does_not_explain_it() -> None:
    assert learn_drift(some_runs(0.03, 30), machine=HERE).bias_log == 0.0
    assert learn_drift(some_runs(0.01, 6, mean=0.05), machine=HERE).bias_log == 0.0  # too few
    biased = learn_drift(some_runs(0.01, 20, mean=0.05), machine=HERE)
    assert biased.bias_log == pytest.approx(0.05, abs=0.006)
    assert biased.log_sd < 0.03


def test_nineteen_runs_bound_the_twentieth_and_fewer_do_not() -> None:
    errors = [0.01 * place for place in range(1, 20)]
    assert conformal_bound(errors) == pytest.approx(0.19)
    assert conformal_bound(errors[:18]) is None
    assert conformal_bound([0.01 * place for place in range(1, 101)]) == pytest.approx(0.96)


def test_past_errors_replace_the_model_from_a_hundred_runs_on_or_when_promises_keep_failing() -> None:
    assert learn_drift(some_runs(0.02, 99), machine=HERE).conformal_score is None
    assert learn_drift(some_runs(0.02, 100), machine=HERE).conformal_score == pytest.approx(2.0 * 0.02 / 0.03, rel=0.2)
    failing = [a_run(0.01 * (-1) ** place) for place in range(15)]
    failing += [a_run(0.2 * (-1) ** place, was_inside=False) for place in range(5)]
    assert learn_drift(failing, machine=HERE).conformal_score == pytest.approx(0.2 / 0.03)
    assert misses_by_chance(0, 20) == 1.0
    assert misses_by_chance(1, 20) == pytest.approx(1.0 - 0.95**20)


def test_it_says_what_it_was_calibrated_on() -> None:
    assert learn_drift(some_runs(0.01, 5), machine=HERE).calibrated_on.endswith("every time")
    words = learn_drift(some_runs(0.015, 23), machine=HERE).calibrated_on
    assert words.startswith("23 finished runs on this machine: within ")
    assert words.endswith("nineteen times in twenty")


def test_a_finished_run_leaves_its_log_ratio_with_the_correction_taken_out() -> None:
    fit, workload = a_fit(bias_log=0.02, one_off_s=0.0, prior_drift_log_sd=0.04), a_workload()
    promised = fit.predict(workload)
    run = finished_run(fit, workload, promised.point * 1.05, machine=HERE, run_id="r")
    assert run is not None
    assert run.log_ratio == pytest.approx(math.log(1.05) + 0.02)
    assert run.was_inside
    assert run.prior_log_sd == 0.04
    assert run.machine_fingerprint == HERE.fingerprint
    assert finished_run(an_original_fit(), workload, 10.0, machine=HERE) is None
    assert finished_run(fit, workload, 0.0, machine=HERE) is None


def test_a_one_off_cost_that_was_not_paid_again_is_no_error() -> None:
    fit, workload = a_fit(one_off_s=30.0), a_workload()
    promised_s = fit.predict(workload).point
    ratios = []
    for actual_s in (promised_s - 40.0, promised_s - 30.0, promised_s - 10.0, promised_s, promised_s + 10.0):
        run = finished_run(fit, workload, actual_s, machine=HERE)
        assert run is not None
        ratios.append(run.log_ratio)
    assert ratios[0] < 0.0 == ratios[1] == ratios[2] == ratios[3] < ratios[4]


def test_the_learned_scale_meets_the_prior_of_the_new_benchmark() -> None:
    learned = learn_drift(some_runs(0.01, 20), machine=HERE, prior=PRIOR)
    quiet, shared = learned.for_prior(Drift(log_sd=0.02)), learned.for_prior(Drift(log_sd=0.06))
    # A benchmark's own word counts, but less than how the benchmarks of this machine usually sound.
    assert quiet.log_sd < shared.log_sd < 1.5 * quiet.log_sd
    assert Drift(log_sd=0.05).for_prior(PRIOR).log_sd == 0.05


def test_one_benchmark_in_a_calm_moment_does_not_blow_up_the_range_of_all_others() -> None:
    runs = [a_run(0.15 * (-1) ** place, prior_log_sd=0.1) for place in range(9)]
    learned = learn_drift([*runs, a_run(0.35, prior_log_sd=0.02, was_inside=False)], machine=HERE)
    assert 0.1 < learned.for_prior(Drift(log_sd=0.1)).log_sd < 0.25


@pytest.mark.slow
def test_twenty_runs_narrow_the_range_and_it_still_holds() -> None:
    """Twenty-one trainings one after the other on one quiet machine, each promised, run and learned from."""
    model = MachineModel(drift_sd=0.012, drift_tau_s=120.0, noise_sd=0.006, step_cv=0.02)
    # Few and slow steps keep the replay cheap; the clock is virtual.
    profile = Profile(sample_count=1600, step_s=0.05, epoch_count=8)
    inside, widths, rounds = [], [], 6
    for machine_seed in range(rounds):
        machine = SimulatedMachine(model, seed=machine_seed, horizon_s=21 * 200.0 + 600.0)
        runs: list[FinishedRun] = []
        for _ in range(21):
            training = SimulatedTraining(profile, machine)
            log = training.benchmark()
            workload = training.workload(log)
            fit = fit_log(log, workload, drift=learned_drift(runs, machine=log.machine))
            promised, actual_s = fit.predict(workload), training.true_total_s()
            machine.clock.advance(actual_s)
            run = finished_run(fit, workload, actual_s, machine=log.machine)
            assert run is not None
            runs.append(run)
            inside.append(promised.contains(actual_s))
            widths.append(promised.log_half_width)
    first, last = np.array(widths)[0::21], np.array(widths)[20::21]
    assert np.median(last) < 0.8 * np.median(first)
    assert np.median(last) < 0.05
    assert 0.90 <= np.mean(inside) <= 1.0


def a_promise() -> tuple[Any, Any, float]:
    fit = a_fit(one_off_s=0.0)
    workload = a_workload(epoch_count=20)
    return fit, workload, fit.predict(workload).point


def test_a_training_that_was_stopped_early_teaches_the_pace_of_its_epochs() -> None:
    fit, workload, whole_s = a_promise()
    part_s = fit.predict(dataclasses.replace(workload, epoch_count=5)).point
    trained = Trained(lap_count=5, laps_s=1.1 * part_s, step_count=500)
    run = finished_run(fit, workload, 1.3 * part_s, machine=HERE, trained=trained)
    assert run is not None
    assert run.log_ratio == pytest.approx(math.log(1.1))
    assert run.unfit == ""
    assert run.promised_s == pytest.approx(part_s)
    assert part_s < whole_s


@pytest.mark.parametrize(
    ("trained", "ratio", "reason"),
    [
        (Trained(lap_count=20, laps_s=1.0, step_count=0), 1.0, "no optimizer step"),
        (Trained(lap_count=20, laps_s=1.0, step_count=9, differs=True), 1.0, "another plan"),
        (None, 0.02, "times its promise"),
        (None, 4.5, "times its promise"),
        (Trained(lap_count=20, laps_s=1.0), 1.0, ""),
        (None, 3.5, ""),
    ],
)
def test_a_training_that_was_another_than_promised_teaches_nothing(
    trained: Trained | None, ratio: float, reason: str
) -> None:
    fit, workload, whole_s = a_promise()
    run = finished_run(fit, workload, ratio * whole_s, machine=HERE, trained=trained)
    assert run is not None
    assert (reason in run.unfit) if reason else run.unfit == ""
    assert learn_drift([run] * 5, machine=HERE).run_count == (0 if reason else 5)


def test_a_run_that_the_user_left_out_teaches_nothing() -> None:
    fit, workload, whole_s = a_promise()
    run = finished_run(fit, workload, whole_s, machine=HERE, is_left_out=True)
    assert run is not None
    assert run.unfit == "left out"


def test_what_was_trained_is_read_back_from_its_text() -> None:
    for trained in (Trained(lap_count=3, laps_s=1.5, step_count=7, differs=True), Trained(lap_count=0, laps_s=0.0)):
        assert Trained.from_text(trained.to_text()) == trained
    for broken in ("", "[]", '{"lap_count": 1}', '{"lap_count": "x", "laps_s": 1}', "\x00"):
        assert Trained.from_text(broken) is None
