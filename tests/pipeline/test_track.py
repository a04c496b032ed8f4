"""``greenlove.track`` as a user runs it, in a process of its own, and what MLflow then holds."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from greenlove_mlflow.tables import read_parquet_metadata
from tests.conftest import new_store
from tests.support.server import running_server
from tests.support.tracking import SMALL_TRAINING, artifact_paths, run_script, start_script

pytestmark = pytest.mark.slow

EPOCHS = 6
TRAINING = (
    SMALL_TRAINING
    + """

def tracked(**options):
    return greenlove.track(
        model, optimizer, criterion, data, epochs=6, batch_size=32, country="DE", budget_s=1.0, **options
    )
"""
)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return new_store(tmp_path / "mlflow.db")


def history(client: MlflowClient, run_id: str, key: str) -> list[int]:
    return sorted(point.step for point in client.get_metric_history(run_id, key))


def test_a_tracked_training_leaves_a_whole_run(uri: str, tmp_path: Path) -> None:
    script = TRAINING + (
        "with tracked(run_name='whole') as run:\n"
        "    for epoch in run.epochs():\n"
        "        one_epoch()\n"
        "print(run.run_id)\n"
    )
    done = run_script(script, cwd=tmp_path, uri="", state=tmp_path / "state")
    assert done.returncode == 0, done.stderr
    assert "TrackingWarning" not in done.stderr
    client = MlflowClient(uri)
    (run,) = client.search_runs(["0"])
    assert done.stdout.splitlines()[-1] == run.info.run_id
    assert (run.info.status, run.data.tags["greenlove.status"]) == ("FINISHED", "finished")
    assert run.data.tags["mlflow.note.content"].startswith("It took")
    local = [f"green/{quantity}/local" for quantity in ("time_h", "cost_usd", "co2_kg", "energy_kwh")]
    assert {f"{key}{end}" for key in local for end in ("", "_lo", "_hi")} <= set(run.data.metrics)
    assert {"green/time_h/H100-HGX-80GB", "green/cost_usd/H100-HGX-80GB"} <= set(run.data.metrics)
    assert {"green/actual/time_error_ratio", "green/actual/energy_kwh"} <= set(run.data.metrics)
    assert "system/greenlove/cpu_power_w" in run.data.metrics

    paths = artifact_paths(client, run.info.run_id)
    benchmark = Path(client.download_artifacts(run.info.run_id, "greenlove/benchmark.parquet", str(tmp_path)))
    assert history(client, run.info.run_id, "green/bench/epoch_s") == pd.read_parquet(benchmark)["epoch_index"].tolist()
    assert history(client, run.info.run_id, "green/train/epoch_s") == list(range(EPOCHS))
    for path in (path for path in paths if path.startswith("greenlove/tables/") and path.endswith(".parquet")):
        metadata = read_parquet_metadata(Path(client.download_artifacts(run.info.run_id, path, str(tmp_path))))
        assert {"greenlove.table", "greenlove.version", "greenlove.as_of", "greenlove.source"} <= set(metadata)
        assert len(metadata["greenlove.sha256"]) == 64
        assert path.replace(".parquet", ".csv") in paths
    assert {each.dataset.name for each in run.inputs.dataset_inputs} >= {"crusoe_prices", "carbon_intensity"}
    assert len(run.outputs.model_outputs) == 1
    experiment = client.get_experiment("0").tags
    assert "mlflow.sharedViewState.greenlove" in experiment
    assert experiment["mlflow.note.content"].startswith("**Green Love:** 1 training: ")
    assert client.get_logged_model(run.outputs.model_outputs[0].model_id).tags["mlflow.note.content"]
    assert run.data.tags["greenlove.best_option"] == "too small to rent"
    assert list((tmp_path / "state" / "greenlove" / "spool").iterdir()) == []


def test_a_training_inside_an_active_run_leaves_it_running(uri: str, tmp_path: Path) -> None:
    script = TRAINING + (
        "import mlflow\n"
        "with mlflow.start_run(run_name='mine') as active:\n"
        "    with tracked(run_name='other') as run:\n"
        "        for epoch in run.epochs():\n"
        "            one_epoch()\n"
        "    now = mlflow.get_run(active.info.run_id)\n"
        "    assert mlflow.active_run().info.run_id == run.run_id == active.info.run_id\n"
        "    assert (now.info.status, now.info.run_name) == ('RUNNING', 'mine')\n"
        "    assert 'mlflow.note.content' not in now.data.tags\n"
        "    with tracked() as second:\n"
        "        assert second.run_id != run.run_id\n"
    )
    done = run_script(script, cwd=tmp_path, uri=uri, state=tmp_path / "state")
    assert done.returncode == 0, done.stderr
    assert "TrackingWarning" not in done.stderr
    runs = {run.data.tags.get("mlflow.parentRunId"): run for run in MlflowClient(uri).search_runs(["0"])}
    assert len(runs) == 2
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs[None].info.run_id in runs


def test_a_training_killed_in_the_middle_is_recovered_by_the_command(uri: str, tmp_path: Path) -> None:
    script = TRAINING + (
        "with tracked() as run:\n"
        "    for epoch in run.epochs():\n"
        "        one_epoch()\n"
        "        if epoch == 3:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = run_script(script, cwd=tmp_path, uri=uri, state=tmp_path / "state")
    assert done.returncode == -signal.SIGKILL, done.stderr
    command = "from greenlove_mlflow.cli import main\nmain(['recover'])\n"
    done = run_script(command, cwd=tmp_path, uri=uri, state=tmp_path / "state")
    assert done.returncode == 0, done.stderr
    assert "everything sent" in done.stdout
    client = MlflowClient(uri)
    (run,) = client.search_runs(["0"])
    assert run.info.status == "KILLED"
    assert history(client, run.info.run_id, "green/train/epoch_s") == [0, 1, 2]
    # The page is drawn beside the first epochs; a training killed this early may not have one yet.
    assert {"greenlove/estimates.json", "greenlove/power.parquet"} <= artifact_paths(client, run.info.run_id)


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process group")
def test_a_server_killed_in_the_middle_does_not_harm_the_training(tmp_path: Path) -> None:
    script = TRAINING + (
        "with tracked(run_name='over-http') as run:\n"
        "    for epoch in run.epochs():\n"
        "        one_epoch()\n"
        "        if epoch == 2:\n"
        "            print('half', flush=True)\n"
        "            sys.stdin.readline()\n"
        "print(len(run.outcome.epoch_durations_s))\n"
    )
    with pytest.MonkeyPatch.context() as patch, running_server(tmp_path / "server") as server:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        process = start_script(script, cwd=tmp_path / "work", uri=server.uri, state=tmp_path / "state")
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        server.kill()
        out, err = process.communicate("\n", timeout=180)
        assert process.returncode == 0, err
        link, count = out.splitlines()
        assert link.endswith(
            f"{server.uri}/#/experiments/0/runs?workflowType=machine_learning&viewStateShareKey=greenlove"
        )
        assert count == str(EPOCHS)
        assert err.count("TrackingWarning") == 1, err
        server.start()
        command = "from greenlove_mlflow.cli import main\nmain(['recover'])\n"
        done = run_script(command, cwd=tmp_path, uri=server.uri, state=tmp_path / "state")
        assert done.returncode == 0, done.stdout + done.stderr
        client = MlflowClient(server.uri)
        (run,) = client.search_runs(["0"])
        assert run.info.status == "FINISHED"
        assert history(client, run.info.run_id, "green/train/epoch_s") == list(range(EPOCHS))
        assert "green/actual/time_error_ratio" in run.data.metrics
