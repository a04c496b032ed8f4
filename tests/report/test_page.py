from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.experiment_totals import ComparedRun, promises_kept, spent, spent_elsewhere
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.report import (
    ExperimentContent,
    PricePoint,
    ReportContent,
    render_experiment,
    render_report,
    verdict_sentences,
)
from greenlove_mlflow.report.charts.build import ASSETS, compiled_charts
from greenlove_mlflow.report.page import script_json
from greenlove_mlflow.report.takeaway import citation_of, options_csv
from greenlove_mlflow.report.view import figures_of, options_of, step_parts
from greenlove_mlflow.words.verdict import choices_in_words
from tests.support.factories import some_statistics
from tests.support.report import (
    OFFERS,
    a_benchmark,
    a_benchmark_fit,
    a_comparison,
    a_row,
    an_estimate,
    an_offer,
    an_outcome,
)

MOST_BYTES = 1_200_000
HOSTILE = "</script><script>window.hacked = true</script>\"'&\u202e\u2066"


def a_content(**over: object) -> ReportContent:
    comparison = a_comparison()
    fields = {
        "estimate": comparison.home,
        "comparison": comparison,
        "log": a_benchmark(),
        "fit": a_benchmark_fit(),
        "run_id": "0123456789abcdef",
        "run_name": "a-run",
    }
    return ReportContent(**{**fields, **over})  # type: ignore[arg-type]


def a_training(**over: object) -> ComparedRun:
    home = an_estimate()
    fields = {
        "name": "a-run",
        "run_id": "0123",
        "started_at": "2026-11-24T10:00:00Z",
        "status": "finished",
        "estimate": home,
        "rows": a_comparison(home).rows,
        "outcome": an_outcome(),
    }
    return ComparedRun(**{**fields, **over})  # type: ignore[arg-type]


def visible_text(page: str) -> str:
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)).replace("\u00a0", " ")


def facts_of(page: str) -> dict[str, object]:
    found = re.search(r'id="facts">(.*?)</script>', page, flags=re.DOTALL)
    assert found is not None
    facts: dict[str, object] = json.loads(found.group(1))
    return facts


def test_verdict_is_one_sentence_with_range_energy_cost_and_carbon() -> None:
    home, offer = verdict_sentences(an_estimate(), a_comparison())
    assert home == "Training here takes 5 h 10 min (4 h 50 min to 5 h 35 min), 2.1 kWh, $0.63, 0.80 kg CO2e."
    assert offer.startswith("H100 HGX 80GB at Crusoe would take 27 to 45 min for $1.73 to $2.91")
    assert "cheaper than here is under 1%" in offer


def test_verdict_names_no_offer_whose_memory_is_too_small() -> None:
    home = an_estimate()
    rows = (a_row(home, OFFERS[0], fits_memory=False), a_row(home, OFFERS[3]))
    sentences = verdict_sentences(home, dataclasses.replace(a_comparison(home), rows=rows))
    assert sentences[1].startswith("L40S")


def test_best_options_are_named_with_how_sure_that_is_and_what_ties_with_them() -> None:
    words = dict(choices_in_words(a_comparison()))
    assert "fastest (3 options statistically tied)" in words["No clear winner"]
    assert "Fastest" not in words
    assert words["Cheapest"] == "here, over 99% sure"
    unknown = a_comparison(an_estimate(energy_kwh=None, cost_usd=None, co2_g=None), specs=())
    assert [name for name, _ in choices_in_words(unknown)] == ["Fastest"]


def test_page_has_everything_in_the_order_a_reader_needs_it() -> None:
    text = visible_text(render_report(a_content(outcome=an_outcome(), status="finished")))
    parts = [
        "FINISHED", "It took 5 h 15 min", ", in range", "estimated 2.1 kWh (1.9 to 2.4 kWh)", "Next time:",
        "Here and rented", "Cost against time", "What if", "Forecast and truth", "Assumptions (",
        "Time of each pass, by sample size", "How an epoch grows with the data", "Power during",
        "CO2e by the grid and by claim", "How it is known", "Sources (", "How to repeat it",
    ]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


