"""Age of tables, and caveats for those that are too old."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timezone

from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.tables.store.store import read_schema, read_table


def age_days(as_of: str, today: date) -> int:
    """Days from a date (ISO 8601) to today.

    >>> age_days("2026-11-20", date(2026, 11, 27))
    7
    """
    return (today - date.fromisoformat(as_of)).days


def today_utc() -> date:
    """The current date in UTC."""
    return datetime.now(tz=timezone.utc).date()


def is_stale(name: str, as_of: str, today: date) -> bool:
    """Whether figures of that date exceed their table's maximum age.

    Args:
        name: Name of the table.
        as_of: Date of the figures, ISO 8601.
        today: The current date.
    """
    limit = read_schema(name).max_age_days
    return limit is not None and age_days(as_of, today) > limit


def stale_caveats(names: Iterable[str], today: date | None = None) -> tuple[Caveat, ...]:
    """A caveat for each of these tables whose newest version exceeds its maximum age."""
    now = today or today_utc()
    tables = [read_table(name) for name in names]
    return tuple(
        Caveat.of("stale-table", table=table.name, as_of=table.as_of, age_days=age_days(table.as_of, now))
        for table in tables
        if is_stale(table.name, table.as_of, now)
    )
