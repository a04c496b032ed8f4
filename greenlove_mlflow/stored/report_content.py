"""Makes the content of reports from runs and experiments in MLflow."""

from __future__ import annotations

import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.core.account.estimate import Estimate, estimate_training
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.offers.experiment_totals import ComparedRun
from greenlove_mlflow.core.offers.offer import DEFAULT_BILLING
from greenlove_mlflow.core.quantity import LOCAL
from greenlove_mlflow.errors import GreenloveError
from greenlove_mlflow.report import ExperimentContent, PricePoint, ReportContent, render_report
from greenlove_mlflow.stored.stored_runs import StoredComparer, find_experiment_ids, read_pages
from greenlove_mlflow.tables import read_price_sheet, table_versions
from greenlove_mlflow.tracking import StoredRun, names, read_history, read_run
from greenlove_mlflow.tracking.artifacts import sources_used
from greenlove_mlflow.tracking.spool.mlflow_store import make_client, without_progress_bars
from greenlove_mlflow.words.verdict import notice_words, ran_although_words

if TYPE_CHECKING:
    from collections.abc import Mapping

_PRICES = "crusoe_prices"
# Runs read in parallel, five requests each; a load that other users of a server do not notice.
_READERS = 8


def run_content(run_id: str, *, store_uri: str, prices: str | None = None) -> ReportContent:
    """The content of a run's report, read from MLflow.

    Args:
        run_id: Id of the run.
        store_uri: Address of the store.
        prices: Price sheet to compare with; the one that the run was priced with when None.
    """
    stored = read_run(run_id, store_uri=store_uri)
    estimate = estimate_training(stored.statistics)
    comparison = StoredComparer(prices).compare(estimate, _billing(stored, store_uri))
    return ReportContent(
        estimate=estimate,
        comparison=comparison,
        log=stored.log,
        sources=sources_used(estimate, comparison),
        run_id=stored.run_id,
        run_name=stored.name,
        status=stored.fate,
        notice=_notice(stored),
        started_at=names.utc_of_timestamp_ms(stored.started_ms),
        url=stored.url,
        outcome=stored.outcome,
        so_far=stored.so_far,
        seen_at="" if stored.seen_ms is None else names.utc_of_timestamp_ms(stored.seen_ms),
        price_history=price_history(stored, store_uri),
        made_at=now(),
    )


def experiment_content(name: str, *, store_uri: str, prices: str | None = None) -> ExperimentContent:
    """The content of an experiment's report, read from MLflow.

    Args:
        name: Name of the experiment.
        store_uri: Address of the store.
        prices: Price sheet to compare with; the one that each run was priced with when None.
    """
    comparer = StoredComparer(prices)
    runs, skipped = _read_runs(name, store_uri)
    estimates = [estimate_training(stored.statistics) for stored in runs]
    comparisons = [comparer.compare(estimate) for estimate in estimates]
    known = [each for each in comparisons if each is not None]
    used = {source: None for each in known for source in sources_used(each.home, each)}
    dates = sorted({each.prices.as_of for each in known})
    return ExperimentContent(
        name=name,
        trainings=tuple(map(_training, runs, estimates, comparisons)),
        skipped=tuple(skipped),
        sources=tuple(used),
        prices_as_of=" and ".join((dates[0], dates[-1]) if len(dates) > 1 else dates),
        made_at=now(),
    )


def _read_runs(experiment: str, store_uri: str) -> tuple[list[StoredRun], list[tuple[str, str]]]:
    """The tracked runs of an experiment, read in parallel, and the unreadable ones with the reason."""
    client = make_client(store_uri)
    skipped: list[tuple[str, str]] = []
    run_ids: list[str] = []
    for page in read_pages(client, find_experiment_ids(client, [experiment])):
        skipped += [(each.run_id, each.reason) for each in page.skipped]
        run_ids += [each.run_id for each in page.facts]

    def read(run_id: str) -> StoredRun | str:
        try:
            return read_run(run_id, store_uri=store_uri, with_log=False)
        except GreenloveError as error:
            return str(error)

    with ThreadPoolExecutor(_READERS) as readers:
        found = list(readers.map(read, run_ids))
    skipped += [(run_id, each) for run_id, each in zip(run_ids, found, strict=True) if isinstance(each, str)]
    return [each for each in found if not isinstance(each, str)], skipped


