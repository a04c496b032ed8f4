"""The price sheets of a re-estimation, and their offers as columns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from greenlove_mlflow.core.codec import to_plain
from greenlove_mlflow.core.interval import FloatArray, Intervals
from greenlove_mlflow.core.offers.batch import IndexArray
from greenlove_mlflow.core.offers.figures import offer_grid
from greenlove_mlflow.core.offers.offer import DEFAULT_BILLING, Offer, PriceSheet, Region
from greenlove_mlflow.core.workload import Scope
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.tables import price_sheet, read_price_sheet, read_table, table_names, table_versions
from greenlove_mlflow.tables.prices.sheets import PRICE_TABLE, Prices

ALL_VERSIONS = "all"


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
        regions: The cloud's regions by name.
        billing: Kinds of price to include.
    """

    sheets: tuple[PriceSheet, ...]
    regions: Mapping[str, Region]
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
