"""How long an instance takes from the request to its first command."""

from __future__ import annotations

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.tables.store.rows import row_source, rows_of

ANY_PROVIDER = "any"


def read_instance_start(provider: str = ANY_PROVIDER) -> tuple[Interval, Source]:
    """Seconds from the request of a GPU instance to its first command, with the table's source.

    Args:
        provider: As price sheets name it ("AWS"); one that the table does not know gets the figures of all together.

    Returns:
        The median and the 10 and 90 % quantiles, in seconds; ``level`` is 0.8.
    """
    rows = {row["provider"]: (table, row) for table, row in rows_of("instance_start")}
    table, row = rows.get(provider, rows[ANY_PROVIDER])
    seconds = Interval(point=row["start_s"], low=row["low_s"], high=row["high_s"], level=0.8)
    return seconds, row_source(table, row)
