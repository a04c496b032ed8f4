"""The page in a real browser: what it shows, computes, asks for and complains about."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import math
import random
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import greenlove_mlflow as greenlove
from greenlove_mlflow.core.account.estimate import Change, Estimate, estimate_changed, estimate_training
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.numbers import (
    co2_scale,
    duration_scale,
    format_co2_g,
    format_duration_s,
    format_kwh,
    format_money,
    format_probability,
    format_usd,
)
from greenlove_mlflow.numbers.durations import about
from greenlove_mlflow.numbers.ticks import money_ticks
from greenlove_mlflow.report import (
    ExperimentContent,
    ReportContent,
    render_experiment,
    render_report,
    verdict_sentences,
)
from greenlove_mlflow.report.data import price_key
from tests.report.test_page import FATES, FIRST_WORDS, HOSTILE, a_content, a_training
from tests.support.browser import DESKTOP_PX, MOBILE_PX, Visit, a_browser, visiting
from tests.support.factories import a_power, a_workload, an_original_fit
from tests.support.report import (
    a_benchmark,
    a_benchmark_fit,
    a_comparison,
    a_measured_training,
    a_row,
    an_estimate,
    an_offer,
    an_outcome,
    measured_statistics,
)

pytestmark = pytest.mark.browser

OLDER_PRICES = "2025-12-15"
PROBABILITY_TOLERANCE = 1e-12


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with a_browser() as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    estimate, comparison = a_measured_training()
    contents = {
        "run": render_report(a_content(outcome=an_outcome())),
        "measured": render_report(ReportContent(estimate=estimate, comparison=comparison, log=a_benchmark())),
        "small": render_report(a_small_content()),
        "hostile": render_report(a_hostile_content()),
        **{f"fate-{status}": render_report(a_content(status=status, **FATES[status])) for status in FATES},
        "experiment": render_experiment(
            ExperimentContent(name="digits", trainings=tuple(a_training(run_id=f"{n:032d}") for n in range(12)))
        ),
    }
    for name, text in contents.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in contents}


def a_small_content() -> ReportContent:
    home = estimate_changed(measured_statistics(), Change(epoch_count=1))
    return ReportContent(estimate=home, comparison=greenlove.compare(home), log=a_benchmark())


def a_hostile_content() -> ReportContent:
    home = an_estimate()
    home = dataclasses.replace(home, grid=dataclasses.replace(home.grid, place=HOSTILE))
    row = dataclasses.replace(a_row(home), offer=an_offer(gpu=HOSTILE))
    comparison = dataclasses.replace(a_comparison(home), rows=(row,), home_name=HOSTILE)
    return a_content(estimate=home, comparison=comparison, run_name=HOSTILE)


@pytest.mark.parametrize("name", ["run", "measured", "small", "experiment", "hostile"])
@pytest.mark.parametrize(("width", "dark"), [(DESKTOP_PX, False), (DESKTOP_PX, True), (MOBILE_PX, False)])
def test_page_is_quiet_asks_for_nothing_and_fits_the_window(
    browser: Any, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    with visiting(browser, pages[name], width=width, dark=dark) as visit:
        visit.wait_for_charts()
        assert visit.complaints == []
        assert visit.requests == []
        assert visit.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("name", ["run", "experiment", "fate-refused"])
@pytest.mark.parametrize(("width", "dark"), [(DESKTOP_PX, False), (MOBILE_PX, True)])
def test_nothing_keeps_readers_out(browser: Any, pages: dict[str, Path], name: str, width: int, dark: bool) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with visiting(browser, pages[name], width=width, dark=dark) as visit:
        visit.wait_for_charts()
        visit.page.evaluate(UNFOLD)
        if name != "experiment":
            visit.page.locator("[data-opens=panel-cite]").click()
        found = Axe().run(visit.page).response["violations"]
        serious = [(each["id"], each["nodes"][0]["html"][:160]) for each in found]
        assert serious == []


UNFOLD = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
FIRST_SCREEN = """() => {
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    const box = range.getBoundingClientRect();
    if (box.width > 1 && box.bottom <= window.innerHeight) found.push(walker.currentNode.textContent);
  }
  return found.join(" ").replace(/\\s+/g, " ");
}"""
FIRST_FIGURES = {
    "finished": ("5 h 15 min", "2.15 kWh", "$0.65", "0.815 kg", "estimated 5 h 10 min"),
    "refused": ("5 h 10 min", "2.1 kWh", "$0.63", "0.80 kg"),
    "stopped": ("2 h 4 min", "Stopped: reached the limit of $0.2", "was for 100 epochs"),
    "failed": ("2 h 4 min", "was for 100 epochs"),
    "killed": ("5 h 10 min", "2.1 kWh", "$0.63", "0.80 kg"),
    "running": ("2 h 4 min", "Last seen 2026-11-24 14:05 UTC", "estimated 5 h 10 min", "left by the latest forecast"),
}


@pytest.mark.parametrize("width", [DESKTOP_PX, MOBILE_PX])
@pytest.mark.parametrize("status", FATES)
def test_first_screen_tells_the_fate_and_the_figures(
    browser: Any, pages: dict[str, Path], status: str, width: int
) -> None:
    with visiting(browser, pages[f"fate-{status}"], width=width) as visit:
        shown = " ".join(visit.page.evaluate(FIRST_SCREEN).replace("\u00a0", " ").split())
    wanted = [*FIRST_WORDS[status], "2026-11-24", "NVIDIA GeForce RTX 3060", "Germany", *FIRST_FIGURES[status]]
    assert [text for text in wanted if text not in shown] == []
    places = [shown.index(text) for text in wanted[:1] + wanted[2:3] + wanted[1:2]]
    assert places == sorted(places)


def test_page_has_half_the_words_it_had(browser: Any, pages: dict[str, Path]) -> None:
    with visiting(browser, pages["fate-finished"]) as visit:
        visit.wait_for_charts()
        assert len(visit.page.inner_text("main").split()) <= 2286 / 2


def test_citation_and_figures_are_copied_by_a_button_without_a_network(browser: Any, pages: dict[str, Path]) -> None:
    import yaml

    with visiting(browser, pages["fate-finished"]) as visit:
        visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])

        def copied(button: str) -> str:
            visit.page.locator(f"[data-copies={button}]").click()
            visit.page.wait_for_function("button => document.querySelector(`[data-copies=${button}]`).textContent"
                                         " === 'Copied'", arg=button)  # fmt: skip
            return str(visit.page.evaluate("navigator.clipboard.readText()"))

        assert not visit.page.locator("#panel-cite").is_visible()
        visit.page.locator("[data-opens=panel-cite]").click()
        assert copied("cite-sentence").startswith("Training took 5 h 15 min on 1 x NVIDIA GeForce RTX 3060 in Germany")
        assert copied("cite-bibtex").startswith("@misc{greenlove-01234567,")
        card = yaml.safe_load(copied("cite-card"))["co2_eq_emissions"]
        assert card["emissions"] == pytest.approx(815.0)
        assert card["geographical_location"] == "Germany"
        visit.page.locator("[data-opens=panel-csv]").click()
        assert not visit.page.locator("#panel-cite").is_visible()
        rows = list(csv.DictReader(io.StringIO(copied("csv-text"))))
        assert rows[0]["option"] == "local"
        assert float(rows[0]["cost_usd"]) == 0.63
        file = urllib.parse.unquote(visit.page.locator("#csv-file").get_attribute("href").split(",", 1)[1])
        assert list(csv.DictReader(io.StringIO(file))) == rows
        assert visit.requests == []
        assert visit.complaints == []


def test_phone_shows_options_as_low_rows_and_says_where_a_table_scrolls(browser: Any, pages: dict[str, Path]) -> None:
    with visiting(browser, pages["run"], width=MOBILE_PX) as visit:
        heights = visit.page.evaluate(
            "[...document.querySelectorAll('#options tbody tr:not([hidden])')].map((row) => row.offsetHeight)"
        )
        assert len(heights) == 6
        assert max(heights) < 150
    with visiting(browser, pages["experiment"], width=MOBILE_PX) as visit:
        assert visit.page.locator("#runs").locator("xpath=../preceding-sibling::p[1]").inner_text().startswith("Scroll")
    with visiting(browser, pages["experiment"]) as visit:
        assert not visit.page.locator(".scrolls").first.is_visible()


def test_every_chart_has_words_and_its_data_behind_it(browser: Any, pages: dict[str, Path]) -> None:
    with visiting(browser, pages["run"]) as visit:
        visit.wait_for_charts()
        visit.page.evaluate(UNFOLD)
        for figure in visit.page.query_selector_all("figure.chart"):
            assert len(figure.query_selector("figcaption").inner_text()) > 40
            table = figure.query_selector("details table")
            assert table is not None or "table above holds the data" in figure.inner_text()
            assert figure.query_selector("[role=img]").get_attribute("aria-label").startswith("Chart: ")


def test_dark_follows_the_readers_setting_also_while_the_page_is_open(browser: Any, pages: dict[str, Path]) -> None:
    with visiting(browser, pages["run"]) as visit:
        visit.wait_for_charts()

        def look() -> tuple[str, str]:
            return (
                visit.page.evaluate("getComputedStyle(document.body).backgroundColor"),
                visit.page.evaluate(
                    "document.querySelector('#chart-cost_time .role-axis-label text').getAttribute('fill')"
                ),
            )

        light = look()
        visit.page.emulate_media(color_scheme="dark")
        visit.page.wait_for_function(
            "fill => document.querySelector('#chart-cost_time .role-axis-label text')?.getAttribute('fill') !== fill",
            arg=light[1],
        )
        dark = look()
        assert light[0] == "rgb(255, 255, 255)"
        assert all(one != other for one, other in zip(light, dark, strict=True))
        visit.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert look()[1] == light[1]


def names_shown(visit: Visit) -> list[str]:
    return [
        line.query_selector("bdi").inner_text()
        for line in visit.page.query_selector_all("#options tbody tr")
        if line.is_visible()
    ]


def test_table_sorts_both_ways_with_unknown_last(browser: Any, pages: dict[str, Path]) -> None:
    comparison = a_comparison()
    by_cost = sorted(
        (row for row in comparison.rows if row.estimate.cost_usd),
        key=lambda row: row.estimate.cost_usd.point,  # type: ignore[union-attr]
    )
    with visiting(browser, pages["run"]) as visit:
        head = visit.page.locator("#options thead th[data-key='cost']")
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        assert names_shown(visit)[1:] == [row.offer.gpu for row in by_cost][:5]
        visit.page.locator("#show-all").check()
        assert names_shown(visit)[1:-1] == [row.offer.gpu for row in by_cost]
        assert names_shown(visit)[-1] == "B200 180GB"
        head.locator("button").press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        assert names_shown(visit)[0] == by_cost[-1].offer.gpu
        assert names_shown(visit)[-1] == "B200 180GB"
        visit.page.locator("#sort-by").select_option("time")
        assert names_shown(visit)[0] == "B200 180GB"
        assert visit.page.locator("#options thead th[data-key='time']").get_attribute("aria-sort") == "ascending"


def test_table_filters_by_name_price_and_memory(browser: Any, pages: dict[str, Path]) -> None:
    with visiting(browser, pages["run"]) as visit:
        assert "5 of 7 offers" in visit.page.locator("#shown").inner_text()
        visit.page.locator("#show-all").check()
        visit.page.locator("#filter-name").fill("a100")
        assert names_shown(visit)[1:] == ["A100 PCIe 40GB", "A100 SXM 80GB"]
        assert "2 of 7 offers" in visit.page.locator("#shown").inner_text()
        visit.page.locator("#filter-name").fill("")
        visit.page.locator("#filter-priced").check()
        assert "B200 180GB" not in names_shown(visit)


def test_everything_can_be_reached_by_keyboard_in_reading_order(browser: Any, pages: dict[str, Path]) -> None:
    with visiting(browser, pages["run"]) as visit:
        reached = []
        for _ in range(30):
            visit.page.keyboard.press("Tab")
            reached.append(
                visit.page.evaluate(
                    "(e => e.id || e.name || e.textContent.trim().slice(0, 30))(document.activeElement)"
                )
            )
        wanted = ["Skip to the content", "CSV", "Cite", "Print", "sort-by", "show-all", "epochs", "pue"]
        places = [reached.index(name) for name in wanted]
        assert places == sorted(places)


def test_print_shows_every_number_and_no_controls(browser: Any, pages: dict[str, Path]) -> None:
    with visiting(browser, pages["run"]) as visit:
        visit.wait_for_charts()
        visit.page.emulate_media(media="print")
        assert not visit.page.locator("#whatif").is_visible()
        assert not visit.page.locator(".toolbar").is_visible()
        assert "0.44 to 0.75" in visit.page.locator("#options").inner_text()
        assert len(visit.page.pdf()) > 50_000


def test_hostile_names_are_shown_not_run(browser: Any, pages: dict[str, Path]) -> None:
    with visiting(browser, pages["hostile"]) as visit:
        visit.wait_for_charts()
        assert visit.page.evaluate("window.hacked") is None
        assert HOSTILE in names_shown(visit)
        assert HOSTILE in visit.page.locator(".kicker").text_content()
        visit.page.locator("#whatif [name=epochs]").fill("7")
        assert HOSTILE in visit.page.locator("#verdict").text_content()
        assert visit.page.evaluate("window.hacked") is None


FITS = {
    "adaptive": a_benchmark_fit(),
    "original": an_original_fit(
        sample_count=2000, steps_per_epoch=32, epoch_s=6.13, warm_up_s=(7.0, 6.4, 6.2), sigma_s=0.3
    ),
    "conformal": a_benchmark_fit(conformal_log_half_width=0.09, bias_log=0.02),
}
PROFILES = {
    "bound by the host": {
        "profile": StepProfile(loader_s=0.01, fetch_s=0.002, host_s=0.0493, device_busy_s=0.0399, launch_count=1253),
        "validation_profile": StepProfile(loader_s=0.03, host_s=0.01, device_busy_s=0.02),
        "workload": a_workload(validation_s=1.7, extra_per_epoch_s=0.3, one_off_s=11.0),
        "home_usd_per_hour": 0.47,
    },
    "unmeasured loader": {"profile": StepProfile(fetch_s=0.001, host_s=0.004, device_busy_s=0.009)},
    "counted on a CPU": {
        "home": None,
        "power": (a_power(device="cpu", power_w=40.0, log_half_width=0.5),),
        "profile": StepProfile(
            loader_s=0.01, fetch_s=0.001, host_s=0.19, launch_count=475, flop_count=1e11, moved_bytes=3e9,
            dispatch_s=4e-6, on_cpu=True,
        ),
    },
}  # fmt: skip
RUNS: dict[str, dict[str, Any]] = {**{name: {"fit": fit} for name, fit in FITS.items()}, **PROFILES}
GRID = tuple(
    itertools.product((1, 20, 500), (100, 60_000), (None, 0.11), (None, 50.0), (None, 1.5), ("", OLDER_PRICES), (1, 4))
)
ASK = """(asked) => asked.map((inputs) =>
  window.greenlove.estimating.estimate(window.greenlove.facts, inputs).map((option) => ({
    key: option.price_key ?? "home", time: option.time, energy: option.energy, cost: option.cost, co2: option.co2,
    pCheaper: option.pCheaper ?? null, onFront: option.onFront, price: option.price ?? null,
  })))"""


@pytest.mark.parametrize("kind", RUNS)
def test_what_if_answers_what_the_library_answers(browser: Any, tmp_path: Path, kind: str) -> None:
    statistics = measured_statistics(**RUNS[kind])
    estimate = estimate_training(statistics)
    newest = greenlove.compare(estimate)
    page = tmp_path / "page.html"
    page.write_text(render_report(ReportContent(estimate=estimate, comparison=newest)), encoding="utf-8")
    asked = [
        {"epochs": epochs, "samples": samples, "price": price, "intensity": intensity, "pue": pue,
         "version": version or newest.prices.version, "gpus": gpus}
        for epochs, samples, price, intensity, pue, version, gpus in GRID
    ]  # fmt: skip
    with visiting(browser, page) as visit:
        answers = visit.page.evaluate(ASK, asked)
    for inputs, options in zip(asked, answers, strict=True):
        change = Change(
            epoch_count=inputs["epochs"], sample_count=inputs["samples"], price_usd_per_kwh=inputs["price"],
            intensity_g_per_kwh=inputs["intensity"], pue=inputs["pue"],
        )  # fmt: skip
        home = estimate_changed(statistics, change)
        assert_same_figures(options[0], home)
        rows = {price_key(row.offer): row for row in compare_again(home, inputs).rows}
        same_sheet = inputs["version"] == newest.prices.version
        for option in options[1:]:
            row = rows.get(option["key"])
            if row is None:
                assert option["cost"] is None
                continue
            assert_same_figures(option, row.estimate, with_grid=same_sheet)
            assert_same(option["pCheaper"], row.p_cheaper, PROBABILITY_TOLERANCE)
            if same_sheet:
                assert option["onFront"] == row.on_pareto_front


def compare_again(home: Estimate, inputs: dict[str, Any]) -> Comparison:
    return greenlove.compare(home, prices=inputs["version"], gpus=inputs["gpus"])


def assert_same_figures(option: dict[str, Any], estimate: Estimate, *, with_grid: bool = True) -> None:
    pairs = [("time", estimate.time_s), ("cost", estimate.cost_usd)]
    pairs += [("energy", estimate.energy_kwh), ("co2", estimate.co2_g)] if with_grid else []  # type: ignore[list-item]
    for name, interval in pairs:
        assert (option[name] is None) == (interval is None), name
        if interval is not None:
            for end in ("point", "low", "high"):
                assert math.isclose(option[name][end], getattr(interval, end), rel_tol=1e-12), (name, end)


def assert_same(one: float | None, other: float | None, tolerance: float) -> None:
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert math.isclose(one, other, rel_tol=0.0, abs_tol=tolerance)


def test_what_if_rewrites_verdict_figures_and_table_and_finds_back(browser: Any, pages: dict[str, Path]) -> None:
    statistics = measured_statistics()
    with visiting(browser, pages["measured"]) as visit:
        visit.wait_for_charts()
        read = "() => ['header', '.figures', '#options'].map((part) => document.querySelector(part).innerText)"
        before = visit.page.evaluate(read)
        assert not visit.page.locator("#assumed").is_visible()
        for name, value in (("epochs", "300"), ("price", "0.25"), ("pue", "1.3")):
            visit.page.locator(f"#whatif [name={name}]").fill(value)
        home = estimate_changed(statistics, Change(epoch_count=300, price_usd_per_kwh=0.25, pue=1.3))
        comparison = greenlove.compare(home)
        shown = visit.page.locator("#verdict").inner_text().replace("\u00a0", " ")
        assert " ".join(shown.split()) == " ".join(verdict_sentences(home, comparison))
        assert visit.page.locator("#assumed").is_visible()
        assert not visit.page.locator("#advice").is_visible()
        assert visit.page.locator("[data-figure=cost] .value").inner_text() == format_money(
            home.cost_usd, with_range=False
        )
        notes = [visit.page.locator(f"[data-figure={name}] .note").inner_text() for name in ("time", "energy", "cost")]
        assert notes == ["300 epochs", "PUE 1.3, as you typed", "electricity at $0.25 per kWh, as you typed"]
        visit.page.locator("#whatif [data-reset]").click()
        assert visit.page.evaluate(read) == before
        assert visit.complaints == []


def test_offers_are_folded_where_all_is_too_small_to_rent_until_a_what_if_is_not(
    browser: Any, pages: dict[str, Path]
) -> None:
    with visiting(browser, pages["small"]) as visit:
        assert "too small to rent" in visit.page.locator("#advice").inner_text().replace("\u00a0", " ")
        assert not visit.page.locator("#options").is_visible()
        visit.page.locator("#whatif [name=epochs]").fill("2")
        assert not visit.page.locator("#options").is_visible()
        visit.page.locator("#whatif [name=epochs]").fill("30000")
        assert visit.page.locator("#options").is_visible()
        assert visit.complaints == []
    with visiting(browser, pages["measured"]) as visit:
        assert visit.page.locator("#options").is_visible()


@pytest.mark.parametrize(("name", "value"), [("epochs", "0"), ("pue", "0.5"), ("price", "-1"), ("samples", "1.5")])
def test_what_if_refuses_what_cannot_be(browser: Any, pages: dict[str, Path], name: str, value: str) -> None:
    with visiting(browser, pages["measured"]) as visit:
        before = visit.page.locator("#verdict").inner_text()
        visit.page.locator(f"#whatif [name={name}]").fill(value)
        assert visit.page.locator("#whatif-problem").inner_text()
        assert visit.page.locator("#verdict").inner_text() == before


def test_what_happened_does_not_stand_beside_another_plan(browser: Any, pages: dict[str, Path]) -> None:
    with visiting(browser, pages["run"]) as visit:
        happened, figure = visit.page.locator("header .happened"), visit.page.locator("[data-figure=time]")
        before = figure.inner_text()
        assert happened.is_visible()
        assert not visit.page.locator("#verdict").is_visible()
        visit.page.locator("#whatif [name=epochs]").fill("7")
        assert not happened.is_visible()
        assert visit.page.locator("#verdict h1").inner_text().startswith("Training here takes")
        assert "7 epochs" in figure.inner_text()
        assert "estimated" not in figure.inner_text()
        visit.page.locator("#whatif [data-reset]").first.click()
        assert happened.is_visible()
        assert not visit.page.locator("#verdict").is_visible()
        assert figure.inner_text() == before


def some_intervals(count: int = 400) -> list[Interval]:
    draw = random.Random(7)
    found = [
        Interval.from_log_width(10 ** draw.uniform(-6, 9), draw.choice((0.0, 10 ** draw.uniform(-4, 0.8))))
        for _ in range(count)
    ]
    ties = [
        0.125,
        0.25,
        0.5,
        1.5,
        2.5,
        12.5,
        145.0,
        1250.0,
        25.0,
        59.5,
        59.96,
        60.0,
        90.0,
        3599.6,
        3600.0,
        86_400.0,
        1e6,
    ]
    return found + [Interval.exactly(value) for value in ties]


def test_page_writes_numbers_as_the_library_does(browser: Any, pages: dict[str, Path]) -> None:
    values = some_intervals()
    asked = [{"point": each.point, "low": each.low, "high": each.high} for each in values]
    script = """(asked) => { const f = window.greenlove.format; return asked.map((v) => [
      f.duration(v), f.usd(v), f.kwh(v), f.co2(v), f.duration(v.point), f.usd(v.point), f.co2(v.point),
      f.durationScale([v.low, v.high]).withRange(v), f.co2Scale([v.low, v.high]).withRange(v),
      f.probability(v.point / (1 + v.point)), f.money(v), f.money(v, "", false), f.money(v.point), f.about(v.point),
      f.moneyTicks(v.low, v.high),
    ]); }"""
    with visiting(browser, pages["run"]) as visit:
        answers = visit.page.evaluate(script, asked)
    for value, answer in zip(values, answers, strict=True):
        assert answer == [
            format_duration_s(value), format_usd(value), format_kwh(value), format_co2_g(value),
            format_duration_s(value.point), format_usd(value.point), format_co2_g(value.point),
            duration_scale([value.low, value.high]).with_range(value),
            co2_scale([value.low, value.high]).with_range(value),
            format_probability(value.point / (1 + value.point)),
            format_money(value), format_money(value, with_range=False), format_money(value.point), about(value.point),
            money_ticks(value.low, value.high),
        ]  # fmt: skip
