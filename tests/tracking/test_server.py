"""Tracking against a real ``mlflow server`` that is killed, stopped and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from greenlove_mlflow.tracking import recover
from greenlove_mlflow.tracking.spool.mlflow_store import is_reachable
from greenlove_mlflow.tracking.spool.recovery import find_spools
from tests.support.server import Server, free_port, running_server
from tests.support.tracking import (
    EPOCH_COUNT,
    PATIENT,
    POWER_SAMPLE_COUNT,
    artifact_paths,
    raw_power,
    run_script,
    start_script,
)

pytestmark = pytest.mark.server

POWER = "system/greenlove/gpu_0_power_w"
WHOLE = """
with open_run(run_name={name!r}) as run:
    keep_promise(run)
    train(run)
    {middle}
    train(run, epochs=0)
print("trained", run.run_id, run.url, flush=True)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        # The tests' own questions to a dead server should fail at once; the scripts keep MLflow's four minutes.
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with running_server(tmp_path_factory.mktemp("server")) as it:
            yield it


@pytest.fixture
def up(server: Server) -> Server:
    if server.process is None:
        server.start()
    return server


def whole_script(name: str, middle: str = "pass", *, patient: bool = True) -> str:
    return (PATIENT if patient else "") + WHOLE.format(name=name, middle=middle)


def only_run(uri: str, name: str) -> str:
    (run,) = MlflowClient(uri).search_runs(["0"], f"attributes.run_name = '{name}'")
    return str(run.info.run_id)


def check_whole(uri: str, run_id: str, status: str = "FINISHED") -> None:
    """The run holds every sample once, and all its files."""
    client = MlflowClient(uri)
    run = client.get_run(run_id)
    assert run.info.status == status
    epochs = client.get_metric_history(run_id, "green/train/epoch_s")
    assert [(point.step, point.value) for point in epochs] == [(n, 1.0 + n) for n in range(EPOCH_COUNT)]
    power = client.get_metric_history(run_id, POWER)
    assert len({point.step for point in power}) == len(power) > 0
    once = [300.0 + n for n in range(POWER_SAMPLE_COUNT)]
    with tempfile.TemporaryDirectory() as folder:
        assert raw_power(client, run_id, Path(folder))[-2 * POWER_SAMPLE_COUNT :] == once + once
    assert {"greenlove/power.parquet", "greenlove/report.html", "greenlove/estimates.json"} <= artifact_paths(
        client, run_id
    )
    assert {each.dataset.name for each in run.inputs.dataset_inputs} >= {"crusoe_prices", "gpu_specs"}


def files_with(secret: bytes, folder: Path) -> list[Path]:
    """The files below a folder that hold the secret; one that vanishes meanwhile holds nothing."""
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and secret in path.read_bytes():
                found.append(path)
    return found


def test_a_training_is_kept_over_http(up: Server, tmp_path: Path) -> None:
    done = run_script(whole_script("http"), cwd=tmp_path, uri=up.uri, state=tmp_path)
    run_id = only_run(up.uri, "http")
    url = f"{up.uri}/#/experiments/0/runs/{run_id}"
    assert f"trained {run_id} {url}?workflowType=machine_learning\n" in done.stdout, done.stderr
    assert done.stdout.count(f"View run http at: {url}") == 1  # MLflow's own line, as after any run
    assert "TrackingWarning" not in done.stderr
    check_whole(up.uri, run_id)
    assert list(recover(tmp_path / "greenlove", store_uri=up.uri)) == []


def test_a_server_killed_in_the_middle_costs_one_warning_and_no_sample(up: Server, tmp_path: Path) -> None:
    middle = "run._writer._round(retry=False); print('half', flush=True); sys.stdin.readline()"
    process = start_script(
        whole_script("killed-server", middle, patient=False), cwd=tmp_path, uri=up.uri, state=tmp_path
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    up.kill()
    out, err = process.communicate("\n", timeout=120)
    assert process.returncode == 0, err
    assert out.startswith("trained")
    assert err.count("TrackingWarning") == 1, err
    assert "greenlove recover" in err
    up.start()
    (result,) = recover(tmp_path / "greenlove", store_uri=up.uri)
    assert (result.is_sent, result.was_killed) == (True, False), result
    check_whole(up.uri, only_run(up.uri, "killed-server"))


def test_a_server_that_no_longer_answers_holds_up_nobody(up: Server, tmp_path: Path) -> None:
    middle = "print('half', flush=True); sys.stdin.readline()"
    process = start_script(
        whole_script("stopped-server", middle, patient=False), cwd=tmp_path, uri=up.uri, state=tmp_path
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    assert up.process is not None
    os.killpg(up.process.pid, signal.SIGSTOP)
    try:
        out, err = process.communicate("\n", timeout=120)
    finally:
        os.killpg(up.process.pid, signal.SIGCONT)
    assert process.returncode == 0, err
    assert out.startswith("trained")
    assert err.count("TrackingWarning") == 1, err
    list(recover(tmp_path / "greenlove", store_uri=up.uri))
    check_whole(up.uri, only_run(up.uri, "stopped-server"))


def test_a_server_that_is_down_at_the_start_means_offline_and_the_next_training_catches_up(
    up: Server, tmp_path: Path
) -> None:
    up.kill()
    done = run_script(
        whole_script("offline", patient=False),
        cwd=tmp_path,
        uri=up.uri,
        state=tmp_path,
        MLFLOW_EXPERIMENT_NAME="while-away",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "trained None None\n"
    assert done.stderr.count("TrackingWarning") == 1, done.stderr
    assert "continues offline" in done.stderr
    (result,) = recover(tmp_path / "greenlove", store_uri=up.uri)
    assert not result.is_sent
    up.start()
    done = run_script(whole_script("next"), cwd=tmp_path, uri=up.uri, state=tmp_path)
    assert "TrackingWarning" not in done.stderr
    check_whole(up.uri, only_run(up.uri, "next"))
    client = MlflowClient(up.uri)
    experiment = client.get_experiment_by_name("while-away")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "offline"
    check_whole(up.uri, run.info.run_id)
    assert find_spools(tmp_path / "greenlove") == ([], [])


def test_no_credential_is_kept_anywhere(up: Server, tmp_path: Path) -> None:
    uri = up.uri.replace("http://", "http://me:s3cr3t@")
    code = whole_script("secret", "print('half', flush=True); sys.stdin.readline()")
    process = start_script(code, cwd=tmp_path, uri=uri, state=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    assert find_spools(tmp_path / "greenlove")[0]
    assert not files_with(b"s3cr3t", tmp_path)
    out, err = process.communicate("\n", timeout=120)
    ours = [line for line in out.splitlines() if not line.startswith(("🏃", "🧪"))]  # those are MLflow's own
    assert "s3cr3t" not in "\n".join(ours) + err
    assert process.returncode == 0, err
    run_id = only_run(up.uri, "secret")
    check_whole(up.uri, run_id)
    assert not files_with(b"s3cr3t", up.folder)


def test_an_address_that_takes_calls_and_never_answers_is_dead() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not is_reachable(f"http://127.0.0.1:{silent.getsockname()[1]}", deadline_s=0.5)


def test_an_address_that_nobody_listens_on_is_dead_and_a_file_is_not() -> None:
    assert not is_reachable(f"http://127.0.0.1:{free_port()}")
    assert is_reachable("sqlite:///x.db")
