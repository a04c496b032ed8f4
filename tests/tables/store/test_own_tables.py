"""Rows of the user's own: the same checks, used as ours, shown as the user's, and taken back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import greenlove_mlflow as greenlove
from greenlove_mlflow.cli import main
from greenlove_mlflow.core.account.estimate import estimate_training
from greenlove_mlflow.core.speed.gpu_names import find_gpu
from greenlove_mlflow.core.speed.ratio import speed_ratio
from greenlove_mlflow.errors import TableError, UnknownGpuError
from greenlove_mlflow.tables import find_grid, read_gpu_specs
from greenlove_mlflow.tables.published_speeds import read_ratio_evidence
from greenlove_mlflow.tables.store.adding import add_table, remove_table
from greenlove_mlflow.tables.store.own_tables import own_table_versions, read_own_tables
from greenlove_mlflow.tables.store.rows import forget, row_source, rows_of
from tests.support.documents import ROOT, blocks_of
from tests.support.report import measured_statistics

BOARD = (
    "gpu_id,name,aliases,alias_ambiguous,vendor,architecture,segment,form_factor,memory_gib,"
    "memory_bandwidth_gb_per_s,fp32_tflops,tf32_tflops,fp16_tflops,tdp_w,release_year,compute_capability\n"
    "maker-x1,Maker X1,Maker X1,false,NVIDIA,Hopper,datacenter,SXM,96,4000,70,500,1000,800,2026,9.0\n"
)


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "own"
    monkeypatch.setenv("GREENLOVE_DATA", str(folder))
    forget()
    yield folder
    monkeypatch.undo()
    forget()


def a_csv(folder: Path, text: str, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_board_that_no_table_knows_is_found_and_compared_once_it_is_added(tmp_path: Path, own_data: Path) -> None:
    with pytest.raises(UnknownGpuError):
        find_gpu("Maker X1", read_gpu_specs())
    added = add_table(a_csv(tmp_path, BOARD), "gpu_specs", as_of="2026-11-01", source="the maker's data sheet")
    assert added.path == own_data / "gpu_specs" / "mine.csv"
    board = find_gpu("Maker X1", read_gpu_specs())
    assert (board.memory_gib, board.idle_w) == (96.0, None)
    h100 = find_gpu("NVIDIA H100 80GB HBM3", read_gpu_specs())
    told = speed_ratio(board, h100, evidence=read_ratio_evidence())
    assert told.basis == "spec"
    assert 0.4 < told.ratio.point < 2.5


def test_the_walk_of_the_guide_from_an_unknown_board_to_a_comparison_and_back(tmp_path: Path) -> None:
    board = next(block for block in blocks_of(ROOT / "docs/how-to/own-tables.md") if block.file_name == "board.csv")
    path = a_csv(tmp_path, board.text + "\n", "board.csv")
    estimate = estimate_training(measured_statistics())
    with pytest.raises(UnknownGpuError, match="Maker X1"):
        greenlove.compare(estimate, gpu="Maker X1")
    add = ["tables", "add", str(path), "--table", "gpu_specs", "--version", "x1", "--as-of", "2026-11-01"]
    assert CliRunner().invoke(main, [*add, "--source", "the maker's data sheet"]).exit_code == 0
    shown = CliRunner().invoke(main, ["tables", "show", "gpu_specs", "--gpu", "Maker X1"]).output
    assert "the maker's data sheet" in shown
    listed = CliRunner().invoke(main, ["tables", "list"]).output
    assert "x1" in listed
    ratios = {row.offer.gpu: row.speed_ratio for row in greenlove.compare(estimate, gpu="Maker X1").rows}
    assert {ratio.basis for ratio in ratios.values()} == {"spec"}
    assert all("Maker X1 by your own row (the maker's data sheet)" in ratio.detail for ratio in ratios.values())
    # Its matrix rate is that of an H100, its memory a fifth faster.
    assert ratios["H100 HGX 80GB"].ratio.contains(0.95)
    assert CliRunner().invoke(main, ["tables", "remove", "gpu_specs", "x1"]).exit_code == 0
    with pytest.raises(UnknownGpuError):
        greenlove.compare(estimate, gpu="Maker X1")


def test_an_own_row_is_shown_as_the_users_own(tmp_path: Path) -> None:
    add_table(a_csv(tmp_path, BOARD), "gpu_specs", as_of="2026-11-01", source="the maker's data sheet")
    table, row = next((table, row) for table, row in rows_of("gpu_specs") if row["gpu_id"] == "maker-x1")
    source = row_source(table, row)
    assert (source.producer, source.title) == ("your own", "the maker's data sheet")
    assert (row["as_of"], row["evidence"]) == ("2026-11-01", "own")


def test_an_own_row_stands_in_place_of_ours_of_the_same_key(tmp_path: Path) -> None:
    before = find_grid(country="DE")[0].price_usd_per_kwh
    text = "geo_type,code,country_code,name,residential_usd_per_kwh,period\ncountry,DE,DE,Germany,0.25,my contract\n"
    add_table(a_csv(tmp_path, text), "electricity_prices", version="contract", as_of="2026-11-01")
    after = find_grid(country="DE")[0]
    assert before is not None
    assert after.price_usd_per_kwh is not None
    assert before.point != after.price_usd_per_kwh.point == 0.25
    assert after.price_source is not None
    assert after.price_source.producer == "your own"
    assert len([row for _, row in rows_of("electricity_prices") if row["code"] == "DE"]) == 1


def test_what_was_added_can_be_taken_back(tmp_path: Path) -> None:
    add_table(a_csv(tmp_path, BOARD), "gpu_specs", version="x1", as_of="2026-11-01")
    assert own_table_versions("gpu_specs") == ("x1",)
    remove_table("gpu_specs", "x1")
    assert own_table_versions("gpu_specs") == ()
    with pytest.raises(UnknownGpuError):
        find_gpu("Maker X1", read_gpu_specs())
    with pytest.raises(TableError, match="no version 'x1'"):
        remove_table("gpu_specs", "x1")


def test_an_older_version_is_ours_alone(tmp_path: Path) -> None:
    add_table(a_csv(tmp_path, BOARD), "gpu_specs", as_of="2026-11-01")
    assert "maker-x1" not in {row["gpu_id"] for _, row in rows_of("gpu_specs", "2026-10-31")}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("4000", "40000"), ["row 2", "memory_bandwidth_gb_per_s", "above"]),
        (("gpu_id,", "id,"), ["gpu_id"]),
        (("NVIDIA,Hopper", "Maker,Hopper"), ["row 2", "vendor"]),
        (("memory_gib", "memory"), ["'memory'"]),
    ],
)
def test_an_own_row_passes_the_checks_of_ours(tmp_path: Path, change: tuple[str, str], words: list[str]) -> None:
    with pytest.raises(TableError) as refused:
        add_table(a_csv(tmp_path, BOARD.replace(*change)), "gpu_specs", as_of="2026-11-01")
    assert all(word in str(refused.value) for word in words), refused.value
    assert own_table_versions("gpu_specs") == ()


def test_rows_without_a_date_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="--as-of"):
        add_table(a_csv(tmp_path, BOARD), "gpu_specs")


def test_an_added_table_that_is_edited_is_refused(tmp_path: Path) -> None:
    added = add_table(a_csv(tmp_path, BOARD), "gpu_specs", as_of="2026-11-01")
    added.path.write_text(BOARD.replace(",800,", ",900,"))
    forget()
    with pytest.raises(TableError, match="edited"):
        read_own_tables("gpu_specs")


@pytest.mark.parametrize("version", ["2026-10-31", "../up", ""])
def test_a_version_that_is_taken_or_no_name_is_refused(tmp_path: Path, version: str) -> None:
    if not version:
        add_table(a_csv(tmp_path, BOARD), "gpu_specs", version="x", as_of="2026-11-01")
        other = a_csv(tmp_path, BOARD.replace(",800,", ",900,"), "other.csv")
        with pytest.raises(TableError, match="added before"):
            add_table(other, "gpu_specs", version="x", as_of="2026-11-01")
        return
    with pytest.raises(TableError, match="version"):
        add_table(a_csv(tmp_path, BOARD), "gpu_specs", version=version, as_of="2026-11-01")
