"""Price sheets as columns, and each page of runs on every offer of every sheet, with the best choice of each run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from greenlove_mlflow.core.account.estimate import Change, Estimate, estimate_changed
from greenlove_mlflow.core.account.ratio_book import RatioBook
from greenlove_mlflow.core.codec import to_plain
from greenlove_mlflow.core.interval import FloatArray, Interval, Intervals
from greenlove_mlflow.core.offers.batch import (
    IndexArray,
    OfferRows,
    RowFigures,
    best_value_index,
    estimate_rows,
    run_columns,
    starts_s,
)
from greenlove_mlflow.core.offers.figures import offer_grid
from greenlove_mlflow.core.offers.offer import (
    DEFAULT_BILLING,
    Offer,
    PriceSheet,
    is_too_small_to_rent,
    rented_gpu_counts,
)
from greenlove_mlflow.core.offers.regions import Regions
from greenlove_mlflow.core.workload import Scope
from greenlove_mlflow.errors import GreenloveError, InvalidInputError
from greenlove_mlflow.stored.stored_runs import SkippedRun, StoredFacts
from greenlove_mlflow.tables import price_sheet, read_price_sheet, read_table, table_names, table_versions
from greenlove_mlflow.tables.prices.sheets import PRICE_TABLE, Prices

ALL_VERSIONS = "all"
LOCAL_CHOICE = -1
NO_CHOICE = -2


def read_sheets(prices: Prices | Sequence[Prices]) -> tuple[PriceSheet, ...]:
    """Read the requested price sheets, oldest first.

    Args:
        prices: ``newest``, ``all`` (every published version), a version, a path to your own CSV, a ``PriceSheet``, or
            several of these.

    Raises:
        TableError: If a sheet cannot be read; the message names row and column.
        InvalidInputError: If there is no sheet, or two sheets have the same version.
    """
    asked: list[Prices] = []
    for each in [prices] if isinstance(prices, str | Path | PriceSheet) else prices:
        asked += list(table_versions(PRICE_TABLE)) if each == ALL_VERSIONS else [each]
    sheets = sorted((read_price_sheet(each) for each in asked), key=lambda sheet: (sheet.as_of, sheet.version))
    versions = [sheet.version for sheet in sheets]
    if not versions:
        raise InvalidInputError("prices= names no price sheet; use 'newest', 'all', a version or a path")
    twice = sorted({version for version in versions if versions.count(version) > 1})
    if twice:
        raise InvalidInputError(f"two price sheets are of version {', '.join(twice)}; give one another version")
    return tuple(sheets)


def sheet_digest(sheet: PriceSheet) -> str:
    """The SHA-256 of all values of the sheet, hexadecimal."""
    return hashlib.sha256(json.dumps(to_plain(sheet), sort_keys=True).encode()).hexdigest()


def content_sha256(sheet: PriceSheet) -> str:
    """The SHA-256 of the sheet's published table, or of the sheet itself if unpublished, hexadecimal."""
    name = sheet.source.table
    if name in table_names() and sheet.version in table_versions(name):
        table = read_table(name, sheet.version)
        if price_sheet(table) == sheet:
            return table.sha256
    return sheet_digest(sheet)


def sheet_frame(sheet: PriceSheet) -> pd.DataFrame:
    """The offers of a sheet as a table."""
    rows = [
        {
            "gpu": offer.gpu,
            "gpu_id": offer.gpu_id,
            "provider": offer.provider,
            "billing": offer.billing,
            "price_usd_per_hour": offer.price_usd_per_hour,
            "memory_gib": offer.memory_gib,
            "regions": "|".join(offer.regions),
            "version": sheet.version,
            "as_of": offer.as_of or sheet.as_of,
            "evidence": offer.evidence,
            "source": offer.source,
        }
        for offer in sheet.offers
    ]
    return pd.DataFrame(rows).astype({"price_usd_per_hour": float})


