"""``greenlove compare``: the offers for a run that MLflow keeps."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient

from greenlove_mlflow.cli import main
from tests.support.reestimation import log_tracked_run


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["compare", *arguments], catch_exceptions=False)


@pytest.fixture
def run_id(store: str) -> str:
    client = MlflowClient(store)
    return log_tracked_run(client, client.create_experiment("trainings"))[0]


def test_every_offer_of_the_sheet_stands_beside_home(run_id: str) -> None:
    said = json.loads(call(run_id, "--json", "--prices", "2026-09-28").stdout)
    assert said["prices_as_of"] == "2026-09-28"
    assert "H100 HGX 80GB" in {each["gpu"] for each in said["offers"]}
    assert said["home"]["time_s"][1] <= said["home"]["time_s"][0] <= said["home"]["time_s"][2]


def test_the_table_names_home_first(run_id: str) -> None:
    lines = call(run_id, "--all").stdout.splitlines()
    head = next(index for index, line in enumerate(lines) if line.startswith("GPU "))
    assert lines[head + 1].strip("-") == ""
    assert lines[head + 2].split("  ")[0].endswith("(here)")


def test_a_run_that_does_not_exist_is_named(store: str) -> None:
    done = call("0" * 32)
    assert done.exit_code == 1
    assert "0" * 32 in done.output
