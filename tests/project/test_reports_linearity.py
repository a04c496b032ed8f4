"""The linearity report can be made, by its quick mode."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

ROOT = Path(__file__).resolve().parents[2]
MODELS = {
    "linear regression", "logistic regression", "perceptron", "convolutional", "recurrent (LSTM)", "transformer",
    "fine-tuned transformer", "random forest", "support vectors (RBF)",
}  # fmt: skip


def test_the_quick_linearity_report_times_every_model(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "reports" / "linearity.py"), "--quick", "--output", str(tmp_path)]
    subprocess.run(command, check=True, timeout=600, cwd=tmp_path)
    records = pd.read_parquet(tmp_path / "linearity.parquet")
    assert set(records["model"]) == MODELS
    assert (records["duration_s"] > 0.0).all()
    text = (tmp_path / "linearity.md").read_text(encoding="utf-8")
    assert all(f"| {model} |" in text for model in MODELS)
    for name in ("sizes", "epochs"):
        assert (tmp_path / f"linearity_{name}.png").read_bytes().startswith(b"\x89PNG")
