"""Run facts: what the process that trains has paid already, at home and on an offer, and through the stats tag."""

from __future__ import annotations

import pytest

from greenlove_mlflow.core.account.estimate import estimate_training
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.batch import times_on_offers
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.core.speed.gpus import SpeedRatio
from tests.support.factories import a_fit, a_workload, some_statistics

ONE_OFF_S = 40.0


def some_facts(**over: object) -> RunFacts:
    profile = StepProfile(loader_s=0.0, fetch_s=0.0, host_s=0.01, device_busy_s=0.05)
    return some_statistics(fit=a_fit(one_off_s=ONE_OFF_S), profile=profile, **over)


def share_on_offer(facts: RunFacts, basis: str = "throughput") -> float:
    ratio = SpeedRatio(ratio=Interval.exactly(2.0), basis=basis)  # type: ignore[arg-type]
    times = times_on_offers([facts], [facts.workload], ["card"], [[ratio]])
    return float(times.share.point[0, 0])


def test_home_does_not_pay_again_what_its_process_has_paid() -> None:
    fresh, paid = estimate_training(some_facts()), estimate_training(some_facts(one_off_paid=True))

    assert fresh.time_s.point - paid.time_s.point == pytest.approx(ONE_OFF_S)
    assert paid.time_s.high < fresh.time_s.high
    assert paid.energy_kwh is not None
    assert fresh.energy_kwh is not None
    assert paid.energy_kwh.point < fresh.energy_kwh.point


def test_offer_pays_for_it_whoever_has_paid_at_home() -> None:
    fresh, paid = some_facts(), some_facts(one_off_paid=True)
    on_offer = [share_on_offer(each) * estimate_training(each).time_s.point for each in (fresh, paid)]

    assert on_offer[0] == pytest.approx(on_offer[1])


def test_ratio_that_was_given_is_used_as_it_is() -> None:
    assert share_on_offer(some_facts(one_off_paid=True), "given") == pytest.approx(0.5)


def test_what_was_paid_survives_the_stats_tag_and_other_plans() -> None:
    facts = RunFacts.from_json(some_facts(one_off_paid=True).to_json())
    longer = estimate_training(facts, workload=a_workload(epoch_count=200))

    assert facts.one_off_paid
    assert longer.time_s.point == pytest.approx(10.0 + 199 * 9.0, rel=0.01)
    assert not RunFacts.from_json(some_facts().to_json()).one_off_paid
