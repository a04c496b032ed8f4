from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from greenlove_mlflow.cli.recover import command
from greenlove_mlflow.tracking import names, recover, refused_spools
from greenlove_mlflow.tracking.spool import spool as kinds
from greenlove_mlflow.tracking.spool.events import ArtifactEvent, EndEvent, MetricEvent
from greenlove_mlflow.tracking.spool.header import new_header
from greenlove_mlflow.tracking.spool.recovery import find_spools
from greenlove_mlflow.tracking.spool.sender import Sender
from greenlove_mlflow.tracking.spool.spool import Spool
from tests.conftest import new_store
from tests.support.tracking import EPOCH_COUNT, artifact_paths, raw_power, run_script, start_script

pytestmark = pytest.mark.slow

logging.getLogger("alembic").setLevel(logging.ERROR)

POWER = "system/greenlove/gpu_0_power_w"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return new_store(tmp_path_factory.mktemp("store") / "m.db")


@pytest.fixture
def left_behind(uri: str, tmp_path: Path) -> Iterator[Callable[..., Spool]]:
    """Spools of a process that is gone."""

    def make(**over: object) -> Spool:
        run_id = MlflowClient(uri).create_run("0").info.run_id
        header = new_header(**{"store_uri": uri, "run_id": run_id, "is_ours": True, **over})
        if header.run_id is not None:
            MlflowClient(uri).set_tag(header.run_id, names.TAG_SPOOL, header.spool_id)
        spool = Spool.create(tmp_path / "greenlove", header)
        content = json.loads((spool.folder / kinds.HEADER).read_text())
        (spool.folder / kinds.HEADER).write_text(json.dumps({**content, "process_started_at": 1.0}))
        for step in range(10):
            spool.append(MetricEvent(key="green/train/epoch_s", value=1.0, timestamp_ms=1000 + step, step=step))
        return spool

    return make


def abandon(spool: Spool) -> None:
    spool.close()
    spool.unlock()


def test_kill_9_loses_no_sample_and_doubles_none(tmp_path: Path) -> None:
    uri = new_store(tmp_path / "m.db")
    script = """
with open_run(run_name="killed") as run:
    keep_promise(run)
    train(run, samples=400)
    run._writer._round(retry=False)
    train(run, epochs=0, samples=300)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run_script(script, cwd=tmp_path, uri=uri, state=tmp_path / "state")
    assert done.returncode == -signal.SIGKILL, done.stderr
    client = MlflowClient(uri)
    (run,) = client.search_runs(["0"])
    assert run.info.status == "RUNNING"

    (result,) = recover(tmp_path / "state" / "greenlove")
    assert (result.is_sent, result.was_killed, result.problem) == (True, True, "")
    kept = client.get_run(run.info.run_id)
    assert kept.info.status == "KILLED"
    assert kept.data.tags["greenlove.status"] == "killed"
    assert kept.data.tags["greenlove.partial"] == "true"
    history = client.get_metric_history(run.info.run_id, POWER)
    assert len(history) == len({point.step for point in history})
    recorded = raw_power(client, run.info.run_id, tmp_path)
    assert recorded[-700:] == [300.0 + n for n in range(400)] + [300.0 + n for n in range(300)]
    assert len(history) >= len(recorded) // 10
    assert kept.data.metrics["green/train/epoch_s"] == EPOCH_COUNT
    assert "greenlove/power.parquet" in artifact_paths(client, run.info.run_id)
    assert list(recover(tmp_path / "state" / "greenlove")) == []


def test_a_training_killed_before_its_page_gets_it_from_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = new_store(tmp_path / "m.db")
    script = """
