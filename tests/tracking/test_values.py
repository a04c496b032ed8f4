from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlove_mlflow.core.account.run_facts import OfferRatio, RunFacts
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.experiment_totals import Spent
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.quantity import LOCAL, QUANTITIES
from greenlove_mlflow.core.records import PowerSample, StepProfile
from greenlove_mlflow.core.speed.gpus import SpeedRatio
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.tables import read_gpu_specs, read_price_sheet, table_versions
from greenlove_mlflow.tracking import artifacts, names
from greenlove_mlflow.tracking import values as record
from greenlove_mlflow.tracking.artifacts import input_of, tables_used
from greenlove_mlflow.tracking.note import make_experiment_note, make_note
from greenlove_mlflow.tracking.saved_view import saved_view
from greenlove_mlflow.tracking.spool.events import PowerEvent
from greenlove_mlflow.tracking.spool.measurements import write_power
from tests.support.factories import a_grid, a_log, a_power, an_epoch, some_statistics
from tests.support.report import a_benchmark, a_comparison, a_row, an_estimate, an_offer, an_outcome


def test_every_gpu_of_every_table_has_a_legal_metric_name_of_its_own() -> None:
    gpus = {spec.name for spec in read_gpu_specs()}
    for version in table_versions("crusoe_prices"):
        gpus |= {offer.gpu for offer in read_price_sheet(version).offers}
    slugs = {name: names.slug(name) for name in gpus}
    assert len(set(slugs.values())) == len(gpus)
    for slug in slugs.values():
        for quantity in (each.metric for each in QUANTITIES):
            assert names.is_legal_key(names.metric_key(quantity, slug))


@given(st.text(max_size=400))
def test_any_name_makes_a_legal_key(name: str) -> None:
    assert names.is_legal_key(names.metric_key(names.TIME_H, names.slug(name)))


def test_no_gpu_can_pass_for_home_or_for_the_end_of_a_range() -> None:
    assert names.slug("local") != LOCAL
    assert not names.slug("A 100_lo").endswith("_lo")
    assert names.slug("显卡") != names.slug("卡显")


def test_mlflow_itself_takes_every_name() -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

    for key, value in vars(names).items():
        if isinstance(value, str) and key.isupper():
            if value.startswith(("green/", "system/")):
                _validate_metric_name(value)
                assert names.is_legal_key(value)
            if key.startswith("PARAM_"):
                _validate_param_name(value)
            if key.startswith("TAG_"):
                _validate_tag_name(value)


def test_offers_of_one_gpu_are_told_apart() -> None:
    row = a_row(an_estimate())
    slugs = {
        names.offer_slug(dataclasses.replace(row, offer=an_offer(**over), used_gpu_count=count))
        for over, count in [({}, 1), ({"billing": "spot"}, 1), ({}, 8), ({"provider": "AWS"}, 1)]
    }
    assert slugs == {"H100-HGX-80GB", "H100-HGX-80GB-spot", "H100-HGX-80GB-x8", "AWS-H100-HGX-80GB"}


def test_a_newer_price_sheet_is_a_later_step_at_a_later_time() -> None:
    steps = [names.step_of_date(version) for version in table_versions("crusoe_prices")]
    assert steps == sorted(set(steps))
    assert names.timestamp_ms_of_date("2026-09-28") == 1_790_553_600_000
    with pytest.raises(InvalidInputError, match="as-of date"):
        names.step_of_date("soon")


def test_estimates_are_points_at_the_date_of_the_prices() -> None:
    comparison = a_comparison()
    points = {each.key: each for each in record.estimate_points(comparison.home, comparison, as_of="2026-09-28")}
    assert {point.step for point in points.values()} == {20260928}
    assert {point.timestamp_ms for point in points.values()} == {names.timestamp_ms_of_date("2026-09-28")}
    home = comparison.home
    assert points["green/time_h/local"].value == pytest.approx(home.time_s.point / 3600, rel=5e-4)
    assert all(len(f"{point.value:.15e}".split("e")[0].rstrip("0").replace(".", "")) <= 4 for point in points.values())
    assert points["green/time_h/local_lo"].value < points["green/time_h/local_hi"].value
    assert points["green/co2_kg/local"].value == pytest.approx(0.8)
    assert points["green/energy_kwh/H100-HGX-80GB"].value > 0
    assert {"green/saving/usd", "green/saving/co2_kg", "green/saving/time_h"} <= set(points)


def test_an_offer_without_a_public_price_has_time_and_co2_but_no_cost() -> None:
    comparison = a_comparison()
    keys = {each.key for each in record.estimate_points(comparison.home, comparison, as_of="2026-09-28")}
    assert {"green/time_h/B200-180GB", "green/co2_kg/B200-180GB"} <= keys
    assert "green/cost_usd/B200-180GB" not in keys
    assert "green/co2_kg/A40-48GB" not in keys  # its grid is unknown


