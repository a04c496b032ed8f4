"""A re-estimation page by page (verify, price, count, write), which keeps no page in memory."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from greenlove_mlflow._version import __version__
from greenlove_mlflow.core.account.estimate import Change
from greenlove_mlflow.core.codec import to_plain
from greenlove_mlflow.errors import RunDataError
from greenlove_mlflow.reestimation.pricing import OfferColumns, PricedPage, Pricer, best_choices, sheet_digest
from greenlove_mlflow.reestimation.results import Choices, ResultFiles, Summary, choice_names
from greenlove_mlflow.reestimation.writing import WriteBack, Written
from greenlove_mlflow.stored.stored_runs import Page, SkippedRun, StoredFacts
from greenlove_mlflow.tables import read_parquet_metadata
from greenlove_mlflow.tables.prices.sheets import sheet_of_version
from greenlove_mlflow.tracking.artifacts import read_log
from greenlove_mlflow.tracking.names import ARTIFACT_BENCHMARK
from greenlove_mlflow.tracking.spool.mlflow_store import without_progress_bars

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from greenlove_mlflow.core.records import BenchmarkLog


Progress = Callable[[int, int], None]
REFUSED = "it was refused, so it is only a plan"
NEVER_RAN = "it has not trained, so it is only a plan"
TRAINED = "it trained, so it is not only a plan"


@dataclass(kw_only=True)
class Batch:
    """The processing of pages in a re-estimation, with the results so far.

    Args:
        client: Client of the store.
        offers: Offers to price the runs on.
        change: Overrides for the runs' values.
        pricer: Prices runs.
        files: Files for the rows.
        write_back: Writes into the source runs; None leaves them alone.
        verify: Whether to check each run's Parquet facts against its tag.
        planned: Whether to take the plans that never ran instead of the runs that trained.
    """

    client: MlflowClient
    offers: OfferColumns
    change: Change
    pricer: Pricer
    files: ResultFiles
    write_back: WriteBack | None = None
    verify: bool = False
    planned: bool = False
    summary: Summary = field(init=False)
    skipped: list[SkippedRun] = field(default_factory=list)
    written: Written = field(default_factory=Written)
    _own_offers: dict[str, OfferColumns | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.summary = Summary(self.offers)
        made_of = {
            "package": __version__,
            "sheets": [sheet_digest(sheet) for sheet in self.offers.sheets],
            "billing": self.offers.billing,
            "change": to_plain(self.change),
            "planned": self.planned,
        }
        self._digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode())

    @property
    def digest(self) -> str:
        """A digest of all inputs so far: prices, overrides, runs and their facts."""
        return self._digest.hexdigest()

    def take_all(self, pages: Iterable[Page], progress: Progress | None) -> None:
        """Process all pages; ``progress`` is called with the number of runs estimated and left out."""
        for page in pages:
            self.take(page)
            if progress is not None:
                progress(self.summary.run_count, len(self.skipped))

    def take(self, page: Page) -> None:
        """Price, count and write a page."""
        self.skipped += page.skipped
        facts = self._chosen(page.facts)
        facts = self._verified(facts) if self.verify else facts
        priced = self.pricer.price(facts, self.offers, self.change)
        self.skipped += priced.skipped
        for each in priced.facts:
            self._digest.update(f"{each.run_id} {each.digest}\n".encode())
        choices = self._choices(priced)
        self.files.add(priced, self.offers, choices)
        self.summary.add(priced, choices)
        if self.write_back is not None:
            self.written += self.write_back.write(priced)

    def _chosen(self, facts: Iterable[StoredFacts]) -> tuple[StoredFacts, ...]:
        """The runs that trained, or the plans that never ran: a total over both would mean nothing."""
        chosen = []
        for each in facts:
            if each.has_trained is not self.planned:
                chosen.append(each)
            else:
                reason = TRAINED if self.planned else REFUSED if each.was_refused else NEVER_RAN
                self.skipped.append(SkippedRun(run_id=each.run_id, reason=reason))
        return tuple(chosen)

    def _verified(self, facts: Iterable[StoredFacts]) -> tuple[StoredFacts, ...]:
        sound = []
        for each in facts:
            reason = _reason_against(self.client, each)
            if reason:
                self.skipped.append(SkippedRun(run_id=each.run_id, reason=reason))
            else:
                sound.append(each)
        return tuple(sound)

    def _choices(self, page: PricedPage) -> Choices:
        best = choice_names(best_choices(page, self.offers), self.offers)
        versions = [each.statistics.prices_version for each in page.facts]
        before = [""] * len(versions)
        for version in dict.fromkeys(versions):
            at = [index for index, each in enumerate(versions) if each == version]
            for index, name in zip(at, self._first_choices(page, best, at, version), strict=True):
                before[index] = name
        return Choices(best=best, before=before, version_before=versions)

    def _first_choices(
        self, page: PricedPage, best: Sequence[Sequence[str]], at: Sequence[int], version: str
    ) -> Sequence[str]:
        """The best choices of some runs with their own prices, grid and plan; empty where unknown."""
        known = [sheet.version for sheet in self.offers.sheets]
        if self.change.is_none and version in known:
            return [best[index][known.index(version)] for index in at]
        own = self._offers_of_version(version)
        if own is None:
            return [""] * len(at)
        # Each run could be estimated with the change, so it can be without, and none is skipped here.
        first = self.pricer.price([page.facts[index] for index in at], own, Change())
        names = {
            facts.run_id: of_run[0]
            for facts, of_run in zip(first.facts, choice_names(best_choices(first, own), own), strict=True)
        }
        return [names.get(page.facts[index].run_id, "") for index in at]

    def _offers_of_version(self, version: str) -> OfferColumns | None:
        """The offers that runs of that price version were first compared with; None when unknown."""
        if version not in self._own_offers:
            sheets = {sheet.version: sheet for sheet in self.offers.sheets}
            sheet = sheets.get(version) or sheet_of_version(version)
            own = None if sheet is None else OfferColumns(sheets=(sheet,), regions=self.offers.regions)
            self._own_offers[version] = own
        return self._own_offers[version]


def _reason_against(client: MlflowClient, facts: StoredFacts) -> str:
    """Why the run's facts fail verification; empty when they pass."""
    try:
        verify_facts(client, facts)
    except RunDataError as error:
        return str(error)
    return ""


