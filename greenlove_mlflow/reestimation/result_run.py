"""The MLflow run that holds a re-estimation, and its note."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from greenlove_mlflow._version import __version__
from greenlove_mlflow.core.account.run_facts import SCHEMA_VERSION
from greenlove_mlflow.core.offers.offer import PriceSheet
from greenlove_mlflow.plots.comparisons import plot_price_history
from greenlove_mlflow.reestimation.pricing import content_sha256, sheet_frame
from greenlove_mlflow.stored.stored_runs import SkippedRun
from greenlove_mlflow.tables import write_parquet
from greenlove_mlflow.tables.store.exports import write_csv
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.spool.delivery import terminate
from greenlove_mlflow.tracking.spool.run_events import now_ms
from greenlove_mlflow.untrusted import markdown_cell

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

    from greenlove_mlflow.reestimation.page_by_page import Batch
    from greenlove_mlflow.reestimation.results import Summary


TAG_DIGEST = "greenlove.digest"
NOTE_TAG = "mlflow.note.content"
RUN_COUNT = "green/reestimate/run_count"
SKIPPED_COUNT = "green/reestimate/skipped_count"
CHANGED_COUNT = "green/reestimate/changed_choice_count"
WRITTEN_COUNT = "green/reestimate/written_back_count"
# MLflow's page shows CSV but not Parquet; a CSV copy with more rows than this would be too long to read.
MOST_CSV_ROWS = 5000
DIGEST_LENGTH = 36
MOST_DATES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Everything that the run holds.

    Args:
        digest: Digest of the inputs; equal inputs give equal results.
        sheets: The price sheets.
        summary: Totals by version and option.
        changes: Counts of changes from the first best choice to that by the newest prices.
        history: The best choices by the prices of each date.
        files: Local Parquet files with all rows.
        skipped: Runs that were left out.
        counts: Numbers of runs, by metric key.
        settings: Overrides applied, by MLflow param.
        note: Markdown for the run's page.
    """

    digest: str
    sheets: tuple[PriceSheet, ...]
    summary: pd.DataFrame
    changes: pd.DataFrame
    history: pd.DataFrame
    files: tuple[Path, ...]
    skipped: tuple[SkippedRun, ...]
    counts: Mapping[str, float]
    settings: Mapping[str, str]
    note: str


def find_same(client: MlflowClient, experiment_id: str, digest: str) -> str | None:
    """The id of a finished re-estimation of the same inputs in the experiment; None when there is none."""
    runs = client.search_runs(
        [experiment_id],
        filter_string=f"tags.`{TAG_DIGEST}` = '{digest}' and attributes.status = 'FINISHED'",
        max_results=1,
    )
    return runs[0].info.run_id if runs else None


def record(client: MlflowClient, experiment_id: str, content: Content, *, run_name: str | None = None) -> str:
    """Record a re-estimation in a new run and return its id; the run is FAILED when it is incomplete.

    Args:
        client: Client of the store.
        experiment_id: Experiment of the new run.
        content: Everything that the run holds.
        run_name: Name of the new run; chosen by default when None.
    """
    versions = [sheet.version for sheet in content.sheets]
    tags = {
        names.TAG_SCHEMA_VERSION: SCHEMA_VERSION,
        names.TAG_KIND: names.KIND_REESTIMATE,
        names.TAG_VERSION: __version__,
        names.TAG_STATUS: names.STATUS_RUNNING,
        TAG_DIGEST: content.digest,
        "mlflow.source.name": "greenlove reestimate",
        "mlflow.source.type": "LOCAL",
        NOTE_TAG: content.note[: names.TAG_VALUE_LIMIT - 1],
    }
    name = run_name or f"reestimate {versions[-1]}" + (f" and {len(versions) - 1} earlier" if versions[1:] else "")
    run_id: str = client.create_run(experiment_id, tags=tags, run_name=name).info.run_id
    try:
        _fill(client, run_id, content)
    except BaseException:  # a store or Ctrl-C may end it anywhere; the run must say so, and the cause goes on
        client.set_tag(run_id, names.TAG_STATUS, "failed")
        terminate(client, run_id, "FAILED", now_ms())
        raise
    client.set_tag(run_id, names.TAG_STATUS, "finished")
    terminate(client, run_id, "FINISHED", now_ms())
    return run_id


def _fill(client: MlflowClient, run_id: str, content: Content) -> None:
    from mlflow.entities import Metric, Param

    step = names.step_of_date(content.sheets[-1].as_of)
    at_ms = names.timestamp_ms_of_date(content.sheets[-1].as_of)
    client.log_batch(
        run_id,
        metrics=[Metric(key, value, at_ms, step) for key, value in content.counts.items()],
        params=[Param(key, value) for key, value in content.settings.items()],
    )
    client.log_inputs(run_id, [_input(sheet) for sheet in content.sheets])
    with tempfile.TemporaryDirectory(prefix="greenlove-reestimate-") as folder:
        for path in _small_files(Path(folder), content):
            client.log_artifact(run_id, str(path), _folder_of(path, Path(folder)))
    for path in content.files:
        client.log_artifact(run_id, str(path), names.ARTIFACT_ROOT)
    client.log_table(run_id, content.summary, f"{names.ARTIFACT_ROOT}/summary.json")
    client.log_figure(
        run_id,
        plot_price_history(content.summary, int(content.counts[RUN_COUNT])),
        f"{names.ARTIFACT_PLOTS}/price_history.png",
    )


