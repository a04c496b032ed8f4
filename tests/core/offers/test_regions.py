"""Regions by name: the provider's own first, then the only one, else a refusal."""

from __future__ import annotations

import itertools

import pytest

from greenlove_mlflow.core.offers.regions import Region, Regions
from greenlove_mlflow.errors import UnknownPlaceError

OWN, ANOTHER, ALONE = (
    Region(provider=provider, name=name, country="US", location="", intensity_g_per_kwh=intensity, energy_claim=None)
    for provider, name, intensity in (("Own", "east", 30.0), ("Another", "east", 400.0), ("Another", "west", 50.0))
)
ORDERS = list(itertools.permutations([OWN, ANOTHER, ALONE]))


@pytest.mark.parametrize("order", ORDERS)
def test_a_name_is_found_whatever_the_order_of_the_tables(order: tuple[Region, ...]) -> None:
    regions = Regions(order)
    assert regions.find("east", provider="Own") == OWN
    assert regions.find("east", provider="Another") == ANOTHER
    assert regions.find("west", provider="Own") == ALONE
    assert regions.find("Another east", provider="Own") == ANOTHER
    assert regions.find("Own west", provider="Own") is None
    assert sorted(regions, key=order.index) == list(order)


@pytest.mark.parametrize("order", ORDERS)
def test_a_name_of_two_other_providers_is_refused_with_both(order: tuple[Region, ...]) -> None:
    with pytest.raises(UnknownPlaceError, match="none of them the user; write 'Another east' or 'Own east'"):
        Regions(order).find("east", provider="the user")


def test_names_are_all_that_can_be_found() -> None:
    assert Regions([OWN, ANOTHER]).names == {"east", "Own east", "Another east"}
