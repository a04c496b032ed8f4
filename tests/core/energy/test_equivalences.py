from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlove_mlflow.core.energy.equivalences import SHOWN_KEYS, find_equivalents
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.tables import read_equivalences


def amounts(co2_g: float) -> dict[str, tuple[float, str]]:
    return {each.equivalence.key: (each.amount, each.unit) for each in find_equivalents(co2_g, read_equivalences())}


def test_a_kilogram_is_four_kilometres_and_eighty_charges() -> None:
    shown = amounts(1000.0)
    assert shown["car_km_epa"] == (pytest.approx(4.095, abs=0.001), "km")
    assert shown["smartphone_charge_epa"] == (pytest.approx(80.6, abs=0.1), "charge")


def test_a_small_mass_is_told_in_a_small_unit() -> None:
    shown = amounts(3.9)
    assert shown["car_km_epa"][1] == "m"
    assert shown["smartphone_charge_epa"] == (pytest.approx(31.5, abs=0.1), "% of a charge")


def test_a_seedling_is_never_a_rate_per_year() -> None:
    amount, unit = amounts(60_000.0)["tree_seedling_10y_epa"]
    assert (amount, unit) == (1.0, "seedling grown for 10 years")


def test_nothing_emitted_is_nothing() -> None:
    assert all(amount == 0.0 for amount, _ in amounts(0.0).values())


def test_an_unknown_key_is_left_out_and_a_negative_mass_refused() -> None:
    assert find_equivalents(1.0, read_equivalences(), keys=("nothing",)) == ()
    for mass in (-1.0, float("nan")):
        with pytest.raises(InvalidInputError):
            find_equivalents(mass, read_equivalences())


@settings(deadline=None)
@given(st.floats(min_value=0.05, max_value=1e10))
def test_what_a_run_emits_is_never_too_small_to_read(co2_g: float) -> None:
    shown = amounts(co2_g)
    assert set(shown) == set(SHOWN_KEYS)
    assert shown["car_km_epa"][0] >= 0.2
    assert shown["smartphone_charge_epa"][0] >= 0.4


@settings(deadline=None)
@given(st.floats(min_value=1e-6, max_value=1e9), st.floats(min_value=1.01, max_value=100.0))
def test_more_co2_is_as_much_more_in_the_same_unit(co2_g: float, factor: float) -> None:
    for key, (amount, unit) in amounts(co2_g).items():
        more, other = amounts(co2_g * factor)[key]
        if unit == other:
            assert more == pytest.approx(amount * factor)
