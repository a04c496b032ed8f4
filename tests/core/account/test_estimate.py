from __future__ import annotations

import pytest

from greenlove_mlflow.core.account.estimate import Estimate, broken_limits, replan
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.workload import Limits
from greenlove_mlflow.errors import InvalidInputError
from tests.support.factories import a_grid, a_workload


def test_a_plan_without_changes_is_the_same_plan() -> None:
    plan = a_workload(sample_count=1001, batch_size=10, steps_per_epoch=37)
    assert replan(plan) == plan
    assert replan(plan, epoch_count=plan.epoch_count, sample_count=1001) == plan


def test_a_kept_last_batch_stays_kept_and_a_dropped_one_dropped() -> None:
    kept = a_workload(sample_count=95, batch_size=10, steps_per_epoch=10)
    dropped = a_workload(sample_count=95, batch_size=10, steps_per_epoch=9)
    assert replan(kept, sample_count=991).steps_per_epoch == 100
    assert replan(dropped, sample_count=991).steps_per_epoch == 99


def test_steps_of_another_rule_keep_their_number_per_sample() -> None:
    accumulated = a_workload(sample_count=1000, batch_size=10, steps_per_epoch=25)
    assert replan(accumulated, sample_count=2000).steps_per_epoch == 50


def test_fewer_samples_than_a_batch_still_make_one_step() -> None:
    dropped = a_workload(sample_count=95, batch_size=10, steps_per_epoch=9)
    assert replan(dropped, sample_count=3).steps_per_epoch == 1


@pytest.mark.parametrize("change", [{"epoch_count": 0}, {"sample_count": 0}, {"sample_count": -5}])
def test_a_plan_of_nothing_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError):
        replan(a_workload(), **change)


@pytest.mark.parametrize(("name", "figure"), [("hours", 2.0), ("usd", 3.0), ("kwh", 5.0), ("kg_co2", 0.7)])
def test_a_limit_is_broken_by_what_is_just_above_it_alone(name: str, figure: float) -> None:
    estimate = Estimate(
        time_s=Interval.exactly(7200.0),
        cost_usd=Interval.exactly(3.0),
        energy_kwh=Interval.exactly(5.0),
        co2_g=Interval.exactly(700.0),
        workload=a_workload(),
        grid=a_grid(),
    )
    assert broken_limits(estimate, Limits(**{name: 1.01 * figure})) == ()
    assert len(broken_limits(estimate, Limits(**{name: 0.99 * figure}))) == 1
