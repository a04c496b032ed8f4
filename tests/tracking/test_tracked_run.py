"""The MLflow run of a training."""

from __future__ import annotations

import io
import json
import logging
import random
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import mlflow
import pandas as pd
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from greenlove_mlflow.core.quantity import QUANTITIES
from greenlove_mlflow.core.records import PowerSample
from greenlove_mlflow.errors import RunDataError, TrackingError
from greenlove_mlflow.tables import read_parquet_metadata, read_table
from greenlove_mlflow.tracking import (
    TrackedRun,
    finished_runs,
    names,
    open_run,
    read_history,
    read_run,
    runs_of_workload,
)
from greenlove_mlflow.tracking.spool.delivery import deliver
from greenlove_mlflow.tracking.spool.events import TagsEvent
from greenlove_mlflow.tracking.spool.mlflow_store import absolute, check_address, translated, without_credentials
from tests.conftest import new_store
from tests.support.report import a_comparison
from tests.support.store import OLD_STORE_IS_CLOSED, store_in
from tests.support.tracking import (
    EPOCH_COUNT,
    POWER_SAMPLE_COUNT,
    artifact_paths,
    keep_outcome,
    keep_promise,
    raw_power,
    run_script,
    train,
)

pytestmark = pytest.mark.slow

logging.getLogger("alembic").setLevel(logging.ERROR)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with store_in(tmp_path_factory.mktemp("store")) as uri:
        yield uri


@pytest.fixture
def opened(store: str, tmp_path: Path) -> Iterator[Callable[..., TrackedRun]]:
    yield lambda **options: open_run(state=tmp_path / "greenlove", **options)
    while mlflow.active_run() is not None:
        mlflow.end_run()