FATES: dict[str, dict[str, Any]] = {
    "finished": {"outcome": an_outcome()},
    "refused": {"notice": "Not run: the estimate breaks the limit of $0.1 (estimated $0.63)."},
    "stopped": {
        "outcome": an_outcome(completed=False, epoch_durations_s=(186.0,) * 40, time_s=7440.0),
        "notice": "Stopped: reached the limit of $0.2 (spent $0.21).",
    },
    "failed": {"outcome": an_outcome(completed=False, epoch_durations_s=(186.0,) * 40, time_s=7440.0)},
    "killed": {},
    "running": {
        "so_far": an_outcome(
            completed=False, epoch_durations_s=(186.0,) * 40, time_s=7440.0,
            forecasts_s=(Interval(point=18_600.0, low=18_000.0, high=19_200.0),),
        ),
        "seen_at": "2026-11-24T14:05:09Z",
        "made_at": "2026-11-24T14:07:00Z",
    },
}  # fmt: skip
FIRST_WORDS = {
    "finished": ("FINISHED", "It took 5 h 15 min"),
    "refused": ("NOT RUN", "Not run: the estimate breaks the limit of $0.1"),
    "stopped": ("STOPPED", "40 of 100 epochs ran, then it was stopped"),
    "failed": ("FAILED", "40 of 100 epochs ran, then it failed"),
    "killed": ("KILLED", "It was killed; what it took was not recorded."),
    "running": ("RUNNING", "40 of 100 epochs done: 2 h 4 min"),
}


@pytest.mark.parametrize("status", FATES)
def test_fate_stands_above_everything_and_what_happened_before_the_estimate(status: str) -> None:
    text = visible_text(render_report(a_content(status=status, **FATES[status])))
    fate, headline = FIRST_WORDS[status]
    start = text.index(fate)
    assert start < text.index("2026-11-24") < text.index(headline)
    assert "NVIDIA GeForce RTX 3060" in text[start : text.index(headline)]
    others = [word for word, _ in FIRST_WORDS.values() if word != fate]
    assert not any(word in text for word in others)


def test_experiment_shows_how_far_a_running_training_is_and_counts_it_in_no_total() -> None:
    part = an_outcome(completed=False, epoch_durations_s=(186.0,) * 40, time_s=7440.0)
    running = a_training(status="running", outcome=None, so_far=part)
    text = visible_text(render_experiment(ExperimentContent(name="digits", trainings=(running,))))
    assert "None of the 1 training in digits has ended yet" in text
    assert text.index("RUNNING") < text.index("2 h 4 min") < text.index("40 of 100 epochs so far")


def test_running_run_leads_with_how_far_it_is_and_claims_no_end() -> None:
    content = a_content(status="running", run_id="0123456789abcdef", **FATES["running"])
    text = visible_text(render_report(content))
    assert "as of 2026-11-24 14:07 UTC" in text
    wanted = (
        "3 h 6 min (2 h 56 min to 3 h 16 min) left",
        "Last seen 2026-11-24 14:05 UTC",
        "It was estimated to take 5 h 10 min",
        "what happened so far",
    )
    places = [text.index(each) for each in wanted]
    assert places == sorted(places)
    assert not [each for each in ("It took", "ran, then", "Next time", "is not judged") if each in text]
    assert citation_of(content).sentence.startswith("Training is estimated to take 5 h 10 min")
    assert [row.partition(",")[0] for row in options_csv(content).splitlines()][-1] == "so far"


def test_run_that_has_just_begun_says_of_when_the_page_is() -> None:
    text = visible_text(render_report(a_content(status="running", made_at="2026-11-24T12:01:00Z")))
    assert text.index("as of 2026-11-24 12:01 UTC") < text.index("Training here takes 5 h 10 min")
    assert "so far" not in text


def test_finished_run_leads_with_its_own_figures_and_shows_the_estimate_beside_them() -> None:
    content = a_content(status="finished", outcome=an_outcome())
    figures = {each.key: each for each in figures_of(content.estimate, content.outcome)}
    assert [figures[key].value for key in ("time", "energy", "cost", "co2")] == [
        "5 h 15 min", "2.15 kWh", "$0.65", "0.815 kg",
    ]  # fmt: skip
    assert figures["time"].spread == "estimated 5 h 10 min (4 h 50 min to 5 h 35 min)"
    assert figures["energy"].note == "2.4% more, in range"


def test_options_that_can_be_had_come_first_and_cheapest_first() -> None:
    home = an_estimate()
    rows = [a_row(home, spec) for spec in OFFERS]
    rows[3] = dataclasses.replace(rows[3], fits_memory=False)
    table = options_of(dataclasses.replace(a_comparison(home), rows=tuple(rows)))
    brief = [line for line in table.lines if line.is_brief]
    costs = [line.cost.value for line in brief if not line.is_home]
    assert brief[0].is_home
    assert costs == sorted(costs)  # type: ignore[type-var]
    assert len(brief) <= 6
    assert not {"B200 180GB", "L40S 48GB"} & {line.name for line in brief}


def test_caveats_that_ask_for_action_are_open_and_the_others_folded() -> None:
    asks = Caveat.of("place-unknown", why="no place was found")
    note = Caveat.of("precision-assumed", precision="fp32", computes_in="fp16")
    home = an_estimate(caveats=(asks, note))
    page = render_report(a_content(estimate=home, comparison=a_comparison(home)))
    fold = page.index("Assumptions (")
    assert page.index("place-unknown") < fold < page.index("precision-assumed")
    assert "Assumptions (1)" in page
    assert "To act on" not in render_report(a_content())


