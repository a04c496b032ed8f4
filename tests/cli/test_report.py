"""``greenlove report`` on the runs that MLflow holds: whole, unmetered, broken off, priced more than once."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import greenlove_mlflow as greenlove
from greenlove_mlflow.cli import main
from greenlove_mlflow.core.account.outcome import Outcome
from greenlove_mlflow.report import ReportContent, render_report
from greenlove_mlflow.tracking import open_run
from greenlove_mlflow.words.plain_text import offer_label
from tests.conftest import new_store
from tests.report.test_page import facts_of, visible_text
from tests.support.report import a_benchmark, a_measured_training
from tests.support.tracking import a_tracked_log, train

OLDER_PRICES = ("2025-12-15", "2026-02-25")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = new_store(tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


def report(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", *arguments])


def keep_run(*, error: RuntimeError | None = None, experiment: str | None = None, **over: Any) -> str:
    """A training kept as ``track`` keeps it, after two of whose epochs ``error`` is raised."""
    estimate, comparison = a_measured_training(**over)
    log = a_benchmark(power=(), power_samples=()) if over.get("power") == () else a_tracked_log()
    epochs = 2 if error else 20
    time_s = 20.0 if error else estimate.time_s.point * 1.01
    with contextlib.suppress(RuntimeError), open_run(run_name="a-run", experiment=experiment) as run:
        run_id = run.run_id
        run.log_estimates(estimate, comparison, log)
        run.log_page(estimate, comparison, log)
        train(run, epochs=epochs, samples=3)
        outcome = Outcome(epoch_durations_s=(time_s / epochs,) * epochs, time_s=time_s, completed=error is None)
        run.log_outcome(estimate, comparison, log, outcome)
        if error is not None:
            raise error
    assert run_id is not None
    return run_id


def page_of(*arguments: str) -> str:
    done = report(*arguments, "-o", "page.html")
    assert done.exit_code == 0, done.output
    return Path("page.html").read_text(encoding="utf-8")


def test_page_from_mlflow_says_what_the_page_of_the_live_run_said(store: str) -> None:
    run_id = keep_run()
    estimate, comparison = a_measured_training()
    live = visible_text(render_report(ReportContent(estimate=estimate, comparison=comparison, log=a_tracked_log())))
    later = visible_text(page_of(run_id))
    for part in ("runs here", "x8: an instance", "How it is known"):
        start, later_start = live.index(part), later.index(part)
        assert live[start : start + 80] == later[later_start : later_start + 80]
    assert later.index("FINISHED") < later.index("It took ")
    rows = facts_of(page_of(run_id))["rows"]
    assert [row["name"] for row in rows] == [offer_label(row) for row in comparison.rows]  # type: ignore[index]


def test_run_without_a_power_source_is_not_measured_and_never_zero(store: str) -> None:
    text = visible_text(page_of(keep_run(power=())))
    assert text.count("not measured") >= 3
    assert not re.search(r"(?<![\d.])0\.0+(?!\d)", text)
    assert "power was not measured" in text


def test_run_that_failed_half_way_is_shown_and_not_judged(store: str) -> None:
    text = visible_text(page_of(keep_run(error=RuntimeError("out of memory"))))
    assert "FAILED" in text
    assert "2 of 20 epochs ran, then it failed: " in text
    assert ", in range" not in text


def test_run_priced_by_three_sheets_shows_its_prices_over_time(store: str) -> None:
    run_id = keep_run()
    for version in OLDER_PRICES:
        greenlove.reestimate("Default", prices=version, write_back=True)
    page = page_of(run_id)
    assert "Prices over time" in visible_text(page)
    history = facts_of(page)["charts"]["price_history"]["history"]  # type: ignore[index]
    h100 = [point for point in history if point["name"] == "H100 HGX 80GB"]
    assert [point["as_of"] for point in h100] == [*OLDER_PRICES, "2026-10-05"]
    assert all(point["price_text"].startswith("$") for point in h100)


def test_other_prices_can_be_asked_for(store: str) -> None:
    run_id = keep_run()
    assert facts_of(page_of(run_id, "--prices", OLDER_PRICES[0]))["version"] == OLDER_PRICES[0]
    done = report(run_id, "--prices", "1999-01-01")
    assert done.exit_code == 1
    assert "1999-01-01" in done.output


def test_experiment_is_one_page_with_every_run(store: str) -> None:
    keep_run(experiment="of its own")
    keep_run(experiment="of its own", error=RuntimeError("boom"))
    text = visible_text(page_of("--experiment", "of its own"))
    for expected in ("2 trainings so far", "1 of the 1 that ran to their end", "2 of 20 epochs", "not measured"):
        assert expected in text


def test_json_says_what_was_written(store: str) -> None:
    run_id = keep_run()
    done = report(run_id, "--json")
    written = json.loads(done.stdout.splitlines()[-1])
    assert Path(written["path"]).stat().st_size == written["size_bytes"] > 100_000
    assert written["run_id"] == run_id
    assert not list(Path().glob(".*.part"))


@pytest.mark.parametrize("arguments", [[], ["abc", "--experiment", "x"], ["--experiment", "x", "--refresh"]])
def test_a_wrong_call_exits_with_2(arguments: list[str]) -> None:
    assert report(*arguments).exit_code == 2


@pytest.mark.parametrize(("arguments", "words"), [(["0" * 32], "there is no run"), (["--experiment", "x"], "'x'")])
def test_what_is_not_there_is_one_line_and_exit_code_1(store: str, arguments: list[str], words: str) -> None:
    done = report(*arguments)
    assert done.exit_code == 1
    assert words in done.output
    assert not Path("greenlove-x.html").exists()