@pytest.fixture(scope="module")
def tracked(store: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    with open_run(state=tmp_path_factory.mktemp("state"), run_name="whole") as run:
        with run.paused():
            pass
        keep_promise(run)
        train(run)
        keep_outcome(run)
    assert run.run_id is not None
    return run.run_id


def test_a_run_holds_every_metric_param_and_tag(tracked: str) -> None:
    data = MlflowClient().get_run(tracked).data
    subjects = ["local", "local_lo", "local_hi", "H100-HGX-80GB", "A100-SXM-80GB"]
    assert {
        f"{quantity}/{subject}" for quantity in (each.metric for each in QUANTITIES) for subject in subjects
    } <= set(data.metrics)
    assert {
        "green/saving/usd", "green/saving/co2_kg", "green/saving/time_h",
        "green/bench/epoch_s", "green/bench/epoch_scaled_s", "green/bench/sample_count",
        "green/train/epoch_s", "green/train/energy_j",
        "green/train/forecast_time_h", "green/train/forecast_time_h_lo", "green/train/forecast_time_h_hi",
        "green/actual/time_h", "green/actual/energy_kwh", "green/actual/cost_usd", "green/actual/co2_kg",
        "green/actual/time_error_ratio", "system/greenlove/gpu_0_power_w",
    } <= set(data.metrics)  # fmt: skip
    assert data.params["green.batch_size"] == "10"
    assert data.params["green.world_size"] == "1"
    assert len([key for key in data.params if key.startswith("green.")]) == 14
    assert data.tags["greenlove.schema_version"] == "2"
    assert data.tags["greenlove.kind"] == "track"
    assert data.tags["greenlove.status"] == "finished"
    assert "greenlove.partial" not in data.tags
    assert len(data.tags["greenlove.stats"]) < 8000


def test_a_run_holds_every_file_and_each_parquet_says_where_it_is_from(tracked: str, tmp_path: Path) -> None:
    client = MlflowClient()
    paths = artifact_paths(client, tracked)
    assert {
        "greenlove/benchmark.parquet", "greenlove/benchmark.csv", "greenlove/blocks.parquet", "greenlove/power.parquet",
        "greenlove/estimates.json", "greenlove/report.html",
        *(f"greenlove/plots/{name}.png" for name in ("crusoe", "epochs", "passes_by_size", "scaling", "power")),
    } <= paths  # fmt: skip
    tables = {path for path in paths if path.startswith("greenlove/tables/")}
    assert {"greenlove/tables/crusoe_prices.parquet", "greenlove/tables/crusoe_prices.csv"} <= tables
    for path in (path for path in paths if path.endswith(".parquet")):
        metadata = read_parquet_metadata(Path(client.download_artifacts(tracked, path, str(tmp_path))))
        assert {"greenlove.table", "greenlove.version", "greenlove.as_of", "greenlove.source"} <= set(metadata)
        assert "greenlove.sha256" in metadata


def test_the_run_names_its_inputs(tracked: str) -> None:
    found = MlflowClient().get_run(tracked).inputs.dataset_inputs
    assert found[0].dataset.name == "training_data"  # MLflow's table of runs names the first
    inputs = {each.dataset.name: each for each in found}
    assert json.loads(inputs["training_data"].dataset.profile)["num_rows"] > 0
    prices = inputs["crusoe_prices"]
    tags = {tag.key: tag.value for tag in prices.tags}
    assert tags["mlflow.data.context"] == "prices"
    assert tags["greenlove.version"] == "2026-09-28"
    assert prices.dataset.digest == read_table("crusoe_prices", "2026-09-28").sha256[:36]
    contexts = {tag.value for each in inputs.values() for tag in each.tags if tag.key == "mlflow.data.context"}
    assert {"prices", "throughput", "grid"} <= contexts


def test_estimates_are_a_table_that_mlflow_loads(tracked: str) -> None:
    table = mlflow.load_table("greenlove/estimates.json", run_ids=[tracked])
    assert list(table.columns)[:4] == ["gpu", "cost_usd", "time_h", "co2_kg"]
    logged = json.loads(MlflowClient().get_run(tracked).data.tags["mlflow.loggedArtifacts"])
    assert logged == [{"path": "greenlove/estimates.json", "type": "table"}]


def test_every_epoch_is_a_point_and_every_sample_in_the_file(tracked: str, tmp_path: Path) -> None:
    client = MlflowClient()
    epochs = client.get_metric_history(tracked, "green/train/epoch_s")
    assert [(point.step, point.value) for point in epochs] == [(n, 1.0 + n) for n in range(EPOCH_COUNT)]
    power = client.get_metric_history(tracked, "system/greenlove/gpu_0_power_w")
    assert len({point.step for point in power}) == len(power)
    raw = raw_power(client, tracked, tmp_path)
    assert raw[-POWER_SAMPLE_COUNT:] == [300.0 + n for n in range(POWER_SAMPLE_COUNT)]
    laps = pq.read_table(client.download_artifacts(tracked, "greenlove/epochs.parquet", str(tmp_path)))
    assert laps["duration_s"].to_pylist() == [1.0 + n for n in range(EPOCH_COUNT)]
    assert laps["energy_j"].to_pylist() == [100.0] * EPOCH_COUNT
    units = {field.name: (field.metadata or {}).get(b"unit") for field in laps.schema}
    assert (units["duration_s"], units["energy_j"], units["forecast_time_s"], units["lap"]) == (b"s", b"J", b"s", None)


def test_the_run_reads_back_as_it_was(tracked: str, store: str) -> None:
    stored = read_run(tracked)
    assert stored.status == "finished"
    assert stored.statistics == a_comparison().home.statistics
    assert stored.outcome is not None
    assert stored.outcome.completed
    assert stored.outcome.time_s == pytest.approx(18_000.0)
    assert (stored.outcome.energy_source, stored.outcome.energy_note) == ("measured", "gaps")
    assert stored.outcome.epoch_durations_s == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert stored.outcome.forecasts_s[0].point == pytest.approx(50.0)
    assert stored.log is not None
    assert len(stored.log.power_samples) > 0
    assert max(each.at_s for each in stored.log.power_samples) < stored.log.duration_s
    assert [point.step for point in read_history(tracked, "green/time_h/local")] == [20260928]
    assert [run.run_id for run in finished_runs(store)] == [tracked]


def test_a_run_that_was_not_tracked_is_said_to_be_so(store: str) -> None:
    with mlflow.start_run() as run:
        pass
    with pytest.raises(RunDataError, match=r"not made by greenlove\.track"):
        read_run(run.info.run_id)
    with pytest.raises(RunDataError, match="no run"):
        read_run("0" * 32)


def test_runs_of_one_workload_are_found_by_its_fingerprint(store: str, tracked: str) -> None:
    MlflowClient().set_tag(tracked, names.TAG_WORKLOAD, "f00")
    assert [run_id for run_id, _ in runs_of_workload(store, "f00")] == [tracked]
    assert runs_of_workload(store, "bad") == ()


def test_an_active_run_is_joined_and_left_as_it_was(opened: Callable[..., TrackedRun]) -> None:
    with mlflow.start_run(run_name="mine", description="my note") as active:
        mlflow.log_param("lr", "0.1")
        with opened(run_name="not used") as run:
            assert run.run_id == active.info.run_id
            assert not run.is_ours
            keep_promise(run)
        still = mlflow.active_run()
        assert still is not None
        assert still.info.run_id == active.info.run_id
        kept = MlflowClient().get_run(active.info.run_id)
        assert kept.info.status == "RUNNING"
        assert kept.info.run_name == "mine"
        assert kept.data.tags["mlflow.note.content"] == "my note"
        assert kept.data.params["lr"] == "0.1"
        assert kept.data.tags["greenlove.status"] == "finished"


def test_a_run_of_ours_is_active_in_the_body_and_gone_after_it(opened: Callable[..., TrackedRun]) -> None:
    with opened() as run:
        mlflow.log_metric("loss", 0.5)
        active = mlflow.active_run()
        assert active is not None
        assert active.info.run_id == run.run_id
    assert mlflow.active_run() is None
    assert MlflowClient().get_run(str(run.run_id)).data.metrics["loss"] == 0.5
    last = mlflow.last_active_run()
    assert last is not None
    assert last.info.run_id == run.run_id


def test_a_second_training_in_a_run_becomes_its_child(opened: Callable[..., TrackedRun]) -> None:
    with mlflow.start_run() as active:
        with opened() as first:
            keep_promise(first)
        with opened() as second:
            keep_promise(second)
        assert first.run_id == active.info.run_id
        assert second.run_id != active.info.run_id
        child = MlflowClient().get_run(str(second.run_id))
        assert child.data.tags["mlflow.parentRunId"] == active.info.run_id
        assert child.info.status == "FINISHED"
        assert MlflowClient().get_run(active.info.run_id).info.status == "RUNNING"


def test_nested_forces_a_child_and_forbids_one(opened: Callable[..., TrackedRun]) -> None:
    with mlflow.start_run() as active:
        with opened(nested=True) as child:
            pass
        with opened(nested=False) as same:
            pass
        with opened(nested=False) as again:
            pass
    assert child.run_id != active.info.run_id
    assert same.run_id == again.run_id == active.info.run_id


def test_a_training_inside_a_training_of_ours_becomes_its_child(opened: Callable[..., TrackedRun]) -> None:
    with opened() as outer, opened() as inner:
        pass
    client = MlflowClient()
    assert client.get_run(str(inner.run_id)).data.tags["mlflow.parentRunId"] == outer.run_id
    assert {client.get_run(str(run.run_id)).info.status for run in (outer, inner)} == {"FINISHED"}


def test_a_run_named_by_the_environment_is_taken_up_and_ended(
    opened: Callable[..., TrackedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient()
    waiting = client.create_run("0")
    monkeypatch.setenv("MLFLOW_RUN_ID", waiting.info.run_id)
    with opened() as first:
        keep_promise(first)
    assert first.run_id == waiting.info.run_id
    assert first.is_ours
    monkeypatch.setenv("MLFLOW_RUN_ID", waiting.info.run_id)
    with opened() as second:
        keep_promise(second)
    assert second.run_id != waiting.info.run_id
    assert client.get_run(str(second.run_id)).data.tags["mlflow.parentRunId"] == waiting.info.run_id
    assert client.get_run(waiting.info.run_id).info.status == "FINISHED"
    assert mlflow.active_run() is None


def test_an_experiment_is_named_for_one_run_and_for_nothing_else(opened: Callable[..., TrackedRun]) -> None:
    with opened(experiment="greenhouse") as run:
        pass
    client = MlflowClient()
    experiment = client.get_experiment_by_name("greenhouse")
    assert experiment is not None
    assert client.get_run(str(run.run_id)).info.experiment_id == experiment.experiment_id
    with opened() as other:
        pass
    assert client.get_run(str(other.run_id)).info.experiment_id == "0"
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(TrackingError, match="mlflow experiments restore"):
        opened(experiment="greenhouse")


def test_other_ranks_keep_nothing(opened: Callable[..., TrackedRun], store: str) -> None:
    before = len(MlflowClient().search_runs(["0"]))
    with opened(rank=1) as run:
        with run.paused():
            pass
        keep_promise(run)
        train(run)
        keep_outcome(run)
        assert (run.run_id, run.url, run.is_ours, run.finished_runs()) == (None, None, False, ())
    assert len(MlflowClient().search_runs(["0"])) == before


def test_samples_from_a_thread_make_no_run_of_their_own(opened: Callable[..., TrackedRun], tmp_path: Path) -> None:
    before = len(MlflowClient().search_runs(["0"]))
    with opened() as run:
        thread = threading.Thread(target=train, args=(run,))
        thread.start()
        thread.join()
    assert len(MlflowClient().search_runs(["0"])) == before + 1
    assert len(raw_power(MlflowClient(), str(run.run_id), tmp_path)) == POWER_SAMPLE_COUNT


def test_the_last_of_several_reports_stays(opened: Callable[..., TrackedRun], tmp_path: Path) -> None:
    with opened() as run:
        for text in ("first", "second", "third"):
            run.text("greenlove/report.html", text)
    path = MlflowClient().download_artifacts(str(run.run_id), "greenlove/report.html", str(tmp_path))
    assert Path(path).read_text() == "third"


def test_nothing_is_left_in_the_state_folder_of_a_run_that_went_well(
    opened: Callable[..., TrackedRun], tmp_path: Path
) -> None:
    with opened() as run:
        keep_promise(run)
    assert list((tmp_path / "greenlove" / "spool").iterdir()) == []


def test_a_failure_elsewhere_is_in_the_store_before_this_process_is_ended(
    opened: Callable[..., TrackedRun], store: str
) -> None:
    run = opened()
    with run.paused():
        run.say_failed("rank 1: ValueError: enough")
        stored = MlflowClient(store).get_run(str(run.run_id))
    assert stored.info.status == "FAILED"
    assert stored.data.tags[names.TAG_STATUS] == "failed"
    assert stored.data.tags[names.TAG_REASON] == "rank 1: ValueError: enough"


def test_nothing_is_sent_while_paused(opened: Callable[..., TrackedRun], monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[type] = []
    monkeypatch.setattr(
        "greenlove_mlflow.tracking.spool.sender.deliver", lambda *args: (sent.append(type(args[3])), deliver(*args))
    )
    with opened() as run:
        with run.paused():
            run.tags({"a": "1"})
            assert run._writer is not None
            run._writer._round(retry=True)
            assert sent == []
        run._writer._round(retry=True)
        assert sent == [TagsEvent]


def test_a_refused_event_holds_up_no_other_and_is_kept(opened: Callable[..., TrackedRun], tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="refuses a part") as caught, opened() as run:  # noqa: PT031 - all of it
        run.params({"green.method": "adaptive"})
        run.params({"green.method": "seed"})
        run.params({"green.epochs": "1"})
        run.tags({"after": "yes"})
    assert len([each for each in caught if "MLflow" in str(each.message)]) == 1
    kept = MlflowClient().get_run(str(run.run_id))
    assert kept.data.params == {"green.method": "adaptive", "green.epochs": "1"}
    assert kept.data.tags["after"] == "yes"
    assert kept.info.status == "FINISHED"
    (refused,) = (tmp_path / "greenlove" / "refused").rglob("refused.jsonl")
    assert "seed" in refused.read_text()


def test_trouble_while_drawing_costs_a_warning_not_the_training(opened: Callable[..., TrackedRun]) -> None:
    def broken(path: Path) -> None:
        raise ZeroDivisionError("no picture")

    with pytest.warns(UserWarning, match="no picture"), opened() as run:  # noqa: PT031 - all of it
        run.artifact("greenlove/plots/x.png", broken)
        run.artifact("greenlove/plots/y.png", broken)
    assert MlflowClient().get_run(str(run.run_id)).info.status == "FINISHED"


def test_a_full_disk_costs_a_warning_not_the_training(
    opened: Callable[..., TrackedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    with pytest.warns(UserWarning, match="No space left"), opened() as run, monkeypatch.context() as patch:  # noqa: PT031 - all of it
        patch.setattr("greenlove_mlflow.tracking.spool.spool.os.write", full)
        train(run)
        patch.undo()
    assert MlflowClient().get_run(str(run.run_id)).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("ending", "status", "code"),
    [
        ("pass", "FINISHED", 0),
        ("raise ValueError('mine')", "FAILED", 1),
        ("raise KeyboardInterrupt", "KILLED", -2),
        ("sys.exit(0)", "FINISHED", 0),
        ("sys.exit(3)", "FAILED", 3),
        ("mlflow.end_run()", "FINISHED", 0),
    ],
)
def test_a_run_of_ours_ends_by_what_ended_it(tmp_path: Path, ending: str, status: str, code: int) -> None:
    uri = new_store(tmp_path / "m.db")
    script = f"import mlflow\nwith open_run() as run:\n    train(run)\n    {ending}\n"
    done = run_script(script, cwd=tmp_path, uri=uri, state=tmp_path / "state")
    assert done.returncode == code, done.stderr
    (run,) = MlflowClient(uri).search_runs(["0"])
    assert run.info.status == status, done.stderr
    assert run.data.tags["greenlove.status"] == status.lower()
    assert run.data.metrics["green/train/epoch_s"] == EPOCH_COUNT
    if ending.startswith("raise Value"):
        assert "ValueError: mine" in done.stderr


@OLD_STORE_IS_CLOSED
def test_runs_of_an_old_release_beside_the_script_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    (tmp_path / "mlruns" / "0" / "meta.yaml").write_text("experiment_id: '0'\n")
    script = "open_run()"
    done = run_script(script, cwd=tmp_path, uri="", state=tmp_path / "state")
    assert done.returncode == 1
    assert "TrackingError" in done.stderr
    assert "mlflow migrate-filestore" in done.stderr
    assert "sqlite:///mlflow.db" in done.stderr


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("http//host:5000", "begins with http:// or https://"),
        ("http:/host:5000", "begins with http:// or https://"),
        ("https:host", "begins with http:// or https://"),
        ("http://[::1", "host or port cannot be read"),
        ("http://user:SECRET/PW@host", "host or port cannot be read"),
        ("sqlite:////tmp", "/tmp is a folder; a SQLite store is a file"),
    ],
)
def test_an_address_that_no_store_can_have_is_refused_at_once(uri: str, words: str) -> None:
    with pytest.raises(TrackingError, match=words) as refused:
        check_address(uri)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize(
    "uri",
    ["http://host", "https://u:p@host:1/base", "sqlite:///mlflow.db", "databricks://profile:prefix", "httpd/runs"],
)
def test_an_address_that_a_store_may_have_is_left_to_mlflow(uri: str) -> None:
    assert check_address(uri) is None  # type: ignore[func-returns-value]


def test_the_light_mlflow_without_its_database_part_is_explained() -> None:
    error = translated(ModuleNotFoundError("No module named 'sqlalchemy'"), "sqlite:///mlflow.db")
    assert "pip install mlflow" in str(error)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://me:pw@host:5000/x", "http://host:5000/x"),
        ("postgresql://me:p%40w@db/mlflow", "postgresql://db/mlflow"),
        ("postgresql://db/mlflow?user=me&password=pw&sslmode=require", "postgresql://db/mlflow?sslmode=require"),
        ("mysql+pymysql://u@h/d", "mysql+pymysql://h/d"),
        ("databricks://profile", "databricks://profile"),
        ("databricks", "databricks"),
    ],
)
def test_an_address_is_kept_without_its_credentials(uri: str, shown: str) -> None:
    assert without_credentials(uri) == shown


def test_a_relative_store_means_the_same_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute("sqlite:////var/mlflow.db") == "sqlite:////var/mlflow.db"
    assert absolute("sqlite://") == "sqlite://"
    assert absolute("http://host") == "http://host"


def test_power_parquet_holds_every_raw_sample(opened: Callable[..., TrackedRun], tmp_path: Path) -> None:
    with opened() as run:
        for index in range(3000):
            run.log_power_sample(PowerSample(at_s=index / 10, device="gpu_0", power_w=float(index)))
    path = MlflowClient().download_artifacts(str(run.run_id), "greenlove/power.parquet", str(tmp_path))
    assert pd.read_parquet(path)["power_w"].tolist() == [float(n) for n in range(3000)]
    points = MlflowClient().get_metric_history(str(run.run_id), "system/greenlove/gpu_0_power_w")
    points = sorted(points, key=lambda point: point.step)
    assert 300 <= len(points) <= 302  # a point a second, the mean of its ten samples
    rises = [after.value - before.value for before, after in pairwise(points[5:-5])]
    assert rises == pytest.approx([10.0] * len(rises))


def test_figures_are_kept_as_png(opened: Callable[..., TrackedRun], tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    with opened() as run:
        run.figure("greenlove/plots/own.png", Figure())
    path = MlflowClient().download_artifacts(str(run.run_id), "greenlove/plots/own.png", str(tmp_path))
    assert io.BytesIO(Path(path).read_bytes()).read(4) == b"\x89PNG"


FORK = """
run = open_run(run_name="forked")
with run:
    train(run, epochs=2, samples=0)
    child = os.fork()
    if child == 0:
        {leave}
    os.waitpid(child, 0)
    time.sleep(1.0)
    print(mlflow.MlflowClient().get_run(run.run_id).info.status)
    train(run, epochs=5, samples=0)
print(run.run_id)
"""


@pytest.mark.slow
@pytest.mark.parametrize("leave", ["run.close('FAILED'); os._exit(0)", "sys.exit(3)"])
def test_a_forked_child_that_leaves_the_block_ends_nothing(tmp_path: Path, leave: str) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    script = "import mlflow\n" + FORK.format(leave=leave)
    done = run_script(script, cwd=tmp_path, uri=uri, state=tmp_path / "state")
    status, run_id = done.stdout.split()
    assert status == "RUNNING"
    client = MlflowClient(uri)
    assert client.get_run(run_id).info.status == "FINISHED"
    epochs = client.get_metric_history(run_id, "green/train/epoch_s")
    assert sorted({point.step for point in epochs}) == list(range(5))


def test_opening_a_run_draws_none_of_the_trainings_random_numbers(store: str, tmp_path: Path) -> None:
    random.seed(3)
    drawn = [random.random() for _ in range(4)]
    random.seed(3)
    with open_run(state=tmp_path / "state"):
        assert [random.random() for _ in range(4)] == drawn
