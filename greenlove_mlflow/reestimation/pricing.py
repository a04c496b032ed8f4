"""Prices a page of runs: every run on every offer of every price sheet, and the best choice of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenlove_mlflow.core.account.estimate import Change, Estimate, estimate_changed
from greenlove_mlflow.core.account.ratio_book import RatioBook
from greenlove_mlflow.core.interval import FloatArray, Interval, Intervals
from greenlove_mlflow.core.offers.batch import (
    IndexArray,
    OfferRows,
    RowFigures,
    best_value_index,
    estimate_rows,
    run_columns,
)
from greenlove_mlflow.core.offers.offer import is_too_small_to_rent, rented_gpu_counts
from greenlove_mlflow.errors import GreenloveError
from greenlove_mlflow.reestimation.sheets import OfferColumns
from greenlove_mlflow.stored.pages import SkippedRun, StoredFacts

LOCAL_CHOICE = -1
NO_CHOICE = -2


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedPage:
    """Some runs, each at home and on each offer.

    Args:
        facts: The runs that could be estimated.
        homes: The estimate at home of each run.
        figures: One row per run and offer, run by run.
        offer_count: Number of offers per run.
        start_s: Seconds that an instance needs to start.
        skipped: The runs that could not be estimated.
    """

    facts: tuple[StoredFacts, ...]
    homes: tuple[Estimate, ...]
    figures: RowFigures
    offer_count: int
    start_s: float
    skipped: tuple[SkippedRun, ...]

    def table(self, values: FloatArray) -> FloatArray:
        """A column of the figures as an array of runs x offers."""
        return values.reshape(len(self.facts), self.offer_count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricer:
    """Prices pages of runs.

    Args:
        book: Speed ratios that the runs do not hold.
        cloud_pue: Power usage effectiveness of the offers' data centres.
        start_s: Seconds that an instance needs to start.
    """

    book: RatioBook
    cloud_pue: Interval
    start_s: float = 0.0

    def price(self, facts: Sequence[StoredFacts], offers: OfferColumns, change: Change) -> PricedPage:
        """Price every run on every offer, with the overrides of ``change``.

        Args:
            facts: Stored facts of the runs.
            offers: The offers as columns.
            change: Overrides for the runs' values.
        """
        prepared = [_prepare(each, offers, change) for each in facts]
        ready = [each for each in prepared if isinstance(each, _Ready)]
        columns = run_columns(
            [each.facts.statistics for each in ready],
            [each.home for each in ready],
            offers.gpu_ids,
            specs=self.book.specs,
            ratio_of=self.book.ratio_of,
        )
        run_index = np.repeat(np.arange(len(ready), dtype=np.intp), len(offers.offers))
        offer_index = np.tile(np.arange(len(offers.offers), dtype=np.intp), len(ready))
        rows = OfferRows(
            run_index=run_index,
            gpu_index=np.tile(offers.gpu_index, len(ready)),
            rented_gpu_count=rented_gpu_counts(offers.sold_in, offer_index, columns.used_gpu_count[run_index]),
            price_usd_per_hour=np.tile(offers.price_usd_per_hour, len(ready)),
            memory_gib=np.tile(offers.memory_gib, len(ready)),
            intensity_g_per_kwh=_joined([each.intensity_g_per_kwh for each in ready]),
        )
        return PricedPage(
            facts=tuple(each.facts for each in ready),
            homes=tuple(each.home for each in ready),
            figures=estimate_rows(columns, rows, pue=self.cloud_pue, start_s=self.start_s),
            offer_count=len(offers.offers),
            start_s=self.start_s,
            skipped=tuple(each for each in prepared if isinstance(each, SkippedRun)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """A run estimated at home, and the grid of each offer in that run's scope."""

    facts: StoredFacts
    home: Estimate
    intensity_g_per_kwh: Intervals


def _prepare(facts: StoredFacts, offers: OfferColumns, change: Change) -> _Ready | SkippedRun:
    try:
        home = estimate_changed(facts.statistics, change)
        intensity = offers.intensity_g_per_kwh(facts.statistics.cloud_region, home.grid.scope)
    except (GreenloveError, ArithmeticError, TypeError, ValueError) as error:
        # RunFacts are read from a tag of unknown origin; one bad run must not end the batch.
        return SkippedRun(run_id=facts.run_id, reason=f"its statistics cannot be estimated: {error}")
    return _Ready(facts=facts, home=home, intensity_g_per_kwh=intensity)


def _joined(intervals: Sequence[Intervals]) -> Intervals:
    none = np.empty(0)
    return Intervals(
        point=np.concatenate([none, *(each.point for each in intervals)]),
        below=np.concatenate([none, *(each.below for each in intervals)]),
        above=np.concatenate([none, *(each.above for each in intervals)]),
    )


def best_choices(page: PricedPage, offers: OfferColumns) -> IndexArray:
    """The index of the best-value offer, per run and price sheet.

    ``LOCAL_CHOICE`` for home, ``NO_CHOICE`` when no cost is known or training ends before an instance would start.
    """
    home_usd = np.array([np.nan if home.cost_usd is None else home.cost_usd.point for home in page.homes])
    home_s = np.array([home.time_s.point for home in page.homes])
    is_too_small = np.array([is_too_small_to_rent(float(each), page.start_s) for each in home_s], dtype=bool)
    cost_usd, time_s = page.table(page.figures.cost_usd.point), page.table(page.figures.time_s.point) + page.start_s
    fits = page.table(page.figures.fits_memory)
    choices = np.full((len(page.facts), len(offers.sheets)), NO_CHOICE, dtype=np.intp)
    for sheet in range(len(offers.sheets)):
        at = np.flatnonzero(offers.sheet_index == sheet)
        best = best_value_index(
            np.column_stack([home_usd, cost_usd[:, at]]),
            np.column_stack([home_s, time_s[:, at]]),
            np.column_stack([np.ones_like(home_s), fits[:, at]]),
        )
        names = np.concatenate([[LOCAL_CHOICE], at])
        choices[:, sheet] = np.where((best < 0) | is_too_small, NO_CHOICE, names[best])
    return choices
