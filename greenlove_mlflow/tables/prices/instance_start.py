"""Startup time of an instance, from the request to its first command."""

from __future__ import annotations

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.tables.store.rows import row_source, rows_of

ANY_PROVIDER = "any"


def read_instance_start(provider: str = ANY_PROVIDER) -> tuple[Interval, Source]:
    """Seconds from requesting a GPU instance to its first command, with the table's source.

    Args:
        provider: Name as in price sheets ("AWS"); one that is not in the table gets the pooled figures of all.

    Returns:
        The median and the 10 and 90 % quantiles, in seconds; ``level`` is 0.8.
    """
    rows = {row["provider"]: (table, row) for table, row in rows_of("instance_start")}
    table, row = rows.get(provider, rows[ANY_PROVIDER])
    seconds = Interval(point=row["start_s"], low=row["low_s"], high=row["high_s"], level=0.8)
    return seconds, row_source(table, row)