def test_an_estimate_made_again_for_another_reason_has_its_own_time() -> None:
    home = an_estimate()
    assert {each.timestamp_ms for each in record.estimate_points(home, None, as_of="2026-09-28", timestamp_ms=5)} == {5}


def test_one_point_per_benchmarked_epoch() -> None:
    log = a_log(
        started_at="2026-10-01T00:00:00+00:00",
        epochs=(
            an_epoch(sample_count=500, duration_s=4.0),
            an_epoch(epoch_index=1, phase="validation", duration_s=1.0),
        ),
    )
    points = record.benchmark_points(log, 0.9)
    by_key = {key: [each for each in points if each.key == key] for key in {each.key for each in points}}
    assert [each.step for each in by_key[names.BENCH_EPOCH_S]] == [0, 1]
    assert [each.value for each in by_key[names.BENCH_EPOCH_SCALED_S]] == [8.0]
    assert by_key[names.BENCH_SPEARMAN_RHO][0].value == 0.9
    assert not [each for each in record.benchmark_points(log, None) if each.key == names.BENCH_SPEARMAN_RHO]


def test_params_say_unknown_where_nothing_is_known() -> None:
    params = record.params_of(some_statistics(grid=a_grid(price_usd_per_kwh=None), task=None))
    assert params["green.usd_per_kwh"] == "unknown"
    assert params["green.carbon_g_per_kwh"] == "300.0"
    assert params["green.country"] == "DE"
    named = "gpu epochs batch_size sample_count precision task country carbon_g_per_kwh usd_per_kwh prices_version"
    named += " throughput_version method bound_by world_size"
    assert set(params) == {f"green.{name}" for name in named.split()}
    assert params["green.bound_by"] == "unknown"


def test_params_say_what_the_training_is_bound_by() -> None:
    profile = StepProfile(loader_s=0.0, fetch_s=0.0, host_s=0.05, device_busy_s=0.02)
    assert record.params_of(some_statistics(profile=profile))["green.bound_by"] == "host"


def test_tags_name_the_source_of_each_power_figure() -> None:
    statistics = some_statistics(power=(a_power(), a_power(device="cpu", source="modelled", note="TDP 65 W x 0.7")))
    tags = record.tags_of(statistics, "2026-09-28")
    assert tags["greenlove.power_source.gpu_0"] == "counter"
    assert tags["greenlove.power_source.cpu"] == "modelled: TDP 65 W x 0.7"


def test_statistics_too_long_for_a_tag_lose_caveats_then_ratios_of_tables() -> None:
    def ratio(basis: str) -> SpeedRatio:
        return SpeedRatio(ratio=Interval(point=2.0, low=1.0, high=4.0), basis=basis, detail="x" * 300)  # type: ignore[arg-type]

    bases = ["given", "measured", *["throughput"] * 200]
    ratios = tuple(OfferRatio(gpu_id=f"gpu-{n}", speed_ratio=ratio(basis)) for n, basis in enumerate(bases))
    statistics = some_statistics(ratios=ratios, caveats=(Caveat(code="a", text="m" * 300),))
    assert len(statistics.to_json()) > names.TAG_VALUE_LIMIT
    text = record.stats_json(statistics)
    assert len(text) < names.TAG_VALUE_LIMIT
    kept = RunFacts.from_json(text)
    assert kept.fit == statistics.fit
    assert [each.speed_ratio.basis for each in kept.ratios] == ["given", "measured"]


def test_estimates_table_has_the_order_that_mlflows_page_compares(tmp_path: Path) -> None:
    comparison = a_comparison()
    artifacts.write_estimates(comparison.home, comparison, tmp_path / "estimates.json")
    content = json.loads((tmp_path / "estimates.json").read_text())
    assert content["columns"][:4] == ["gpu", "cost_usd", "time_h", "co2_kg"]
    assert [row[0] for row in content["data"]] == ["local", *(names.offer_slug(row) for row in comparison.rows)]
    b200 = dict(zip(content["columns"], content["data"][7], strict=True))
    assert b200["gpu"] == "B200-180GB"
    assert b200["cost_usd"] is None


def a_reading(timestamp_ms: int, sample: PowerSample) -> PowerEvent:
    return PowerEvent(device=sample.device, at_s=sample.at_s, power_w=sample.power_w, timestamp_ms=timestamp_ms, step=0)


# 2026-10-01 10:00:00 UTC, in milliseconds since 1970.
TEN_O_CLOCK_MS = 1_790_848_800_000


