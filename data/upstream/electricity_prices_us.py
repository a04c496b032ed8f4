"""Electricity prices of the United States: table 5.6.A of the EIA's Electric Power Monthly (public domain).

Kept: the newest month's residential, commercial and industrial price of every state and of the whole, in cents per
kWh. Refused: census divisions, the transport sector, sectors without sales ("--"), and a page older than the rows.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable

from versions import Change, set_cell

TABLE = "electricity_prices"
PAGES = {"eia_table_5_6_a.html": "https://www.eia.gov/electricity/monthly/epm_table_grapher.php?t=epmt_5_6_a"}
SOURCE = f"EIA Electric Power Monthly, table 5.6.A, {PAGES['eia_table_5_6_a.html']}"
TOTAL = "U.S. Total"
# Two columns a sector: this year's month and the last year's.
SECTORS = {"residential": 0, "commercial": 2, "industrial": 4}
_MONTH = re.compile(r"Data for (?P<month>[A-Z][a-z]+) (?P<year>\d{4})")
_ROW = re.compile(r"^\s*(?P<name>[A-Z][A-Za-z. ]*?)\s+(?P<cells>(?:(?:\d+\.\d+|--)\s*){10})$")


def changes(pages: dict[str, bytes], before: Iterable[dict[str, str | None]]) -> list[Change]:
    """The lines that bring the month's prices into the table."""
    text = plain(pages["eia_table_5_6_a.html"].decode())
    month = month_of(text)
    prices = read_prices(text)
    rows = list(before)
    lines: list[Change] = []
    for row in rows:
        is_whole = row["geo_type"] == "country" and row["code"] == "US"
        found = prices.get(TOTAL if is_whole else str(row["name"]))
        if not (is_whole or row["geo_type"] == "us_state") or found is None or str(row["as_of"]) >= month:
            continue
        key = f"{row['geo_type']}|{row['code']}"
        cells = {"residential_usd_per_kwh": found["residential"], "business_usd_per_kwh": found["commercial"]}
        if not is_whole:
            cells |= {f"{sector}_usd_per_kwh": found[sector] for sector in ("commercial", "industrial")}
        texts = {"period": f"{month[:7]}", "as_of": month, "source": SOURCE, "producer": "US EIA"}
        texts |= {column: "" if cents is None else f"{cents / 100:.4f}" for column, cents in cells.items()}
        lines += [set_cell(key, column, value) for column, value in texts.items()]
    return lines


def plain(page: str) -> str:
    """A page as text, a line per row of its tables."""
    rows = re.sub(r"</tr\s*>|<br\s*/?>", "\n", page, flags=re.IGNORECASE)
    return re.sub(r"[ \t\xa0]+", " ", re.sub(r"<[^>]+>|&nbsp;", " ", rows))


def month_of(text: str) -> str:
    """The last day of the month that the page is of, ISO 8601.

    Raises:
        ValueError: If the page names no month.
    """
    found = _MONTH.search(text)
    if found is None:
        raise ValueError("the page of the EIA names no month")
    month, year = list(calendar.month_name).index(found["month"]), int(found["year"])
    return f"{year}-{month:02d}-{calendar.monthrange(year, month)[1]:02d}"


def read_prices(text: str) -> dict[str, dict[str, float | None]]:
    """Cents per kWh by state and sector; None where a sector has no sales."""
    prices = {}
    for line in text.splitlines():
        found = _ROW.match(line)
        if found:
            cells = found["cells"].split()
            prices[found["name"]] = {
                sector: None if cells[at] == "--" else float(cells[at]) for sector, at in SECTORS.items()
            }
    return prices
