"""One training on every surface: terminal, report, note, metrics, estimates.json and the served model agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.outcome import Outcome, settle_outcome
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.quantity import LOCAL, known_figures
from greenlove_mlflow.numbers import format_co2_g, format_duration_s, format_kwh, format_money, format_time
from greenlove_mlflow.report import ReportContent, render_report
from greenlove_mlflow.report.takeaway import options_csv
from greenlove_mlflow.serving.logging_model import log_estimator_model
from greenlove_mlflow.stored.report_content import run_content
from greenlove_mlflow.tracking import TrackedRun, names, open_run
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


PART_J, WHOLE_J = 9_000.0, 23_000.0
FIGURES = ("time_s", "energy_kwh", "cost_usd", "co2_g")


def a_part(estimate: Estimate) -> Outcome:
    return settle_outcome(estimate, epoch_durations_s=(3.1,) * 8, time_s=8 * 3.1, energy_j=PART_J)


def a_whole(estimate: Estimate) -> Outcome:
    count = round(estimate.workload.epoch_count)
    return settle_outcome(estimate, epoch_durations_s=(3.1,) * count, time_s=3.2 * count, energy_j=WHOLE_J)


ENDS: dict[str, Callable[[Estimate], Outcome | None]] = {
    "finished": a_whole, "stopped": a_part, "failed": a_part, "running": a_part, "refused": lambda _: None,
}  # fmt: skip
REASONS = {"stopped": "reached the limit of $0.2", "refused": "the estimate breaks the limit of $0.01"}


@pytest.mark.parametrize("kind", ENDS)
def test_all_surfaces_show_the_same_of_what_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("greenlove_mlflow.tracking.progress.LEAST_S", 0.0)
    estimate, comparison = a_measured_training()
    outcome = ENDS[kind](estimate)
    with store_in(tmp_path) as uri:
        run = track_one(kind, estimate, comparison, outcome)
        note = MlflowClient().get_run(str(run.run_id)).data.tags[names.NOTE_TAG]
        content = run_content(str(run.run_id), store_uri=uri)
        run.close()
    page, headline = visible_text(render_report(content)).replace("\u00a0", " "), note.split("\n\n", maxsplit=1)[0]
    terminal = summary(estimate, comparison, outcome=outcome, refusal=REASONS["refused"] if outcome is None else "")
    assert content.status == kind
    if outcome is None:
        check_words(estimate, page, note, terminal)
        assert [text[:60] for text in (page, note, terminal) if REASONS["refused"] not in text] == []
        return
    known = content.outcome or content.so_far
    assert (content.so_far is not None) == (kind == "running")
    for name in FIGURES:
        assert getattr(known, name) == pytest.approx(getattr(outcome, name), rel=EXACT), name
    check_outcome(outcome, headline, page, terminal)
    if not outcome.completed:
        assert [
            text[:60] for text in (headline, page) if f"8 of {estimate.workload.epoch_count:g} epochs" not in text
        ] == []
    head, *_, last = options_csv(content).splitlines()
    figures = dict(zip(head.split(","), last.split(","), strict=True))
    assert float(figures["time_h"]) * 3600.0 == pytest.approx(outcome.time_s, rel=EXACT)
    assert float(figures["cost_usd"]) == pytest.approx(outcome.cost_usd, rel=EXACT)


def track_one(kind: str, estimate: Estimate, comparison: Comparison, outcome: Outcome | None) -> TrackedRun:
    """A run whose training is, or has ended, so; everything is sent."""
    run, log = open_run(run_name=kind), a_tracked_log()
    run.log_estimates(estimate, comparison, log)
    run.log_page(estimate, comparison, log)
    laps = () if outcome is None else outcome.epoch_durations_s
    for lap, duration_s in enumerate(laps):
        run.log_epoch(lap, duration_s, PART_J / len(laps), None)
    if kind in REASONS:
        run.say_status(kind, REASONS[kind])
    if kind == "running":
        run.log_progress(estimate, comparison, lambda: outcome)
        assert run._writer is not None
        run._writer._round(retry=False)
    else:
        run.log_outcome(estimate, comparison, log, outcome, status=kind)
        run.close({"failed": "FAILED", "refused": "KILLED"}.get(kind, "FINISHED"))
    return run


def check_outcome(outcome: Outcome, *texts: str) -> None:
    """Note, report and terminal write the four figures of what happened alike."""
    written = (
        format_time(outcome.time_s), format_kwh(outcome.energy_kwh), format_money(outcome.cost_usd),
        format_co2_g(outcome.co2_g),
    )  # fmt: skip
    for text in texts:
        assert [each for each in written if each not in text] == []
