"""The description of an experiment in MLflow: what its runs took together, and links to its saved view."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.outcome import Outcome
from greenlove_mlflow.numbers import format_co2_g, format_duration_s, format_kwh, format_money
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.note import NOTE_TAG
from greenlove_mlflow.tracking.saved_view import view_url
from greenlove_mlflow.tracking.spool.boundary import OutOfTimeError, within
from greenlove_mlflow.tracking.spool.mlflow_store import is_http
from greenlove_mlflow.units import G_PER_KG, S_PER_H

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from greenlove_mlflow.tracking.spool.header import Opened
    from greenlove_mlflow.tracking.spool.run_events import RunEvents

logger = logging.getLogger(__name__)

# A description that begins otherwise is somebody else's and is left alone.
NOTE_START = "**Green Love:** "
DEADLINE_S = 3.0
# Runs of one request; an experiment with more is described by its latest ones.
MOST_RUNS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentTotals:
    """What the tracked runs of an experiment took together; plans that never ran are counted, not added.

    Args:
        trained_count: Runs that trained.
        refused_count: Runs that were refused.
        is_whole: Whether all runs were read; False where there are more than one page of them.
    """

    trained_count: int
    refused_count: int
    time_s: float
    energy_kwh: float
    cost_usd: float
    co2_g: float
    is_whole: bool = True


def make_experiment_note(totals: ExperimentTotals, *, table_url: str | None, charts_url: str | None) -> str:
    """The description of an experiment: its totals, and links to its saved view.

    Args:
        totals: What its runs took.
        table_url: Address of the runs with their figures; None for a store without pages.
        charts_url: Address of their charts; None for a store without pages.
    """
    counted = "1 training" if totals.trained_count == 1 else f"{totals.trained_count:,} trainings"
    refused = f", {totals.refused_count:,} refused" if totals.refused_count else ""
    figures = (
        format_duration_s(totals.time_s),
        format_kwh(totals.energy_kwh, missing="") if totals.energy_kwh else "",
        format_money(totals.cost_usd) if totals.cost_usd else "",
        f"{format_co2_g(totals.co2_g)} CO2e" if totals.co2_g else "",
    )
    took = f": {', '.join(text for text in figures if text)}" if totals.trained_count else ""
    whole = "" if totals.is_whole else " (the first 1,000 runs)"
    links = [f"[{name}]({url})" for name, url in (("Runs with figures", table_url), ("Charts", charts_url)) if url]
    parts = [f"{NOTE_START}{counted}{refused}{took}{whole}."]
    parts += [" \u00b7 ".join(links)] if links else []
    parts.append("A page of all runs: `greenlove report --experiment NAME`. Newer prices: `greenlove reestimate`.")
    return "\n\n".join(parts)


def keep_description(
    run: RunEvents, opened: Opened, client: MlflowClient, outcome: Outcome | None, *, status: str
) -> None:
    """Record the description of the run's experiment; does nothing where the store does not answer in time.

    Args:
        run: The run that ends now.
        opened: Its store and experiment.
        client: Client of its store.
        outcome: Its outcome; None when nothing ran.
        status: Its status.
    """
    run_id, experiment_id = run.run_id, opened.experiment_id
    if run_id is None or experiment_id is None:
        return

    def describe() -> str | None:
        return describe_experiment(
            client, opened.store_uri, run_id=run_id, experiment_id=experiment_id, outcome=outcome, status=status
        )

    try:
        note = within(DEADLINE_S, describe)
    except OutOfTimeError as error:
        logger.info("the experiment is not described anew: %s", error)
        return
    if note is not None:
        run.experiment_tags({NOTE_TAG: note})


def describe_experiment(
    client: MlflowClient, store_uri: str, *, run_id: str, experiment_id: str, outcome: Outcome | None, status: str
) -> str | None:
    """The description with this run included; None where the experiment has one of somebody else.

    Args:
        client: Client of the store.
        store_uri: Address of the store.
        run_id: The run that ends now, of which the store may not know everything yet.
        experiment_id: Its experiment.
        outcome: Its outcome; None when nothing ran.
        status: Its status.
    """
    known = client.get_experiment(experiment_id).tags.get(NOTE_TAG, "")
    if known and not known.startswith(NOTE_START):
        return None
    totals = _totals(client, experiment_id, run_id=run_id, outcome=outcome, status=status)
    if not is_http(store_uri):
        return make_experiment_note(totals, table_url=None, charts_url=None)
    table, charts = view_url(store_uri, experiment_id), view_url(store_uri, experiment_id, charts=True)
    return make_experiment_note(totals, table_url=table, charts_url=charts)


def _totals(
    client: MlflowClient, experiment_id: str, *, run_id: str, outcome: Outcome | None, status: str
) -> ExperimentTotals:
    runs = client.search_runs(
        [experiment_id], filter_string=f"tags.`{names.TAG_KIND}` = '{names.KIND_TRACK}'", max_results=MOST_RUNS
    )
    others = [run for run in runs if run.info.run_id != run_id]
    metrics = [run.data.metrics for run in others if names.ACTUAL_TIME_H in run.data.metrics]
    refused = sum(run.data.tags.get(names.TAG_STATUS) == names.STATUS_REFUSED for run in others)

    def total(key: str) -> float:
        return float(sum(each.get(key, 0.0) for each in metrics))

    own = outcome or Outcome(epoch_durations_s=(), time_s=0.0, completed=False)
    return ExperimentTotals(
        trained_count=len(metrics) + (outcome is not None),
        refused_count=refused + (status == names.STATUS_REFUSED),
        time_s=total(names.ACTUAL_TIME_H) * S_PER_H + own.time_s,
        energy_kwh=total(names.ACTUAL_ENERGY_KWH) + (own.energy_kwh or 0.0),
        cost_usd=total(names.ACTUAL_COST_USD) + (own.cost_usd or 0.0),
        co2_g=total(names.ACTUAL_CO2_KG) * G_PER_KG + (own.co2_g or 0.0),
        is_whole=not runs.token,
    )
