"""The notes in MLflow: on a run's page, what is estimated or happened, and on an experiment's, what its runs took."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.outcome import Outcome
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.offers.experiment_totals import Spent, spent_by
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.quantity import known_figures
from greenlove_mlflow.numbers import format_co2_g, format_duration_s, format_kwh, format_money
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.names import (
    ARTIFACT_PLOTS,
    NOTE_TAG,
    STATUS_REFUSED,
    STUDY,
    STUDY_FORECAST,
    STUDY_PRUNED,
    STUDY_TRIALS,
    TAG_VALUE_LIMIT,
)
from greenlove_mlflow.tracking.saved_view import view_url
from greenlove_mlflow.tracking.spool.boundary import OutOfTimeError, within
from greenlove_mlflow.tracking.spool.mlflow_store import is_http
from greenlove_mlflow.units import G_PER_KG, S_PER_H
from greenlove_mlflow.untrusted import markdown_cell
from greenlove_mlflow.words.plain_text import estimate_lines
from greenlove_mlflow.words.summary import asks_for_action, next_time
from greenlove_mlflow.words.verdict import (
    headline_sentences,
    home_sentence,
    outcome_table,
    progress_sentences,
    was_estimated_sentence,
    would_take_sentence,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from greenlove_mlflow.core.account.totals import Totals
    from greenlove_mlflow.tracking.spool.header import Opened
    from greenlove_mlflow.tracking.spool.run_events import RunEvents


_TAIL_WITHOUT_PAGE = "How it is known, how to cite it, and everything else: `greenlove report` with this run's id."
_TAIL = "How it is known, how to cite it, and everything else: `greenlove/report.html`."
# A description that begins otherwise is somebody else's and is left alone.
NOTE_START = "**Green Love:** "
DEADLINE_S = 3.0
# Runs of one request; an experiment with more is described by its latest ones.
MOST_RUNS = 1000


def make_note(
    estimate: Estimate,
    comparison: Comparison | None,
    *,
    run_id: str | None,
    outcome: Outcome | None = None,
    notice: str = "",
    status: str = "",
    has_page: bool = True,
    so_far: Outcome | None = None,
    seen_at: str = "",
) -> str:
    """The note in GitHub Markdown, within MLflow's size limit.

    The page collapses a note after its first lines, so what happened (or that the training was refused) comes first. A
    picture can be shown by a relative address, on servers that serve artifacts.

    Args:
        estimate: The estimate at home.
        comparison: The comparison with offers; None when there is none.
        run_id: Id of the run, to show its picture of home beside the offers, unless it is too small to rent for; None
            to show none.
        outcome: The outcome; None when there is none yet.
        notice: Text shown first; empty without one.
        status: Status of the run; empty when unknown.
        has_page: Whether the run holds pictures and the report.
        so_far: What a running training took up to its last lap; None before it has ended.
        seen_at: When that lap ended, ISO 8601 in UTC.
    """
    sentences = list(headline_sentences(estimate, outcome, status=status, notice=notice))
    if so_far is not None:
        sentences += progress_sentences(estimate, so_far, seen_at=seen_at)
    if so_far is not None:
        sentences.append(was_estimated_sentence(estimate))
    elif outcome is None:
        sentences.append(would_take_sentence(estimate) if status == STATUS_REFUSED else home_sentence(estimate))
    if comparison is not None:
        sentences.append(next_time(comparison, has_ended=outcome is not None))
    parts = [" ".join(markdown_cell(sentence) for sentence in sentences)]
    if has_page and run_id is not None and comparison is not None and not comparison.is_too_small_to_rent:
        picture = f"get-artifact?path={ARTIFACT_PLOTS}/crusoe.png&run_uuid={run_id}"
        parts.append(f"![time, cost and CO2e here and on each offer]({picture})")
    parts.append("\n".join(_table(estimate, outcome, so_far)))
    caveats = list(dict.fromkeys([*estimate.caveats, *(comparison.caveats if comparison else ())]))
    asking = asks_for_action(caveats)
    rest = len(caveats) - len(asking)
    where = _TAIL if has_page else _TAIL_WITHOUT_PAGE
    tail = f"{rest} {'assumption' if rest == 1 else 'assumptions'}. {where}" if rest else where
    return _joined(parts, asking, tail)


def _table(estimate: Estimate, outcome: Outcome | None, so_far: Outcome | None = None) -> list[str]:
    """The four figures: what happened beside its estimate, else the estimate and what it is based on."""
    known = outcome or so_far
    if known is None:
        rows = [(name, value, words) for name, value, words in estimate_lines(estimate)]
        return ["| | here | based on |", "|---|---|---|", *(_row(row) for row in rows)]
    _, *lines = outcome_table(estimate, known)
    rows = [(name, happened, promised) for name, promised, happened, _ in lines]
    return [f"| | {'happened' if outcome else 'so far'} | estimated |", "|---|---|---|", *(_row(row) for row in rows)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(markdown_cell, cells))} |"


def keep_study(
    run: RunEvents,
    spent: Totals,
    forecast: Totals | None,
    counts: tuple[int, int],
    lines: Sequence[str],
) -> None:
    """Keep the totals of a study in its run: metrics by the number of trials and, in a run of ours, the note.

    Args:
        run: The study's run.
        spent: What its trials have taken.
        forecast: What all of them will take; None before the first estimate.
        counts: Trials begun, and those of them that were pruned.
        lines: The study in a few sentences.
    """
    step = counts[0]
    run.metric(STUDY_TRIALS, float(counts[0]), step)
    run.metric(STUDY_PRUNED, float(counts[1]), step)
    for quantity, value in known_figures(spent):
        run.metric(f"{STUDY}/{quantity.column}", value.point, step)
    for quantity, value in () if forecast is None else known_figures(forecast):
        key = f"{STUDY_FORECAST}_{quantity.column}"
        run.metric(key, value.point, step)
        run.metric(f"{key}_lo", value.low, step)
        run.metric(f"{key}_hi", value.high, step)
    if run.is_ours:
        run.tags({NOTE_TAG: "\n\n".join(markdown_cell(line) for line in lines)[: TAG_VALUE_LIMIT - 1]})


def _joined(parts: list[str], caveats: Sequence[Caveat], tail: str) -> str:
    """The parts with as many caveats as fit."""
    text = "\n\n".join(parts)
    kept: list[str] = []
    for caveat in caveats:
        line = f"- {markdown_cell(caveat.message)} (`{caveat.code}`)"
        if len(text) + sum(map(len, kept)) + len(kept) + len(line) + len(tail) + 20 < TAG_VALUE_LIMIT:
            kept.append(line)
    listed = ["To act on:", "\n".join(kept)] if kept else []
    return "\n\n".join([text, *listed, tail])[: TAG_VALUE_LIMIT - 1]


logger = logging.getLogger(__name__)


def make_experiment_note(
    total: Spent, *, refused_count: int, is_whole: bool = True, table_url: str | None, charts_url: str | None
) -> str:
    """The description of an experiment: its totals, and links to its saved view.

    Args:
        total: What its runs took.
        refused_count: Runs that were refused; plans that never ran are counted, not added.
        is_whole: Whether all runs were read; False where there are more than one page of them.
        table_url: Address of the runs with their figures; None for a store without pages.
        charts_url: Address of their charts; None for a store without pages.
    """
    counted = "1 training" if total.run_count == 1 else f"{total.run_count:,} trainings"
    refused = f", {refused_count:,} refused" if refused_count else ""
    figures = (
        format_duration_s(total.time_s),
        format_kwh(total.energy_kwh, missing="") if total.energy_kwh else "",
        format_money(total.cost_usd) if total.cost_usd else "",
        f"{format_co2_g(total.co2_g)} CO2e" if total.co2_g else "",
    )
    took = f": {', '.join(text for text in figures if text)}" if total.run_count else ""
    whole = "" if is_whole else " (the first 1,000 runs)"
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
    runs = client.search_runs(
        [experiment_id], filter_string=f"tags.`{names.TAG_KIND}` = '{names.KIND_TRACK}'", max_results=MOST_RUNS
    )
    others = [run for run in runs if run.info.run_id != run_id]
    outcomes = [_outcome(run.data.metrics) for run in others if names.ACTUAL_TIME_H in run.data.metrics]
    refused = sum(run.data.tags.get(names.TAG_STATUS) == names.STATUS_REFUSED for run in others)
    has_pages = is_http(store_uri)
    return make_experiment_note(
        spent_by([*outcomes, *([] if outcome is None else [outcome])]),
        refused_count=refused + (status == names.STATUS_REFUSED),
        is_whole=not runs.token,
        table_url=view_url(store_uri, experiment_id) if has_pages else None,
        charts_url=view_url(store_uri, experiment_id, charts=True) if has_pages else None,
    )


def _outcome(metrics: Mapping[str, float]) -> Outcome:
    """The totals of a run that trained, without its epochs."""
    co2_kg = metrics.get(names.ACTUAL_CO2_KG)
    return Outcome(
        epoch_durations_s=(),
        time_s=metrics[names.ACTUAL_TIME_H] * S_PER_H,
        completed=False,
        energy_kwh=metrics.get(names.ACTUAL_ENERGY_KWH),
        cost_usd=metrics.get(names.ACTUAL_COST_USD),
        co2_g=None if co2_kg is None else co2_kg * G_PER_KG,
    )
