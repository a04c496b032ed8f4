"""Index of all places in the tables, by code or name; an unknown name is refused with the nearest matches."""

from __future__ import annotations

import difflib
import unicodedata
from dataclasses import dataclass, field

from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.core.workload import Scope
from greenlove_mlflow.errors import UnknownPlaceError
from greenlove_mlflow.tables.places.time_zones import country_names
from greenlove_mlflow.tables.store.cache import kept
from greenlove_mlflow.tables.store.rows import row_source, rows_of

WORLD = "WORLD"
# Codes in wide use that ISO 3166-1 reserves or lacks.
_OTHER_CODES = {"UK": "GB", "EL": "GR"}
# Places that ISO 3166-2 lists below a country and ISO 3166-1 as separate countries (US-PR is PR).
_TERRITORIES = {
    "US": frozenset({"PR", "GU", "VI", "AS", "MP"}),
    "FR": frozenset({"GP", "MQ", "GF", "RE", "YT", "PM", "BL", "MF", "NC", "PF", "WF"}),
    "CN": frozenset({"HK", "MO", "TW"}),
    "NL": frozenset({"AW", "CW", "SX"}),
    "FI": frozenset({"AX"}),
    "NO": frozenset({"SJ"}),
}
_WHOLE = ("country", "union")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure from a table, with its source."""

    value: float
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place and its electricity figures; a scope that is in no table is missing.

    Args:
        code: ISO 3166 code, eGRID subregion, Electricity Maps zone, or ``WORLD``.
        name: Display name.
        country_code: The country it belongs to; empty for the world.
        kind: ``country``, ``union``, ``world``, ``us_state``, ``egrid_subregion``, ``au_state``, ``cn_province`` or
            ``zone``.
        intensities: Grams CO2e per kWh by scope.
        price: Household price, US dollars per kWh; None if the tables have none for exactly this place.
    """

    code: str
    name: str
    country_code: str
    kind: str
    intensities: dict[Scope, Figure] = field(default_factory=dict)
    price: Figure | None = None


@kept
def places() -> dict[str, Place]:
    """All places by code."""
    found: dict[str, Place] = {}
    for table, row in rows_of("carbon_intensity"):
        # eGRID's own national mean is the direct figure of the country, not a place of its own.
        is_nation = row["geo_type"] in ("us_state", "egrid_subregion") and row["code"] in ("US-TOTAL", "US")
        if is_nation and row["geo_type"] == "us_state":
            continue
        kind = "country" if is_nation else row["geo_type"]
        place = found.setdefault(
            row["code"],
            Place(code=row["code"], name=row["name"], country_code=row["country_code"] or "", kind=kind),
        )
        place.intensities[row["scope"]] = Figure(value=row["intensity_g_per_kwh"], source=row_source(table, row))
    for table, row in rows_of("electricity_maps_zones"):
        kind = "country" if row["code"] == row["country_code"] else "zone"
        place = found.setdefault(
            row["code"], Place(code=row["code"], name=row["name"], country_code=row["country_code"], kind=kind)
        )
        # Ember's figure of a country takes precedence over the zone's, so that one producer covers all countries.
        figure = Figure(value=row["intensity_g_per_kwh"], source=row_source(table, row))
        place.intensities.setdefault(row["scope"], figure)
    return {code: _priced(place) for code, place in found.items()}


def _priced(place: Place) -> Place:
    price = _prices().get(place.code)
    if price is None:
        return place
    return Place(
        code=place.code,
        name=place.name,
        country_code=place.country_code,
        kind=place.kind,
        intensities=place.intensities,
        price=price,
    )


