from __future__ import annotations

import dataclasses
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.numbers import (
    NO_PUBLIC_PRICE,
    NOT_MEASURED,
    co2_scale,
    duration_scale,
    format_co2_g,
    format_duration_s,
    format_kwh,
    format_probability,
    format_usd,
)
from greenlove_mlflow.words.html import format_comparison_html, format_estimate_html, format_training_html
from greenlove_mlflow.words.plain_text import format_comparison, format_estimate
from tests.support.factories import an_original_fit
from tests.support.report import OFFERS, a_comparison, a_row, an_estimate, an_offer, an_outcome

HOSTILE = '<script>alert("x")</script>\u202e'


@pytest.mark.parametrize(
    ("point", "half", "text"),
    [
        (18_610.0, 0.07, "5 h 10 min (4 h 50 min to 5 h 35 min)"),
        (1860.0, 0.25, "31 min (24 to 40 min)"),
        (58.0, 0.08, "58 s (54 to 63 s)"),
        (0.84, 0.1, "0.84 s (0.76 to 0.93 s)"),
        (0.0042, 0.1, "4.2 ms (3.8 to 4.6 ms)"),
        (86_400.0 * 2.3, 0.1, "2 d 7 h (2 d 2 h to 2 d 13 h)"),
    ],
)
def test_duration_is_said_in_units_people_use(point: float, half: float, text: str) -> None:
    assert format_duration_s(Interval.from_log_width(point, half)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59.9999, "1 min"), (3599.9, "1 h"), (86_399.0, "1 d"), (60.0, "1 min"), (0.0, "0 s"), (125.0, "2 min 5 s")],
)
def test_duration_carries_over_at_the_edge_of_a_unit(seconds: float, text: str) -> None:
    assert format_duration_s(seconds) == text


@given(st.floats(min_value=1e-9, max_value=1e12), st.floats(min_value=0.0, max_value=3.0))
def test_no_quantity_prints_as_zero_unless_it_is(point: float, half: float) -> None:
    value = Interval.from_log_width(point, half)
    for text in (format_usd(value), format_kwh(value), format_co2_g(value), format_duration_s(value)):
        for number in re.findall(r"[\d.,]+", text):
            assert float(number.replace(",", "")) > 0.0, text
        assert "e" not in text.replace("between", ""), text


@given(st.floats(min_value=1e-4, max_value=1e7), st.floats(min_value=0.001, max_value=1.5))
def test_the_printed_range_is_close_to_the_real_one(point: float, half: float) -> None:
    value = Interval.from_log_width(point, half)
    printed = [float(number.replace(",", "")) for number in re.findall(r"[\d.,]+", format_usd(value))]
    slack = 0.06 * (value.high - value.low) + 0.006 * value.high
    assert len(printed) == 3
    for shown, real in zip(printed, (value.point, value.low, value.high), strict=True):
        assert math.isclose(shown, real, abs_tol=max(slack, 0.06 * real))


def test_money_has_cents_or_none() -> None:
    assert format_usd(4.29) == "$4.29"
    assert format_usd(Interval.from_log_width(1.62, 0.25)) == "$1.62 ($1.26 to $2.08)"
    assert format_usd(1_234.0) == "$1,230"
    assert format_usd(0.0018) == "$0.0018"


def test_unknown_is_said_in_words_by_what_is_missing() -> None:
    estimate = an_estimate(energy_kwh=None, cost_usd=None, co2_g=None)
    lines = format_estimate(estimate).splitlines()
    for line in lines[1:4]:
        assert NOT_MEASURED in line
        assert "0.00" not in line
    unpriced = a_comparison(specs=(OFFERS[-1],))
    assert NO_PUBLIC_PRICE in format_comparison(unpriced)


def test_an_exact_time_has_no_range_and_no_sentence_about_one() -> None:
    text = format_estimate(an_estimate(time_s=Interval.exactly(100.0)))
    assert "1 min 40 s" in text
    assert "95 times" not in text


def test_an_estimate_says_what_it_was_calibrated_on() -> None:
    words = "23 finished runs on this machine: within 3.1% nineteen times in twenty"
    estimate = an_estimate()
    assert estimate.statistics is not None
    fit = dataclasses.replace(estimate.statistics.fit, calibrated_on=words)
    learned = an_estimate(statistics=dataclasses.replace(estimate.statistics, fit=fit))
    for text in (format_estimate(learned), format_estimate_html(learned)):
        assert f"That of the time was learned from {words}." in text
    assert "no finished run to learn from yet" in format_estimate(estimate)
    by_seed = dataclasses.replace(estimate.statistics, fit=an_original_fit())
    assert "That of the time" not in format_estimate(an_estimate(statistics=by_seed))


def test_a_column_shares_one_unit() -> None:
    text = format_comparison(a_comparison())
    header = text.splitlines()[0]
    assert "time, h" in header
    assert "CO2e, g" in header
    assert duration_scale([0.08, 500.0]).unit == "s"
    assert co2_scale([None, 0.0]).unit == "g"


def test_caveats_are_in_every_output() -> None:
    estimate = an_estimate(caveats=(Caveat(code="data-bound", text="the loader waits"),))
    assert "! data-bound: the loader waits" in format_estimate(estimate)
    assert "data-bound" in format_estimate_html(estimate)
    comparison = a_comparison(caveats=(Caveat(code="old-prices", text="a year old"),))
    assert "! old-prices: a year old" in format_comparison(comparison)
    assert "old-prices" in format_comparison_html(comparison)


def test_hostile_names_are_shown_not_run() -> None:
    home = an_estimate()
    row = dataclasses.replace(a_row(home), offer=an_offer(gpu=HOSTILE))
    comparison = dataclasses.replace(a_comparison(home), rows=(row,), home_name=HOSTILE)
    html = format_comparison_html(comparison)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "<script" not in format_estimate_html(an_estimate(caveats=(Caveat(code="x", text=HOSTILE),)))


def test_a_notebook_gets_light_html() -> None:
    html = format_comparison_html(a_comparison())
    assert "<script" not in html
    assert len(html) < 20_000


def test_records_say_themselves_in_one_line() -> None:
    home = an_estimate(time_s=Interval(point=3600.0, low=3000.0, high=4200.0), energy_kwh=None, cost_usd=None)
    assert str(home).startswith("1 h (50 min to 1 h 10 min); energy not measured; cost unknown; ")
    assert str(home).endswith(") CO2e")
    assert "\n" not in str(home)
    assert str(a_comparison(home)) == "local beside 7 offers, prices of 2026-09-28"


def test_no_probability_is_certain() -> None:
    assert format_probability(0.0) == "under 1%"
    assert format_probability(1.0) == "over 99%"
    assert format_probability(None) == "unknown"


def test_notebook_claims_no_end_of_a_training_that_runs() -> None:
    comparison = a_comparison()
    part = an_outcome(completed=False, epoch_durations_s=(186.0,) * 40, time_s=7440.0, forecasts_s=())
    running = format_training_html(comparison.home, comparison, part, is_running=True)
    assert "<b>40 of 100 epochs done: 2 h 4 min" in running
    assert not [words for words in ("Next time", "ran:", "is not judged") if words in running]
    assert "<b>40 of 100 epochs ran: 2 h 4 min" in format_training_html(comparison.home, comparison, part)
