"""Every door that MLflow has to a model, opened for real: they all give the same answer."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import requests
from mlflow import MlflowClient

import greenlove_mlflow as greenlove
from greenlove_mlflow.serving import log_estimator_model
from greenlove_mlflow.serving.logging_model import gather_facts, save_estimator_model
from greenlove_mlflow.serving.predict import Estimator
from greenlove_mlflow.tables import data_root, table_versions
from tests.support.factories import a_grid
from tests.support.reestimation import compare_as_track_does, gpu_statistics, log_tracked_run
from tests.support.server import free_port, running_server
from tests.support.store import store_in

# One worker takes them all: they share a store, a model and the servers' start-up.
pytestmark = [pytest.mark.xdist_group("model-doors"), pytest.mark.server, pytest.mark.slow]

SERVING_PYTHON = "GREENLOVE_SERVING_PYTHON"
HEAVY = {"torch", "scipy", "pynvml", "matplotlib", "sqlalchemy"}
PRICES = "gpu,price_usd_per_hour,version\nH100 HGX 80GB,4.0,2026-01\nL40S 48GB,2.0,2026-01\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("doors")
    with store_in(folder):
        yield folder


@pytest.fixture(scope="module")
def run_id(folder: Path) -> str:
    client = MlflowClient()
    run_id, _ = log_tracked_run(client, client.create_experiment("doors"))
    statistics, _ = compare_as_track_does(gpu_statistics())
    log_estimator_model(run_id, statistics)
    return run_id


@pytest.fixture(scope="module")
def model_uri(run_id: str) -> str:
    return f"runs:/{run_id}/greenlove-estimator"


@pytest.fixture(scope="module")
def prices_csv(folder: Path) -> Path:
    path = folder / "prices.csv"
    path.write_text(PRICES)
    return path


@pytest.fixture(scope="module")
def answer(prices_csv: Path) -> list[dict[str, Any]]:
    """What every door must give for the whole prices, worked out without MLflow."""
    statistics, _ = compare_as_track_does(gpu_statistics())
    estimates = Estimator(gather_facts(statistics)).estimate(pd.read_csv(prices_csv), {})
    records: list[dict[str, Any]] = estimates.to_dict(orient="records")
    return records


def as_expected(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records, numbers to a part in 1e12, to be held against what a door gave."""
    return [{name: about(cell) for name, cell in each.items()} for each in records]


def about(cell: Any) -> Any:
    return pytest.approx(cell, rel=1e-12) if isinstance(cell, float) else cell