@kept
def _prices() -> dict[str, Figure]:
    return {
        row["code"]: Figure(value=row["residential_usd_per_kwh"], source=row_source(table, row))
        for table, row in rows_of("electricity_prices")
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionPrice:
    """Electricity price of a world region: geometric mean over its countries, and the log SD between them."""

    name: str
    figure: Figure
    log_sd: float
    country_count: int


def region_price(country_code: str) -> RegionPrice | None:
    """Electricity price of a country's world region; None if the region is in no table."""
    subregion = _subregions().get(country_code)
    for table, row in rows_of("electricity_prices"):
        if row["geo_type"] == "region" and row["code"] == subregion:
            return RegionPrice(
                name=row["name"],
                figure=Figure(value=row["residential_usd_per_kwh"], source=row_source(table, row)),
                log_sd=row["log_sd"],
                country_count=row["country_count"],
            )
    return None


@kept
def _subregions() -> dict[str, str]:
    return {row["country_code"]: row["subregion_code"] for _, row in rows_of("un_subregions")}


def find_country(text: str) -> Place:
    """The country with that ISO code (two or three letters) or English name, without figures if no table has any.

    Raises:
        UnknownPlaceError: If there is no such country; the message names the nearest match.
    """
    code = text.strip().upper()
    code = _OTHER_CODES.get(code, code)
    code = _country_names().get(_plain(text), code)
    place = places().get(code)
    if place is not None and place.kind in _WHOLE:
        return place
    if code in country_names():
        return Place(
            code=code, name=country_names()[code], country_code=code, kind="country", price=_prices().get(code)
        )
    hint = _as_region(text) or _nearest(text, _country_names())
    raise UnknownPlaceError(f"unknown country {text!r}{hint}; use its ISO 3166 code (DE)")


def find_region(text: str, country: Place | None = None) -> Place:
    """The US state, eGRID subregion, zone or province with that code or name, inside ``country`` if given.

    Raises:
        UnknownPlaceError: If there is none, or the name matches several.
    """
    plain = _plain(text)
    inside = [place for place in _regions() if country is None or place.country_code == country.code]
    for matches in (
        [place for place in inside if _plain(place.code) == plain],
        [place for place in inside if place.kind != "zone" and _plain(place.code.split("-", 1)[-1]) == plain],
        [place for place in inside if _plain(place.name) == plain],
        [place for place in inside if _plain(place.code.split("-", 1)[-1]) == plain],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            codes = ", ".join(place.code for place in matches)
            raise UnknownPlaceError(f"region {text!r} fits {codes}; name one of them")
    where = f" in {country.name}" if country else ""
    known = {_plain(name): place.code for place in inside for name in (place.code, place.name)}
    raise UnknownPlaceError(
        f"unknown region {text!r}{where}{_nearest(text, known)}; use a code such as US-VA, SRVC or CA-ON, or none"
    )


def find_place(text: str) -> Place:
    """The country or region with that code or name.

    >>> find_place("US-VA").name
    'Virginia'
    >>> find_place("NA").name
    'Namibia'
    """
    nation, _, part = text.strip().upper().partition("-")
    if part in _TERRITORIES.get(nation, ()):
        return find_country(part)
    if "-" in text or _plain(text) in {_plain(place.code) for place in _regions()}:
        return find_region(text)
    return find_country(text)


def is_other_code(text: str) -> bool:
    """Whether a code is accepted although ISO 3166-1 writes it differently (``UK``)."""
    return text.strip().upper() in _OTHER_CODES


@kept
def _regions() -> tuple[Place, ...]:
    return tuple(place for place in places().values() if place.kind not in (*_WHOLE, "world"))


@kept
def _country_names() -> dict[str, str]:
    """The code of every country, by plain name and by three-letter code."""
    names = {_plain(name): code for code, name in country_names().items()}
    for _, row in rows_of("carbon_intensity"):
        if row["geo_type"] in _WHOLE:
            names[_plain(row["name"])] = row["code"]
            names[_plain(row["country_code_3"] or row["code"])] = row["code"]
    return names


def _as_region(text: str) -> str:
    """The hint that a name is that of a region; empty if none is called so."""
    codes = [place.code for place in _regions() if place.kind != "zone" and _plain(place.name) == _plain(text)]
    return f"; it is a region: region={codes[0]!r}" if codes else ""


def _nearest(text: str, known: dict[str, str]) -> str:
    near = difflib.get_close_matches(_plain(text), list(known), n=3, cutoff=0.6)
    found = list(dict.fromkeys(known[name] for name in near))
    names = {code: place.name for code, place in places().items()}
    shown = [f"{code} ({names.get(code) or country_names().get(code, '')})" for code in found]
    return f"; did you mean {' or '.join(shown)}?" if shown else ""


def _plain(text: str) -> str:
    """A name without accents, case and surrounding spaces."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).strip().casefold()
