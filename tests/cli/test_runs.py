"""``greenlove runs``: runs side by side."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient

from greenlove_mlflow.cli import main
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.plots.side_by_side import PlottedRun, plot_side_by_side
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
        log_tracked_run(client, experiment_id, each)[0] for each in (gpu_statistics(), longer, dark)
    )
    return first, second, third


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["runs", *arguments], catch_exceptions=False)


def test_runs_are_shown_with_ranges_best_offer_and_what_differs(run_ids: tuple[str, str, str]) -> None:
    done = call(*run_ids)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    rows = [line for line in lines if any(run_id[:6] in line for run_id in run_ids)][:3]
    assert all(" to " in row for row in rows)
    assert "not measured" in rows[2]
    assert any(line.startswith("green.precision") and "bf16" in line for line in lines)
    assert not any(line.startswith("green.epochs") for line in lines)


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
    [(("0" * 32,), 1, "no run"), ((), 2, "RUNS"), (("x", "--figure", "runs.txt"), 2, ".png")],
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