def predict_by_command(model_uri: str, path: Path, kind: str, python: str = sys.executable) -> dict[str, Any]:
    output = path.with_suffix(f".{kind}.out.json")
    command = [python, "-m", "mlflow", "models", "predict", "-m", model_uri, "-i", str(path), "-t", kind]
    done = subprocess.run(
        [*command, "-o", str(output), "--env-manager", "local"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(output.read_text(), parse_constant=refuse)
    return content


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_a_run_holds_the_model_ready_and_unregistered(run_id: str) -> None:
    client = MlflowClient()
    run = client.get_run(run_id)
    (output,) = run.outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert (logged.name, logged.status.value, logged.source_run_id) == ("greenlove-estimator", "READY", run_id)
    assert client.search_registered_models() == []
    assert run.info.status == "FINISHED"


def test_the_description_of_the_model_names_no_path_of_this_machine(model_uri: str) -> None:
    path = Path(mlflow.artifacts.download_artifacts(artifact_uri=f"{model_uri}/MLmodel"))
    assert str(Path(__file__).parents[2]) not in path.read_text()


def test_loaded_in_this_process(model_uri: str, prices_csv: Path, answer: list[dict[str, Any]]) -> None:
    model = mlflow.pyfunc.load_model(model_uri)
    assert model.predict(pd.read_csv(prices_csv)).to_dict(orient="records") == as_expected(answer)


@pytest.mark.parametrize("version", table_versions("crusoe_prices"))
def test_a_published_snapshot_goes_in_as_it_is(model_uri: str, version: str) -> None:
    frame = pd.read_csv(data_root() / "crusoe_prices" / f"{version}.csv")
    estimates = mlflow.pyfunc.load_model(model_uri).predict(frame)
    assert list(estimates["gpu"]) == list(frame["gpu"])
    assert set(estimates["problem"]) == {""}
    assert estimates["time_h"].notna().all()
    assert list(estimates["cost_usd"].notna()) == list(frame["price_usd_per_hour"].notna())


def test_by_command_from_csv(model_uri: str, prices_csv: Path, answer: list[dict[str, Any]]) -> None:
    assert predict_by_command(model_uri, prices_csv, "csv")["predictions"] == as_expected(answer)


def test_by_command_from_json_with_params(model_uri: str, folder: Path, answer: list[dict[str, Any]]) -> None:
    path = folder / "prices.json"
    frame = pd.DataFrame({"gpu": ["H100 HGX 80GB", "no such card"], "price_usd_per_hour": [4.0, 2.0]})
    params = {"epochs": 40, "carbon_g_per_kwh": 10, "usd_per_kwh": 0, "pue": 1}
    path.write_text(json.dumps({"dataframe_split": frame.to_dict(orient="split"), "params": params}))
    known, unknown = predict_by_command(model_uri, path, "json")["predictions"]
    assert known["local_cost_usd"] == 0.0
    assert known["local_co2_kg"] == pytest.approx(known["local_energy_kwh"] / 100.0, rel=1e-12)
    assert known["local_time_h"] > answer[0]["local_time_h"]
    assert unknown["time_h"] is None
    assert "no such card" in unknown["problem"]


def test_by_registry_alias(run_id: str, prices_csv: Path, answer: list[dict[str, Any]]) -> None:
    client = MlflowClient()
    (output,) = client.get_run(run_id).outputs.model_outputs
    version = mlflow.register_model(f"models:/{output.model_id}", "priced-again").version
    client.set_registered_model_alias("priced-again", "current", version)
    model = mlflow.pyfunc.load_model("models:/priced-again@current")
    assert model.predict(pd.read_csv(prices_csv)).to_dict(orient="records") == as_expected(answer)
    client.delete_registered_model("priced-again")


def test_mlflow_evaluates_one_of_its_columns(model_uri: str, folder: Path) -> None:
    frame = pd.read_csv(io.StringIO(PRICES)).assign(truth=[1.0, 2.0])
    found = mlflow.models.evaluate(
        model_uri,
        frame,
        targets="truth",
        predictions="time_h",
        model_type="regressor",
        evaluator_config={"log_model_explainability": False},
    )
    assert found.metrics["example_count"] == 2


@contextlib.contextmanager
def served(model_uri: str, log: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model_uri, "--port", str(port)]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--env-manager", "local", "--host", "127.0.0.1"],
            stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"http://127.0.0.1:{port}/ping", timeout=2).ok:
                    break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(timeout=30)


def test_served_over_http(model_uri: str, folder: Path, answer: list[dict[str, Any]]) -> None:
    with served(model_uri, folder / "serve.log") as url:
        whole = PRICES.replace("4.0", "4").replace("2.0", "2")
        csv = {"Content-Type": "text/csv"}
        as_csv = [requests.post(url, data=text, headers=csv, timeout=30) for text in (PRICES, whole)]
        sheet = (data_root() / "crusoe_prices" / f"{table_versions('crusoe_prices')[-1]}.csv").read_text()
        published = requests.post(url, data=sheet.encode(), headers=csv, timeout=30)
        prices = json.loads(pd.read_csv(io.StringIO(PRICES)).to_json(orient="split"))
        of_split = requests.post(url, json={"dataframe_split": prices}, timeout=30)
        rows = [{"gpu": "MI355X 288GB", "price_usd_per_hour": None}, {"gpu": "what", "price_usd_per_hour": 1}]
        body = {"dataframe_records": rows, "params": {"epochs": 2}}
        of_json = requests.post(url, json=body, timeout=30)
        refused = requests.post(url, json={"dataframe_records": [{"gpu": "L40S 48GB"}]}, timeout=30)
    for each in (of_split, *as_csv):
        assert each.status_code == 200, each.text
        assert json.loads(each.text, parse_constant=refuse)["predictions"] == as_expected(answer)
    assert published.status_code == 200, published.text
    assert {row["problem"] for row in json.loads(published.text, parse_constant=refuse)["predictions"]} == {""}
    known, unknown = json.loads(of_json.text, parse_constant=refuse)["predictions"]
    assert known["time_h"] > 0.0
    assert known["cost_usd"] is None
    assert "'what'" in unknown["problem"]
    assert refused.status_code == 400
    assert "price_usd_per_hour" in refused.text


@pytest.fixture(scope="session")
def serving_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has mlflow-skinny, pandas and pyarrow, and no greenlove-mlflow."""
    if SERVING_PYTHON in os.environ:
        return os.environ[SERVING_PYTHON]
    folder = tmp_path_factory.mktemp("serving")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    done = subprocess.run(
        [python, "-m", "pip", "install", "-q", f"mlflow-skinny=={mlflow.__version__}", "pandas", "pyarrow"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"no environment to serve in, and none can be built: set {SERVING_PYTHON}")
    return python


@pytest.fixture(scope="module")
def model_folder(model_uri: str, folder: Path) -> str:
    """The model as files, for an environment that cannot reach a database."""
    return mlflow.artifacts.download_artifacts(artifact_uri=model_uri, dst_path=str(folder / "downloaded"))


def test_loaded_where_the_package_is_not_installed(
    serving_python: str, model_folder: str, prices_csv: Path, answer: list[dict[str, Any]]
) -> None:
    code = (
        "import importlib.util, json, sys, pandas as pd, mlflow.pyfunc\n"
        "assert importlib.util.find_spec('greenlove_mlflow') is None\n"
        f"model = mlflow.pyfunc.load_model({model_folder!r})\n"
        f"records = model.predict(pd.read_csv({str(prices_csv)!r})).to_dict(orient='records')\n"
        "print(json.dumps([records, sorted({name.split('.')[0] for name in sys.modules})]))\n"
    )
    done = subprocess.run([serving_python, "-I", "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    records, modules = json.loads(done.stdout)
    assert records == as_expected(answer)
    assert "greenlove_mlflow" in modules
    assert not set(modules) & HEAVY


def test_by_command_where_the_package_is_not_installed(
    serving_python: str, model_folder: str, prices_csv: Path, answer: list[dict[str, Any]]
) -> None:
    assert predict_by_command(model_folder, prices_csv, "csv", serving_python)["predictions"] == as_expected(answer)


def test_an_installed_package_goes_before_the_copy_that_the_model_carries(model_folder: str) -> None:
    code = (
        "import mlflow.pyfunc\n"
        f"mlflow.pyfunc.load_model({model_folder!r})\n"
        "import greenlove_mlflow\n"
        "greenlove_mlflow.track, greenlove_mlflow.reestimate\n"
        "print(greenlove_mlflow.__file__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert model_folder not in done.stdout


def test_logging_the_model_loads_no_torch(folder: Path) -> None:
    # A run of its own: a second model in the run of the others would take their place.
    run_id = MlflowClient().create_run("0").info.run_id
    code = (
        "import sys\n"
        "from greenlove_mlflow.serving import log_estimator_model\n"
        "from tests.support.reestimation import gpu_statistics\n"
        f"log_estimator_model({run_id!r}, gpu_statistics())\n"
        "assert 'torch' not in sys.modules\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr


def test_through_a_server(
    folder: Path, prices_csv: Path, answer: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    with running_server(folder / "server") as server:
        client = MlflowClient(server.uri)
        run_id, _ = log_tracked_run(client, client.create_experiment("over http"))
        statistics, _ = compare_as_track_does(gpu_statistics())
        address = log_estimator_model(run_id, statistics, tracking_uri=server.uri)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", server.uri)
            mlflow.set_tracking_uri(server.uri)
            answers = [
                mlflow.pyfunc.load_model(uri).predict(pd.read_csv(prices_csv)).to_dict(orient="records")
                for uri in (address, f"runs:/{run_id}/greenlove-estimator")
            ]
            mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        capsys.readouterr()
        found = greenlove.reestimate("over http", prices="all", write_back=True, tracking_uri=server.uri)
        again = greenlove.reestimate("over http", prices="all", write_back=True, tracking_uri=server.uri)
        kept = client.get_run(str(found.run_id))
    assert answers == [as_expected(answer)] * 2
    assert (found.run_count, found.written.run_count, again.written.run_count) == (1, 1, 0)
    assert (kept.info.status, again.run_id) == ("FINISHED", found.run_id)
    assert found.url is not None
    assert found.url.startswith(f"{server.uri}/#/experiments/{kept.info.experiment_id}/runs/{found.run_id}?")
    assert capsys.readouterr().out == ""


@pytest.fixture(scope="module")
def spark(folder: Path) -> Iterator[Any]:
    pyspark_sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java")
    patch = pytest.MonkeyPatch()
    patch.setenv("PYSPARK_PYTHON", sys.executable)
    session = (
        pyspark_sql.SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.driver.memory", "512m")
        .getOrCreate()
    )
    yield session
    session.stop()
    patch.undo()


def test_as_a_spark_function(spark: Any, model_uri: str, prices_csv: Path, answer: list[dict[str, Any]]) -> None:
    from pyspark.sql.functions import struct

    estimate = mlflow.pyfunc.spark_udf(spark, model_uri, env_manager="local")
    frame = spark.read.csv(str(prices_csv), header=True, schema="gpu string, price_usd_per_hour double, version string")
    rows = frame.withColumn("estimate", estimate(struct(*frame.columns))).select("estimate.*").collect()
    assert [row.asDict() for row in rows] == as_expected(answer)


def test_many_runs_by_spark_with_statistics_in_the_rows(spark: Any, folder: Path) -> None:
    from pyspark.sql.functions import struct

    runs = [compare_as_track_does(gpu_statistics(gpu_count=count)) for count in (1, 2)]
    save_estimator_model(folder / "many", gather_facts(None))
    estimate = mlflow.pyfunc.spark_udf(spark, str(folder / "many"), env_manager="local")
    rows = [
        (statistics.to_json(), row.offer.gpu, row.offer.price_usd_per_hour, row.offer.version)
        for statistics, comparison in runs
        for row in comparison.rows
    ]
    frame = spark.createDataFrame(rows, "statistics string, gpu string, price_usd_per_hour double, version string")
    found = frame.withColumn("estimate", estimate(struct(*frame.columns))).select("estimate.*").collect()
    expected = [row.estimate for _, comparison in runs for row in comparison.rows]
    assert [row.time_h for row in found] == pytest.approx([each.time_s.point / 3600.0 for each in expected], rel=1e-12)
    assert {row.problem for row in found} == {""}


def test_the_spark_example_gives_what_the_batch_gives(folder: Path) -> None:
    pytest.importorskip("pyspark")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java")
    client = MlflowClient()
    experiment_id = client.create_experiment("on spark")
    for over in ({}, {"gpu_count": 2}, {"grid": a_grid(scope="direct")}):
        log_tracked_run(client, experiment_id, gpu_statistics(**over), sheet="2024-05-18")
    example = Path(__file__).parents[2] / "examples" / "spark_reestimate.py"
    output = folder / "rows.parquet"
    options = ["--experiment", "on spark", "--master", "local[1]", "--partitions", "2", "--output", str(output)]
    done = subprocess.run([sys.executable, str(example), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    keys = ["run_id", "gpu", "version"]
    ours = greenlove.reestimate("on spark", prices="all", dry_run=True).table.set_index(keys).sort_index()
    theirs = pd.read_parquet(output).set_index(keys).sort_index()
    assert list(theirs.index) == list(ours.index)
    figures = [name for name in ours.columns if name.startswith(("time_h", "cost_usd", "energy_kwh", "co2_kg"))]
    np.testing.assert_allclose(theirs[figures].to_numpy(float), ours[figures].to_numpy(float), rtol=1e-12)
    assert list(theirs["basis"]) == list(ours["basis"])
