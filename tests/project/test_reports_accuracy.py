"""The accuracy report can be made, by its quick mode."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

ROOT = Path(__file__).resolve().parents[2]


def test_the_quick_accuracy_report_holds_every_part(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "reports" / "accuracy.py"), "--quick", "--output", str(tmp_path)]
    subprocess.run(command, check=True, timeout=900, cwd=tmp_path)
    text = (tmp_path / "accuracy.md").read_text(encoding="utf-8")
    titles = ("## Simulated machines", "## As finished runs", "## Tracked one after", "## Real trainings")
    assert all(title in text for title in titles)
    assert (tmp_path / "accuracy_errors.png").read_bytes().startswith(b"\x89PNG")
    records = pd.read_parquet(tmp_path / "accuracy.parquet")
    assert {"simulated", "blind", "silent", "seed", "history", "store", "real"} == set(records["part"])
    real = records[records["part"] == "real"]
    assert set(real["method"]) == {"adaptive", "original"}
    assert (real["actual_s"] > 0.0).all()
