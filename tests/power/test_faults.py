"""Boards that misbehave: the campaign of ``reports/faults_nvml.py``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "reports"))

import faults_nvml

CASES = faults_nvml.meter_cases()


@pytest.mark.parametrize("case", CASES[::5], ids=lambda case: case.name)
def test_some_boards_that_misbehave_give_the_right_figure_or_none_with_the_reason(case: Any) -> None:
    assert faults_nvml.try_meter(case) == ""


@pytest.mark.slow
def test_every_board_that_misbehaves_gives_the_right_figure_or_none_with_the_reason() -> None:
    count = faults_nvml.meter_campaign()
    assert count.wrong == []
    assert count.tried >= 150


@pytest.mark.slow
@pytest.mark.parametrize("name", ["counter frozen", "every third power call fails", "lost while training"])
def test_a_training_on_a_board_that_misbehaves_has_the_right_energy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    training = next(each for each in faults_nvml.trainings() if each.name == name)
    assert faults_nvml.try_training(training) == ""
