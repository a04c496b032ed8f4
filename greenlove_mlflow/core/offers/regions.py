"""Cloud regions and their electricity, found by name and provider."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from greenlove_mlflow.errors import UnknownPlaceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A cloud region and its electricity; figures without a source are None, an unknown provider is empty."""

    name: str
    country: str
    location: str
    intensity_g_per_kwh: float | None
    energy_claim: str | None
    source: str = ""
    intensity_direct_g_per_kwh: float | None = None
    provider: str = ""

    @property
    def full_name(self) -> str:
        """Provider and name: "AWS us-east-1"."""
        return f"{self.provider} {self.name}".strip()


class Regions:
    """The known cloud regions, whatever their order.

    Args:
        regions: Regions of any providers; two providers may use one name for two places.
    """

    def __init__(self, regions: Iterable[Region]) -> None:
        self._by_name: dict[str, list[Region]] = {}
        self._by_full_name: dict[str, Region] = {}
        for each in regions:
            self._by_name.setdefault(each.name, []).append(each)
            self._by_full_name[each.full_name] = each

    def __iter__(self) -> Iterator[Region]:
        """Every region."""
        return iter(self._by_full_name.values())

    @property
    def names(self) -> frozenset[str]:
        """The names that ``find`` accepts: bare ones, and those with a provider."""
        return frozenset((*self._by_name, *self._by_full_name))

    def find(self, name: str, *, provider: str) -> Region | None:
        """The region of that name; None if there is none.

        A bare name means the provider's own region, else the only region of that name.

        Args:
            name: "us-east-1", or with its provider "AWS us-east-1".
            provider: Provider of the offer.

        Raises:
            UnknownPlaceError: If several providers have a region of that name, and this one has none.
        """
        if name in self._by_full_name and name not in self._by_name:
            return self._by_full_name[name]
        named = self._by_name.get(name, [])
        own = [each for each in named if each.provider == provider] or named
        if len(own) > 1:
            choices = " or ".join(repr(each.full_name) for each in sorted(own, key=lambda each: each.full_name))
            raise UnknownPlaceError(
                f"region {name!r} is a place of {len(own)} providers, none of them {provider}; write {choices}"
            )
        return own[0] if own else None