def _folder_of(path: Path, root: Path) -> str:
    relative = path.parent.relative_to(root)
    return names.ARTIFACT_ROOT if relative == Path() else f"{names.ARTIFACT_ROOT}/{relative.as_posix()}"


def _small_files(folder: Path, content: Content) -> Sequence[Path]:
    """The run's files that are written now, in their layout in the run."""
    tables = folder / "tables"
    tables.mkdir()
    made: list[Path] = []
    for sheet in content.sheets:
        name = f"{sheet.source.table or 'prices'}-{names.slug(sheet.version)}"
        frame = sheet_frame(sheet)
        write_parquet(frame, tables / f"{name}.parquet", metadata=sheet_metadata(sheet))
        write_csv(frame, tables / f"{name}.csv")
        made += [tables / f"{name}.parquet", tables / f"{name}.csv"]
    write_csv(content.summary, folder / "summary.csv")
    write_csv(content.changes, folder / "changed_choices.csv")
    write_csv(content.history, folder / "best_choices.csv")
    skipped = [{"run_id": each.run_id, "reason": each.reason} for each in content.skipped]
    (folder / "skipped.json").write_text(json.dumps(skipped, indent=1), encoding="utf-8")
    made += [folder / "summary.csv", folder / "changed_choices.csv", folder / "best_choices.csv"]
    made.append(folder / "skipped.json")
    for path in content.files:
        twin = _csv_twin(path, folder)
        made += [twin] if twin else []
    return made


def _csv_twin(path: Path, folder: Path) -> Path | None:
    import pyarrow.parquet as pq

    if pq.read_metadata(path).num_rows > MOST_CSV_ROWS:
        return None
    twin = folder / f"{path.stem}.csv"
    write_csv(pq.read_table(path).to_pandas(), twin)
    return twin


def sheet_metadata(sheet: PriceSheet) -> dict[str, str]:
    """The metadata of a price sheet's Parquet copy."""
    return {
        "greenlove.table": sheet.source.table or "prices",
        "greenlove.version": sheet.version,
        "greenlove.as_of": sheet.as_of,
        "greenlove.source": sheet.source.url or sheet.source.title,
        "greenlove.producer": sheet.source.producer,
        "greenlove.licence": sheet.source.licence,
        "greenlove.sha256": content_sha256(sheet),
    }


def _input(sheet: PriceSheet) -> DatasetInput:
    import mlflow.data
    from mlflow.entities import Dataset, DatasetInput, InputTag

    url = sheet.source.url.split()[0] if sheet.source.url.startswith("http") else ""
    with warnings.catch_warnings():
        # MLflow warns of integer columns that may have missing values at serving time; no model is served from these.
        warnings.simplefilter("ignore")
        dataset = mlflow.data.from_pandas(  # type: ignore[attr-defined]
            sheet_frame(sheet),
            source=url or sheet.source.title or "prices",
            name=sheet.source.table or "prices",
            digest=content_sha256(sheet)[:DIGEST_LENGTH],
        )
    tags = {"mlflow.data.context": "prices", "greenlove.version": sheet.version, "greenlove.as_of": sheet.as_of}
    return DatasetInput(Dataset(**dataset.to_dict()), [InputTag(key, value) for key, value in tags.items()])


def changes_frame(summary: Summary) -> pd.DataFrame:
    """Counts of changes from the first best choice to that by the newest prices, most frequent first."""
    rows = [
        {"best_before": before, "best_now": now, "run_count": count}
        for (before, now), count in summary.transitions.most_common()
    ]
    return pd.DataFrame(rows, columns=["best_before", "best_now", "run_count"])


def verdict_words(run_count: int, changed_run_count: int, version: str) -> str:
    """One sentence on whether the newest prices change any best choice.

    >>> verdict_words(8, 0, "2026-09-28")
    'With the prices of 2026-09-28, none of 8 runs has another best choice than when first compared.'
    """
    changed = f"{changed_run_count:,}" if changed_run_count else "none"
    runs = "1 run" if run_count == 1 else f"{run_count:,} runs"
    has = "have" if changed_run_count > 1 else "has"
    return f"With the prices of {version}, {changed} of {runs} {has} another best choice than when first compared."


def history_lines(history: pd.DataFrame) -> list[tuple[str, str]]:
    """The dates of the prices, newest first, each with the best choices then, as text."""
    lines = []
    for version, rows in reversed(list(history.groupby("version", sort=False))):
        then = ", ".join(f"{_name(str(row.best))} ({row.run_count:,})" for row in rows.itertuples())
        missing = rows["not_listed"].iloc[0]
        lines.append((str(version), f"{then}; {missing} not listed" if missing else then))
    return lines


def make_note(batch: Batch) -> str:
    """The text of the run's page."""
    summary = batch.summary
    newest = batch.offers.sheets[-1].version
    what = "plans that never ran" if batch.planned else "runs that trained"
    lines = [f"**{verdict_words(summary.run_count, summary.changed_run_count, newest)}**", ""]
    lines.append(
        f"{summary.run_count:,} {what} were estimated again; {batch.written.run_count:,} were written back; "
        f"{len(batch.skipped):,} were left out (skipped.json)."
    )
    if len(batch.offers.sheets) > 1 or summary.changed_run_count:
        lines += ["", "| prices of | best choice then (runs) |", "|---|---|"]
        dates = history_lines(summary.history())[:MOST_DATES]
        lines += [f"| {markdown_cell(version)} | {markdown_cell(then)} |" for version, then in dates]
    return "\n".join(lines)


def _name(best: str) -> str:
    return {"": "none", "local": "here"}.get(best, best)
