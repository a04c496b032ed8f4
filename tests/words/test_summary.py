"""The summary: short enough for ten seconds, and right about what can be rented."""

from __future__ import annotations

import dataclasses

import pytest

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.words.summary import MOST_LINES, MOST_OFFERS, WIDTH, advice, money_words, summary
from tests.support.reestimation import compare_as_track_does, gpu_statistics
from tests.support.report import a_comparison, an_estimate


def rented_in_eights(**over: object) -> Comparison:
    _, comparison = compare_as_track_does(gpu_statistics(**over), "2026-09-28")
    return comparison


@pytest.mark.parametrize("seconds", [0.02, 40.0, 3600.0, 4e6])
def test_it_fits_a_terminal_whatever_is_in_it(seconds: float) -> None:
    comparison = a_comparison(
        an_estimate(time_s=Interval.from_log_width(seconds, 0.3)),
        home_name="a machine with a name that no table holds " * 3,
        caveats=tuple(Caveat.of("old-price", gpu="G" * 90, provider="P", as_of="2020-01-01", age_days=9) for _ in "12"),
    )
    lines = summary(comparison.home, comparison, refusal="the estimate breaks limit usd = 0.1 " * 5).splitlines()
    assert len(lines) <= MOST_LINES
    assert max(len(line) for line in lines) <= WIDTH


def test_options_are_cheapest_first_and_say_what_instance_is_rented() -> None:
    comparison = rented_in_eights()
    lines = summary(comparison.home, comparison).splitlines()
    shown = [line for line in lines if line.strip()[:1].isdigit() and "$" in line]
    dollars = [float(line.split("$")[1].split()[0].replace(",", "")) for line in shown]
    assert dollars == sorted(dollars)
    assert 0 < len(shown) <= MOST_OFFERS
    assert any("H100 HGX 80GB x8" in line for line in shown)
    assert not any("no public price" in line for line in shown)


def test_a_training_shorter_than_a_start_is_too_small_to_rent() -> None:
    comparison = dataclasses.replace(
        a_comparison(an_estimate(time_s=Interval.exactly(20.0))), start_s=Interval.exactly(61.0)
    )
    text = summary(comparison.home, comparison)
    assert "too small to rent" in text.lower()
    assert "$" not in text.split("\n", 2)[2]


def test_a_refusal_is_in_it() -> None:
    assert "NOT RUN: the estimate breaks limit usd = 1." in summary(
        an_estimate(), refusal="the estimate breaks limit usd = 1"
    )


def test_only_notes_that_ask_for_action_are_counted() -> None:
    noted = an_estimate(caveats=(Caveat.of("larger-batch", count=2),))
    asking = an_estimate(caveats=(Caveat.of("larger-batch", count=2), Caveat.of("steps-only")))
    assert "--why" not in summary(noted)
    assert "1 note asks for action: steps-only" in summary(asking)


def test_advice_names_no_winner_where_ranges_overlap() -> None:
    comparison = rented_in_eights()
    assert advice(comparison).startswith(("Stay here", "Rent "))
    blurred = [
        dataclasses.replace(row, time_parts=tuple(dataclasses.replace(part, log_sd=3.0) for part in row.time_parts))
        for row in comparison.rows
    ]
    assert advice(dataclasses.replace(comparison, rows=tuple(blurred))).startswith("No clear winner")


def test_below_a_cent_nobody_decides() -> None:
    assert money_words(0.0000004) == "under 1 cent"
    assert money_words(1.234) == "$1.23"
    assert money_words(0.0) == "$0"
    assert money_words(None) == "unknown"
