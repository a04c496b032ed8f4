"""Stored runs, read page by page with their facts from one tag, and compared with a price sheet; no artifacts."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.compare import Comparison, compare_offers
from greenlove_mlflow.core.offers.offer import DEFAULT_BILLING, PriceSheet, Rental
from greenlove_mlflow.core.offers.regions import Regions
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.quantity import LOCAL
from greenlove_mlflow.errors import RunDataError
from greenlove_mlflow.tables import read_default_pue, read_instance_start, read_price_sheet, read_regions
from greenlove_mlflow.tables.prices.sheets import Prices, sheet_of_version
from greenlove_mlflow.tables.published_speeds import read_ratio_book
from greenlove_mlflow.tables.store.store import NEWEST
from greenlove_mlflow.tracking.names import (
    ACTUAL_TIME_H,
    KIND_REESTIMATE,
    KIND_STUDY,
    KIND_TRACK,
    STATUS_REFUSED,
    TAG_KIND,
    TAG_STATS,
    TAG_STATUS,
)
from greenlove_mlflow.tracking.spool.mlflow_store import make_client
from greenlove_mlflow.untrusted import printable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


logger = logging.getLogger(__name__)

# Measured: the cost per run is flat from 200 runs per page, and a page of 500 holds at most about 40,000 rows.
PAGE_SIZE = 500
TAG_WRITTEN_BACK = "greenlove.written_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFacts:
    """The facts of a run from its tags.

    Args:
        run_id: Id of the run.
        name: Name of the run.
        statistics: Run facts from its tag.
        written_back: Record of what earlier re-estimations wrote into the run; empty when none did.
        status: MLflow's status of the run.
        digest: Digest of the facts as in the tag.
        has_trained: Whether it has an outcome; False for a plan that was refused or never ran.
        was_refused: Whether it was refused.
    """

    run_id: str
    statistics: RunFacts
    name: str = ""
    written_back: str = ""
    status: str = ""
    digest: str = ""
    has_trained: bool = False
    was_refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedRun:
    """A run that was left out, and why."""

    run_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The runs of one response of the store."""

    facts: tuple[StoredFacts, ...]
    skipped: tuple[SkippedRun, ...]


def find_experiment_ids(client: MlflowClient, experiments: Sequence[str]) -> tuple[str, ...]:
    """The ids of experiments given by name or id.

    Raises:
        RunDataError: If there is no such experiment; the message lists the existing names.
    """
    return tuple(_find_experiment_id(client, each) for each in experiments)


