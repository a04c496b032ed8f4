"""The page of all loops and frameworks shows what was found, for every form."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

REPORTS = Path(__file__).resolve().parents[2] / "reports"


@pytest.fixture
def loops() -> Any:
    spec = importlib.util.spec_from_file_location("reports_loops", REPORTS / "loops.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_form_has_the_row_of_what_was_found(loops: Any) -> None:
    found = json.loads((REPORTS / "loops.json").read_text(encoding="utf-8"))
    page = (REPORTS / "loops.md").read_text(encoding="utf-8")
    assert set(found) == set(loops.FORMS)
    assert [loops.row(form, found[form]) for form in loops.FORMS] == [
        line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| form ")
    ]


def test_a_form_that_harms_or_loses_something_is_shown_as_such(loops: Any) -> None:
    found = json.loads((REPORTS / "loops.json").read_text(encoding="utf-8"))["run_epochs"]
    assert "| yes | yes, 8 laps |" in loops.row("run_epochs", found)
    assert "| no | yes, 8 laps |" in loops.row("run_epochs", {**found, "same": False})
    assert "| yes | no, 8 laps |" in loops.row("run_epochs", {**found, "outcome_kept": False})
    resumed = {**found["resumed"], "whole": False}
    assert loops.row("run_epochs", {**found, "resumed": resumed}).endswith("| no |")
    assert loops.row("run_epochs", {**found, "limited_steps": found["steps"]}).split(" | ")[-2] == "no"
    assert "failed: out of memory" in loops.row("run_epochs", {"failed": "out of memory"})
