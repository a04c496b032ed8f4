"""Carbon intensity of countries: Ember's figures whose year is stated, through the copy that CO2.js keeps.

Kept: countries whose year our row does not confirm. Where Ember's figure of a stated year is the same within 1 %, the
year is confirmed; where it differs by more than a fifth, Ember's takes the row's place; in between the row stays,
marked as unconfirmed. The European Union is added. Refused: groups of countries but the EU, and figures of 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

COMMIT = "27cbe8328aeaad0824fb07b3640dc45b72228c7b"
COPY = f"https://raw.githubusercontent.com/thegreenwebfoundation/co2.js/{COMMIT}/data/output/average-intensities.json"
PAGES = {"ember_average_intensities.json": COPY}
SAME, ELSEWHERE = 0.01, 0.20
SOURCE = (
    "Ember yearly electricity data, https://ember-energy.org/data/yearly-electricity-data/, through "
    f"https://github.com/thegreenwebfoundation/co2.js @{COMMIT[:8]} data/output/average-intensities.json"
)
EUROPEAN_UNION = "EU"

Change = dict[str, str]


def changes(pages: dict[str, bytes], before: Iterable[dict[str, str | None]]) -> list[Change]:
    """The lines that confirm, replace or add figures of countries."""
    content = json.loads(pages["ember_average_intensities.json"])
    figures = content.get("data", content)
    lines: list[Change] = []
    known = set()
    for row in before:
        known.add(row["code"])
        figure = figures.get(row["country_code_3"] or "")
        if row["geo_type"] != "country" or figure is None or row["data_year_confirmed"] == "true":
            continue
        lines += _against(row, figure)
    union = figures.get(EUROPEAN_UNION)
    if union and EUROPEAN_UNION not in known:
        lines += _union(union)
    return lines


def _against(row: dict[str, str | None], figure: dict[str, str | float]) -> list[Change]:
    """What Ember's figure of a stated year says of a row whose year is not confirmed."""
    ours, theirs = float(row["intensity_g_per_kwh"] or 0.0), float(figure["emissions_intensity_gco2_per_kwh"])
    if theirs <= 0.0 or ours <= 0.0:
        return []
    key = f"{row['geo_type']}|{row['code']}|{row['scope']}"
    off = abs(theirs / ours - 1.0)
    cells = {"data_year": str(figure["year"]), "data_year_confirmed": "true"}
    if off > ELSEWHERE:
        cells |= {
            "intensity_g_per_kwh": f"{theirs}",
            "as_of": f"{figure['year']}-12-31",
            "source": SOURCE,
            "notes": f"the version before had {ours:g}, of an unconfirmed year",
        }
    elif off > SAME:
        return []
    return [_set(key, column, value) for column, value in cells.items()]


def _union(figure: dict[str, str | float]) -> list[Change]:
    key = f"union|{EUROPEAN_UNION}|lifecycle"
    cells = {
        "name": "European Union",
        "intensity_g_per_kwh": f"{figure['emissions_intensity_gco2_per_kwh']}",
        "scope_detail": "lifecycle",
        "data_year": str(figure["year"]),
        "data_year_confirmed": "true",
        "producer": "Ember",
        "licence": "Ember data CC BY 4.0",
        "as_of": f"{figure['year']}-12-31",
        "source": SOURCE,
    }
    add = {"change": "add", "row": key, "column": "", "value": "", "source": ""}
    return [add, *(_set(key, column, value) for column, value in cells.items())]


def _set(row: str, column: str, value: str) -> Change:
    return {"change": "set", "row": row, "column": column, "value": value, "source": ""}
