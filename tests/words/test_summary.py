"""The summary: short enough for ten seconds, and right about what can be rented."""

from __future__ import annotations

import dataclasses
import re

import pytest

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.words.summary import MOST_LINES, MOST_OFFERS, WIDTH, advice, summary
from greenlove_mlflow.words.verdict import ending_sentence
from tests.support.reestimation import compare_as_track_does, gpu_statistics, the_specs
from tests.support.report import a_comparison, an_estimate, an_outcome


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
    lines = summary(comparison.home, comparison, refusal="the estimate breaks the limit of $0.1 " * 5).splitlines()
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
    assert "NOT RUN: the estimate breaks the limit of $1.00." in summary(
        an_estimate(), refusal="the estimate breaks the limit of $1.00"
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


def test_what_happened_leads_and_the_estimate_stands_beside_it() -> None:
    comparison = a_comparison()
    lines = summary(comparison.home, comparison, outcome=an_outcome()).splitlines()
    assert lines[1] == "Finished:"
    assert lines[2].strip().startswith("5 h 15 min")
    judged = " ".join(line.strip() for line in lines[3:5])
    assert judged.startswith("That is 1.6% longer than the estimated 5 h 10 min (4 h 50 min to 5 h 35 min): within the")
    assert judged.endswith("Estimated: 2.1 kWh, $0.63.")
    assert any("H100" in line for line in lines)


def test_a_training_that_ended_early_says_how_far_it_came_and_is_not_judged() -> None:
    outcome = an_outcome(completed=False, epoch_durations_s=(186.0,) * 9)
    text = " ".join(summary(an_estimate(), outcome=outcome, ended="stopped: limit usd = 1 is spent").split())
    assert "Ended after 9 of 100 epochs, stopped: limit usd = 1 is spent:" in text
    assert ", in range" not in text


def test_the_notes_are_never_pushed_out_by_the_options() -> None:
    comparison = rented_in_eights()
    home = dataclasses.replace(comparison.home, caveats=(Caveat.of("steps-only"),))
    comparison = dataclasses.replace(comparison, home=home)
    outcome = an_outcome(completed=False, epoch_durations_s=(1.0,))
    lines = summary(home, comparison, outcome=outcome, refusal="a reason " * 20, ended="failed: " + "x" * 90)
    assert "--why" in lines.splitlines()[-1]
    assert len(lines.splitlines()) <= MOST_LINES


def test_gpus_that_wait_for_their_host_are_said_to_be_no_faster() -> None:
    comparison = rented_in_eights(
        profile=StepProfile(loader_s=0.0, fetch_s=0.0, launch_count=44, host_s=0.05, device_busy_s=0.001)
    )
    assert {row.bound_by for row in comparison.rows} == {"host"}
    text = " ".join(summary(comparison.home, comparison).split())
    assert "Every offer's GPU would wait for its host (launch-bound): the cheapest is as fast as any." in text
    by_device = rented_in_eights(
        profile=StepProfile(loader_s=0.0, fetch_s=0.0, launch_count=44, host_s=0.001, device_busy_s=0.05)
    )
    assert "would wait" not in summary(by_device.home, by_device)


def test_who_is_in_a_hurry_is_sent_to_the_cheapest_of_the_fastest_and_told_of_its_start() -> None:
    """From a slow board, where every offer waits for its host and takes as long: the dearest is none to hurry to."""
    comparison = rented_in_eights(
        home=the_specs()["nvidia-t4"],
        profile=StepProfile(loader_s=0.0, fetch_s=0.0, launch_count=44, host_s=0.03, device_busy_s=0.05),
    )
    rows = [row for row in comparison.rows if row.can_win]
    costs = {row.offer.gpu: row.estimate.cost_usd.point for row in rows if row.estimate.cost_usd is not None}
    time_s = min(row.estimate.time_s.point for row in rows)
    slow, quick = (dataclasses.replace(comparison, start_s=Interval.exactly(share * time_s)) for share in (0.3, 0.01))
    hurry = advice(slow).partition("In a hurry: ")[2]
    assert hurry.startswith(min(costs, key=costs.__getitem__))
    assert "after a start of" in hurry
    assert "after a start of" not in advice(quick)


def test_a_number_stays_with_its_unit_where_a_line_ends() -> None:
    for name in ("x" * length for length in range(1, 40)):
        comparison = dataclasses.replace(a_comparison(home_name=name), start_s=Interval.exactly(20_000.0))
        for line in summary(comparison.home, comparison).splitlines():
            assert not line.rstrip().endswith(tuple("0123456789"))


def test_one_line_of_an_estimate_agrees_with_its_summary() -> None:
    estimate = an_estimate(cost_usd=Interval(point=0.0009, low=0.0005, high=0.002))
    line, figures = str(estimate), summary(estimate).splitlines()[1]
    assert "\n" not in line
    for each in re.split(" {2,}", figures.strip()):
        assert each in line.replace(" (1.9 to 2.4 kWh)", "").replace(" (0.66 to 0.98 kg)", "")


def test_the_last_line_says_what_it_took_beside_the_range() -> None:
    estimate = an_estimate()
    assert ending_sentence(estimate, an_outcome()).startswith(
        "Finished in 5 h 15 min (estimated 4 h 50 min to 5 h 35 min), "
    )
    assert "(outside the estimated" in ending_sentence(estimate, an_outcome(time_s=50_000.0))
    short = an_estimate(time_s=Interval(point=0.2, low=0.19, high=0.21))
    assert ending_sentence(short, an_outcome(time_s=0.5)).startswith("Finished in under 1 s (estimated under 1 s), ")
    early = an_outcome(completed=False, epoch_durations_s=(186.0,) * 9)
    assert ending_sentence(estimate, early, ended="failed").startswith("Ended after 9 of 100 epochs, failed: 5 h 15")
    late = ending_sentence(estimate, an_outcome(), ended="failed")
    assert late.startswith("Finished, then failed: 5 h 15 min (estimated 4 h 50 min to 5 h 35 min), ")


def test_a_training_that_runs_is_neither_ended_nor_judged() -> None:
    so_far = an_outcome(completed=False, epoch_durations_s=(186.0,) * 9)
    text = summary(an_estimate(), outcome=so_far, is_running=True)
    assert "Still running, 9 of 100 epochs done:" in text
    assert "Estimated in all: 5 h 10 min" in text
    assert "nded" not in text
    assert "judged" not in text
