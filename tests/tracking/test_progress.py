"""How far a training is: in its note while it runs, as its outcome after its process is gone, and read back."""

from __future__ import annotations

import dataclasses
import json
import signal
import zlib
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from greenlove_mlflow.core.account.outcome import Outcome
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.tracking import names, open_run, read_run, recover
from greenlove_mlflow.tracking.progress import LEAST_S, ProgressNote
from greenlove_mlflow.tracking.saved_view import saved_view
from tests.support.clock import VirtualClock
from tests.support.report import a_comparison, a_measured_training, an_outcome
from tests.support.store import store_in
from tests.support.tracking import a_tracked_log, run_script


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with store_in(tmp_path) as uri:
        yield uri


@pytest.fixture
def virtual() -> Iterator[VirtualClock]:
    with VirtualClock().installed() as clock:
        yield clock


def forty_epochs() -> Outcome:
    left = Interval(point=18_600.0, low=18_000.0, high=19_200.0)
    return an_outcome(
        completed=False, epoch_durations_s=(186.0,) * 40, time_s=7440.0, energy_kwh=0.86, forecasts_s=(left,)
    )


def test_note_of_a_running_training_leads_with_how_far_it_is_and_claims_no_end(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison, log = a_comparison(), a_tracked_log()
    estimate = comparison.home
    monkeypatch.setattr("greenlove_mlflow.tracking.progress.LEAST_S", 0.0)
    with open_run(run_name="under way") as run:
        run.log_estimates(estimate, comparison, log)
        run.log_page(estimate, comparison, log)
        run.log_progress(estimate, comparison, forty_epochs)
        run._writer._round(retry=False)  # type: ignore[union-attr]
        note = MlflowClient().get_run(str(run.run_id)).data.tags[names.NOTE_TAG]
        page = Path(MlflowClient().download_artifacts(str(run.run_id), names.ARTIFACT_REPORT)).read_text()
    assert "<bdi>under way</bdi>" in page
    assert note.startswith("40 of 100 epochs done: 2 h 4 min, ")
    assert "3 h 6 min (2 h 56 min to 3 h 16 min) left by the latest forecast. Last seen 20" in note
    first = note.split("\n\n", maxsplit=1)[0]
    assert first.index("Last seen") < first.index("It was estimated to take")
    assert "| so far | estimated |" in note
    assert not [word for word in ("It took", "ran, then", "Next time", "happened") if word in note]


def test_note_is_rewritten_now_and_then_only_and_never_a_note_of_the_users(virtual: VirtualClock) -> None:
    class Run:
        run_id, is_ours = "r", True

        def __init__(self) -> None:
            self.notes: list[str] = []

        def tags(self, tags: dict[str, str]) -> None:
            self.notes.append(tags[names.NOTE_TAG])

    comparison, run, progress = a_comparison(), Run(), ProgressNote()

    def laps(count: int) -> int:
        before = len(run.notes)
        for _ in range(count):
            virtual.advance(1.0)
            progress.keep(run, comparison.home, comparison, forty_epochs)  # type: ignore[arg-type]
        return len(run.notes) - before

    assert laps(100) == 0  # there is no note to rewrite yet
    progress.open()
    assert laps(int(LEAST_S) - 1) == 0
    assert laps(1) == 1
    # A day of epochs of a second: never more often than every ten minutes at its end, nor less.
    assert 140 < laps(86_400) < 260
    assert laps(1200) == 2
    run.is_ours = False
    assert laps(1200) == 0


KILLED = """
with open_run(run_name="killed") as run:
    keep_promise(run)
    train(run)
    run._writer._round(retry=False)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_training_has_an_outcome_and_a_note_that_leads_with_it(store: str, tmp_path: Path) -> None:
    done = run_script(KILLED, cwd=tmp_path, uri=store, state=tmp_path / "state")
    assert done.returncode == -signal.SIGKILL, done.stderr
    (result,) = recover(tmp_path / "state" / "greenlove")
    assert result.is_sent
    kept = MlflowClient().get_run(str(result.run_id)).data
    assert kept.metrics[names.ACTUAL_TIME_H] * 3600.0 == pytest.approx(1.0 + 2.0 + 3.0 + 4.0 + 5.0)
    assert kept.metrics[names.ACTUAL_ENERGY_KWH] == pytest.approx(500.0 / 3.6e6)
    assert names.ACTUAL_TIME_ERROR_RATIO not in kept.metrics
    note = kept.tags[names.NOTE_TAG]
    assert note.startswith("5 of 20 epochs ran, then it was killed: 15.0 s, 139 mWh, ")
    assert note.index("is not judged") < note.index("Before it ran:") < note.index("Training here takes 5 h 10 min")
    assert "`greenlove report` with this run's id" in note
    stored = read_run(str(result.run_id), with_log=False)
    assert stored.fate == "killed"
    assert stored.so_far is None
    assert stored.outcome is not None
    assert len(stored.outcome.epoch_durations_s) == 5


def test_a_killed_part_recovered_after_another_went_on_says_nothing_over_it(store: str, tmp_path: Path) -> None:
    run_script(KILLED, cwd=tmp_path, uri=store, state=tmp_path / "state")
    client = MlflowClient()
    (run,) = client.search_runs(["0"])
    # Another machine has resumed the run: it is not this spool's any more.
    client.set_tag(run.info.run_id, names.TAG_SPOOL, "of-the-second-part")
    client.set_tag(run.info.run_id, names.NOTE_TAG, "of the second part")
    (result,) = recover(tmp_path / "state" / "greenlove")
    assert result.is_sent
    kept = client.get_run(run.info.run_id)
    assert kept.data.tags[names.NOTE_TAG] == "of the second part"
    assert kept.info.status == "RUNNING"


def a_run_with_laps(laps: int, key: str = names.TRAIN_EPOCH_S, params: dict[str, str] | None = None) -> str:
    """A run that is under way in the store: an estimate, laps of two minutes, no outcome."""
    from greenlove_mlflow.tracking.values import tags_of

    estimate, _ = a_measured_training()
    assert estimate.statistics is not None
    client = MlflowClient()
    tags = {names.TAG_KIND: names.KIND_TRACK, **tags_of(estimate.statistics)}
    run_id = str(client.create_run("0", tags=tags).info.run_id)
    for name, value in (params or {}).items():
        client.log_param(run_id, name, value)
    for lap in range(laps):
        client.log_metric(run_id, key, 120.0, timestamp=1_790_000_000_000 + lap, step=lap)
        client.log_metric(run_id, names.TRAIN_ENERGY_J, 36_000.0, step=lap)
    return run_id


def test_laps_of_a_run_are_so_far_while_it_runs_and_its_outcome_once_it_has_ended(store: str) -> None:
    run_id = a_run_with_laps(3)
    running = read_run(run_id, with_log=False)
    assert (running.fate, running.outcome, running.seen_ms) == ("running", None, 1_790_000_000_002)
    assert running.so_far is not None
    assert (running.so_far.time_s, running.so_far.completed) == (360.0, False)
    assert running.so_far.energy_kwh == pytest.approx(0.03 * running.statistics.pue.point)
    MlflowClient().set_terminated(run_id, "KILLED")
    killed = read_run(run_id, with_log=False)
    assert (killed.fate, killed.so_far, killed.outcome) == ("killed", None, running.so_far)


def test_an_outcome_of_an_earlier_part_is_not_taken_for_that_of_all_laps(store: str) -> None:
    run_id = a_run_with_laps(5)
    MlflowClient().log_metric(run_id, names.ACTUAL_TIME_H, 2 * 120.0 / 3600.0)
    MlflowClient().set_terminated(run_id, "KILLED")
    outcome = read_run(run_id, with_log=False).outcome
    assert outcome is not None
    assert outcome.time_s == 600.0


def test_steps_are_counted_where_laps_are_no_epochs(store: str) -> None:
    from greenlove_mlflow.words.verdict import happened_sentence, judgement_sentence

    run_id = a_run_with_laps(3, names.TRAIN_LAP_S, {names.PARAM_LAP_STEPS: "250"})
    MlflowClient().set_terminated(run_id, "KILLED")
    stored = read_run(run_id, with_log=False)
    assert stored.outcome is not None
    estimate, _ = a_measured_training()
    plan = dataclasses.replace(estimate.workload, epoch_count=8)
    estimate = dataclasses.replace(estimate, workload=plan)
    assert happened_sentence(estimate, stored.outcome, "killed").startswith(
        "750 of 2,000 steps ran, then it was killed"
    )
    assert "was for 2,000 steps" in judgement_sentence(estimate, stored.outcome)


def test_saved_view_has_one_titled_chart_a_quantity_with_a_line_for_home_and_each_offer() -> None:
    estimate, comparison = a_measured_training()
    packed = json.loads(saved_view(estimate, comparison))["state"].partition(";")[2]
    state = json.loads(zlib.decompress(b64decode(packed)))
    offers = [
        card
        for card in state["compareRunCharts"]
        if "selectedMetricKeys" in card and len(card["selectedMetricKeys"]) > 1
    ]
    assert [card["displayName"].removesuffix(" by GPU") for card in offers] == ["Hours", "USD", "kg CO2e", "kWh"]
    subjects = {"local", *(names.offer_slug(row) for row in comparison.rows)}
    assert {key.rpartition("/")[2] for key in offers[0]["selectedMetricKeys"]} == subjects
    # MLflow titles a line chart by its metrics' names, unless it is told that they are of several nodes.
    lines = [card for card in state["compareRunCharts"] if card["type"] == "LINE"]
    titles = [card["nodeLevelSystemMetricConfiguration"]["metric"] for card in lines]
    assert titles == [card["displayName"] for card in lines]
    assert len(set(titles)) == len(lines)
