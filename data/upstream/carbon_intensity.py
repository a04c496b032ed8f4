"""Carbon intensity: Ember's figures of countries, the EPA's of states and China's of provinces, through open copies.

Countries, through CO2.js. Kept: those whose year our row does not confirm. Where Ember's figure of a stated year is
the same within 1%, the year is confirmed; where it differs by more than a fifth, Ember's takes the row's place; in
between the row stays, marked as unconfirmed. The European Union is added. Refused: groups of countries but the EU, and
figures of 0.

States (eGRID, pounds a MWh) and provinces, through codecarbon (MIT). Kept: those that the table has, where they differ
by more than 0.1%. The subregions of eGRID, Australia's states and the countries of the newest release are in no copy
that a program can read; they are typed from the pages that their rows name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from versions import Change, add_row, set_cell

COMMIT = "27cbe8328aeaad0824fb07b3640dc45b72228c7b"
COPY = f"https://raw.githubusercontent.com/thegreenwebfoundation/co2.js/{COMMIT}/data/output/average-intensities.json"
RELEASE = "codecarbon==3.3.2"
_PACKAGE = f"pypi:{RELEASE}:codecarbon/data/private_infra/2023"
PAGES = {
    "ember_average_intensities.json": COPY,
    "usa_emissions.json": f"{_PACKAGE}/usa_emissions.json",
    "china_provincial_emissions.json": f"{_PACKAGE}/china_provincial_emissions.json",
}
SAME_COPY = 0.001
GRAMS_PER_KWH = 0.45359237  # of one pound a MWh
SAME, ELSEWHERE = 0.01, 0.20
SOURCE = (
    "Ember yearly electricity data, https://ember-energy.org/data/yearly-electricity-data/, through "
    f"https://github.com/thegreenwebfoundation/co2.js @{COMMIT[:8]} data/output/average-intensities.json"
)
EUROPEAN_UNION = "EU"


def changes(pages: dict[str, bytes], before: Iterable[dict[str, str | None]]) -> list[Change]:
    """The lines that confirm, replace or add figures of countries."""
    content = json.loads(pages["ember_average_intensities.json"])
    figures = content.get("data", content)
    lines: list[Change] = []
    known = set()
    areas = read_areas(pages)
    for row in before:
        known.add(row["code"])
        lines += _against_copy(row, areas.get(str(row["code"])))
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
    return [set_cell(key, column, value) for column, value in cells.items()]


def read_areas(pages: dict[str, bytes]) -> dict[str, tuple[float, int]]:
    """Grams a kWh and year of US states and Chinese provinces, by code."""
    states = json.loads(pages["usa_emissions.json"])
    year = states["_source"]["year"]
    areas = {
        f"US-{state['regionCode']}": (state["emissions"] * GRAMS_PER_KWH, year)
        for name, state in states.items()
        if not name.startswith("_") and "regionCode" in state
    }
    provinces = json.loads(pages["china_provincial_emissions.json"])["data"]
    return areas | {code: (entry["emission_factor"], entry["year"]) for code, entry in provinces.items()}


def _against_copy(row: dict[str, str | None], area: tuple[float, int] | None) -> list[Change]:
    if area is None or row["geo_type"] not in ("us_state", "cn_province"):
        return []
    grams, year = area
    if abs(float(row["intensity_g_per_kwh"] or 0.0) / grams - 1.0) <= SAME_COPY and row["data_year"] == str(year):
        return []
    key = f"{row['geo_type']}|{row['code']}|{row['scope']}"
    cells = {"intensity_g_per_kwh": f"{grams:.1f}", "data_year": str(year), "as_of": f"{year}-12-31"}
    return [set_cell(key, column, value) for column, value in cells.items()]


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
    return [add_row(key), *(set_cell(key, column, value) for column, value in cells.items())]