def test_under_one_cent_nothing_is_priced() -> None:
    home = an_estimate(cost_usd=Interval(point=2e-6, low=1e-6, high=4e-6))
    text = visible_text(render_report(a_content(estimate=home, comparison=a_comparison(home))))
    assert "under 1 cent" in text
    assert "$0.00000" not in text


def test_step_shares_say_what_the_step_is_bound_by() -> None:
    profile = StepProfile(loader_s=0.02, fetch_s=0.01, host_s=0.04, device_busy_s=0.1)
    parts = step_parts(an_estimate(statistics=some_statistics(profile=profile)))
    assert [(part.name, part.words, part.is_bound) for part in parts] == [
        ("data", "20%", False), ("host", "40%", False), ("device", "100%", True),
    ]  # fmt: skip
    assert step_parts(an_estimate()) == ()


def test_page_fetches_nothing_and_is_small() -> None:
    page = render_report(a_content(outcome=an_outcome()))
    assert len(page.encode()) < MOST_BYTES
    markup = re.sub(r"(<script\b[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)
    assert not re.search(r"<(script|img|link|iframe)\b[^>]*\b(src|href)=", markup)
    assert "@import" not in page
    assert "localStorage" not in page


def test_page_needs_neither_altair_nor_vl_convert(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = "import sys; sys.modules['altair'] = sys.modules['vl_convert'] = None; import greenlove_mlflow.report"
    done = subprocess.run([sys.executable, "-c", missing], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("altair", "vl_convert"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "Cost against time" in render_report(a_content())


def test_committed_charts_are_what_the_code_makes() -> None:
    committed = json.loads((ASSETS / "charts.json").read_text())
    if committed["made_with"] != {"altair": version("altair"), "vl-convert": version("vl-convert-python")}:
        pytest.skip(f"the charts were compiled with {committed['made_with']}")
    assert compiled_charts() == committed, "run python -m greenlove_mlflow.report.charts.build"


def test_hostile_names_are_escaped_everywhere() -> None:
    home = an_estimate(caveats=(Caveat(code="x", text=HOSTILE),), grid=an_estimate().grid)
    home = dataclasses.replace(home, grid=dataclasses.replace(home.grid, place=HOSTILE))
    row = dataclasses.replace(a_row(home), offer=an_offer(gpu=HOSTILE))
    comparison = dataclasses.replace(a_comparison(home), rows=(row,), home_name=HOSTILE)
    page = render_report(a_content(estimate=home, comparison=comparison, run_name=HOSTILE, run_id=HOSTILE))
    assert "<script>window.hacked" not in page
    assert "&lt;/script&gt;&lt;script&gt;window.hacked" in page


def test_json_in_a_script_cannot_end_it() -> None:
    text = str(script_json({"name": "</script><!-- \u2028 &"}))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": "</script><!-- \u2028 &"}


def test_unmetered_power_is_said_and_never_zero() -> None:
    estimate = an_estimate(energy_kwh=None, cost_usd=None, co2_g=None, statistics=some_statistics(power=()))
    comparison = a_comparison(estimate)
    content = a_content(estimate=estimate, comparison=comparison, log=a_benchmark(power=(), power_samples=()))
    text = visible_text(render_report(content))
    assert text.count("not measured") >= 4
    assert "energy, cost and CO2e are unknown" in text
    assert not re.search(r"(?<![\d.])0(\.0+)? (kWh|Wh|g|kg)\b", text)
    assert "Power during the benchmark" not in text


def test_modelled_power_is_told_from_measured() -> None:
    statistics = an_estimate().statistics
    assert statistics is not None
    modelled = dataclasses.replace(statistics.power[0], source="modelled", note="TDP 350 W x 0.70")
    estimate = an_estimate(statistics=dataclasses.replace(statistics, power=(modelled,)))
    text = visible_text(render_report(a_content(estimate=estimate)))
    assert "modelled: TDP 350 W x 0.70" in text


def test_run_cut_short_is_not_judged() -> None:
    outcome = an_outcome(completed=False, epoch_durations_s=(186.0,) * 40, time_s=7440.0)
    text = visible_text(render_report(a_content(outcome=outcome, status="failed")))
    assert "40 of 100 epochs ran" in text
    assert "FAILED" in text
    assert ", in range" not in text


def test_prices_of_several_dates_make_a_history() -> None:
    history = tuple(
        PricePoint(as_of=date, gpu="H100 HGX 80GB", cost_usd=cost, price_usd_per_hour=cost * 2)
        for date, cost in (("2025-05-21", 2.6), ("2026-02-25", 2.4), ("2026-09-28", 2.2))
    )
    page = render_report(a_content(price_history=history))
    assert "Prices over time" in visible_text(page)
    assert len(facts_of(page)["charts"]["price_history"]["history"]) == 3  # type: ignore[index]
    assert "Prices over time" not in visible_text(render_report(a_content(price_history=history[:1])))


def test_equivalences_are_scaled_so_that_none_is_zero() -> None:
    tiny = a_content(estimate=an_estimate(co2_g=Interval(point=0.002, low=0.001, high=0.004)))
    text = visible_text(render_report(tiny))
    section = text[text.index("is as much as") : text.index("Here and rented")]
    numbers = [float(found.replace(",", "")) for found in re.findall(r"(?<![\w.])\d[\d,.]*(?= )", section)]
    assert numbers
    assert all(number > 0.0 for number in numbers)


def test_report_without_log_or_comparison_still_says_what_it_can() -> None:
    text = visible_text(render_report(ReportContent(estimate=an_estimate(statistics=None))))
    assert "Training here takes" in text
    assert "Here and rented" not in text
    assert "What if" not in text


def test_every_source_has_date_and_licence() -> None:
    text = visible_text(render_report(a_content()))
    assert "Crusoe : Cloud pricing, our version 2026-09-28, published 2026-09-28, read 2026-10-01; quoted" in text


def test_experiment_counts_what_ran_and_says_what_is_unknown() -> None:
    trainings = (
        a_training(),
        a_training(outcome=an_outcome(energy_kwh=None, cost_usd=None, co2_g=None)),
        a_training(outcome=None),
        a_training(outcome=an_outcome(completed=False), started_at="2026-10-01T00:00:00Z"),
    )
    total = spent(trainings)
    assert total.run_count == 3
    assert total.unmetered_count == 1
    assert total.energy_kwh == pytest.approx(4.3)
    text = visible_text(render_experiment(ExperimentContent(name="digits", trainings=trainings)))
    for expected in ("3 trainings so far", "1 without a known energy", "2026-10", "2026-11", "not run", "not measured",
                     "What it would have cost on each offer", "Month by month", "100 of 100 epochs"):  # fmt: skip
        assert expected in text


def test_experiment_whose_trainings_were_all_too_small_to_rent_names_no_offer() -> None:
    small = a_training(is_too_small_to_rent=True)
    text = visible_text(render_experiment(ExperimentContent(name="digits", trainings=(small, small))))
    assert "Each was too small to rent a GPU for" in text
    assert "would have" not in text.replace("would have started", "")
    assert "H100" not in text


def test_experiment_counts_only_what_was_long_enough_to_rent_for_elsewhere() -> None:
    trainings = (a_training(), a_training(is_too_small_to_rent=True))
    text = visible_text(render_experiment(ExperimentContent(name="digits", trainings=trainings)))
    assert "the 1 long enough to rent a GPU for would have taken" in text
    assert [each.run_count for each in spent_elsewhere(trainings)] == [1] * len(spent_elsewhere(trainings[:1]))


def test_experiment_page_escapes_and_stays_small() -> None:
    many = tuple(a_training(run_id=f"{index:032d}", name=HOSTILE) for index in range(300))
    page = render_experiment(ExperimentContent(name=HOSTILE, trainings=many, skipped=((HOSTILE, HOSTILE),)))
    assert "<script>window.hacked" not in page
    assert len(page.encode()) < 2 * MOST_BYTES


def test_experiment_without_a_run_says_so() -> None:
    text = visible_text(render_experiment(ExperimentContent(name="digits", trainings=(a_training(outcome=None),))))
    assert "None of the 1 training in digits has run yet." in text


def test_promises_are_judged_for_finished_trainings_only() -> None:
    late, early = an_outcome(time_s=30_000.0), an_outcome()
    cut = an_outcome(completed=False)
    assert promises_kept([a_training(outcome=each) for each in (late, early, cut, None)]) == (1, 2)


def test_elsewhere_divides_the_real_time_by_the_ratio_and_keeps_only_its_uncertainty() -> None:
    training = a_training(outcome=an_outcome(time_s=18_000.0))
    one = spent_elsewhere([training])[0]
    ratio = training.rows[0].speed_ratio.ratio
    assert one.time_s.point == pytest.approx(18_000.0 / ratio.point)
    assert one.time_s.log_half_width == pytest.approx(ratio.log_half_width, rel=0.02)
    twice = spent_elsewhere([training, training])[0]
    assert twice.time_s.point == pytest.approx(2 * one.time_s.point)
    assert twice.time_s.log_half_width == pytest.approx(one.time_s.log_half_width)


def test_elsewhere_without_a_price_is_unknown_not_free() -> None:
    found = {each.row.offer.gpu: each for each in spent_elsewhere([a_training()])}
    assert found["B200 180GB"].cost_usd is None
    assert found["A40 48GB"].co2_g is None
