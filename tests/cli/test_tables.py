from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from greenlove_mlflow.cli import main


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data-home"))


def call(*words: str) -> Result:
    return CliRunner().invoke(main, ["tables", *words])


def answer(*words: str) -> Any:
    result = call(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def a_csv(tmp_path: Path, text: str = "gpu,price_usd_per_hour\nL4,1\n") -> str:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    return str(path)


def test_list_names_every_table_with_version_and_licence() -> None:
    output = call("list").output
    for words in ("gpu_specs", "9 versions, newest 2026-10-05", "ODbL", "Ember"):
        assert words in output
    tables = {table["table"]: table for table in answer("list")["tables"]}
    assert len(tables) >= 14
    assert tables["crusoe_prices"]["versions"][0] == "2024-05-18"
    assert len(tables["gpu_specs"]["sha256"]) == 64


def test_show_gives_each_figure_its_unit_and_source() -> None:
    output = call("show", "gpu_specs", "--gpu", "H100").output
    assert "989.4 TFLOPS" in output
    assert "700 W" in output
    assert "https://resources.nvidia.com" in output
    assert "evidence" in output
    assert "nvidia-a100" not in output


def test_show_finds_whole_words_only() -> None:
    rows = answer("show", "gpu_specs", "--gpu", "NVIDIA A40")["rows"]
    assert [row["gpu_id"] for row in rows] == ["nvidia-a40"]


def test_show_narrows_by_column_and_tells_of_more() -> None:
    rows = answer("show", "gpu_specs", "--where", "vendor=amd", "--where", "segment=datacenter")["rows"]
    assert rows
    assert {row["vendor"] for row in rows} == {"AMD"}
    assert "more rows" in call("show", "gpu_specs").output
    assert "more rows" not in call("show", "gpu_specs", "--where", "vendor=AMD", "--all").output


def test_show_expands_a_short_source() -> None:
    assert "codecarbon 3.3.2" in call("show", "cpu_tdp", "--find", "EPYC 7763").output


def test_show_of_an_older_version() -> None:
    rows = answer("show", "crusoe_prices", "--version", "2025-12-15", "--find", "MI300X 192GB")["rows"]
    assert rows[0]["price_usd_per_hour"] == 3.45


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "gpus"), "no table 'gpus'"),
        (("show", "gpu_specs", "--version", "1999-01-01"), "no version"),
        (("show", "gpu_specs", "--gpu", "Voodoo2"), "no row"),
        (("show", "gpu_specs", "--where", "colour=red"), "no column 'colour'"),
        (("show", "gpu_specs", "--where", "colour"), "COLUMN=TEXT"),
        (("diff", "newest", "1999-01-01"), "no price sheet"),
        (("validate", "no-such.csv"), "no-such.csv"),
    ],
)
def test_a_refusal_is_one_line_and_no_traceback(words: tuple[str, ...], said: str) -> None:
    result = call(*words)
    assert result.exit_code in (1, 2)
    assert said in result.output
    assert "Traceback" not in result.output


def test_validate_checks_every_table() -> None:
    assert call("validate").output.count("all checks passed") >= 21
    assert answer("validate")["valid"] is True


def test_validate_refuses_by_row_and_column(tmp_path: Path) -> None:
    result = call("validate", a_csv(tmp_path, "gpu,price_usd_per_hour\nL4,dear\n"), "--as-of", "2026-10-01")
    assert result.exit_code == 1
    assert "row 2" in result.output
    assert "'price_usd_per_hour'" in result.output


def test_add_then_list_show_and_diff(tmp_path: Path) -> None:
    path = a_csv(tmp_path)
    added = answer("add", path, "--version", "deal", "--as-of", "2026-10-01", "--source", "contract")
    assert added["version"] == "deal"
    assert "deal" in call("list").output
    assert answer("list")["own_prices"] == ["deal"]
    changes = answer("diff", "newest", "deal")["changes"]
    assert {change["change"] for change in changes} == {"vanished", "appeared"}
    assert call("add", path, "--version", "deal", "--as-of", "2026-10-01").exit_code == 0


def test_diff_says_what_rose_and_what_vanished() -> None:
    output = call("diff", "2026-02-25", "2026-06-11").output
    assert "1.95 -> 2.30 (+17.9%)" in output
    assert "vanished" in output
    assert "does not mean that it is no longer sold" in output
    changes = {(each["gpu"], each["billing"]): each for each in answer("diff", "2026-02-25", "2026-06-11")["changes"]}
    assert changes["A40 48GB", "on-demand"]["after_usd_per_hour"] is None


BOARD = (
    "gpu_id,name,aliases,alias_ambiguous,vendor,architecture,segment,form_factor,memory_gib,fp32_tflops,fp16_tflops,"
    "release_year\nmaker-x1,Maker X1,Maker X1,false,NVIDIA,Hopper,datacenter,SXM,96,70,1000,2026\n"
)


def test_rows_of_any_table_are_added_shown_as_own_and_removed(tmp_path: Path) -> None:
    path = a_csv(tmp_path, BOARD)
    assert (
        "lacks the column"
        in call("add", a_csv(tmp_path, "gpu_id\nx\n"), "--table", "gpu_specs", "--as-of", "2026-11-01").output
    )
    path = a_csv(tmp_path, BOARD)
    try:
        added = answer("add", path, "--table", "gpu_specs", "--version", "x1", "--as-of", "2026-11-01")
        assert (added["table"], added["version"], added["producer"]) == ("gpu_specs", "x1", "your own")
        assert "gpu_specs, your own" in call("list").output
        assert "1000 TFLOPS" in call("show", "gpu_specs", "--gpu", "Maker X1").output
        assert [each["version"] for each in answer("list")["own_tables"]] == ["x1"]
    finally:
        assert call("remove", "gpu_specs", "x1").exit_code == 0
    assert "your own" not in call("list").output
    assert "no version 'x1'" in call("remove", "gpu_specs", "x1").output


def test_a_price_sheet_is_no_table_of_that_kind(tmp_path: Path) -> None:
    result = call("add", a_csv(tmp_path), "--table", "crusoe_prices")
    assert result.exit_code == 2
    assert "without --table" in result.output


def test_list_says_how_old_each_table_is() -> None:
    assert call("list").output.count(" old") >= 16
    assert all(isinstance(table["age_days"], int) for table in answer("list")["tables"])


@pytest.mark.parametrize("is_named", [False, True], ids=["data folder", "GREENLOVE_DATA"])
def test_a_price_sheet_is_added_used_and_removed(
    is_named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_named:
        monkeypatch.setenv("GREENLOVE_DATA", str(tmp_path / "named"))
    sheet = tmp_path / "ours.csv"
    sheet.write_text("gpu,price_usd_per_hour\nL40S 48GB,1.20\n", encoding="utf-8")
    kept = Path(answer("add", str(sheet), "--as-of", "2026-10-01", "--source", "a quote")["path"])
    assert kept.is_relative_to(tmp_path / ("named" if is_named else "data-home"))
    assert "ours" in call("diff", "newest", "ours").output
    assert answer("remove", "prices", "ours") == {"table": "prices", "version": "ours", "path": str(kept)}
    assert list(kept.parent.iterdir()) == []
    assert "no price sheet 'ours'" in call("remove", "prices", "ours").output
