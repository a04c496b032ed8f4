"""The page where its readers find it: in the sandboxed frame of a real MLflow server, put there by the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from greenlove_mlflow.cli import main
from greenlove_mlflow.tracking.saved_view import view_url
from tests.report.test_page import visible_text
from tests.support.browser import Visit, a_browser, visiting
from tests.support.report import a_measured_training
from tests.support.server import Server, running_server
from tests.support.tracking import a_tracked_log, keep_outcome, train

pytestmark = [pytest.mark.browser, pytest.mark.server]

FRAME_DEADLINE_MS = 60_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def run_id(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run as ``track`` leaves it, its page refreshed by ``greenlove report``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        return _kept_run(server, tmp_path_factory.mktemp("out"))


def _kept_run(server: Server, folder: Path) -> str:
    import mlflow

    from greenlove_mlflow.tracking import open_run

    mlflow.set_tracking_uri(server.uri)
    with open_run(run_name="frame-<b>run</b>") as run:
        estimate, comparison = a_measured_training()
        log = a_tracked_log()
        run.log_estimates(estimate, comparison, log)
        run.log_page(estimate, comparison, log)
        train(run)
        keep_outcome(run)
        found = run.run_id
    assert found is not None
    output = folder / "page.html"
    done = CliRunner().invoke(main, ["report", found, "--store", server.uri, "-o", str(output), "--refresh", "--json"])
    assert done.exit_code == 0, done.output
    written = json.loads(done.stdout.splitlines()[-1])
    assert written["size_bytes"] == output.stat().st_size
    return found


def in_frame(visit: Visit) -> Any:
    element = visit.page.wait_for_selector("iframe[sandbox]", timeout=FRAME_DEADLINE_MS)
    assert element.get_attribute("sandbox") == "allow-scripts"
    frame = element.content_frame()
    frame.wait_for_function("() => document.querySelectorAll('.plot svg').length >= 2", timeout=FRAME_DEADLINE_MS)
    return frame


def test_page_works_in_the_artifact_frame(server: Server, run_id: str) -> None:
    address = f"{server.uri}/#/experiments/0/runs/{run_id}/artifacts/greenlove/report.html"
    with a_browser() as browser, visiting(browser, address) as visit:
        frame = in_frame(visit)
        before = frame.locator("#verdict").inner_text()
        seen = len(visit.requests)
        frame.locator("#whatif [name=epochs]").fill("3")
        assert frame.locator("#verdict").inner_text() != before
        frame.locator("#sort-by").select_option("time")
        assert frame.locator("#options thead th[data-key='time']").get_attribute("aria-sort") == "ascending"
        assert "frame-<b>run</b>" in frame.locator(".kicker").inner_text()
        # MLflow's own pages may ask for what they like; ours asks for nothing, and no one asks the world.
        assert all(url.startswith((server.uri, f"blob:{server.uri}", "data:")) for url in visit.requests)
        assert not [url for url in visit.requests[seen:] if "get-artifact" in url]
        assert not [each for each in visit.complaints if "blob:" in each or "vega" in each.lower()]


def test_command_writes_the_page_of_a_run_from_what_the_server_holds(
    server: Server, run_id: str, tmp_path: Path
) -> None:
    output = tmp_path / "new" / "page.html"
    done = CliRunner().invoke(main, ["report", run_id, "--store", server.uri, "-o", str(output)])
    assert done.exit_code == 0, done.output
    text = visible_text(output.read_text())
    for expected in ("Training here takes", "H100", "It took", "How an epoch grows", "Power during"):
        assert expected in text
    assert not list(output.parent.glob(".*"))


def test_command_writes_one_page_for_an_experiment(server: Server, run_id: str, tmp_path: Path) -> None:
    output = tmp_path / "page.html"
    MlflowClient(server.uri).create_run("0", run_name="not ours")
    done = CliRunner().invoke(main, ["report", "--experiment", "Default", "--store", server.uri, "-o", str(output)])
    assert done.exit_code == 0, done.output
    text = visible_text(output.read_text())
    for expected in ("1 training so far", "Every run", "Left out", "Month by month"):
        assert expected in text


def test_charts_of_the_saved_view_are_titled_in_words_that_fit(server: Server, run_id: str) -> None:
    with a_browser() as browser, visiting(browser, view_url(server.uri, "0", charts=True)) as visit:
        section = visit.page.get_by_text("Estimated here and on each offer").first
        section.wait_for(state="attached", timeout=FRAME_DEADLINE_MS)
        section.evaluate("node => node.scrollIntoView({block: 'start'})")
        for quantity in ("Hours", "USD"):
            title = visit.page.get_by_text(f"{quantity} by GPU").first
            title.wait_for(state="visible", timeout=FRAME_DEADLINE_MS)
            assert title.evaluate("node => node.scrollWidth <= node.clientWidth + 1")
