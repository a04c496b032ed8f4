"""A part of the campaign of ``reports/faults.py``: statistics, spools and stores that others or crashes left odd."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

REPORTS = Path(__file__).resolve().parents[2] / "reports"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(REPORTS))
    return importlib.import_module("faults")


def test_mutated_statistics_work_or_are_refused(report: Any) -> None:
    (count,) = report.stats(quick=True)
    assert count.wrong == []
    assert set(count.outcomes) == {"shown", "refused"}


@pytest.mark.slow
def test_odd_spools_hold_up_nothing_and_lose_nothing(report: Any) -> None:
    (count,) = report.spools(quick=True)
    assert count.wrong == []
    assert count.tried >= 10


def test_the_page_counts_what_went_wrong_and_names_it(report: Any) -> None:
    count = report.Count("boards")
    count.add("a right one")
    count.add("a wrong one", "0 W are called measured")
    page = report.report([count])
    assert "| boards | 2 | 1 | 1 |" in page
    assert "- a wrong one: 0 W are called measured" in page
    assert "a right one; a wrong one." in page


@pytest.mark.slow
@pytest.mark.server
def test_stores_and_disks_that_fail_and_trainings_that_are_killed_cost_no_epoch(
    report: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in report.stores(quick=True):
        assert count.wrong == [], count.part