def _find_experiment_id(client: MlflowClient, experiment: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(experiment)
    if found is None and experiment.isdigit():
        try:
            found = client.get_experiment(experiment)
        except MlflowException:
            found = None
    if found is None:
        names = ", ".join(repr(each.name) for each in client.search_experiments(max_results=20))
        raise RunDataError(f"there is no experiment {experiment!r} in this store; it has {names}")
    return str(found.experiment_id)


def find_run_id(run: str, *, store_uri: str | None = None) -> str:
    """The id of a run that is given by its id, the first characters of it, or its name.

    What is not found is returned as it is, so that reading it says what the store says.

    Args:
        run: An id, at least six characters of one, a name, or both as commands show them: ``name (0123ab)``.
        store_uri: Its store; the one that MLflow is set to when not given.

    Raises:
        RunDataError: If several runs are called so.
    """
    if re.fullmatch(r"[0-9a-f]{32}", run):
        return run
    import mlflow

    client = make_client(store_uri or mlflow.get_tracking_uri())
    shown = re.search(r"\(([0-9a-f]{6,})\)$", run)
    start = shown[1] if shown else run
    filters = [f"attributes.run_id LIKE '{start}%'"] if re.fullmatch(r"[0-9a-f]{6,}", start) else []
    filters += [f'attributes.run_name = "{run}"'] if '"' not in run else []
    found: list[str] = []
    for text in filters:
        found = found or _search_run_ids(client, text)
    if len(found) > 1:
        raise RunDataError(f"several runs are called {run!r}: {', '.join(found)}; name one by its id")
    return found[0] if found else run


def _search_run_ids(client: MlflowClient, filter_string: str) -> list[str]:
    """Ids of the runs of any experiment that a filter lets through, at most five."""
    from mlflow.exceptions import MlflowException

    try:
        experiments = [each.experiment_id for each in client.search_experiments()]
        return [each.info.run_id for each in client.search_runs(experiments, filter_string, max_results=5)]
    except MlflowException as error:
        logger.debug("no run was looked up: %s", error)
        return []


def read_pages(
    client: MlflowClient, experiment_ids: Sequence[str], *, filter_string: str = "", page_size: int = PAGE_SIZE
) -> Iterator[Page]:
    """Yield the runs of some experiments page by page, oldest first and without duplicates.

    Oldest first, so that runs started meanwhile come last and shift no page. Re-estimations are skipped; other unusable
    runs are returned with the reason.

    Args:
        client: Client of the store.
        experiment_ids: Ids of the experiments.
        filter_string: MLflow's filter for the runs.
        page_size: Runs per page.
    """
    seen: set[str] = set()
    token: str | None = None
    while True:
        runs = client.search_runs(
            list(experiment_ids),
            filter_string=filter_string,
            max_results=page_size,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        fresh = [run for run in runs if run.info.run_id not in seen]
        seen.update(run.info.run_id for run in fresh)
        yield _read_page(fresh)
        token = runs.token
        if not token:
            return


def _read_page(runs: Sequence[Run]) -> Page:
    facts: list[StoredFacts] = []
    skipped: list[SkippedRun] = []
    for run in runs:
        if run.data.tags.get(TAG_KIND) in (KIND_REESTIMATE, KIND_STUDY):
            continue
        try:
            facts.append(read_facts(run))
        except RunDataError as error:
            skipped.append(SkippedRun(run_id=run.info.run_id, reason=str(error)))
    return Page(facts=tuple(facts), skipped=tuple(skipped))


def read_facts(run: Run) -> StoredFacts:
    """The stored facts of a run.

    Raises:
        RunDataError: If they are missing, damaged or of another schema version.
    """
    text = run.data.tags.get(TAG_STATS)
    if not text:
        kind = run.data.tags.get(TAG_KIND)
        known = "its benchmark did not finish" if kind == KIND_TRACK else "it was not made by track"
        raise RunDataError(f"the run has no {TAG_STATS} tag: {known}")
    return StoredFacts(
        run_id=run.info.run_id,
        name=printable(run.info.run_name or ""),
        statistics=RunFacts.from_json(text),
        written_back=run.data.tags.get(TAG_WRITTEN_BACK, ""),
        status=run.info.status,
        digest=hashlib.sha256(text.encode()).hexdigest(),
        has_trained=ACTUAL_TIME_H in run.data.metrics,
        was_refused=run.data.tags.get(TAG_STATUS) == STATUS_REFUSED,
    )


class StoredComparer:
    """Compares stored runs with offers by each run's stored speed ratios; tables are read once.

    Args:
        prices: Price sheet for all runs; the one that each run was priced with when None.
    """

    def __init__(self, prices: Prices | None = None) -> None:
        self._prices = None if prices is None else read_price_sheet(prices)
        self._book = read_ratio_book()
        self._regions = Regions(read_regions())
        self._pue = read_default_pue("cloud")[0]
        self._start_s = read_instance_start()[0]

    def compare(self, estimate: Estimate, billing: tuple[str, ...] = DEFAULT_BILLING) -> Comparison | None:
        """The comparison of a run's estimate; None when no speed ratio to any offer is known."""
        statistics = estimate.statistics
        if statistics is None:
            return None
        sheet, caveats = self._sheet(statistics)
        ratios = {offer.gpu_id: self._book.ratio_of(statistics, offer.gpu_id) for offer in sheet.offers}
        known = {gpu_id: ratio for gpu_id, ratio in ratios.items() if ratio is not None}
        if not known:
            return None
        return compare_offers(
            estimate,
            sheet=sheet,
            ratios=known,
            specs=self._book.specs,
            regions=self._regions,
            pue=self._pue,
            home_name=_home_name(statistics),
            region=statistics.cloud_region,
            billing=billing,
            rental=Rental(used_gpu_count=statistics.gpu_count, start_s=self._start_of(statistics)),
            caveats=caveats,
            today=time.strftime("%Y-%m-%d", time.gmtime()),
        )

    def _start_of(self, statistics: RunFacts) -> Interval:
        stated_s = statistics.instance_start_s
        return self._start_s if stated_s is None else Interval.exactly(stated_s)

    def _sheet(self, statistics: RunFacts) -> tuple[PriceSheet, tuple[Caveat, ...]]:
        if self._prices is not None:
            return self._prices, ()
        wanted = statistics.prices_version or NEWEST
        sheet = sheet_of_version(wanted)
        if sheet is not None:
            return sheet, ()
        sheet = read_price_sheet(NEWEST)
        return sheet, (Caveat.of("prices-not-in-tables", wanted=wanted, as_of=sheet.as_of),)


def _home_name(statistics: RunFacts) -> str:
    if statistics.home is not None:
        return statistics.home.name
    return LOCAL if statistics.probe is None else statistics.machine.processor_name