def price_history(stored: StoredRun, store_uri: str) -> tuple[PricePoint, ...]:
    """The run's estimated cost on each option, by date of each price sheet that it was priced with."""
    keys = {key: key.removeprefix(f"{names.COST_USD}/") for key in sorted(stored.metrics)}
    points = [
        (subject, _date_of_step(point.step), point.value)
        for key, subject in keys.items()
        if subject != key and not subject.endswith(("_lo", "_hi"))
        for point in read_history(stored.run_id, key, store_uri=store_uri)
    ]
    by_slug = _offers_by_slug({as_of for _, as_of, _ in points})
    found: list[PricePoint] = []
    for subject, as_of, cost_usd in points:
        offers = by_slug.get(subject, {})
        found.append(PricePoint(
            as_of=as_of,
            gpu="here" if subject == LOCAL else next((name for name, _ in offers.values()), subject),
            cost_usd=cost_usd,
            price_usd_per_hour=offers.get(as_of, ("", None))[1],
        ))  # fmt: skip
    return tuple(dict.fromkeys(found))


def refresh_report(run_id: str, page: str, *, store_uri: str) -> None:
    """Replace the report page in the run.

    Args:
        run_id: Id of the run.
        page: The page as HTML.
        store_uri: Address of the store.
    """
    with tempfile.TemporaryDirectory(prefix="greenlove-") as folder:
        path = Path(folder) / Path(names.ARTIFACT_REPORT).name
        path.write_text(page, encoding="utf-8")
        make_client(store_uri).log_artifact(run_id, str(path), str(Path(names.ARTIFACT_REPORT).parent))


def draw_report_again(run_id: str, *, store_uri: str) -> None:
    """Put into a run the page of what is known of it now, as after a training that was killed.

    Args:
        run_id: Id of the run.
        store_uri: Address of the store.

    Raises:
        RunDataError: If the run has no estimate.
    """
    refresh_report(run_id, render_report(run_content(run_id, store_uri=store_uri)), store_uri=store_uri)


def now() -> str:
    """The current time, ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _notice(stored: StoredRun) -> str:
    reason, refusal = stored.tags.get(names.TAG_REASON, ""), stored.tags.get(names.TAG_REFUSAL, "")
    if refusal:
        return ran_although_words(refusal)
    return notice_words(stored.fate, reason) if reason else ""


def _training(stored: StoredRun, estimate: Estimate, comparison: Comparison | None) -> ComparedRun:
    return ComparedRun(
        name=stored.name,
        run_id=stored.run_id,
        started_at=names.utc_of_timestamp_ms(stored.started_ms),
        status=stored.fate,
        estimate=estimate,
        rows=() if comparison is None else comparison.rows,
        is_too_small_to_rent=comparison is not None and comparison.is_too_small_to_rent,
        outcome=stored.outcome,
        so_far=stored.so_far,
    )


def _billing(stored: StoredRun, store_uri: str) -> tuple[str, ...]:
    """The kinds of price in the run's table of estimates; the default ones when it has none."""
    from mlflow.exceptions import MlflowException

    try:
        with tempfile.TemporaryDirectory(prefix="greenlove-") as folder, without_progress_bars():
            path = make_client(store_uri).download_artifacts(stored.run_id, names.ARTIFACT_ESTIMATES, folder)
            table: Mapping[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        column = table["columns"].index("billing")
        found = tuple(dict.fromkeys(row[column] for row in table["data"] if row[column]))
    except (MlflowException, OSError, ValueError, KeyError, IndexError):
        return DEFAULT_BILLING
    return found or DEFAULT_BILLING


def _offers_by_slug(dates: set[str]) -> dict[str, dict[str, tuple[str, float | None]]]:
    """For each offer's slug and price date, the offer's name and price, in the published sheets of those dates."""
    found: dict[str, dict[str, tuple[str, float | None]]] = {}
    # A published version is called by the date of its prices.
    for version in sorted(dates & set(table_versions(_PRICES))):
        sheet = read_price_sheet(version)
        for offer in sheet.offers:
            by_date = found.setdefault(names.slug_of_offer(offer), {})
            by_date[sheet.as_of] = (offer.gpu, offer.price_usd_per_hour)
    return found


def _date_of_step(step: int) -> str:
    text = str(step)
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 else text
