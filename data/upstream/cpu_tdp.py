"""Design power of CPUs: codecarbon's table (MIT), a name and its watts.

Kept: every CPU with one plausible figure; a cell whose correction names another source stays. Refused: figures that
are no number or none above 0 W ("27.29.5"), names with characters that no system shows, and names that differ from
one in the table by case, spaces and hyphens alone. Threads, cores and turbo power are not in codecarbon; they are
typed from the makers' pages, in ``changes/cpu_tdp/``.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

from versions import Change, add_row, set_cell

RELEASE = "codecarbon==3.3.2"
PAGES = {"cpu_power.csv": f"pypi:{RELEASE}:codecarbon/data/hardware/cpu_power.csv"}
AS_OF = "2026-08-08"
# Short for the row_sources of the table's TOML.
SOURCE = "codecarbon"


def changes(pages: dict[str, bytes], before: Iterable[dict[str, str | None]]) -> list[Change]:
    """The lines that bring codecarbon's figures into the table."""
    rows = {str(row["cpu"]): row for row in before}
    known = {_plain(cpu) for cpu in rows}
    lines: list[Change] = []
    for cpu, watts in read_power(pages["cpu_power.csv"]).items():
        row = rows.get(cpu)
        if row is None and _plain(cpu) in known:
            continue
        if row is None:
            lines += [add_row(cpu, SOURCE), set_cell(cpu, "tdp_w", f"{watts:g}"), set_cell(cpu, "as_of", AS_OF)]
        elif float(row["tdp_w"] or 0.0) != watts and "tdp_w" not in str(row["source"]):
            lines.append(set_cell(cpu, "tdp_w", f"{watts:g}", SOURCE))
    return lines


def read_power(content: bytes) -> dict[str, float]:
    """Watts by name, of the rows that are kept."""
    kept = {}
    for row in csv.DictReader(io.StringIO(content.decode())):
        name = row["Name"]
        try:
            watts = float(row["TDP"])
        except ValueError:
            continue
        if watts > 0.0 and name.isascii():
            kept[name] = watts
    return kept


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "", name).casefold()
