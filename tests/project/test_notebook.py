"""The example notebook: it runs, and what is kept of a run of it is light."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def a_runner() -> Any:
    spec = importlib.util.spec_from_file_location("run_notebook", ROOT / "reports" / "run_notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def html_of(notebook: dict[str, Any]) -> list[str]:
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    return ["".join(output["data"]["text/html"]) for output in outputs if "text/html" in output.get("data", {})]


def printed_by(notebook: dict[str, Any]) -> str:
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    return "".join("".join(output["text"]) for output in outputs if output["output_type"] == "stream")


def test_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    runner = a_runner()
    notebook = runner.read()
    for cell in notebook["cells"]:
        cell["source"] = [line.replace("epochs=20", "epochs=2, budget_s=2.0") for line in cell["source"]]
    notebook = runner.run_cells(notebook)
    (page,) = html_of(notebook)
    assert "Germany" in page
    assert "It took" in page
    assert "H100" in printed_by(notebook)


def test_kept_outputs_are_light_and_hold_estimate_comparison_and_run() -> None:
    notebook = a_runner().read()
    (html,) = html_of(notebook)
    assert len(html) < 30_000
    assert "<script" not in html
    assert "H100" in printed_by(notebook)
