"""``greenlove reestimate`` as it is called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient

from greenlove_mlflow.cli import main
from greenlove_mlflow.tables import table_versions
from greenlove_mlflow.tracking import artifacts
from tests.support.factories import a_log
from tests.support.reestimation import gpu_statistics, log_tracked_run
from tests.support.store import store_in

NEWEST = table_versions("crusoe_prices")[-1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cli-reestimate")
    with store_in(folder):
        yield folder


@pytest.fixture
def client(folder: Path) -> MlflowClient:
    return MlflowClient()


@pytest.fixture
def experiment(client: MlflowClient, request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    experiment_id = client.create_experiment(name)
    log_tracked_run(client, experiment_id)
    client.create_run(experiment_id)
    return name


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["reestimate", *arguments], catch_exceptions=False)


def outcome(*arguments: str) -> dict[str, Any]:
    done = call(*arguments, "--json")
    assert done.exit_code == 0, done.output
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def test_it_says_totals_changes_what_was_left_out_and_where_it_is_kept(client: MlflowClient, experiment: str) -> None:
    done = call("--experiment", experiment)
    assert done.exit_code == 0
    assert done.stdout.startswith(f"1 run estimated again with the prices of {NEWEST}.")
    assert "H100 HGX 80GB" in done.stdout
    assert "it was not made by track" in done.stdout
    assert "Kept in run" in done.stdout
    assert "The same is kept already" in call("--experiment", experiment).stdout


def test_its_json_is_strict_and_whole(experiment: str) -> None:
    found = outcome("--experiment", experiment, "--prices", "all", "--write-back")
    assert found["run_count"] == 1
    assert found["versions"] == list(table_versions("crusoe_prices"))
    assert found["written_back_run_count"] == 1
    assert len(found["skipped"]) == 1
    assert {row["gpu"] for row in found["summary"]} >= {"local", "H100 HGX 80GB"}


def test_a_dry_run_keeps_nothing(client: MlflowClient, experiment: str) -> None:
    done = call("--experiment", experiment, "--write-back", "--dry-run")
    assert "Dry run: nothing was written" in done.stdout
    assert len(client.search_runs([client.get_experiment_by_name(experiment).experiment_id])) == 2


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_all_rows_can_be_kept_in_a_file(experiment: str, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "deep" / f"rows.{suffix}"
    call("--experiment", experiment, "--dry-run", "--output", str(path))
    frame = pd.read_parquet(path) if suffix == "parquet" else pd.read_csv(path)
    assert list(frame.columns[:4]) == ["run_id", "gpu", "version", "time_h"]
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_csv_of_ones_own_is_dated_on_the_command_line(experiment: str, tmp_path: Path) -> None:
    path = tmp_path / "quote.csv"
    path.write_text("gpu,price_usd_per_hour\nH100 HGX 80GB,2\n")
    given = ("--prices", str(path), "--prices-version", "quote-7", "--as-of", "2026-10-01", "--source", "a quote")
    found = outcome("--experiment", experiment, "--dry-run", *given)
    assert found["versions"] == ["quote-7"]
    assert [row["gpu"] for row in found["summary"]] == ["local", "H100 HGX 80GB"]


def test_place_and_plan_of_home_can_be_given(experiment: str) -> None:
    def home(*arguments: str) -> dict[str, Any]:
        rows: list[dict[str, Any]] = outcome("--experiment", experiment, "--dry-run", *arguments)["summary"]
        return rows[0]

    own = home()
    there = home("--carbon", "100", "--usd-per-kwh", "0.5", "--pue", "1")
    assert there["co2_kg_total"] == pytest.approx(there["energy_kwh_total"] / 10.0)
    assert there["cost_usd_total"] == pytest.approx(there["energy_kwh_total"] / 2.0)
    assert home("--epochs", "40")["time_h_total"] > own["time_h_total"]
    assert home("--place", "IS")["co2_kg_total"] < own["co2_kg_total"]


def test_a_filter_that_picks_nothing_says_so(experiment: str) -> None:
    done = call("--experiment", experiment, "--filter", "params.`green.epochs` = '7'")
    assert done.exit_code == 0
    assert "No run could be estimated again." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--experiment", "nowhere"), 1, "no experiment 'nowhere'"),
        (("--experiment", "Default", "--prices", "1999-01-01"), 1, "1999-01-01"),
        (("--experiment", "Default", "--as-of", "2026-10-01"), 1, "--as-of"),
        (("--experiment", "Default", "--output", "rows.txt"), 2, ".parquet or .csv"),
        ((), 2, "--experiment"),
    ],
    ids=str,
)
def test_a_call_that_cannot_be_done_is_one_line_and_an_exit_code(
    folder: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = call(*arguments)
    assert done.exit_code == code
    assert words in done.output
    assert "Traceback" not in done.output


def log_facts(client: MlflowClient, run_id: str, folder: Path, **over: Any) -> Path:
    log = a_log(machine=gpu_statistics().machine, **over)
    path = folder / "benchmark.parquet"
    artifacts.write_epochs(log, path)
    client.log_artifact(run_id, str(path), "greenlove")
    return path


def test_verification_leaves_out_runs_whose_facts_do_not_hold(
    client: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    experiment_id = client.get_experiment_by_name(experiment).experiment_id
    sound, edited, foreign, torn = (log_tracked_run(client, experiment_id)[0] for _ in range(4))
    log_facts(client, sound, tmp_path)
    log_facts(client, foreign, tmp_path, batch_size=99)
    path = log_facts(client, edited, tmp_path)
    table = pq.read_table(path)
    faster = pa.array([value / 2.0 for value in table["duration_s"].to_pylist()])
    pq.write_table(table.set_column(table.column_names.index("duration_s"), "duration_s", faster), path)
    client.log_artifact(edited, str(path), "greenlove")
    path.write_bytes(b"PAR1 and then nothing")
    client.log_artifact(torn, str(path), "greenlove")

    found = outcome("--experiment", experiment, "--dry-run", "--verify")
    reasons = {each["run_id"]: each["reason"] for each in found["skipped"]}
    assert found["run_count"] == 1
    assert sound not in reasons
    assert "its schema states" in reasons[edited]
    assert "batch size 99" in reasons[foreign]
    assert "is broken" in reasons[torn]
    assert sum("cannot be read" in reason for reason in reasons.values()) == 1
