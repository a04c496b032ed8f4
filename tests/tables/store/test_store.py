"""Tables: found, checked, read, and how old they are."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.errors import TableError
from greenlove_mlflow.tables import (
    data_root,
    find_grid,
    parquet_metadata,
    read_default_pue,
    read_equivalences,
    read_gpu_specs,
    read_mlperf,
    read_parquet_metadata,
    read_ram_w_per_gib,
    read_regions,
    read_suite_bridges,
    read_table,
    read_throughput,
    table_names,
    table_versions,
    write_parquet,
)
from greenlove_mlflow.tables.store.schema import Column, Sidecar, format_sidecar, read_sidecar
from greenlove_mlflow.tables.store.store import Table, age_days, is_stale, read_schema, read_table_file, stale_caveats

COLUMNS = (
    Column(name="code"),
    Column(name="power_w", type="number", unit="W", minimum=5.0, maximum=1500.0, blank=True),
    Column(name="cores", type="integer", unit="count", minimum=1.0, maximum=512.0, blank=True, required=False),
    Column(name="is_new", type="boolean", required=False, blank=True),
    Column(name="as_of", type="date", required=False, blank=True),
    Column(name="kind", values=("a", "b"), required=False, blank=True),
    Column(name="slug", pattern="[a-z]+", required=False, blank=True),
)


def a_sidecar(**over: object) -> Sidecar:
    fields = {
        "source": Source(producer="P", title="T", table="things", version="2026-01-01"),
        "as_of": "2026-01-01",
        "key": ("code",),
        "columns": COLUMNS,
    }
    return Sidecar(**{**fields, **over})


def a_table(tmp_path: Path, text: str, **over: object) -> Table:
    path = tmp_path / "2026-01-01.csv"
    path.write_text(text, encoding="utf-8")
    return read_table_file(path, a_sidecar(**over))


def test_a_table_is_typed_and_namibia_is_a_country(tmp_path: Path) -> None:
    text = "code,power_w,cores,is_new,as_of\nNA,350,8,true,2026-01-01\nNULL,,,,\n"
    frame = a_table(tmp_path, text).frame
    assert frame["code"].tolist() == ["NA", "NULL"]
    assert frame["power_w"].iloc[0] == 350.0
    assert pd.isna(frame["power_w"].iloc[1])
    assert frame["cores"].iloc[0] == 8
    assert frame["is_new"].tolist() == [True, None]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("code\nx\n", ["lacks", "'power_w'"]),
        ("code,power_w,watt\nx,10,10\n", ["unknown column", "'watt'"]),
        ("code,power_w,power_w\nx,10,10\n", ["'power_w'"]),
        ("code,power_w\nx,10\ny,fast\n", ["row 3", "(y)", "'power_w'", "'fast' is not a number"]),
        ("code,power_w\nx,nan\n", ["row 2", "'power_w'", "finite"]),
        ("code,power_w\nx,inf\n", ["row 2", "'power_w'", "finite"]),
        ('code,power_w\nx,"1,000"\n', ["row 2", "'power_w'", "may mean 1.000 or 1000"]),
        ('code,power_w\nx,"1.000,5"\n', ["row 2", "'power_w'", "not a number"]),
        ("code;power_w\nx;1,000\n", ["row 2", "may mean 1.000 or 1000"]),
        ("code,power_w\nx,4.9\n", ["row 2", "'power_w'", "below 5 W"]),
        ("code,power_w\nx,1501\n", ["row 2", "'power_w'", "above 1500 W"]),
        ("code,power_w\nx,10\ny,20\nx,30\n", ["row 4", "'code'", "twice"]),
        ("code,power_w\n,10\n", ["row 2", "'code'", "empty"]),
        ("code,power_w,cores\nx,10,1.5\n", ["row 2", "'cores'", "whole"]),
        ("code,power_w,is_new\nx,10,maybe\n", ["row 2", "'is_new'", "neither"]),
        ("code,power_w,as_of\nx,10,01.02.2026\n", ["row 2", "'as_of'", "date"]),
        ("code,power_w,as_of\nx,10,20260102\n", ["row 2", "'as_of'", "date"]),
        ("code,power_w,kind\nx,10,c\n", ["row 2", "'kind'", "not one of a, b"]),
        ("code,power_w,slug\nx,10,ABC\n", ["row 2", "'slug'", "form"]),
        ("", ["cannot be read"]),
        ("code,power_w\nx,10\ny,10,20\n", ["row 3", "3 cells"]),
        ("code,power_w\nx\n", ["row 2", "1 cells"]),
        ('code,power_w\n"x,10\n', ["cannot be read"]),
    ],
)
def test_a_refusal_names_row_and_column(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(TableError) as caught:
        a_table(tmp_path, text)
    for word in words:
        assert word in str(caught.value)


def test_an_edited_file_is_refused(tmp_path: Path) -> None:
    text = "code,power_w\nx,10\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert a_table(tmp_path, text, sha256=digest).sha256 == digest
    with pytest.raises(TableError, match="edited after its publication"):
        a_table(tmp_path, text.replace("10", "11"), sha256=digest)


def test_a_lost_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="1 rows; its TOML states 2"):
        a_table(tmp_path, "code,power_w\nx,10\n", row_count=2)


TEXT_OF_A_TABLE = "code,power_w,slug\nx,12.5,\ny,10,a\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT_OF_A_TABLE.encode("utf-8-sig"),
        TEXT_OF_A_TABLE.encode("utf-16"),
        b"\xfe\xff" + TEXT_OF_A_TABLE.encode("utf-16-be"),
        TEXT_OF_A_TABLE.replace(",", "\t").encode(),
        TEXT_OF_A_TABLE.replace(",", ";").replace("12.5", "12,5").encode(),
        TEXT_OF_A_TABLE.replace(",", "\t").replace("12.5", "12,5").encode("utf-16"),
        TEXT_OF_A_TABLE.replace("12.5", '"12,50"').replace("\n", "\r\n").encode(),
    ],
)
def test_what_a_spreadsheet_saves_is_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "2026-01-01.csv"
    path.write_bytes(content)
    frame = read_table_file(path, a_sidecar()).frame
    assert frame["power_w"].tolist() == [12.5, 10.0]
    assert frame["slug"].tolist() == [None, "a"]


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"code,power_w\n\xff\xfe\x00,10\n")
    with pytest.raises(TableError, match=r"cannot be read .*save it as CSV in UTF-8"):
        read_table_file(path, a_sidecar())


def test_a_missing_file_or_sidecar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be read"):
        read_table_file(tmp_path / "none.csv", a_sidecar())
    (tmp_path / "x.csv").write_text("code\n")
    with pytest.raises(TableError, match=r"x.toml is missing"):
        read_table_file(tmp_path / "x.csv")


@pytest.mark.parametrize("text", ["= nonsense", 'columns = {a = {typ = "text"}}', '[columns.a]\ntype = "colour"'])
def test_a_sidecar_that_says_nonsense_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(TableError, match=r"x.toml"):
        read_sidecar(tmp_path / "x.toml")


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=30)


@settings(deadline=None)
@given(title=TEXT, notes=st.lists(TEXT, max_size=3), sources=st.dictionaries(TEXT, TEXT, max_size=3))
def test_a_sidecar_reads_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, title: str, notes: list[str], sources: dict[str, str]
) -> None:
    source = dataclasses.replace(a_sidecar().source, title=title, url='https://x/"quoted"\\', licence="a\tb\nc")
    sidecar = a_sidecar(
        source=source, notes=tuple(notes), row_sources=sources, row_count=3, sha256="00", description="one"
    )
    path = tmp_path_factory.mktemp("sidecar") / "x.toml"
    path.write_text(format_sidecar(sidecar), encoding="utf-8")
    assert read_sidecar(path) == sidecar


@settings(deadline=None)
@given(st.text(max_size=20))
def test_no_cell_slips_through_as_a_number(tmp_path_factory: pytest.TempPathFactory, cell: str) -> None:
    path = tmp_path_factory.mktemp("table") / "x.csv"
    quoted = cell.replace('"', '""')
    path.write_bytes(f'code,power_w\nx,"{quoted}"\n'.encode("utf-8", "surrogatepass"))
    try:
        value = read_table_file(path, a_sidecar()).frame["power_w"].iloc[0]
    except TableError:
        return
    assert pd.isna(value) or 5.0 <= value <= 1500.0


def test_unknown_tables_and_versions_are_refused_with_the_known() -> None:
    with pytest.raises(TableError, match="gpu_specs"):
        read_table("gpus")
    with pytest.raises(TableError, match="2026-09-28"):
        read_table("crusoe_prices", "2026-09-29")


def test_versions_come_oldest_first_and_newest_is_the_last() -> None:
    versions = table_versions("crusoe_prices")
    assert versions[0] == "2024-05-18"
    assert list(versions) == sorted(versions)
    assert read_table("crusoe_prices").version == versions[-1]


def test_the_data_are_found_beside_a_checkout() -> None:
    assert (data_root() / "gpu_specs").is_dir()
    assert "gpu_specs" in table_names()


def test_parquet_keeps_its_provenance_through_arrow(tmp_path: Path) -> None:
    table = read_table("crusoe_prices")
    path = tmp_path / "prices.parquet"
    write_parquet(table.frame, path, metadata=parquet_metadata(table))
    metadata = read_parquet_metadata(path)
    assert metadata["greenlove.table"] == "crusoe_prices"
    assert metadata["greenlove.version"] == metadata["greenlove.as_of"] == "2026-10-05"
    assert metadata["greenlove.source"] == "https://crusoe.ai/cloud/pricing"
    assert metadata["greenlove.sha256"] == table.sha256
    assert len(pd.read_parquet(path)) == len(table.frame)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", table_names())
def test_every_table_can_be_written_as_parquet(tmp_path: Path, name: str) -> None:
    table = read_table(name)
    write_parquet(table.frame, tmp_path / "x.parquet", metadata=parquet_metadata(table))
    assert pq.read_table(tmp_path / "x.parquet").num_rows == len(table.frame)


def test_the_records_of_the_core_are_all_there() -> None:
    assert len(read_gpu_specs()) == 350
    assert len({spec.gpu_id for spec in read_gpu_specs()}) == 350
    assert {row.suite for row in read_throughput()} == {"exxact-2026", "timm-2025", "v0", "v1", "v2"}
    assert len(read_suite_bridges()) == 34
    assert {equivalence.direction for equivalence in read_equivalences()} == {"emitted", "sequestered", "avoided"}


def test_mlperf_gives_the_best_time_of_a_round() -> None:
    minutes = {
        row.gpu_id: row.minutes
        for row in read_mlperf()
        if (row.round, row.benchmark, row.accelerator_count) == ("v5.1", "llama2_70b_lora", 8)
    }
    assert minutes["amd-instinct-mi355x"] == pytest.approx(10.2, abs=0.1)
    assert minutes["nvidia-b200-sxm-180gb"] == pytest.approx(8.9, abs=0.1)


def test_unknown_is_none_in_a_record() -> None:
    specs = {spec.gpu_id: spec for spec in read_gpu_specs()}
    assert any(spec.tdp_w is None for spec in specs.values())
    assert all(spec.tdp_w is None or spec.tdp_w > 0.0 for spec in specs.values())


def test_regions_have_both_scopes_apart() -> None:
    regions = {each.name: each for each in read_regions()}
    virginia, iceland, unknown = regions["us-east1-a"], regions["eu-iceland1-a"], regions["us-west1-a"]
    assert (virginia.intensity_g_per_kwh, virginia.intensity_direct_g_per_kwh) == (418.0, 290.6)
    assert (iceland.intensity_g_per_kwh, iceland.intensity_direct_g_per_kwh) == (28.0, None)
    assert unknown.intensity_g_per_kwh is None
    assert virginia.energy_claim is None
    assert regions["eu-iceland2-a"].intensity_g_per_kwh == iceland.intensity_g_per_kwh


def test_pue_is_one_at_home_and_a_range_in_a_cloud() -> None:
    assert read_default_pue("local")[0] == Interval.exactly(1.0)
    cloud, source = read_default_pue("cloud")
    assert 1.0 < cloud.low < cloud.point < cloud.high < 2.0
    assert source.table == "pue"


def test_memory_power_goes_from_the_modules_of_a_server_to_those_of_a_desktop() -> None:
    of_a_vm = read_ram_w_per_gib().scaled(126.0)
    assert of_a_vm.low < 6.0 < of_a_vm.point < 20.0 < 50.0 < of_a_vm.high < 55.0


def test_a_clouds_region_has_the_grid_of_the_place_that_its_provider_names() -> None:
    regions = {each.full_name: each for each in read_regions()}
    virginia, ireland = regions["AWS us-east-1"], regions["AWS eu-west-1"]
    assert regions["Crusoe Cloud us-east1-a"].country == "US"
    state, country = find_grid(region="US-VA")[0], find_grid(country="IE")[0]
    assert state.intensity_g_per_kwh is not None
    assert country.intensity_g_per_kwh is not None
    assert virginia.intensity_g_per_kwh == state.intensity_g_per_kwh.point
    assert ireland.intensity_g_per_kwh == country.intensity_g_per_kwh.point
    assert ireland.intensity_direct_g_per_kwh is None


def test_a_notice_travels_with_every_copy_of_the_table_that_has_one() -> None:
    zones = read_table("electricity_maps_zones")
    assert "Open Database License" in zones.notice
    assert parquet_metadata(zones)["greenlove.notice"] == zones.notice
    assert "greenlove.notice" not in parquet_metadata(read_table("gpu_specs"))


@pytest.mark.parametrize("name", table_names())
def test_every_table_that_ages_says_how_soon(name: str) -> None:
    # What a standard or a convention says does not age.
    assert (read_schema(name).max_age_days is None) == (name in ("un_subregions", "ram_power"))


def test_a_table_is_stale_a_day_after_its_age() -> None:
    table, limit = read_table("gpu_specs"), read_schema("gpu_specs").max_age_days
    assert limit is not None
    last = date.fromisoformat(table.as_of) + timedelta(days=limit)
    assert not is_stale("gpu_specs", table.as_of, last)
    assert is_stale("gpu_specs", table.as_of, last + timedelta(days=1))
    assert age_days(table.as_of, last) == limit


def test_a_stale_table_is_told_with_its_age_and_what_to_do() -> None:
    fresh = date.fromisoformat(read_table("gpu_specs").as_of)
    assert stale_caveats(["gpu_specs"], fresh) == ()
    (caveat,) = stale_caveats(["gpu_specs"], fresh + timedelta(days=1000))
    assert caveat.code == "stale-table"
    assert "1000 days ago" in caveat.message
