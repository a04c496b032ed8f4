"""The report on real GPUs: one script that works anywhere, typed records, a page made of all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "reports"))
    import silicon
    import silicon_text

    return silicon, silicon_text


def test_page_is_what_the_committed_records_make(scripts: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    silicon, text = scripts
    text.write_report(silicon.read_records(ROOT / "reports" / "silicon.parquet"), tmp_path)

    assert (tmp_path / "silicon.md").read_text() == (ROOT / "reports" / "silicon.md").read_text()


def test_first_records_are_those_of_an_h100_and_an_h200(scripts: tuple[ModuleType, ModuleType]) -> None:
    silicon, _ = scripts
    records = silicon.read_records(ROOT / "reports" / "silicon.parquet")
    profiles = records[records["kind"] == "profile"].set_index("workload")
    bert = profiles.loc["BERT-base, 128 words, batch 64, bf16"]

    assert (bert["step_s"], bert["host_s"], bert["device_busy_s"], bert["launch_count"]) == (
        0.054,
        0.0493,
        0.0199,
        1253,
    )
    assert records["credit"].str.contains("measured earlier").sum() >= 12


def test_records_of_nothing_keep_their_types_and_more_are_added(
    scripts: tuple[ModuleType, ModuleType], tmp_path: Path
) -> None:
    silicon, text = scripts
    path = tmp_path / "silicon.parquet"
    bare = pd.DataFrame([{"kind": "promise", "board": "A", "workload": "w", "actual_s": 20.0}])
    silicon.write_records(bare, path)
    other = pd.DataFrame([{"kind": "promise", "board": "B", "workload": "w", "actual_s": 10.0, "was_inside": True}])
    silicon.write_records(pd.concat([silicon.read_records(path), other]), path)
    records = silicon.read_records(path)
    text.write_report(records, tmp_path)

    assert records["promised_s"].isna().all()
    assert "| w | A | B | 2.00 |" in (tmp_path / "silicon.md").read_text()


@pytest.mark.slow
def test_script_measures_a_training_where_it_stands(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "reports" / "silicon.py"), "--workloads", "tiny", "--device", "cpu"]
    subprocess.run([*command, "--output", str(tmp_path)], check=True, timeout=300)
    records = pd.read_parquet(tmp_path / "silicon.parquet")

    assert list(records["kind"]) == ["promise", "profile"]
    assert records["promised_s"].iloc[0] > 0.0
    assert records["actual_s"].iloc[0] > 0.0
    assert records["bound_by"].iloc[1] in ("cpu", "data")
    assert "tiny" in (tmp_path / "silicon.md").read_text()
