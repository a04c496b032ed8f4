"""References between tables: every reference must resolve to a row."""

from __future__ import annotations

from greenlove_mlflow.errors import TableError
from greenlove_mlflow.tables.store.rows import plain_rows, rows_of
from greenlove_mlflow.tables.store.store import Table


def check_references(table: Table) -> None:
    """Check that every cell of a referring column is found in the newest version of the table it refers to.

    Raises:
        TableError: If one is not found; the message names row and column.
    """
    for column in table.sidecar.columns:
        if not column.reference or column.name not in table.frame:
            continue
        other, name = column.reference.split(".")
        known = {row[name] for _, row in rows_of(other)}
        for index, row in enumerate(plain_rows(table)):
            value = row[column.name]
            if value is not None and value not in known:
                raise TableError(
                    f"{table.name} {table.version}, row {index + 2}, column {column.name!r}: {value!r} is not in "
                    f"{other}.{name}"
                )
