"""``greenlove tables``: the dated, sourced figures behind every estimate, and your own price sheets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from greenlove_mlflow.cli import columns, echo, echo_whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from greenlove_mlflow.tables.prices.difference import PriceChange
    from greenlove_mlflow.tables.store.store import Table

# What `remove` calls a price sheet of the user's own, which belongs to no table.
OWN_PRICES = "prices"
# Rows shown when no filter is given.
SHOWN_ROWS = 20
_HANGING = " " * 31
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object.")
_PROVENANCE = (
    click.option("--version", help="What the sheet is called; by default what its TOML or rows say."),
    click.option("--as-of", help="Date of its prices, such as 2026-09-28."),
    click.option("--source", help="Where its prices come from, in words."),
)


def _provenance(function: Any) -> Any:
    for option in reversed(_PROVENANCE):
        function = option(function)
    return function


@click.group()
def command() -> None:
    """Show, check and compare the tables of prices, GPUs, grids and the rest; add price sheets of your own."""


@command.command("list")
@_JSON
def list_tables(as_json: bool) -> None:
    """List every table: versions, rows, date, producer, licence."""
    from greenlove_mlflow.tables.prices.sheets import own_versions
    from greenlove_mlflow.tables.store.own_tables import read_own_tables
    from greenlove_mlflow.tables.store.store import read_table, table_names, table_versions

    tables = [read_table(name) for name in table_names()]
    added = [table for name in table_names() for table in read_own_tables(name)]
    own = own_versions()
    if as_json:
        rows = [{**_head(table), **_age(table), "versions": list(table_versions(table.name))} for table in tables]
        _print_json({"tables": rows, "own_tables": [_head(table) for table in added], "own_prices": list(own)})
        return
    for table in tables:
        versions = table_versions(table.name)
        count = f"{len(versions)} versions, newest " if len(versions) > 1 else ""
        rows_of_it = f"{_rows_text(table)}, {_age_text(table)}"
        echo(f"{table.name}  {count}{table.version}, {rows_of_it}", bold=True)
        echo(f"  {table.source.title}")
        echo(f"  {table.source.producer}; {table.source.licence}")
    for table in added:
        rows_of_it = f"{table.version}, {_rows_text(table)} as of {table.as_of}"
        echo(f"{table.name}, your own  {rows_of_it}: {table.source.title}", bold=True)
    if own:
        echo(f"own prices  {', '.join(own)}", bold=True)


@command.command("show")
@click.argument("name")
@click.option("--version", default="newest", show_default=True, help="Which version of the table.")
@click.option("--gpu", help='Rows with these words in their name, such as "H100" or "RTX 4090".')
@click.option("--find", help='The same for any table: "Virginia", "EPYC 7763".')
@click.option("--where", multiple=True, metavar="COLUMN=TEXT", help="Rows with this text in this column; repeatable.")
@click.option("--all", "show_all", is_flag=True, help=f"More than {SHOWN_ROWS} rows.")
@_JSON
def show_table(
    *, name: str, version: str, gpu: str | None, find: str | None, where: tuple[str, ...], show_all: bool, as_json: bool
) -> None:
    """Show rows of a table, every figure with its unit and its source.

    NAME is a table listed by `greenlove tables list`, such as gpu_specs.
    """
    from greenlove_mlflow.tables.store.own_tables import read_own_tables
    from greenlove_mlflow.tables.store.rows import find_rows
    from greenlove_mlflow.tables.store.store import NEWEST, read_table

    table = read_table(name, version)
    words, equal = [text for text in (gpu, find) if text], dict(map(_column_text, where))
    own = read_own_tables(name) if version == NEWEST else ()
    rows = [(each, row) for each in (table, *own) for row in find_rows(each, words=words, equal=equal)]
    if as_json:
        _print_json({**_head(table), "rows": [{**row, "source": _row_source(each, row)} for each, row in rows]})
        return
    if not rows:
        raise click.ClickException(f"no row of {name} {table.version} fits; it has {_rows_text(table)}")
    shown = rows if show_all else rows[:SHOWN_ROWS]
    for each, row in shown:
        _print_row(each, row)
    if len(shown) < len(rows):
        echo(f"... and {len(rows) - len(shown)} more rows; --gpu, --find or --where narrow, --all shows them")
    echo(f"{table.name} {table.version}: {table.source.title}, {table.source.licence}")


@command.command("validate", short_help="Check a price sheet of yours, or every table.")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@_provenance
@_JSON
def validate(path: Path | None, version: str | None, as_of: str | None, source: str | None, as_json: bool) -> None:
    """Check your own price sheet or, without PATH, every table of this installation.

    An error names the row and column; the exit code is then 1.
    """
    from greenlove_mlflow.tables.prices.sheets import price_sheet, read_own_prices

    if path is None:
        tables = list(_checked_tables())
    else:
        tables = [read_own_prices(path, version=version, as_of=as_of, source=source)]
        price_sheet(tables[0])
    if as_json:
        _print_json({"valid": True, "tables": [_head(table) for table in tables]})
        return
    for table in tables:
        echo(f"{table.name} {table.version}: {_rows_text(table)}, all checks passed")


@command.command("add", short_help="Add figures of your own, with the same checks.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--table", "name", help="Which table the rows are for, such as gpu_specs; a price sheet without it.")
@_provenance
@_JSON
def add(
    *, path: Path, name: str | None, version: str | None, as_of: str | None, source: str | None, as_json: bool
) -> None:
    """Add your own figures: a price sheet that --prices VERSION finds, or rows of any table.

    PATH is a CSV file. A price sheet needs the columns gpu and price_usd_per_hour (US dollars per GPU and hour). Rows
    of a table need that table's required columns (`greenlove tables show TABLE`); they are added to the bundled rows
    and replace those with the same key.
    """
    table = _added(path, name, version=version, as_of=as_of, source=source)
    if as_json:
        _print_json({**_head(table), "path": str(table.path)})
        return
    echo(f"added version {table.version}: {_rows_text(table)} as of {table.as_of}, in {table.path}")


@command.command("remove", short_help="Remove rows that you added.")
@click.argument("name")
@click.argument("version")
@_JSON
def remove(*, name: str, version: str, as_json: bool) -> None:
    """Remove rows that you added: NAME is the table, or prices for a price sheet, VERSION what they were added as."""
    from greenlove_mlflow.tables.prices.sheets import remove_price_sheet
    from greenlove_mlflow.tables.store.adding import remove_table

    path = remove_price_sheet(version) if name == OWN_PRICES else remove_table(name, version)
    if as_json:
        _print_json({"table": name, "version": version, "path": str(path)})
        return
    echo(f"removed version {version} of {name}, which lay in {path}")


@command.command("diff", short_help="What changed between two versions of a price sheet.")
@click.argument("before")
@click.argument("after")
@_JSON
def diff(before: str, after: str, as_json: bool) -> None:
    """Show what rose, fell, vanished or appeared between two price sheets.

    BEFORE and AFTER are versions (2026-02-25, newest, your own) or CSV files.
    """
    from greenlove_mlflow.tables.prices.difference import compare_sheets
    from greenlove_mlflow.tables.prices.sheets import read_price_sheet
    from greenlove_mlflow.words.fitting import fitted_table

    first, second = read_price_sheet(before), read_price_sheet(after)
    changes = compare_sheets(first, second)
    if as_json:
        _print_json({"before": first.version, "after": second.version, "changes": [_change(each) for each in changes]})
        return
    echo(f"{first.version} -> {second.version}, US dollars per GPU and hour")
    if changes:
        rows = [(change.change, change.gpu, change.billing, _prices(change)) for change in changes]
        echo("\n".join(fitted_table(rows, columns(), short={1: 0})))
    if any(change.change == "vanished" for change in changes):
        echo("A missing GPU was not in the source, which does not mean that it is no longer sold.")


def _added(path: Path, name: str | None, *, version: str | None, as_of: str | None, source: str | None) -> Table:
    from greenlove_mlflow.tables.prices.sheets import CLOUD_TABLE, PRICE_TABLE, add_price_sheet
    from greenlove_mlflow.tables.store.adding import add_table

    if name in (PRICE_TABLE, CLOUD_TABLE):
        raise click.BadParameter(f"a price sheet is added without --table {name}, and used by --prices VERSION")
    if name is None:
        return add_price_sheet(path, version=version, as_of=as_of, source=source)
    return add_table(path, name, version=version, as_of=as_of, source=source)


def _rows_text(table: Table) -> str:
    count = len(table.frame)
    return f"{count:,} row{'' if count == 1 else 's'}"


def _age(table: Table) -> dict[str, Any]:
    from greenlove_mlflow.tables.store.store import age_days, is_stale, today_utc

    today = today_utc()
    return {"age_days": age_days(table.as_of, today), "stale": is_stale(table.name, table.as_of, today)}


def _age_text(table: Table) -> str:
    from greenlove_mlflow.numbers.quantities import format_days_old

    age = _age(table)
    return format_days_old(age["age_days"]) + (", older than it should be" if age["stale"] else "")


def _checked_tables() -> Iterable[Table]:
    """Every version of every table, read and checked, references included."""
    from greenlove_mlflow.tables.store.adding import check_references
    from greenlove_mlflow.tables.store.store import read_table, table_names, table_versions

    for name in table_names():
        for version in table_versions(name):
            table = read_table(name, version)
            check_references(table)
            yield table


def _column_text(text: str) -> tuple[str, str]:
    column, found, value = text.partition("=")
    if not found:
        raise click.BadParameter(f"{text!r} is not COLUMN=TEXT")
    return column.strip(), value.strip()


def _head(table: Table) -> dict[str, Any]:
    source = table.source
    return {
        "table": table.name,
        "version": table.version,
        "as_of": table.as_of,
        "row_count": len(table.frame),
        "sha256": table.sha256,
        "producer": source.producer,
        "title": source.title,
        "url": source.url,
        "licence": source.licence,
        "units": table.units,
    }


def _row_source(table: Table, row: dict[str, Any]) -> str:
    """The full source of a row."""
    from greenlove_mlflow.tables.store.rows import row_source

    return row_source(table, row).title


def _print_row(table: Table, row: dict[str, Any]) -> None:
    """Print one row as a block: its key, each figure with its unit, then its source."""
    key = table.sidecar.key or tuple(row)[:1]
    echo(", ".join(str(row[name]) for name in key if name in row), bold=True)
    for name, value in row.items():
        if value is None or name in key or name == "source":
            continue
        unit = table.units.get(name, "")
        text = f"{value:.12g}" if isinstance(value, float) else str(value)
        words = f"{text}{f' {unit}' if unit not in ('', 'year', 'count') else ''}"
        echo(f"  {name:<28} {words}", hanging=_HANGING)
    echo(f"  {'source':<28} {_row_source(table, row)}", hanging=_HANGING)


def _change(change: PriceChange) -> dict[str, Any]:
    return {
        "provider": change.provider,
        "gpu": change.gpu,
        "billing": change.billing,
        "change": change.change,
        "before_usd_per_hour": change.before_usd_per_hour,
        "after_usd_per_hour": change.after_usd_per_hour,
        "relative_change": change.relative_change,
    }


def _prices(change: PriceChange) -> str:
    before, after = (_price(price) for price in (change.before_usd_per_hour, change.after_usd_per_hour))
    if change.change in ("same", "appeared"):
        return after
    if change.change == "vanished":
        return f"was {before}"
    share = change.relative_change
    return f"{before} -> {after}" + ("" if share is None else f" ({share:+.1%})")


def _price(price: float | None) -> str:
    return "no public price" if price is None else f"{price:.2f}"


def _print_json(content: dict[str, Any]) -> None:
    echo_whole(json.dumps(content, indent=2, allow_nan=False))
