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


@pytest.mark.parametrize(
    "command", [("compare",), ("report", "-o", "page.html"), ("runs",), ("calibration", "--forget")]
)
def test_a_run_is_found_by_what_commands_show_of_it(run_id: str, store: str, command: tuple[str, ...]) -> None:
    """By the first characters of its id, by its name, and by both as a table has them."""
    name = MlflowClient(store).get_run(run_id).info.run_name
    for shown in (run_id[:6], run_id[:8], name, f"{name} ({run_id[:6]})"):
        done = CliRunner().invoke(main, [*command, shown], catch_exceptions=False)
        assert done.exit_code == 0, done.output


def test_a_name_that_two_runs_have_is_refused_with_both_ids(store: str) -> None:
    client = MlflowClient(store)
    experiment = client.create_experiment("twins")
    ids = [log_tracked_run(client, experiment)[0] for _ in range(2)]
    for each in ids:
        client.set_tag(each, "mlflow.runName", "twin")
    done = call("twin")
    assert done.exit_code == 1
    assert all(each in done.output for each in ids)


@pytest.mark.parametrize("odd", ["no such run", "ab", "0123ab%", "it's", 'a "quoted" name', "(abcdef)", "%"])
def test_a_name_that_no_run_has_is_named(run_id: str, odd: str) -> None:
    done = call(odd)
    assert done.exit_code == 1
    assert "there is no run" in done.output
