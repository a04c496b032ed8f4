"""Carbon intensity by zone: Electricity Maps' yearly figures (ODbL), through the copy that CO2.js keeps.

Kept: every zone with a figure above 0. Refused: zones without one. The table stands alone, with its own notice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from versions import Change, add_row, set_cell

COMMIT = "27cbe8328aeaad0824fb07b3640dc45b72228c7b"
YEAR = 2025
AS_OF = "2026-06-29"
_PATH = f"data/output/electricity-maps/yearly_{YEAR}.json"
PAGES = {
    "electricity_maps_yearly.json": f"https://raw.githubusercontent.com/thegreenwebfoundation/co2.js/{COMMIT}/{_PATH}"
}
SOURCE = f"https://github.com/thegreenwebfoundation/co2.js {_PATH} @{COMMIT[:8]} (https://portal.electricitymaps.com/datasets)"


def changes(pages: dict[str, bytes], before: Iterable[dict[str, str | None]]) -> list[Change]:
    """The lines that bring the year's figures into the table."""
    rows = {str(row["code"]): row for row in before}
    lines: list[Change] = []
    for code, zone in json.loads(pages["electricity_maps_yearly.json"]).items():
        grams = float(zone["carbonIntensity"]["value"] or 0.0)
        if grams <= 0.0:
            continue
        if code not in rows:
            lines += _added(code, zone["zone"]["zoneName"])
        elif (float(rows[code]["intensity_g_per_kwh"] or 0.0), rows[code]["data_year"]) == (grams, str(YEAR)):
            continue
        lines += [
            set_cell(code, "intensity_g_per_kwh", f"{grams:g}"),
            set_cell(code, "data_year", str(YEAR)),
            set_cell(code, "as_of", AS_OF),
        ]
    return lines


def _added(code: str, name: str) -> list[Change]:
    cells = {"country_code": code.split("-", maxsplit=1)[0], "name": name, "scope": "lifecycle"}
    return [add_row(code, SOURCE), *(set_cell(code, column, value) for column, value in cells.items())]
