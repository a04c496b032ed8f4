"""The age of tables, and the caveat of one that is too old."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from greenlove_mlflow.tables.store.age import age_days, is_stale, stale_caveats
from greenlove_mlflow.tables.store.store import read_schema, read_table, table_names


@pytest.mark.parametrize("name", table_names())
def test_every_table_that_ages_says_how_soon(name: str) -> None:
    # What a standard or a convention says does not age.
    assert (read_schema(name).max_age_days is None) == (name in ("un_subregions", "ram_power"))


def test_a_table_is_stale_a_day_after_its_age() -> None:
    table, limit = read_table("gpu_specs"), read_schema("gpu_specs").max_age_days
    assert limit is not None
    last = date.fromisoformat(table.as_of) + timedelta(days=limit)
    assert not is_stale("gpu_specs", table.as_of, last)
    assert is_stale("gpu_specs", table.as_of, last + timedelta(days=1))
    assert age_days(table.as_of, last) == limit


def test_a_stale_table_is_told_with_its_age_and_what_to_do() -> None:
    fresh = date.fromisoformat(read_table("gpu_specs").as_of)
    assert stale_caveats(["gpu_specs"], fresh) == ()
    (caveat,) = stale_caveats(["gpu_specs"], fresh + timedelta(days=1000))
    assert caveat.code == "stale-table"
    assert "1000 days ago" in caveat.message