@pytest.mark.parametrize(
    ("started_at", "began_ms"),
    [
        ("2026-10-01T10:00:00+00:00", TEN_O_CLOCK_MS),
        ("2026-10-01T10:00:00Z", TEN_O_CLOCK_MS),
        ("2026-10-01T10:00:00", TEN_O_CLOCK_MS),
        ("2026-10-01T12:00:00.250000+02:00", TEN_O_CLOCK_MS + 250),
        ("1970-01-01T00:00:01+00:00", 1_000),
        ("", 0),
    ],
)
def test_a_benchmark_began_so_many_milliseconds_after_1970(started_at: str, began_ms: int) -> None:
    assert record.started_ms(a_log(started_at=started_at)) == began_ms


def test_points_of_a_benchmark_lie_where_it_was_in_time() -> None:
    epochs = tuple(an_epoch(epoch_index=index, start_s=2.5 * index, duration_s=2.0) for index in range(3))
    log = a_log(started_at="2026-10-01T10:00:00+00:00", duration_s=60.0, epochs=epochs)
    points = record.benchmark_points(log, 0.5)
    ends_ms = {TEN_O_CLOCK_MS + 2_000, TEN_O_CLOCK_MS + 4_500, TEN_O_CLOCK_MS + 7_000}
    assert {point.timestamp_ms for point in points[:-1]} == ends_ms
    assert points[-1].timestamp_ms == TEN_O_CLOCK_MS + 60_000


def test_a_log_comes_back_from_its_files_as_it_was(tmp_path: Path) -> None:
    log = dataclasses.replace(a_benchmark(), started_at="2026-10-01T10:00:00.123456+00:00", duration_s=60.0)
    epochs, blocks, power = (tmp_path / f"{name}.parquet" for name in ("benchmark", "blocks", "power"))
    artifacts.write_epochs(log, epochs)
    artifacts.write_blocks(log, blocks)
    began = TEN_O_CLOCK_MS + 123
    rows = [a_reading(began + round(each.at_s * 1000), each) for each in log.power_samples]
    later = a_reading(began + 3_600_000, PowerSample(at_s=0.5, device="gpu_0", power_w=99.0))
    write_power([*rows, later], power)
    assert artifacts.read_log(epochs, blocks, power) == log


def test_measured_files_say_what_they_are(tmp_path: Path) -> None:
    from greenlove_mlflow.tables import read_parquet_metadata

    artifacts.write_epochs(a_log(started_at="2026-10-01T10:00:00+00:00"), tmp_path / "b.parquet")
    metadata = read_parquet_metadata(tmp_path / "b.parquet")
    assert metadata["greenlove.table"] == "benchmark"
    assert len(metadata["greenlove.sha256"]) == 64
    assert set(metadata) >= {"greenlove.version", "greenlove.as_of", "greenlove.source"}


def test_inputs_name_version_date_source_and_content() -> None:
    comparison = a_comparison()
    tables = {table.name: table for table in tables_used(comparison.home, comparison)}
    assert {"crusoe_prices", "gpu_specs", "gpu_throughput"} <= set(tables)
    event = input_of(tables["crusoe_prices"])
    assert event["context"] == "prices"
    assert event["tags"] == {"greenlove.version": "2026-09-28", "greenlove.as_of": "2026-09-28"}
    assert event["dataset"]["digest"] == tables["crusoe_prices"].sha256[:36]
    assert "http" in event["dataset"]["source"]
    json.dumps(event)


def test_prices_of_ones_own_are_an_input_too(tmp_path: Path) -> None:
    sheet = tmp_path / "mine.csv"
    sheet.write_text("gpu,price_usd_per_hour\nH100 HGX 80GB,2.5\nL40S 48GB,\n")
    prices = read_price_sheet(sheet, version="v1", as_of="2026-11-01", source="a quote")
    comparison = a_comparison(prices=prices)
    table = tables_used(comparison.home, comparison)[0]
    event = input_of(table)
    assert (event["context"], event["dataset"]["name"]) == ("prices", "prices")
    assert event["tags"] == {"greenlove.version": "v1", "greenlove.as_of": "2026-11-01"}
    assert str(tmp_path) not in json.dumps(event)
    artifacts.write_table_parquet(table, tmp_path / "p.parquet")
    artifacts.write_table_csv(table, tmp_path / "p.csv")
    assert pd.read_csv(tmp_path / "p.csv")["price_usd_per_hour"].tolist()[0] == 2.5


