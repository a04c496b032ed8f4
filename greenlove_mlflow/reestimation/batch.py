"""Processes a re-estimation page by page (price, count, write), keeping no page in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from greenlove_mlflow._version import __version__
from greenlove_mlflow.core.account.estimate import Change
from greenlove_mlflow.core.codec import to_plain
from greenlove_mlflow.errors import RunDataError
from greenlove_mlflow.reestimation.pricing import PricedPage, Pricer, best_choices
from greenlove_mlflow.reestimation.results import Choices, ResultFiles, Summary, choice_names
from greenlove_mlflow.reestimation.sheets import OfferColumns, sheet_digest
from greenlove_mlflow.reestimation.verify import verify_facts
from greenlove_mlflow.reestimation.writing import WriteBack, Written
from greenlove_mlflow.stored.pages import Page, SkippedRun, StoredFacts
from greenlove_mlflow.tables.prices.sheets import sheet_of_version

if TYPE_CHECKING:
    from mlflow import MlflowClient

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
