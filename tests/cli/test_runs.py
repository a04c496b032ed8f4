"""``greenlove runs``: runs side by side."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient

from greenlove_mlflow.cli import main
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.plots.comparisons import PlottedRun, plot_side_by_side
from greenlove_mlflow.stored.run_table import compare_runs
from tests.support.factories import a_fit, a_grid
from tests.support.reestimation import gpu_statistics, log_tracked_run
from tests.support.store import store_in


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    folder = tmp_path_factory.mktemp("cli-compare")
    with store_in(folder) as uri:
        yield MlflowClient(uri)


@pytest.fixture(scope="module")
def run_ids(client: MlflowClient) -> tuple[str, str, str]:
    experiment_id = client.create_experiment("side by side")
    longer = gpu_statistics(fit=a_fit(epoch_s=400.0, first_epoch_s=400.0), precision="bf16")
    dark = gpu_statistics(power=(), grid=a_grid(place="<script>", price_usd_per_kwh=None, intensity_g_per_kwh=None))
    first, second, third = (
        log_tracked_run(client, experiment_id, each, has_trained=False)[0] for each in (gpu_statistics(), longer, dark)
    )
    return first, second, third


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["runs", *arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def ran(client: MlflowClient, run_ids: tuple[str, str, str]) -> str:
    """A run of the same experiment that trained; the others have an estimate alone."""
    run_id, _ = log_tracked_run(client, client.get_run(run_ids[0]).info.experiment_id, has_trained=False)
    metrics = {"time_h": 2.0, "energy_kwh": 0.75, "cost_usd": 0.31, "co2_kg": 0.25, "time_error_ratio": 1.01}
    for name, value in metrics.items():
        client.log_metric(run_id, f"green/actual/{name}", value)
    client.set_tag(run_id, "greenlove.status", "finished")
    client.set_tag(run_id, "mlflow.runName", "=cmd|' /C calc'!A0")
    return run_id


def test_runs_are_shown_with_estimate_best_offer_and_what_differs(run_ids: tuple[str, str, str]) -> None:
    done = call(*run_ids)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    rows = [line for line in lines if any(run_id[:6] in line for run_id in run_ids)][:3]
    assert [row.split().count("-") for row in rows] == [4, 4, 4]
    assert "not measured" in rows[2]
    assert any(line.startswith("green.precision") and "bf16" in line for line in lines)
    assert not any(line.startswith("green.epochs") for line in lines)


def test_what_ran_and_what_did_not_are_never_added_up_together(run_ids: tuple[str, str, str], ran: str) -> None:
    done = call("--experiment", "side by side", "--sort", "name")
    lines = done.stdout.splitlines()
    assert [line for line in lines if " trained, together " in line] == [
        "1 trained, together 2 h, $0.31, 0.750 kWh, 250 g CO2e"
    ]
    (planned,) = (line for line in lines if "not run, estimated at" in line)
    assert planned.startswith("3 not run, estimated at")
    grouped = call("--experiment", "side by side", "--group-by", "green.precision").stdout
    assert "green.precision bf16: 1 not run" in grouped
    assert sum(" not run" in line for line in grouped.splitlines()) == 2


@pytest.mark.parametrize("prices", ["newest", "2024-10-05"])
def test_lines_fit_a_hundred_and_twenty_columns(
    client: MlflowClient, run_ids: tuple[str, str, str], ran: str, prices: str
) -> None:
    long_names = [log_tracked_run(client, client.create_experiment(f"long {prices} {n}"))[0] for n in range(2)]
    for run_id in long_names:
        client.set_tag(run_id, "mlflow.runName", "a name that nobody reads to its end " * 8)
    printed = call(*run_ids, ran, *long_names, "--prices", prices).stdout
    assert max(len(line) for line in printed.splitlines()) <= 120
    assert "2 h" in printed


def test_sorting_by_a_figure_puts_the_largest_first(run_ids: tuple[str, str, str]) -> None:
    content = json.loads(call(*run_ids, "--sort", "time", "--json").stdout)
    times = [run["home"]["time_s"][0] for run in content["runs"]]
    assert times == sorted(times, reverse=True)
    assert times[0] > times[-1]
    assert len(content["differing_params"]["green.precision"]) == 3


def test_a_pull_request_gets_a_table_that_no_name_can_break(run_ids: tuple[str, str, str], ran: str) -> None:
    lines = call(*run_ids, ran, "--markdown").stdout.splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 4
    cells = [re.findall(r"(?<!\\)\|", line) for line in table]
    assert {len(bars) for bars in cells} == {9}
    assert "**1 trained**, together 2 h, $0.31, 0.750 kWh, 250 g CO2e." in lines
    assert any(line.startswith("**3 not run**") for line in lines)


def test_an_experiment_without_trainings_says_so(client: MlflowClient) -> None:
    client.create_experiment("nothing yet")
    for form in ((), ("--markdown",)):
        assert call("--experiment", "nothing yet", *form).stdout == "No training has been tracked there yet.\n"


def test_what_a_training_took_leaves_out_what_is_not_known(client: MlflowClient) -> None:
    experiment = client.create_experiment("unmetered")
    log_tracked_run(client, experiment)
    lines = call("--experiment", "unmetered", "--markdown").stdout
    assert "unknown" not in lines
    assert "(1 without known energy)" in lines


def test_a_name_in_a_comment_calls_nobody_and_strikes_nothing(client: MlflowClient) -> None:
    run_id, _ = log_tracked_run(client, client.create_experiment("names"))
    client.set_tag(run_id, "mlflow.runName", "@maintainer ~~gone~~")
    said = call(run_id, "--markdown").stdout
    assert "@\u200bmaintainer" in said
    assert "~~" not in said


def test_a_spreadsheet_evaluates_no_cell_and_gets_plain_units(run_ids: tuple[str, str, str], ran: str) -> None:
    rows = list(csv.DictReader(io.StringIO(call(*run_ids, ran, "--csv").stdout)))
    assert [row["run_id"] for row in rows] == [*run_ids, ran]
    assert rows[3]["name"] == "'=cmd|' /C calc'!A0"
    assert float(rows[3]["actual_time_s"]) == 7200.0
    assert float(rows[3]["actual_co2_g"]) == 250.0
    assert float(rows[0]["time_s_lo"]) < float(rows[0]["time_s"]) < float(rows[0]["time_s_hi"])
    assert rows[0]["actual_time_s"] == rows[2]["energy_kwh"] == ""


def test_runs_with_equal_params_say_so(client: MlflowClient, run_ids: tuple[str, str, str]) -> None:
    twin, _ = log_tracked_run(client, client.get_run(run_ids[0]).info.experiment_id)
    assert "Their params are the same." in call(run_ids[0], twin).stdout


def test_the_json_holds_the_ranges(run_ids: tuple[str, str, str]) -> None:
    content = json.loads(call(*run_ids, "--json").stdout)
    first, _, third = content["runs"]
    point, low, high = first["home"]["time_s"]
    assert low < point < high
    assert first["best_offer"]
    assert third["home"]["energy_kwh"] is None
    assert set(content["differing_params"]) >= {"green.precision"}


def test_the_best_offer_is_of_the_prices_asked_for(run_ids: tuple[str, str, str], tmp_path: Path) -> None:
    path = tmp_path / "quote.csv"
    path.write_text("gpu,price_usd_per_hour,as_of\nL40S 48GB,1,2026-10-01\nH100 HGX 80GB,9,2026-10-01\n")
    beside = compare_runs(run_ids, prices=path)
    # 61 GiB do not fit the cheaper board.
    assert {each.best_name for each in beside.runs} == {"H100 HGX 80GB"}
    assert beside.runs[0].stay_home
    assert beside.runs[2].stay_home is False


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_figure_is_drawn_into_a_file(run_ids: tuple[str, str, str], tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "deep" / f"runs.{suffix}"
    assert call(*run_ids, "--figure", str(path)).exit_code == 0
    assert path.stat().st_size > 5000
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_figure_stands_unknown_and_exact_values(run_ids: tuple[str, str, str], tmp_path: Path) -> None:
    beside = compare_runs(run_ids[2:])
    (only,) = beside.runs
    exact = dataclasses.replace(only.home, time_s=Interval.exactly(10.0))
    bare = PlottedRun(label=only.label, home=exact, best=None, best_name="")
    plot_side_by_side([bare], beside.prices).savefig(tmp_path / "bare.png")
    assert (tmp_path / "bare.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("0" * 32,), 1, "no run"),
        ((), 2, "RUNS"),
        (("x", "--csv", "--json"), 2, "exclude"),
        (("--experiment", "nowhere"), 1, "no experiment"),
        (("x", "--figure", "runs.txt"), 2, ".png"),
    ],
    ids=str,
)
def test_a_call_that_cannot_be_done_is_one_line_and_an_exit_code(
    client: MlflowClient, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = call(*arguments)
    assert done.exit_code == code
    assert words in done.output


def test_a_run_that_was_not_tracked_is_named(client: MlflowClient) -> None:
    run = client.create_run(client.create_experiment("other"))
    done = call(run.info.run_id)
    assert done.exit_code == 1
    assert run.info.run_id in done.output