@dataclass(frozen=True, kw_only=True)
class OfferColumns:
    """The offers of some price sheets as columns, sheet after sheet.

    Args:
        sheets: The price sheets, oldest first.
        regions: The known cloud regions.
        billing: Kinds of price to include.
    """

    sheets: tuple[PriceSheet, ...]
    regions: Regions
    billing: tuple[str, ...] = DEFAULT_BILLING

    @cached_property
    def offers(self) -> tuple[Offer, ...]:
        """All offers, in the order of the sheets."""
        return tuple(offer for sheet in self.sheets for offer in sheet.offers if offer.billing in self.billing)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """A label for each offer within its sheet: its GPU, with the billing if not on demand."""
        return tuple(
            offer.gpu if offer.billing in DEFAULT_BILLING else f"{offer.gpu} ({offer.billing})" for offer in self.offers
        )

    @cached_property
    def sheet_index(self) -> IndexArray:
        """The index of each offer's sheet."""
        counts = [sum(offer.billing in self.billing for offer in sheet.offers) for sheet in self.sheets]
        return np.repeat(np.arange(len(self.sheets), dtype=np.intp), counts)

    @cached_property
    def gpu_ids(self) -> tuple[str, ...]:
        """The distinct GPUs of all offers."""
        return tuple(dict.fromkeys(offer.gpu_id for offer in self.offers))

    @cached_property
    def gpu_index(self) -> IndexArray:
        """The index of each offer's GPU."""
        at = {gpu_id: index for index, gpu_id in enumerate(self.gpu_ids)}
        return np.array([at[offer.gpu_id] for offer in self.offers], dtype=np.intp)

    @cached_property
    def price_usd_per_hour(self) -> FloatArray:
        """The price of each offer, US dollars per GPU and hour; NaN without a public price."""
        prices = [np.nan if each.price_usd_per_hour is None else each.price_usd_per_hour for each in self.offers]
        return np.array(prices, dtype=np.float64)

    @cached_property
    def sold_in(self) -> tuple[tuple[int, ...], ...]:
        """The possible numbers of GPUs per instance, by offer."""
        return tuple(offer.gpu_counts for offer in self.offers)

    @cached_property
    def memory_gib(self) -> FloatArray:
        """The memory of each offer's GPU, GiB."""
        return np.array([offer.memory_gib for offer in self.offers], dtype=np.float64)

    @cached_property
    def _intensities(self) -> dict[tuple[str | None, Scope], Intervals]:
        return {}

    def intensity_g_per_kwh(self, region: str | None, scope: Scope) -> Intervals:
        """The grid intensity of each offer in g/kWh, for the given region, or the offer's own regions when None."""
        if (region, scope) not in self._intensities:
            grids = [offer_grid(offer, self.regions, region=region, scope=scope) for offer in self.offers]
            self._intensities[region, scope] = Intervals.of([grid.intensity_g_per_kwh for grid in grids])
        return self._intensities[region, scope]


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedPage:
    """Some runs, each at home and on each offer.

    Args:
        facts: The runs that could be estimated.
        homes: The estimate at home of each run.
        figures: One row per run and offer, run by run.
        offer_count: Number of offers per run.
        start_s: Seconds that an instance needs to start, one per run.
        skipped: The runs that could not be estimated.
    """

    facts: tuple[StoredFacts, ...]
    homes: tuple[Estimate, ...]
    figures: RowFigures
    offer_count: int
    start_s: FloatArray
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
        start_s: Seconds that an instance needs to start, where a run states none.
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
        start_s = starts_s([each.facts.statistics for each in ready], self.start_s)
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
            figures=estimate_rows(columns, rows, pue=self.cloud_pue, start_s=start_s[run_index]),
            offer_count=len(offers.offers),
            start_s=start_s,
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
    is_too_small = np.array(
        [is_too_small_to_rent(float(each), float(start_s)) for each, start_s in zip(home_s, page.start_s, strict=True)],
        dtype=bool,
    )
    cost_usd = page.table(page.figures.cost_usd.point)
    time_s = page.table(page.figures.time_s.point) + page.start_s[:, np.newaxis]
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
