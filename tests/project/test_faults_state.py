"""The campaign on state, with a few steps in place of the benchmark: every kind is left as it was, or refused."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPORTS = Path(__file__).resolve().parents[2] / "reports"


def _load(name: str) -> ModuleType:
    if str(REPORTS) not in sys.path:
        sys.path.insert(0, str(REPORTS))
    spec = importlib.util.spec_from_file_location(name, REPORTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


campaign = _load("faults_state")


# The first kinds stand for all of their sort; the others are their siblings.
SIBLINGS = {name for name, make in campaign.KINDS.items() if make.__module__ == "faults_state_more"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SIBLINGS else []) for name in sorted(campaign.KINDS)],
)
def test_this_kind_is_as_it_was_after_a_benchmark_or_refused(name: str) -> None:
    count = campaign.count_state(quick=True, names=[name])
    assert count.wrong == []
    assert count.tried == 1


def test_siblings_of_the_kinds_are_tried_too() -> None:
    assert len(campaign.KINDS) - len(SIBLINGS) >= 45
    assert len(SIBLINGS) >= 60
