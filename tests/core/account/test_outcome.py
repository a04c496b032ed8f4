"""What happened beside what was estimated: energy is measured, modelled with a reason, or unknown."""

from __future__ import annotations

import math

import pytest

from greenlove_mlflow.core.account.estimate import estimate_training
from greenlove_mlflow.core.account.outcome import Outcome, settle_outcome
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.words.verdict import headline_sentences
from tests.support.factories import a_grid, a_power, some_statistics

GRID = a_grid()


def settled(
    energy_j: float | None, *, is_metered: bool = True, note: str = "", power_w: float | None = 300.0
) -> Outcome:
    power = () if power_w is None else (a_power(power_w=power_w),)
    estimate = estimate_training(some_statistics(power=power))
    return settle_outcome(
        estimate,
        epoch_durations_s=(50.0, 50.0),
        time_s=100.0,
        energy_j=energy_j,
        is_metered=is_metered,
        energy_note=note,
    )


def test_counted_joules_are_measured() -> None:
    outcome = settled(36_000.0)
    assert outcome.energy_source == "measured"
    pue = some_statistics().pue.point
    assert outcome.energy_kwh == pytest.approx(0.01 * pue)


@pytest.mark.parametrize("energy_j", [0.0, -6.0, math.nan, math.inf, None])
def test_no_training_draws_nothing(energy_j: float | None) -> None:
    outcome = settled(energy_j)
    assert outcome.energy_source == "modelled"
    assert outcome.energy_kwh == pytest.approx(300.0 * 100.0 / 3.6e6 * some_statistics().pue.point)


@pytest.mark.parametrize("energy_j", [0.0, None])
def test_what_is_neither_metered_nor_modelled_is_unknown_with_its_cost(energy_j: float | None) -> None:
    outcome = settled(energy_j, power_w=None, note="gpu_0 could not be metered")
    assert (outcome.energy_kwh, outcome.energy_source, outcome.cost_usd, outcome.co2_g) == (None, "", None, None)


def sentences(outcome: Outcome) -> tuple[str, ...]:
    return headline_sentences(estimate_training(some_statistics()), outcome, status="finished", notice="")


@pytest.mark.parametrize(
    ("energy_j", "is_metered", "begins"),
    [
        (36_000.0, False, "Its energy is modelled: "),
        (36_000.0, True, "Its energy is measured, but: "),
        (None, False, ""),
    ],
)
def test_the_reason_is_a_sentence_of_the_outcome(energy_j: float | None, is_metered: bool, begins: str) -> None:
    outcome = settled(energy_j, is_metered=is_metered, note="gpu_0 stopped answering")
    said = sentences(outcome)
    assert said[-1].startswith(begins)
    assert said[-1].endswith("gpu_0 stopped answering.")
    assert len(sentences(settled(36_000.0))) == len(said) - 1


def test_how_power_is_modelled_is_left_to_the_caveat_that_asks_for_action() -> None:
    caveat = Caveat.of("power-modelled", devices="cpu", factor=3.6)
    assert (
        sentences(settled(36_000.0, is_metered=False, note=caveat.message))[-1]
        == "Its energy is modelled, not metered."
    )