def test_the_saved_view_is_what_mlflows_page_reads() -> None:
    comparison = a_comparison()
    text = saved_view(comparison.home, comparison)
    assert len(text) < 5000
    envelope = json.loads(text)
    assert isinstance(envelope["createdAt"], int)
    kind, packed = envelope["state"].split(";", 1)
    assert kind == "deflate"
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == sections
    assert len({chart["uuid"] for chart in state["compareRunCharts"]}) == len(state["compareRunCharts"])
    assert state["searchFilter"] == "tags.`greenlove.kind` = 'track'"
    lines = {chart["metricKey"]: chart for chart in state["compareRunCharts"] if chart["type"] == "LINE"}
    dollars = lines["green/cost_usd/local"]["selectedMetricKeys"]
    assert "green/cost_usd/H100-HGX-80GB" in dollars
    assert "green/cost_usd/B200-180GB" not in dollars
    assert lines["green/cost_usd/local"]["xAxisKey"] == "time"
    assert "green/co2_kg/A100-SXM-80GB" in lines["green/co2_kg/local"]["selectedMetricKeys"]
    assert len(state["compareRunCharts"]) < 14
    assert state["selectedColumns"][:3] == [
        "tags.`greenlove.status`", "metrics.`green/actual/time_h`", "metrics.`green/time_h/local`",
    ]  # fmt: skip
    assert {"params.`green.country`", "tags.`greenlove.best_option`", "tags.`greenlove.prices_as_of`"} <= {
        *state["selectedColumns"]
    }


def test_the_view_of_a_training_without_power_asks_for_no_cost() -> None:
    home = an_estimate(energy_kwh=None, cost_usd=None, co2_g=None)
    state = saved_view(home, None)
    packed = json.loads(state)["state"].split(";", 1)[1]
    assert b"green/cost_usd/local" not in zlib.decompress(base64.b64decode(packed))


def test_the_note_begins_with_the_verdict_and_shows_the_picture() -> None:
    comparison = a_comparison()
    note = make_note(comparison.home, comparison, run_id="abc", outcome=None)
    assert note.startswith("Training here takes")
    assert "](get-artifact?path=greenlove/plots/crusoe.png&run_uuid=abc)" in note


def test_the_note_of_a_training_too_small_to_rent_for_shows_no_offers() -> None:
    comparison = dataclasses.replace(a_comparison(), start_s=Interval.exactly(1e6))
    note = make_note(comparison.home, comparison, run_id="abc", outcome=None)
    assert "too small to rent" in note
    assert "get-artifact" not in note


def test_the_note_says_first_what_happened_once_it_has() -> None:
    home = an_estimate()
    note = make_note(home, a_comparison(home), run_id="abc", outcome=an_outcome(), status="finished")
    assert note.startswith("It took 5 h 15 min, 2.15 kWh, $0.65, 0.815 kg CO2e. That is 1.6% longer than the estimated")
    assert "| time | 5 h 15 min | 5 h 10 min (4 h 50 min to 5 h 35 min) |" in note
    assert "Next time: " in note.split("\n")[0]
    refused = make_note(home, None, run_id="abc", notice="Not run: it breaks the limit of $1.00.", status="refused")
    assert refused.startswith("Not run: it breaks the limit of $1.00. Training here would take ")


def test_the_note_lists_what_asks_for_action_and_counts_the_rest() -> None:
    caveats = (Caveat.of("place-unknown", why="no place was found"), Caveat(code="a", text="one"), Caveat(code="b"))
    note = make_note(an_estimate(caveats=caveats), None, run_id="abc")
    assert note.count("\n- ") == 1
    assert "no place was found" in note
    assert "2 assumptions. " in note


def test_the_experiments_note_adds_up_what_happened_and_counts_plans_apart() -> None:
    total = Spent(run_count=6, time_s=64.0, energy_kwh=2e-4, cost_usd=5e-5, co2_g=0.1, unmetered_count=0)
    note = make_experiment_note(total, refused_count=2, table_url="http://host/table", charts_url=None)
    first = note.split("\n")[0]
    assert first == "**Green Love:** 6 trainings, 2 refused: 1 min 4 s, 200 mWh, under 1 cent, 100 mg CO2e."
    assert "[Runs with figures](http://host/table)" in note
    assert "Charts" not in note


def test_a_note_with_many_caveats_stays_under_the_limit_and_whole() -> None:
    caveats = tuple(Caveat.of("place-unknown", why=f"{n} " + "words " * 60) for n in range(60))
    note = make_note(an_estimate(caveats=caveats), a_comparison(), run_id="abc")
    assert len(note) < names.TAG_VALUE_LIMIT
    assert note.endswith("`greenlove/report.html`.")


def test_hostile_names_are_shown_not_obeyed_in_the_note() -> None:
    caveat = Caveat.of("place-unknown", why="<script>alert(1)</script> [a](javascript:b) | c")
    note = make_note(an_estimate(caveats=(caveat,)), None, run_id="abc")
    assert "<script>" not in note
    assert "[a](" not in note
