"""Differences between two price sheets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from greenlove_mlflow.core.offers.offer import Offer, PriceSheet

Change = Literal["rose", "fell", "vanished", "appeared", "lost its public price", "got a public price", "same"]
Name = tuple[str, str, str, tuple[int, ...]]
_ORDER: tuple[Change, ...] = (
    "rose",
    "fell",
    "vanished",
    "lost its public price",
    "appeared",
    "got a public price",
    "same",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceChange:
    """One offer in two price sheets.

    Args:
        provider: Cloud provider.
        gpu: Name on the price sheet.
        billing: On demand, spot or reserved.
        change: Kind of change.
        before_usd_per_hour: Price in the first sheet; None if it is missing there or not public.
        after_usd_per_hour: Price in the second sheet; None if it is missing there or not public.
    """

    provider: str
    gpu: str
    billing: str
    change: Change
    before_usd_per_hour: float | None
    after_usd_per_hour: float | None

    @property
    def relative_change(self) -> float | None:
        """The change as a share of the first price; None if either is unknown."""
        if self.before_usd_per_hour is None or self.after_usd_per_hour is None:
            return None
        return self.after_usd_per_hour / self.before_usd_per_hour - 1.0


def compare_sheets(before: PriceSheet, after: PriceSheet) -> tuple[PriceChange, ...]:
    """Changes of all offers in either sheet, from price rises to unchanged prices.

    A GPU that vanished is missing from the source of the second sheet, which does not prove that it is no longer sold.
    """
    first, second = _by_name(before), _by_name(after)
    changes = [_change(name, first.get(name), second.get(name)) for name in {**first, **second}]
    return tuple(sorted(changes, key=lambda change: (_ORDER.index(change.change), change.provider, change.gpu)))


def _by_name(sheet: PriceSheet) -> dict[Name, Offer]:
    # If a sheet has an offer at two dates, the later one counts.
    return {_name(offer): offer for offer in sorted(sheet.offers, key=lambda offer: offer.as_of)}


def _name(offer: Offer) -> Name:
    # An on-demand price may change to "contact sales"; that is the same offer.
    billing = "on-demand" if offer.billing == "contact-sales" else offer.billing
    return offer.provider, offer.gpu, billing, offer.gpu_counts


def _change(name: Name, before: Offer | None, after: Offer | None) -> PriceChange:
    old = None if before is None else before.price_usd_per_hour
    new = None if after is None else after.price_usd_per_hour
    return PriceChange(
        provider=name[0],
        gpu=name[1],
        billing=name[2],
        change=_word(before, after, old, new),
        before_usd_per_hour=old,
        after_usd_per_hour=new,
    )


def _word(before: Offer | None, after: Offer | None, old: float | None, new: float | None) -> Change:
    if before is None or after is None:
        return "appeared" if before is None else "vanished"
    if old is None or new is None:
        return "same" if old is new else ("got a public price" if old is None else "lost its public price")
    return "same" if old == new else ("rose" if new > old else "fell")
