"""One training on every surface: terminal, report, note, metrics, estimates.json and the served model agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.quantity import LOCAL, known_figures
from greenlove_mlflow.numbers import format_co2_g, format_duration_s, format_kwh, format_money
from greenlove_mlflow.report import ReportContent, render_report
from greenlove_mlflow.serving.logging_model import log_estimator_model
from greenlove_mlflow.tracking import names, open_run
from greenlove_mlflow.words.summary import summary
from tests.report.test_page import facts_of, visible_text
from tests.support.report import a_measured_training
from tests.support.store import store_in
from tests.support.tracking import a_tracked_log

# Metrics are rounded to four digits, everything else is not rounded at all.
ROUNDED, EXACT = 5e-4, 1e-12
pytestmark = pytest.mark.slow


def figures(estimate: Estimate, ends: tuple[str, ...] = ("point", "low", "high")) -> dict[str, float]:
    suffix = {"point": "", "low": "_lo", "high": "_hi"}
    return {
        f"{quantity.column}{suffix[end]}": getattr(value, end)
        for quantity, value in known_figures(estimate)
        for end in ends
    }


def by_subject(comparison: Comparison) -> dict[str, Estimate]:
    return {LOCAL: comparison.home, **{names.offer_slug(row): row.estimate for row in comparison.rows}}


def test_all_surfaces_show_the_same_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    estimate, comparison = a_measured_training()
    assert estimate.statistics is not None
    with store_in(tmp_path):
        with open_run(run_name="everywhere") as run:
            log = a_tracked_log()
            run.log_estimates(estimate, comparison, log)
            run.log_page(estimate, comparison, log)
        client, run_id = MlflowClient(), str(run.run_id)
        kept = client.get_run(run_id).data
        table = json.loads(Path(client.download_artifacts(run_id, names.ARTIFACT_ESTIMATES, str(tmp_path))).read_text())
        model = mlflow.pyfunc.load_model(log_estimator_model(run_id, estimate.statistics))
        prices = pd.DataFrame({
            "gpu": [row.offer.gpu for row in comparison.rows],
            "price_usd_per_hour": [row.offer.price_usd_per_hour for row in comparison.rows],
        }).astype({"price_usd_per_hour": float})  # fmt: skip
        answers = model.predict(prices).to_dict(orient="records")

    rows = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["data"]}
    wanted = by_subject(comparison)
    assert set(rows) == set(wanted)
    for subject, one in wanted.items():
        for name, value in figures(one).items():
            assert rows[subject][name] == pytest.approx(value, rel=EXACT), (subject, name)
        for quantity, value in known_figures(one):
            assert kept.metrics[names.metric_key(quantity.metric, subject)] == pytest.approx(value.point, rel=ROUNDED)

    for row, answer in zip(comparison.rows, answers, strict=True):
        for name, value in figures(row.estimate).items():
            assert answer[name] == pytest.approx(value, rel=EXACT), (row.offer.gpu, name)
        for name, value in figures(estimate, ("point",)).items():
            assert answer[f"{LOCAL}_{name}"] == pytest.approx(value, rel=EXACT), name

    page = render_report(ReportContent(estimate=estimate, comparison=comparison))
    check_page(page, comparison)
    check_words(estimate, visible_text(page), kept.tags["mlflow.note.content"], summary(estimate, comparison))


def check_page(page: str, comparison: Comparison) -> None:
    """The numbers that the page computes with are those of the comparison."""
    facts: dict[str, Any] = facts_of(page)
    shown = [facts["home"], *facts["rows"]]
    for option, one in zip(shown, by_subject(comparison).values(), strict=True):
        for name, value in (
            ("time", one.time_s), ("energy", one.energy_kwh), ("cost", one.cost_usd), ("co2", one.co2_g)
        ):  # fmt: skip
            assert (option[name] is None) == (value is None)
            if value is not None:
                assert option[name]["point"] == pytest.approx(value.point, rel=EXACT)


def check_words(estimate: Estimate, *texts: str) -> None:
    """Report, note and terminal write the four figures at home alike."""
    written = (
        format_duration_s(estimate.time_s),
        format_kwh(estimate.energy_kwh, with_range=False),
        format_money(estimate.cost_usd, with_range=False),
        format_co2_g(estimate.co2_g, with_range=False),
    )
    for text in texts:
        assert [each for each in written if each not in text.replace("\u00a0", " ")] == []