def files_in(folder: Path, offers: OfferColumns) -> ResultFiles:
    """The result files in a folder, with metadata about their contents."""
    versions = ", ".join(sheet.version for sheet in offers.sheets)
    metadata = {
        "greenlove.table": "reestimates",
        "greenlove.version": __version__,
        "greenlove.as_of": offers.sheets[-1].as_of,
        "greenlove.source": f"estimated by greenlove-mlflow {__version__} with the prices of {versions}",
    }
    return ResultFiles(folder, metadata)


def verify_facts(client: MlflowClient, facts: StoredFacts) -> None:
    """Verify that a run's benchmark log exists, is unchanged and is the one that its facts were made from.

    Raises:
        RunDataError: If not; the message says what differs.
    """
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(prefix="greenlove-verify-") as folder:
        try:
            with without_progress_bars():
                path = Path(client.download_artifacts(facts.run_id, ARTIFACT_BENCHMARK, folder))
        except (MlflowException, OSError) as error:
            raise RunDataError(f"{ARTIFACT_BENCHMARK} cannot be read: {str(error).splitlines()[0]}") from error
        try:
            _check_digest(path)
            _check_origin(read_log(path), facts)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise RunDataError(f"{ARTIFACT_BENCHMARK} is broken: {str(error).splitlines()[0]}") from error


def _check_digest(path: Path) -> None:
    stated = read_parquet_metadata(path).get("greenlove.sha256")
    content = pq.read_table(path).to_pandas().to_csv(index=False).encode()
    found = hashlib.sha256(content).hexdigest()
    if stated != found:
        raise RunDataError(
            f"the rows of {ARTIFACT_BENCHMARK} have sha256 {found[:12]}..., its schema states {(stated or 'none')[:12]}"
        )


def _check_origin(log: BenchmarkLog, facts: StoredFacts) -> None:
    statistics = facts.statistics
    pairs = {
        "machine": (log.machine.fingerprint, statistics.machine.fingerprint),
        "batch size": (log.batch_size, statistics.workload.batch_size),
        "samples": (log.sample_count, statistics.fit.sample_count),
        "method": (log.method, statistics.fit.method),
    }
    for name, (of_log, of_tag) in pairs.items():
        if of_log != of_tag:
            raise RunDataError(f"{ARTIFACT_BENCHMARK} has {name} {of_log!r}, the run's statistics {of_tag!r}")
