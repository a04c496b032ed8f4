"""Countries by subregion of the United Nations' M49 standard: https://unstats.un.org/unsd/methodology/m49/.

The standard changes by a country in a decade; it is kept here by hand and read from no page.
"""

from __future__ import annotations

from collections.abc import Iterable

from versions import Change, add_row, set_cell

PAGES: dict[str, str] = {}
ADDRESS = "https://unstats.un.org/unsd/methodology/m49/"
AS_OF = "2026-11-27"

# Code and name of each subregion, and the ISO 3166-1 codes of the countries and territories in it.
SUBREGIONS = {
    "M49-015": ("Northern Africa", "DZ EG LY MA SD TN EH"),
    "M49-014": ("Eastern Africa", "BI KM DJ ER ET KE MG MW MU YT MZ RE RW SC SO SS UG TZ ZM ZW IO"),
    "M49-017": ("Middle Africa", "AO CM CF TD CG CD GQ GA ST"),
    "M49-018": ("Southern Africa", "BW SZ LS NA ZA"),
    "M49-011": ("Western Africa", "BJ BF CV CI GM GH GN GW LR ML MR NE NG SH SN SL TG"),
    "M49-029": (
        "Caribbean",
        "AI AG AW BS BB BQ VG KY CU CW DM DO GD GP HT JM MQ MS PR BL KN LC MF VC SX TT TC VI",
    ),
    "M49-013": ("Central America", "BZ CR SV GT HN MX NI PA"),
    "M49-005": ("South America", "AR BO BR CL CO EC FK GF GY PY PE SR UY VE"),
    "M49-021": ("Northern America", "BM CA GL PM US"),
    "M49-143": ("Central Asia", "KZ KG TJ TM UZ"),
    "M49-030": ("Eastern Asia", "CN HK MO KP JP MN KR TW"),
    "M49-035": ("South-eastern Asia", "BN KH ID LA MY MM PH SG TH TL VN"),
    "M49-034": ("Southern Asia", "AF BD BT IN IR MV NP PK LK"),
    "M49-145": ("Western Asia", "AM AZ BH CY GE IQ IL JO KW LB OM QA SA PS SY TR AE YE"),
    "M49-151": ("Eastern Europe", "BY BG CZ HU PL MD RO RU SK UA"),
    "M49-154": ("Northern Europe", "AX DK EE FO FI GG IS IE IM JE LV LT NO SJ SE GB"),
    "M49-039": ("Southern Europe", "AL AD BA HR GI GR VA IT MT ME MK PT SM RS SI ES XK"),
    "M49-155": ("Western Europe", "AT BE FR DE LI LU MC NL CH"),
    "M49-053": ("Australia and New Zealand", "AU NZ NF CX CC"),
    "M49-009": ("Pacific islands", "FJ NC PG SB VU GU KI MH FM NR MP PW AS CK PF NU PN WS TK TO TV WF"),
}
# The continent that stands in where fewer than three countries of a subregion are priced.
CONTINENTS = {
    "M49-002": ("Africa", "M49-015 M49-014 M49-017 M49-018 M49-011"),
    "M49-019": ("Americas", "M49-029 M49-013 M49-005 M49-021"),
    "M49-142": ("Asia", "M49-143 M49-030 M49-035 M49-034 M49-145"),
    "M49-150": ("Europe", "M49-151 M49-154 M49-039 M49-155"),
    "M49-100": ("Oceania and Asia", "M49-053 M49-009 M49-035 M49-030"),
}


def subregion_of() -> dict[str, str]:
    """The subregion's code of every country."""
    return {country: code for code, (_, countries) in SUBREGIONS.items() for country in countries.split()}


def continent_of() -> dict[str, str]:
    """The continent's code of every subregion; the first that lists it."""
    found: dict[str, str] = {}
    for code, (_, subregions) in CONTINENTS.items():
        for subregion in subregions.split():
            found.setdefault(subregion, code)
    return found


def changes(pages: dict[str, bytes], before: Iterable[dict[str, str | None]]) -> list[Change]:
    """The lines that add each country that the version before lacks."""
    known = {row["country_code"] for row in before}
    lines: list[Change] = []
    for code, (name, countries) in SUBREGIONS.items():
        for country in (each for each in countries.split() if each not in known):
            lines.append(add_row(country, ADDRESS))
            for column, value in (("subregion_code", code), ("name", name), ("as_of", AS_OF)):
                lines.append(set_cell(country, column, value))
    return lines
