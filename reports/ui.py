"""What MLflow's own pages show of tracked trainings: a real server, real trainings, pictures of the pages.

    python reports/ui.py [--out reports/ui]

Starts ``mlflow server``, tracks and trains four small networks on scikit-learn's digits, prices them again with every
sheet, and photographs the pages in headless Chromium.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

EXPERIMENT = "digits"
EPOCHS = 3
SETTINGS = ((16, "DE"), (64, "DE"), (64, "IS"), (256, "DE"))
PAGE = {"width": 1500, "height": 950}
# Charts are drawn, and frames loaded, a little after their text is there.
SETTLE_MS = 4000
# On a busy machine a page takes its time.
DEADLINE_MS = 180_000
ASSISTANT_CLOSE = '[data-component-id="mlflow.assistant.chat_panel.close"]'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "ui")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="greenlove-ui-") as folder:
        os.environ["XDG_STATE_HOME"] = folder
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        from tests.support.server import running_server

        with running_server(Path(folder) / "server") as server:
            os.environ["MLFLOW_TRACKING_URI"] = server.uri
            runs = [track_one(batch_size, country) for batch_size, country in SETTINGS]
            price_again()
            photograph(server.uri, runs, out)


def track_one(batch_size: int, country: str) -> Any:
    """Promise and train one network for a few epochs; the handle of its run."""
    import torch

    import greenlove_mlflow as greenlove
    from greenlove_mlflow.cli.demo import load_digits_dataset, make_network, train_one_epoch

    torch.manual_seed(0)
    data, model = load_digits_dataset(), make_network()
    optimizer, criterion = torch.optim.Adam(model.parameters(), lr=1e-3), torch.nn.CrossEntropyLoss()
    loader = torch.utils.data.DataLoader(data, batch_size=batch_size, shuffle=True)
    with greenlove.track(
        model, optimizer, criterion, loader, epochs=EPOCHS, country=country, experiment=EXPERIMENT,
        run_name=f"batch-{batch_size}-{country}",
    ) as run:  # fmt: skip
        for _ in run.epochs():
            train_one_epoch(model, loader, optimizer, criterion)
    print(f"tracked {run.run_id}: {run.estimate.time_s.point:.1f} s promised", flush=True)
    return run


def price_again() -> None:
    """Every run priced with every sheet, so that its metrics have a history."""
    import greenlove_mlflow as greenlove
    from greenlove_mlflow.tables import table_versions

    for version in table_versions("crusoe_prices"):
        greenlove.reestimate(EXPERIMENT, prices=version, write_back=True)


def photograph(uri: str, runs: list[Any], out: Path) -> None:
    """Pictures of the pages, each once it shows what it is about."""
    from tests.support.browser import a_browser

    with a_browser() as browser:
        for shot in shots(uri, runs):
            context = browser.new_context(viewport=PAGE)
            page = context.new_page()
            page.set_default_timeout(DEADLINE_MS)
            page.goto(shot.address)
            page.locator(ASSISTANT_CLOSE).click()
            shot.until(page)
            page.wait_for_timeout(SETTLE_MS)
            page.screenshot(path=out / f"{shot.name}.png")
            context.close()
            print(f"photographed {shot.name}", flush=True)


@dataclass(frozen=True)
class Shot:
    """One picture: of which address, and what is waited for or done before it is taken."""

    name: str
    address: str
    until: Callable[[Any], Any]


def shots(uri: str, runs: list[Any]) -> list[Shot]:
    """All pictures of an experiment and its first runs."""
    from mlflow import MlflowClient

    from greenlove_mlflow.tracking.saved_view import view_url
    from greenlove_mlflow.tracking.spool.mlflow_store import TRAINING_VIEW

    experiment_id = MlflowClient(uri).get_run(runs[0].run_id).info.experiment_id
    quoted = ",".join(f'"{run.run_id}"' for run in runs[:2])
    experiments = quote(f'["{experiment_id}"]')
    compared = f"{uri}/#/compare-runs?runs={quote(f'[{quoted}]')}&experiments={experiments}"
    table, charts = view_url(uri, experiment_id), view_url(uri, experiment_id, charts=True)
    run = f"{uri}/#/experiments/{experiment_id}/runs/{runs[0].run_id}"
    files = f"{run}/artifacts/greenlove"
    return [
        Shot("runs-table", table, sees("green/actual/time_h")),
        Shot("charts", charts, sees("What happened")),
        Shot("charts-outcome", charts, scrolls_to("While they ran")),
        Shot("charts-offers", charts, scrolls_to("Estimated here and on each offer")),
        Shot("artifact-table", f"{table}&compareRunsMode=ARTIFACT", sees("H100")),
        Shot("compare", compared, sees("Comparing 2 Runs")),
        Shot("compare-metrics", compared, scrolls_to("green/actual/co2_kg")),
        Shot("run-page", f"{run}?{TRAINING_VIEW}", sees("It took")),
        Shot("run-note", f"{run}?{TRAINING_VIEW}", lambda page: page.get_by_text("Show more").click()),
        Shot("run-charts", f"{run}/model-metrics?{TRAINING_VIEW}", scrolls_to("green/cost_usd")),
        Shot("run-power", f"{run}/system-metrics?{TRAINING_VIEW}", sees("system/greenlove")),
        Shot("run-report", f"{files}/report.html?{TRAINING_VIEW}", lambda page: page.wait_for_timeout(SETTLE_MS)),
        Shot("run-estimates", f"{files}/estimates.json?{TRAINING_VIEW}", sees("speed_ratio")),
        Shot("run-prices", f"{files}/tables/crusoe_prices.csv?{TRAINING_VIEW}", sees("price_usd_per_hour")),
    ]


def sees(*texts: str) -> Callable[[Any], Any]:
    """Wait until the page shows all those texts."""
    return lambda page: [page.get_by_text(text).first.wait_for(state="attached") for text in texts]


def scrolls_to(text: str) -> Callable[[Any], Any]:
    """Wait for a text and bring it into the picture."""
    return lambda page: page.get_by_text(text).first.evaluate("node => node.scrollIntoView({block: 'start'})")


if __name__ == "__main__":
    main()
