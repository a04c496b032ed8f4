"""Compares stored run facts with a price sheet, for reports, tables of runs and the command line."""

from __future__ import annotations

import time

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.offers.compare import Comparison, compare_offers
from greenlove_mlflow.core.offers.offer import DEFAULT_BILLING, PriceSheet, Rental
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.quantity import LOCAL
from greenlove_mlflow.tables import read_default_pue, read_instance_start, read_price_sheet, read_regions
from greenlove_mlflow.tables.prices.sheets import Prices, sheet_of_version
from greenlove_mlflow.tables.published_speeds import read_ratio_book
from greenlove_mlflow.tables.store.store import NEWEST


class StoredComparer:
    """Compares stored runs with offers by each run's stored speed ratios; tables are read once.

    Args:
        prices: Price sheet for all runs; the one that each run was priced with when None.
    """

    def __init__(self, prices: Prices | None = None) -> None:
        self._prices = None if prices is None else read_price_sheet(prices)
        self._book = read_ratio_book()
        self._regions = {each.name: each for each in read_regions()}
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
            rental=Rental(used_gpu_count=statistics.gpu_count, start_s=self._start_s),
            caveats=caveats,
            today=time.strftime("%Y-%m-%d", time.gmtime()),
        )

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
