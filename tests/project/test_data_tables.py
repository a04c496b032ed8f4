"""Tests of the data, apart from tests of the code: what is in the tables is possible, consistent and sourced."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import importlib.util
import itertools
import math
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from greenlove_mlflow.core.timing.drift_prior import DriftModel
from greenlove_mlflow.tables import (
    data_root,
    find_grid,
    read_drift_model,
    read_gpu_specs,
    read_instance_start,
    read_table,
    table_names,
    table_versions,
)
from greenlove_mlflow.tables.places.index import country_names
from greenlove_mlflow.tables.store.adding import check_references
from greenlove_mlflow.tables.store.rows import plain_rows, row_source, rows_of
from greenlove_mlflow.tables.store.store import read_schema

# Rows drawn at random and held against a source other than their own: value, how far off it may be, and that source.
SAMPLE = list(csv.DictReader((Path(__file__).resolve().parents[1] / "recordings" / "table_sample.csv").open()))
VERSIONS = [(name, version) for name in table_names() for version in table_versions(name)]
EVERY_VERSION = pytest.mark.parametrize(("name", "version"), VERSIONS, ids=lambda text: text)
EVERY_TABLE = pytest.mark.parametrize("name", table_names())
# A suffix of our vocabulary says the unit; these are the units it may stand for.
UNIT_OF_SUFFIX = {
    "_usd_per_hour": "USD/h",
    "_usd_per_kwh": "USD/kWh",
    "_g_per_kwh": "gCO2e/kWh",
    "_tflops": "TFLOPS",
    "_gb_per_s": "GB/s",
    "_gib": "GiB",
    "_w": "W",
    "_deg": "degrees",
    "_mhz": "MHz",
    "_count": "count",
    "_ratio": "ratio",
}


# Crusoe's page has had no public spot and reserved prices since December 2025.
NOT_PUBLIC = {
    "crusoe_prices": {f"{term}_usd_per_hour" for term in ("spot", "reserved_6m", "reserved_1y", "reserved_3y")}
}
# Corrections that are no slip: a module of two dies became one die, Gaudi's FP16 rate is a fourth of its BF16 rate.
CORRECTED = {
    *itertools.product(
        ("amd-instinct-mi250", "amd-instinct-mi250x"),
        ("memory_gib", "memory_bandwidth_gb_per_s", "fp32_tflops", "fp16_tflops", "bf16_tflops", "tdp_w"),
    ),
    ("intel-gaudi-3", "fp16_tflops"),
    # Years of much and of little water: the figure of an unconfirmed year gave way to Ember's of a stated one.
    ("CR", "intensity_g_per_kwh"),
    ("VE", "intensity_g_per_kwh"),
    # The lowest slab of households gave way to the regulator's mean of all customers.
    ("MY", "residential_usd_per_kwh"),
}


def the_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, data_root() / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def the_row(table: str, **key: Any) -> dict[str, Any]:
    rows = [row for _, row in rows_of(table) if all(row[name] == value for name, value in key.items())]
    assert len(rows) == 1, (table, key, len(rows))
    return rows[0]


def test_all_tables_are_here() -> None:
    expected = (
        "carbon_intensity cloud_prices co2_equivalences cpu_tdp crusoe_prices crusoe_regions electricity_maps_zones "
        "electricity_prices gpu_specs gpu_throughput gpu_throughput_bridge mlperf pue ram_power"
    )
    assert set(expected.split()) <= set(table_names())
    assert len(table_versions("crusoe_prices")) == 9


@EVERY_VERSION
def test_a_version_passes_its_checks_and_its_references_lead_somewhere(name: str, version: str) -> None:
    table = read_table(name, version)
    check_references(table)
    assert len(table.frame) > 0


@EVERY_VERSION
def test_a_version_states_its_digest_rows_dates_producer_and_licence(name: str, version: str) -> None:
    table = read_table(name, version)
    sidecar = table.sidecar
    assert sidecar.sha256 == hashlib.sha256(table.path.read_bytes()).hexdigest() == table.sha256
    assert sidecar.row_count == len(table.frame)
    assert table.source.producer
    assert table.source.title
    assert table.source.licence
    assert table.source.url.startswith("https://") or (data_root().parent / table.source.url).exists()
    for date in (table.version, table.as_of, table.source.published, table.source.accessed):
        assert dt.date.fromisoformat(date) <= dt.date.fromisoformat(table.source.accessed)
    assert (table.source.table, table.source.version) == (name, version)


@EVERY_TABLE
def test_the_newest_version_has_the_columns_of_its_table(name: str) -> None:
    schema = read_schema(name)
    sidecar = read_table(name).sidecar
    assert (sidecar.columns, sidecar.key, sidecar.notes) == (schema.columns, schema.key, schema.notes)


@EVERY_VERSION
def test_a_version_has_the_columns_that_its_own_toml_states(name: str, version: str) -> None:
    table = read_table(name, version)
    assert list(table.frame.columns) == [column.name for column in table.sidecar.columns]
    assert table.sidecar.key == read_schema(name).key


@EVERY_TABLE
def test_no_column_of_the_newest_version_is_silently_empty(name: str) -> None:
    frame = read_table(name).frame
    assert {column for column in frame.columns if frame[column].notna().sum() == 0} == NOT_PUBLIC.get(name, set())


@EVERY_TABLE
def test_every_number_has_a_unit_and_a_range_that_its_name_agrees_with(name: str) -> None:
    for column in read_schema(name).columns:
        if column.type not in ("number", "integer"):
            continue
        assert column.unit, column.name
        assert column.minimum is not None, column.name
        assert column.maximum is not None, column.name
        for suffix, unit in UNIT_OF_SUFFIX.items():
            if column.name.endswith(suffix):
                assert column.unit == unit, column.name
                break


@EVERY_VERSION
def test_every_row_says_where_it_comes_from_and_when(name: str, version: str) -> None:
    for row in plain_rows(read_table(name, version)):
        assert row["source"], row
        assert row["as_of"], row


@EVERY_VERSION
def test_nothing_names_the_place_where_it_was_gathered(name: str, version: str) -> None:
    table = read_table(name, version)
    for path in (table.path, table.path.with_suffix(".toml")):
        text = path.read_text(encoding="utf-8")
        assert "stored copy" not in text
        assert "/work/" not in text


@EVERY_TABLE
def test_country_codes_are_of_iso_3166(name: str) -> None:
    codes = {row["country_code"] for _, row in rows_of(name) if row.get("country_code")}
    # Kosovo's code is of the user-assigned range.
    assert codes <= {*country_names(), "XK"}


def test_the_readme_is_current() -> None:
    assert the_script("write_readme").render() == (data_root() / "README.md").read_text(encoding="utf-8")


def test_the_share_alike_table_has_its_notice_and_no_other_table_its_figures() -> None:
    notice = (data_root() / "electricity_maps_zones" / "NOTICE").read_text(encoding="utf-8")
    assert "Electricity Maps" in notice
    assert "opendatacommons.org/licenses/odbl" in notice
    for name, version in VERSIONS:
        if name != "electricity_maps_zones":
            text = read_table(name, version).path.read_text(encoding="utf-8")
            assert "electricity-maps/yearly" not in text


def test_the_proprietary_prices_are_quoted_where_no_open_source_has_the_country_and_nowhere_else() -> None:
    countries = [row for _, row in rows_of("electricity_prices") if row["geo_type"] == "country"]
    quoted = {row["code"] for row in countries if row["producer"] == "GlobalPetrolPrices"}
    first = {row["code"] for _, row in rows_of("electricity_prices", "2026-07-23") if row["geo_type"] == "country"}
    assert len(countries) >= 70
    assert len(quoted) <= 22
    assert quoted <= first
    assert not quoted & {row["code"] for row in countries if row["producer"] == "Eurostat"}
    assert all("quoted with credit" in row["licence"] for row in countries if row["code"] in quoted)
    assert len([row for _, row in rows_of("electricity_prices") if row["geo_type"] == "us_state"]) == 51


# Licences that an MIT package may not hold the data of; single figures and summaries of the last two are quoted.
UNSHIPPABLE = ("agpl", "gpl", "boaviztapi", "by-nc", "non-commercial", "noncommercial")
SHARE_ALIKE = ("by-sa", "odbl")


def may_not_be_held(said: str, *, may_share_alike: bool = False) -> bool:
    """Whether a row that says this of its source and its licence has no place in an MIT package."""
    words = said.lower().replace("mpl", "")
    if any(re.search(rf"\b{word}\b", words) for word in UNSHIPPABLE):
        return True
    return not may_share_alike and any(word in words for word in SHARE_ALIKE) and "quoted with credit" not in words


@EVERY_TABLE
def test_no_row_comes_from_a_source_that_an_mit_package_may_not_hold(name: str) -> None:
    table = read_table(name)
    for row in plain_rows(table):
        source = row_source(table, row)
        said = f"{source.producer} {source.title} {source.licence} {row['source']}"
        assert not may_not_be_held(said, may_share_alike=name == "electricity_maps_zones"), row


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("boaviztapi 2.5.0 data/crowdsourcing/cpu_specs.csv", True),
        ("package data under AGPL-3.0", True),
        ("GPL-3.0 collection", True),
        ("figures under CC BY-NC 4.0", True),
        ("for non-commercial use", True),
        ("medians under CC BY-SA 4.0", True),
        ("zones under ODbL 1.0", True),
        ("medians under CC BY-SA 4.0, quoted with credit", False),
        ("dstack gpuhunt (MPL-2.0)", False),
        ("codecarbon 3.3.2 (MIT)", False),
        ("Ember data CC BY 4.0", False),
    ],
)
def test_what_may_not_be_held_is_told_by_its_words(said: str, refused: bool) -> None:
    assert may_not_be_held(said) == refused


def test_a_row_of_a_collection_that_may_not_be_held_would_be_found() -> None:
    table = read_table("cpu_tdp")
    row = plain_rows(table)[0] | {"source": "boaviztapi 2.5.0 data/crowdsourcing/cpu_specs.csv"}
    assert may_not_be_held(f"{row_source(table, row).licence} {row['source']}")


def test_what_is_quoted_from_a_share_alike_source_is_a_few_figures() -> None:
    for name in table_names():
        quoted = [row for _, row in rows_of(name) if "by-sa" in str(row["source"]).lower()]
        assert len(quoted) <= 20, name


@pytest.mark.parametrize("words", ["Mila, BCG Gamma", "Code Carbon NGO", "Benjamin Paine", "Hugging Face", "Ember"])
def test_the_notice_names_whose_terms_travel_with_the_tables(words: str) -> None:
    root = Path(__file__).resolve().parents[2]
    assert words in (root / "NOTICE").read_text(encoding="utf-8")
    packaging = (root / "pyproject.toml").read_text(encoding="utf-8")
    assert 'license-files = ["LICENSE", "NOTICE"]' in packaging


def test_the_tables_stay_small() -> None:
    files = [path for path in data_root().rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    assert sum(path.stat().st_size for path in files) < 3_000_000


@EVERY_TABLE
def test_no_figure_changed_by_its_magnitude_between_versions(name: str) -> None:
    schema = read_schema(name)
    numbers = [column.name for column in schema.columns if column.type == "number"]
    for before, after in itertools.pairwise(table_versions(name)):
        old = {tuple(row[part] for part in schema.key): row for _, row in rows_of(name, before)}
        for _, row in rows_of(name, after):
            past = old.get(tuple(row[part] for part in schema.key), {})
            for number in numbers:
                # Up to 2026-11-24 the model called TF32 fp32.
                renamed = name == "speed_ratio_model" and row["precision"] == "fp32"
                if (
                    past.get(number)
                    and row[number]
                    and not renamed
                    and (row.get("gpu_id") or row.get("code"), number) not in CORRECTED
                ):
                    assert 0.5 < row[number] / past[number] < 2.0, (after, row, number)


def test_a_gpu_keeps_its_key_and_memory_between_versions() -> None:
    seen: dict[str, tuple[str, float]] = {}
    for version in table_versions("crusoe_prices"):
        for _, row in rows_of("crusoe_prices", version):
            assert seen.setdefault(row["gpu"], (row["gpu_id"], row["memory_gib"])) == (row["gpu_id"], row["memory_gib"])


def test_a_discount_is_below_the_price_on_demand() -> None:
    for version in table_versions("crusoe_prices"):
        for _, row in rows_of("crusoe_prices", version):
            terms = [row[f"{term}_usd_per_hour"] for term in ("spot", "reserved_6m", "reserved_1y", "reserved_3y")]
            assert all(term < row["price_usd_per_hour"] for term in terms if term is not None)
            assert (row["price_status"] == "public") == (row["price_usd_per_hour"] is not None)


@pytest.mark.parametrize(
    ("faster", "slower", "low", "high"),
    [("fp16_tflops", "tf32_tflops", 1.85, 2.15), ("fp8_tflops", "fp16_tflops", 0.99, 2.05)],
)
def test_tensor_rates_stand_in_the_ratios_of_the_hardware(faster: str, slower: str, low: float, high: float) -> None:
    for _, row in rows_of("gpu_specs"):
        # Gaudi 3 computes FP16 at a fourth of its BF16 rate.
        if row[faster] is not None and row[slower] is not None and row["gpu_id"] != "intel-gaudi-3":
            assert low <= row[faster] / row[slower] <= high, row["gpu_id"]


def test_every_alias_that_names_two_gpus_is_marked() -> None:
    owners: dict[str, set[str]] = {}
    for _, row in rows_of("gpu_specs"):
        for alias in row["aliases"].split("|"):
            owners.setdefault(alias.lower(), set()).add(row["gpu_id"])
    marked = {row["gpu_id"] for _, row in rows_of("gpu_specs") if row["alias_ambiguous"]}
    assert {gpu_id for ids in owners.values() if len(ids) > 1 for gpu_id in ids} <= marked


@pytest.mark.parametrize(
    ("gpu_id", "column", "value"),
    [
        # What the original has wrong: 142, 330.3, 184.6, 206.1, 32.6 TFLOPS; 2039, 512 GB/s.
        ("nvidia-geforce-rtx-3090", "fp16_tflops", 71.2),
        ("nvidia-geforce-rtx-4090", "fp16_tflops", 165.2),
        ("nvidia-geforce-rtx-4070-ti", "fp16_tflops", 80.2),
        ("nvidia-quadro-rtx-8000", "fp16_tflops", 130.5),
        ("nvidia-a100-pcie-80gb", "memory_bandwidth_gb_per_s", 1935.0),
        ("nvidia-geforce-rtx-3070", "memory_bandwidth_gb_per_s", 448.0),
        ("amd-instinct-mi300x", "fp16_tflops", 1307.4),
        ("nvidia-h100-sxm5-80gb", "fp16_tflops", 989.4),
        ("nvidia-a100-sxm4-80gb", "fp16_tflops", 312.0),
    ],
)
def test_a_published_specification_is_right(gpu_id: str, column: str, value: float) -> None:
    assert the_row("gpu_specs", gpu_id=gpu_id)[column] == pytest.approx(value, rel=0.01)


@pytest.mark.parametrize(
    ("code", "wrong", "right"),
    [("CA", 110.0, 190.7), ("BR", 75.0, 109.8), ("SA", 538.0, 692.0), ("KZ", 620.0, 805.3), ("WORLD", 494.0, 458.0)],
)
def test_the_originals_wrong_carbon_intensities_are_not_here(code: str, wrong: float, right: float) -> None:
    value = the_row("carbon_intensity", code=code, scope="lifecycle")["intensity_g_per_kwh"]
    assert value == pytest.approx(right, rel=0.01)
    assert abs(value / wrong - 1.0) > 0.05


@pytest.mark.parametrize(("subregion", "g_per_kwh"), [("NYCW", 401.0), ("ERCT", 319.0), ("MROE", 591.0)])
def test_subregions_are_the_epas_own(subregion: str, g_per_kwh: float) -> None:
    row = the_row("carbon_intensity", code=subregion)
    assert row["intensity_g_per_kwh"] == pytest.approx(g_per_kwh, rel=0.01)
    assert row["scope"] == "direct"


def test_the_originals_wrong_prices_and_equivalences_are_not_here() -> None:
    december = {row["gpu"]: row["price_usd_per_hour"] for _, row in rows_of("crusoe_prices", "2025-12-15")}
    assert december["MI300X 192GB"] == 3.45
    assert the_row("electricity_prices", code="UA")["residential_usd_per_kwh"] > 0.06
    assert the_row("co2_equivalences", key="smartphone_charge_epa")["kg_per_unit"] == 0.0124
    seedling = the_row("co2_equivalences", key="tree_seedling_10y_epa")
    assert (seedling["kg_per_unit"], seedling["unit"]) == (60.0, "seedling grown for 10 years")
    assert not [row for _, row in rows_of("co2_equivalences") if "search" in row["key"]]


@pytest.mark.parametrize(
    ("task", "h200", "b200"),
    [
        ("resnet50", 1.10, 1.10),
        ("ssd", 1.09, 1.18),
        ("bert_base_squad", 1.10, 1.66),
        ("bert_large_squad", 1.13, 1.69),
        ("gnmt", 1.19, 1.79),
    ],
)
def test_the_newest_suite_has_the_measured_ratios(task: str, h200: float, b200: float) -> None:
    h100_rate, h200_rate, b200_rate = (
        the_row("gpu_throughput", suite="v2", task=task, precision="fp16", gpu_id=gpu_id, gpu_count=1)["throughput"]
        for gpu_id in ("nvidia-h100-sxm5-80gb", "nvidia-h200-sxm-141gb", "nvidia-b200-sxm-180gb")
    )
    assert h200_rate / h100_rate == pytest.approx(h200, abs=0.01)
    assert b200_rate / h100_rate == pytest.approx(b200, abs=0.01)


def test_no_throughput_is_superlinear_or_scales_not_at_all() -> None:
    single = {
        (row["suite"], row["task"], row["precision"], row["gpu_id"]): row["throughput"]
        for _, row in rows_of("gpu_throughput")
        if row["gpu_count"] == 1
    }
    for _, row in rows_of("gpu_throughput"):
        one = single.get((row["suite"], row["task"], row["precision"], row["gpu_id"]))
        if row["gpu_count"] > 1 and one is not None:
            assert 0.2 < row["throughput"] / one / row["gpu_count"] < 1.25, row


def test_the_bridge_is_what_the_throughputs_give() -> None:
    for _, row in rows_of("gpu_throughput_bridge"):
        rates: dict[str, dict[str, float]] = {row["from_suite"]: {}, row["to_suite"]: {}}
        for _, rate in rows_of("gpu_throughput"):
            same = (rate["task"], rate["precision"], rate["gpu_count"]) == (row["task"], row["precision"], 1)
            if same and rate["suite"] in rates:
                rates[rate["suite"]][rate["gpu_id"]] = rate["throughput"]
        old, new = rates[row["from_suite"]], rates[row["to_suite"]]
        ratios = sorted(new[gpu_id] / old[gpu_id] for gpu_id in old if gpu_id in new)
        assert len(ratios) == row["gpu_count"]
        middle = (ratios[(len(ratios) - 1) // 2] + ratios[len(ratios) // 2]) / 2.0
        assert row["ratio_median"] == pytest.approx(middle, rel=0.02)


def test_regions_have_no_claim_without_a_hydro_or_geothermal_grid() -> None:
    claimed = {row["region"] for _, row in rows_of("crusoe_regions") if row["energy_claim"]}
    assert claimed == {"eu-iceland1-a", "eu-norway1-a"}


def test_every_country_with_a_price_has_a_carbon_intensity() -> None:
    for _, row in rows_of("electricity_prices"):
        if row["geo_type"] == "region":
            continue
        grid, _ = find_grid(environment_place=row["code"]) if row["code"] != "WORLD" else find_grid()
        assert grid.intensity_g_per_kwh is not None
        assert grid.price_usd_per_kwh is not None
        assert math.isclose(grid.price_usd_per_kwh.point, row["residential_usd_per_kwh"])


def test_no_country_falls_to_the_price_of_the_world() -> None:
    for _, row in rows_of("carbon_intensity"):
        if row["geo_type"] == "country":
            _, caveats = find_grid(country=row["code"])
            assert "price-of-world" not in {caveat.code for caveat in caveats}, row["code"]


def test_every_country_lies_in_one_part_of_the_world_that_has_a_price() -> None:
    parts = {row["code"] for _, row in rows_of("electricity_prices") if row["geo_type"] == "region"}
    assert {row["subregion_code"] for _, row in rows_of("un_subregions")} == parts
    known = {row["country_code"] for _, row in rows_of("un_subregions")}
    assert {row["code"] for _, row in rows_of("carbon_intensity") if row["geo_type"] == "country"} <= known


@pytest.mark.parametrize(
    ("code", "eur_per_kwh"), [("DE", 0.3835), ("BE", 0.3571), ("DK", 0.3485), ("HU", 0.1040), ("MT", 0.1244)]
)
def test_a_country_pays_about_what_eurostat_announced_for_the_first_half_of_2025(code: str, eur_per_kwh: float) -> None:
    # Press release of 2025-10-29; the euro was worth 1.09 dollars in that half year and 1.17 in the next.
    price = the_row("electricity_prices", geo_type="country", code=code)["residential_usd_per_kwh"]
    assert price / 1.13 == pytest.approx(eur_per_kwh, rel=0.06)


@pytest.mark.parametrize(
    ("code", "usd_per_kwh"),
    [
        # 26.35 pence a kWh and 53.68 a day over 2,700 kWh; 2.77 dollars raised by 3.12%; 13.4702 pesos; 33.06 cents;
        # 0.207 riyals; 0.29 dirhams with 5% VAT; each by the rate that its row names.
        ("GB", (0.2635 + 0.5368 * 365 / 2700) * 1.3266),
        ("TW", 2.77 * 1.0312 / 30.22),
        ("PH", 13.4702 / 58.2),
        ("NZ", 0.33056 * 0.5724),
        ("SA", 0.207 / 3.75),
        ("AE", 0.29 * 1.05 / 3.6725),
        # 8,634 yen for 260 kWh; 45.40 sen; 736 reais a MWh; 27.47 cents; 3.98 baht; 1,444.70 rupiah; 2,204.07 dong;
        # 4.32 hryvnias.
        ("JP", 8634 / 260 / 152.5),
        ("MY", 0.4540 / 4.2255),
        ("BR", 0.736 / 5.498),
        ("SG", 0.2747 / 1.2983),
        ("TH", 3.98 / 32.51),
        ("ID", 1444.70 / 16400),
        ("VN", 2204.0655 / 25830),
        ("UA", 4.32 / 41.75),
    ],
)
def test_a_price_is_what_a_regulator_or_a_utility_prints(code: str, usd_per_kwh: float) -> None:
    row = the_row("electricity_prices", geo_type="country", code=code)
    assert row["residential_usd_per_kwh"] == pytest.approx(usd_per_kwh, rel=0.002)
    assert row["producer"] != "GlobalPetrolPrices"


@pytest.mark.parametrize(
    ("code", "g_per_kwh", "year"), [("CR", 63.0, 2024), ("VE", 180.3, 2023), ("LK", 509.8, 2022), ("MK", 569.0, 2024)]
)
def test_a_doubtful_intensity_gave_way_to_one_of_a_stated_year(code: str, g_per_kwh: float, year: int) -> None:
    row = the_row("carbon_intensity", code=code, scope="lifecycle")
    assert row["intensity_g_per_kwh"] == pytest.approx(g_per_kwh, rel=0.01)
    assert (row["data_year"], row["data_year_confirmed"]) == (year, True)


@pytest.mark.parametrize("drawn", SAMPLE, ids=[f"{each['table']} {each['row']}" for each in SAMPLE])
def test_a_row_drawn_at_random_is_what_another_source_says(drawn: dict[str, str]) -> None:
    key = dict(part.split("=", 1) for part in drawn["row"].split(";"))
    row = next(
        row for _, row in rows_of(drawn["table"]) if all(str(row[column]) == value for column, value in key.items())
    )
    assert row[drawn["column"]] == pytest.approx(float(drawn["value"]), rel=float(drawn["tolerance"])), drawn["source"]


def test_the_sample_is_of_many_tables_and_large() -> None:
    assert len(SAMPLE) >= 60
    assert len({each["table"] for each in SAMPLE}) >= 6


@pytest.mark.parametrize(
    ("gpu_id", "column", "value"),
    [
        ("nvidia-rtx-pro-4500-blackwell", "fp32_tflops", 54.94),
        ("nvidia-rtx-pro-4000-blackwell-sff", "fp32_tflops", 23.96),
        ("amd-instinct-mi25", "memory_bandwidth_gb_per_s", 484.0),
        ("amd-instinct-mi250x", "memory_gib", 64.0),
        ("amd-instinct-mi250x", "fp16_tflops", 191.5),
        ("intel-gaudi-3", "fp16_tflops", 459.0),
        ("intel-gaudi-3", "bf16_tflops", 1677.0),
        ("nvidia-gb10", "fp16_tflops", 125.0),
        ("nvidia-geforce-rtx-5090-laptop", "tdp_max_w", 175.0),
        ("intel-arc-b580", "fp16_tflops", 109.4),
    ],
)
def test_a_figure_that_an_audit_found_wrong_is_right(gpu_id: str, column: str, value: float) -> None:
    assert the_row("gpu_specs", gpu_id=gpu_id)[column] == pytest.approx(value, rel=0.01)


@pytest.mark.parametrize(
    ("cpu", "threads"), [("AMD EPYC 7763", 128), ("AMD EPYC 9754S", 128), ("Intel Xeon Platinum 8380", 80)]
)
def test_a_server_chip_has_the_threads_that_its_maker_prints(cpu: str, threads: int) -> None:
    assert the_row("cpu_tdp", cpu=cpu)["thread_count"] == threads


def test_a_blackwell_gpu_is_named_by_its_compute_capability() -> None:
    for _, row in rows_of("gpu_specs"):
        if row["architecture"].startswith("Blackwell"):
            assert (row["architecture"] == "Blackwell RTX") == row["compute_capability"].startswith("12."), row


@pytest.mark.parametrize(
    ("gpu_id", "idle_w"),
    [("nvidia-a100-sxm4-80gb", 65.0), ("nvidia-h100-sxm5-80gb", 70.0), ("nvidia-l40s", 25.5), ("nvidia-b100", None)],
)
def test_a_board_at_rest_draws_what_was_read_or_is_unknown(gpu_id: str, idle_w: float | None) -> None:
    assert next(spec for spec in read_gpu_specs() if spec.gpu_id == gpu_id).idle_w == idle_w


def test_a_board_at_rest_draws_less_than_a_third_of_its_power() -> None:
    read = [spec for spec in read_gpu_specs() if spec.idle_w is not None]
    assert len(read) >= 16
    assert all(spec.tdp_w is not None and spec.idle_w is not None and spec.idle_w < spec.tdp_w / 3 for spec in read)


def test_a_fit_without_tables_expects_the_drift_that_the_table_does() -> None:
    assert read_drift_model() == DriftModel()


def test_an_instance_starts_in_one_to_five_minutes() -> None:
    seconds, source = read_instance_start()
    assert (seconds.point, seconds.low, seconds.high) == (61.0, 42.0, 302.0)
    assert "Spare Cores" in source.producer


def test_a_cloud_without_figures_of_its_own_gets_those_of_all_clouds() -> None:
    assert read_instance_start("Crusoe Cloud") == read_instance_start()
    assert read_instance_start("UpCloud")[0].point == 82.0


def test_a_new_version_is_what_its_changes_make_of_the_one_before() -> None:
    versions = the_script("upstream/versions")
    built = [
        (folder.name, version)
        for folder in versions.CHANGES.iterdir()
        for version in versions.versions_with_changes(folder.name)
    ]
    assert len(built) >= 10
    for name, version in built:
        path = data_root() / name / f"{version}.csv"
        assert versions.version_text(name, version) == path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize(
    ("change", "row", "column"),
    [("add", "nvidia-l4", ""), ("drop", "nvidia-l5", ""), ("set", "nvidia-l5", "tdp_w"), ("set", "nvidia-l4", "watts")],
)
def test_a_change_that_fits_no_row_is_refused(change: str, row: str, column: str) -> None:
    versions = the_script("upstream/versions")
    frame = versions.version_before("gpu_specs", "2026-11-01")
    line = {"change": change, "row": row, "column": column, "value": "1", "source": ""}
    with pytest.raises(SystemExit, match=row):
        versions.changed(frame, [line], ("gpu_id",), list(frame.columns))
