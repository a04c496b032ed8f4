"""The normal distribution and the longest of uncertain parts, against scipy and against draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from greenlove_mlflow.core.normal import Longest, Part, normal_cdf

LOGS = st.floats(-6.0, 6.0)
SDS = st.floats(0.02, 1.5)


def longest(*parts: tuple[float, float], only_ranges: int = 0) -> Longest:
    made = tuple(Part(log_point=np.array([log]), log_sd=np.array([sd])) for log, sd in parts)
    return Longest(parts=made, only_ranges=only_ranges)


def test_cdf_is_that_of_the_normal_distribution() -> None:
    z = np.linspace(-36.0, 36.0, 5001)
    np.testing.assert_allclose(normal_cdf(z), norm.cdf(z), rtol=1e-11, atol=1e-15)


def test_cdf_of_the_far_ends() -> None:
    assert normal_cdf(np.array([-np.inf, np.inf])).tolist() == [pytest.approx(0.0, abs=1e-200), 1.0]
    assert np.isnan(normal_cdf(np.array([np.nan]))).all()


@given(one=st.tuples(LOGS, SDS), two=st.tuples(LOGS, SDS), probability=st.sampled_from([0.025, 0.5, 0.975]))
def test_quantile_is_where_the_product_of_the_distributions_reaches_it(
    one: tuple[float, float], two: tuple[float, float], probability: float
) -> None:
    def excess(x: float) -> float:
        return float(norm.cdf((x - one[0]) / one[1]) * norm.cdf((x - two[0]) / two[1]) - probability)

    expected = brentq(excess, -30.0, 30.0, xtol=1e-13)
    assert longest(one, two).log_quantile(probability)[0] == pytest.approx(expected, abs=1e-9)


def test_quantile_of_three_parts() -> None:
    parts = ((0.0, 0.7), (0.2, 0.3), (-0.1, 0.5))
    at = longest(*parts).log_quantile(0.975)[0]
    assert np.prod([norm.cdf((at - log) / sd) for log, sd in parts]) == pytest.approx(0.975, abs=1e-12)


def test_longest_of_one_is_that_one() -> None:
    alone = longest((0.3, 0.2), (-np.inf, 0.0))
    assert alone.log_point[0] == 0.3
    assert alone.log_quantile(0.975)[0] == 0.3 + 0.2 * 1.959963984540054
    assert alone.probability_below(0.3)[0] == 0.5


def test_exact_part_is_a_floor() -> None:
    floored = longest((0.0, 0.3), (0.1, 0.0))
    assert floored.log_quantile(0.025)[0] == 0.1
    assert floored.log_quantile(0.975)[0] == pytest.approx(0.3 * 1.959963984540054)
    assert floored.probability_below(0.05)[0] == 0.0
    assert floored.probability_below(0.2)[0] == pytest.approx(norm.cdf(0.2 / 0.3))


def test_range_holds_95_of_100_draws_of_the_longest() -> None:
    parts = ((0.0, 0.3), (0.1, 0.25))
    draws = np.random.default_rng(7)
    logs = np.max([draws.normal(log, sd, 200_000) for log, sd in parts], axis=0)
    low, high = (longest(*parts).log_quantile(p)[0] for p in (0.025, 0.975))
    assert np.mean((low <= logs) & (logs <= high)) == pytest.approx(0.95, abs=0.002)


def test_probability_against_an_uncertain_value_is_that_of_draws() -> None:
    parts = ((0.0, 0.3), (0.1, 0.25))
    draws = np.random.default_rng(8)
    logs = np.max([draws.normal(log, sd, 400_000) for log, sd in parts], axis=0)
    share = np.mean(logs < draws.normal(0.25, 0.4, 400_000))
    assert longest(*parts).probability_below_uncertain(0.25, 0.4)[0] == pytest.approx(share, abs=0.003)


def test_probability_below_a_quotient_of_lopsided_values_is_that_of_draws() -> None:
    draws = np.random.default_rng(10)

    def split(sides: tuple[float, float]) -> np.ndarray:
        z = draws.normal(0.0, 1.0, 400_000)
        return np.where(z < 0.0, sides[0], sides[1]) * z

    # Leaning apart, the values move the median of their quotient; leaning alike, they do not.
    for numerator, denominator in (((0.1, 0.8), (0.8, 0.1)), ((0.8, 0.1), (0.1, 0.8)), ((0.1, 0.8), (0.1, 0.8))):
        share = np.mean(draws.normal(0.0, 0.2, 400_000) < split(numerator) - split(denominator))
        told = longest((0.0, 0.2)).at(0).probability_below_quotient(0.0, numerator, denominator)
        assert told == pytest.approx(share, abs=0.005)


def test_part_that_only_widens_has_no_say_in_the_point() -> None:
    widened = longest((0.0, 0.1), (1.0, 0.5), only_ranges=1)
    assert widened.log_point[0] == 0.0
    assert widened.log_quantile(0.975)[0] > 1.0


def test_unknown_part_makes_everything_unknown() -> None:
    unknown = longest((np.nan, 0.1), (0.0, 0.1))
    assert np.isnan(unknown.log_point[0])
    assert np.isnan(unknown.log_quantile(0.975)[0])
    assert np.isnan(unknown.probability_below(0.0)[0])