from tests.support.report import a_comparison
run = open_run(run_name="killed")
run.log_estimates(a_comparison().home, a_comparison(), a_tracked_log())
os.kill(os.getpid(), signal.SIGKILL)
"""
    run_script(script, cwd=tmp_path, uri=uri, state=tmp_path / "state")
    client = MlflowClient(uri)
    (run,) = client.search_runs(["0"])
    assert artifact_paths(client, run.info.run_id) == set()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    done = CliRunner().invoke(command, [])
    assert done.exit_code == 0, done.output
    assert "its report says how far it got" in done.output
    assert "greenlove/report.html" in artifact_paths(client, run.info.run_id)


def test_a_live_training_is_left_alone(tmp_path: Path) -> None:
    uri = new_store(tmp_path / "m.db")
    script = 'run = open_run()\ntrain(run)\nprint("ready", flush=True)\nsys.stdin.read()\n'
    process = start_script(script, cwd=tmp_path, uri=uri, state=tmp_path / "state")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (result,) = recover(tmp_path / "state" / "greenlove")
        assert result.is_live
        ((spool,), _) = find_spools(tmp_path / "state" / "greenlove")
        assert not any(isinstance(event, EndEvent) for _, event in spool.events())
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()


def test_recovering_twice_changes_nothing(left_behind: Callable[..., Spool], uri: str, tmp_path: Path) -> None:
    spool = left_behind()
    abandon(spool)
    run_id = str(spool.header.run_id)
    saved = {path.name: path.read_bytes() for path in spool.folder.iterdir() if path.is_file()}
    list(recover(tmp_path / "greenlove"))
    spool.folder.mkdir()
    for name, content in saved.items():
        (spool.folder / name).write_bytes(content)
    (result,) = recover(tmp_path / "greenlove")
    assert result.is_sent
    assert len(MlflowClient(uri).get_metric_history(run_id, "green/train/epoch_s")) == 10


def test_a_run_that_somebody_else_took_up_since_is_not_ended(
    left_behind: Callable[..., Spool], uri: str, tmp_path: Path
) -> None:
    spool = left_behind()
    abandon(spool)
    MlflowClient(uri).set_tag(str(spool.header.run_id), names.TAG_SPOOL, "another")
    (result,) = recover(tmp_path / "greenlove")
    assert result.is_sent
    assert MlflowClient(uri).get_run(str(spool.header.run_id)).info.status == "RUNNING"


def test_a_joined_run_is_not_ended_for_its_owner(left_behind: Callable[..., Spool], uri: str, tmp_path: Path) -> None:
    spool = left_behind(is_ours=False)
    abandon(spool)
    (result,) = recover(tmp_path / "greenlove")
    assert result.is_sent
    kept = MlflowClient(uri).get_run(str(spool.header.run_id))
    assert kept.info.status == "RUNNING"
    assert kept.data.tags["greenlove.status"] == "killed"


def test_a_run_that_was_never_created_is_created_once(
    left_behind: Callable[..., Spool], uri: str, tmp_path: Path
) -> None:
    spool = left_behind(run_id=None, experiment_name="late", run_name="offline", tags={"greenlove.kind": "track"})
    abandon(spool)
    client = MlflowClient(uri)
    sender = Sender(Spool.read(spool.folder), uri)
    sender.send()
    # The process ends after the creation and before it could note the id.
    (spool.folder / kinds.HEADER).write_text(json.dumps({**_header(spool), "run_id": None}))
    (result,) = recover(tmp_path / "greenlove")
    assert result.is_sent
    experiment = client.get_experiment_by_name("late")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_id, run.info.run_name, run.info.status) == (result.run_id, "offline", "KILLED")
    assert run.data.tags["greenlove.kind"] == "track"
    assert run.info.start_time == spool.header.created_ms


def test_a_run_that_was_deleted_leaves_a_note_not_an_endless_retry(
    left_behind: Callable[..., Spool], uri: str, tmp_path: Path
) -> None:
    spool = left_behind()
    abandon(spool)
    MlflowClient(uri).delete_run(str(spool.header.run_id))
    (result,) = recover(tmp_path / "greenlove")
    assert (result.fate, result.is_sent, result.point_count) == ("refused", False, 0)
    assert "deleted" in result.problem
    assert list(recover(tmp_path / "greenlove")) == []
    assert [folder.name for folder in refused_spools(tmp_path / "greenlove")] == [spool.header.spool_id]

    MlflowClient(uri).restore_run(str(spool.header.run_id))
    (result,) = recover(tmp_path / "greenlove", with_refused=True)
    assert (result.fate, result.point_count) == ("sent", 10)
    assert len(MlflowClient(uri).get_metric_history(str(spool.header.run_id), "green/train/epoch_s")) == 10
    assert refused_spools(tmp_path / "greenlove") == ()


def test_what_the_store_could_not_take_for_now_is_tried_again(
    left_behind: Callable[..., Spool], uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = left_behind()
    path, number = spool.new_file("greenlove/report.html")
    path.write_text("page")
    spool.append(ArtifactEvent(path="greenlove/report.html", number=number))
    abandon(spool)

    def no_bucket(*args: object) -> None:
        raise ConnectionError("no credentials for the bucket")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", no_bucket)
        (result,) = recover(tmp_path / "greenlove")
    assert not result.is_sent
    assert "no credentials" in result.problem
    run_id = str(spool.header.run_id)
    assert len(MlflowClient(uri).get_metric_history(run_id, "green/train/epoch_s")) == 10
    (result,) = recover(tmp_path / "greenlove")
    assert result.is_sent
    assert artifact_paths(MlflowClient(uri), run_id) == {"greenlove/report.html"}


def test_the_command_says_what_it_did(left_behind: Callable[..., Spool], tmp_path: Path) -> None:
    spool = left_behind()
    abandon(spool)
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    done = CliRunner().invoke(command, [], env=environ)
    assert done.exit_code == 0, done.output
    assert f"run {spool.header.run_id}: everything sent" in done.output
    assert "gone" in done.output
    assert "Nothing to recover" in CliRunner().invoke(command, [], env=environ).output


def test_the_command_fails_while_something_still_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "http://127.0.0.1:9")
    abandon(_unreachable(tmp_path))
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    done = CliRunner().invoke(command, ["--json"], env=environ)
    assert done.exit_code == 1
    assert json.loads(done.output)["problem"] == "no answer from http://127.0.0.1:9"


def _unreachable(state: Path) -> Spool:
    header = new_header(store_uri="http://127.0.0.1:9", run_id="a" * 32, is_ours=True)
    spool = Spool.create(state / "greenlove", header)
    spool.append(EndEvent(status="FINISHED", end_ms=5, is_own_end=True))
    return spool


def _header(spool: Spool) -> dict[str, object]:
    content: dict[str, object] = json.loads((spool.folder / kinds.HEADER).read_text())
    return content
