"""``greenlove calibration``: promises beside what happened."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import mlflow
import pytest
from click.testing import CliRunner, Result

from greenlove_mlflow.benchmark import read_machine
from greenlove_mlflow.cli import main
from greenlove_mlflow.core.timing.drift import FinishedRun


def some_runs(count: int = 20) -> tuple[FinishedRun, ...]:
    here = read_machine("cpu")
    ratios = [0.01 * (-1) ** place * (1 + place % 3) for place in range(count)]
    return tuple(
        FinishedRun(
            log_ratio=ratio,
            machine_fingerprint=here.fingerprint,
            processor_name=here.processor_name,
            promised_s=600.0,
            actual_s=600.0 * (1.0 + ratio),
            promised_log_half_width=0.07,
            finished_at=f"2026-05-{place + 1:02d}T10:00:00+00:00",
            run_id=f"{place:032x}",
        )
        for place, ratio in enumerate(ratios)
    )


def call(
    monkeypatch: pytest.MonkeyPatch,
    runs: tuple[FinishedRun, ...],
    *arguments: str,
    skipped: tuple[tuple[str, str], ...] = (),
) -> Result:
    monkeypatch.setattr("greenlove_mlflow.tracking.read_finished_runs", lambda *_: (runs, skipped))
    return CliRunner().invoke(main, ["calibration", *arguments], catch_exceptions=False)


def test_a_run_that_cannot_be_used_is_named_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tuple((f"{n:032x}", "run x: broken \x1b[31m\u202e") for n in range(7))
    done = call(monkeypatch, some_runs(), skipped=bad)
    assert done.exit_code == 0
    assert len([line for line in done.stdout.splitlines() if line.startswith("2026-05-")]) == 20
    assert f"Left out {0:032x}: run x: broken" in done.stdout
    assert "and 2 more left out" in done.stdout
    assert not {"\x1b", "\u202e"} & set(done.stdout)
    assert len(json.loads(call(monkeypatch, some_runs(), "--json", skipped=bad).stdout)["skipped"]) == 7


def test_each_finished_training_is_a_row_and_the_lesson_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    done = call(monkeypatch, some_runs())
    assert done.exit_code == 0
    rows = [line for line in done.stdout.splitlines() if line.startswith("2026-05-")]
    assert len(rows) == 20
    assert all("[" in row and "*" in row for row in rows)
    assert "20 of 20 trainings ended inside" in done.stdout
    assert "20 finished runs on this machine: within 3.0% nineteen times in twenty" in done.stdout


def test_without_finished_trainings_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    done = call(monkeypatch, ())
    assert done.exit_code == 0
    assert "No training has finished" in done.stdout


def test_the_figure_is_drawn_and_json_holds_every_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "calibration.png"
    done = call(monkeypatch, some_runs(5), "--figure", str(path), "--json")
    content: dict[str, Any] = json.loads(done.stdout)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [path.name] == [each.name for each in path.parent.iterdir()]
    assert len(content["runs"]) == content["inside_count"] == 5
    assert content["drift_scale"] < 1.0


def test_a_figure_of_another_kind_is_a_wrong_call(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch, (), "--figure", "x.txt").exit_code == 2


def test_an_experiment_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = call(monkeypatch, (), "--store", f"sqlite:///{tmp_path / 'mlflow.db'}", "--experiment", "nowhere")
    assert done.exit_code == 1
    assert "nowhere" in done.output


def test_a_run_that_teaches_nothing_says_why_and_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = dataclasses.replace(some_runs(1)[0], unfit="no optimizer step", was_inside=False, run_id="f" * 32)
    done = call(monkeypatch, (*some_runs(), odd))
    assert "ffffffff teaches nothing: no optimizer step" in done.stdout
    assert "20 of 20 trainings ended inside" in done.stdout


def test_a_run_is_left_out_and_brought_back(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    client = mlflow.MlflowClient(store)
    run_id = client.create_run("0").info.run_id
    assert call(monkeypatch, (), "--forget", run_id).exit_code == 0
    assert "greenlove.not_history" in client.get_run(run_id).data.tags
    assert call(monkeypatch, (), "--remember", run_id).exit_code == 0
    assert "greenlove.not_history" not in client.get_run(run_id).data.tags
    assert call(monkeypatch, (), "--remember", run_id).exit_code == 0


def test_a_run_that_is_not_there_cannot_be_left_out(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    done = call(monkeypatch, (), "--forget", "nobody")
    assert done.exit_code == 1
    assert "there is no run 'nobody'" in done.stderr
