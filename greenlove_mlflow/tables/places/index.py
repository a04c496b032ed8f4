"""Index of all places by code, name or time zone; an unknown name is refused with the nearest matches."""

from __future__ import annotations

import difflib
import functools
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.core.workload import Scope
from greenlove_mlflow.errors import UnknownPlaceError
from greenlove_mlflow.tables.store.rows import kept, row_source, rows_of

_SYSTEM_FOLDER = Path("/usr/share/zoneinfo")
# These name an offset, not a place, although the time zone database links some of them to one.
_PLACELESS_NAMES = (
    "UTC UCT GMT GMT0 GMT+0 GMT-0 Zulu Universal Greenwich Factory CET MET EET WET EST MST HST EST5EDT "
    "CST6CDT MST7MDT PST8PDT localtime posixrules"
)
_PLACELESS = frozenset(_PLACELESS_NAMES.split())
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


def country_of_time_zone(zone: str) -> str | None:
    """The ISO 3166-1 alpha-2 code of a time zone's country; None for UTC and the like.

    ``Europe/Oslo`` is Norway, although the database links its clock to Berlin's: ``zone.tab`` names one country per
    zone. Old names (``Asia/Calcutta``, ``US/Pacific``) are resolved to their current zone.

    >>> country_of_time_zone("Africa/Windhoek")
    'NA'
    >>> country_of_time_zone("UTC") is None
    True
    """
    zone = zone.strip().removeprefix("posix/").removeprefix("right/")
    if zone in _PLACELESS or zone.startswith(("Etc/", "SystemV/")):
        return None
    for name in (zone, _links().get(zone, "")):
        countries = _first_country().get(name) or _countries().get(name, ("",))[0]
        if countries:
            return countries
    return None


def countries_of_time_zone(zone: str) -> tuple[str, ...]:
    """All countries that use the zone, by ``zone1970.tab``; empty if it is unknown."""
    canonical = zone if zone in _countries() else _links().get(zone, zone)
    return _countries().get(canonical, ())


@functools.lru_cache(maxsize=1)
def country_names() -> dict[str, str]:
    """The English name of every ISO 3166-1 alpha-2 code; empty on a machine without zone tables."""
    return {fields[0]: fields[1] for fields in _rows("iso3166.tab") if len(fields) > 1}


@functools.lru_cache(maxsize=1)
def _first_country() -> dict[str, str]:
    return {fields[2]: fields[0] for fields in _rows("zone.tab") if len(fields) > 2}


@functools.lru_cache(maxsize=1)
def _countries() -> dict[str, tuple[str, ...]]:
    return {fields[2]: tuple(fields[0].split(",")) for fields in _rows("zone1970.tab") if len(fields) > 2}


@functools.lru_cache(maxsize=1)
def _links() -> dict[str, str]:
    """The current zone for each old name."""
    fields = (line.split() for line in _text("tzdata.zi").splitlines() if line.startswith("L "))
    return {link[2]: link[1] for link in fields if len(link) == 3}


def _rows(name: str) -> list[list[str]]:
    return [line.split("\t") for line in _text(name).splitlines() if line and not line.startswith("#")]


def _text(name: str) -> str:
    """The text of a file of the time zone database; empty if there is none."""
    try:
        return (resources.files("tzdata") / "zoneinfo" / name).read_text(encoding="utf-8")
    except (ModuleNotFoundError, OSError):
        pass
    try:
        return (_SYSTEM_FOLDER / name).read_text(encoding="utf-8")
    except OSError:
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcedFigure:
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
    intensities: dict[Scope, SourcedFigure] = field(default_factory=dict)
    price: SourcedFigure | None = None


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
        place.intensities[row["scope"]] = SourcedFigure(value=row["intensity_g_per_kwh"], source=row_source(table, row))
    for table, row in rows_of("electricity_maps_zones"):
        kind = "country" if row["code"] == row["country_code"] else "zone"
        place = found.setdefault(
            row["code"], Place(code=row["code"], name=row["name"], country_code=row["country_code"], kind=kind)
        )
        # Ember's figure of a country takes precedence over the zone's, so that one producer covers all countries.
        figure = SourcedFigure(value=row["intensity_g_per_kwh"], source=row_source(table, row))
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
def _prices() -> dict[str, SourcedFigure]:
    return {
        row["code"]: SourcedFigure(value=row["residential_usd_per_kwh"], source=row_source(table, row))
        for table, row in rows_of("electricity_prices")
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionPrice:
    """Electricity price of a world region: geometric mean over its countries, and the log SD between them."""

    name: str
    figure: SourcedFigure
    log_sd: float
    country_count: int


def region_price(country_code: str) -> RegionPrice | None:
    """Electricity price of a country's world region; None if the region is in no table."""
    subregion = _subregions().get(country_code)
    for table, row in rows_of("electricity_prices"):
        if row["geo_type"] == "region" and row["code"] == subregion:
            return RegionPrice(
                name=row["name"],
                figure=SourcedFigure(value=row["residential_usd_per_kwh"], source=row_source(table, row)),
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
    for names in _region_names():
        matches = [place for place in names.get(plain, ()) if country is None or place.country_code == country.code]
        if len(matches) == 1:
            return matches[0]
        if matches:
            codes = ", ".join(place.code for place in matches)
            raise UnknownPlaceError(f"region {text!r} fits {codes}; name one of them")
    where = f" in {country.name}" if country else ""
    inside = [place for place in _regions() if country is None or place.country_code == country.code]
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
    if "-" in text or _plain(text) in _region_names()[0]:
        return find_region(text)
    return find_country(text)


def is_other_code(text: str) -> bool:
    """Whether a code is accepted although ISO 3166-1 writes it differently (``UK``)."""
    return text.strip().upper() in _OTHER_CODES


@kept
def _regions() -> tuple[Place, ...]:
    return tuple(place for place in places().values() if place.kind not in (*_WHOLE, "world"))


@kept
def _region_names() -> tuple[dict[str, list[Place]], ...]:
    """The regions by code, by code without the country, zones left out, by name, and by that code again with zones."""
    codes, parts, names, all_parts = (defaultdict[str, list[Place]](list) for _ in range(4))
    for place in _regions():
        part = _plain(place.code.split("-", 1)[-1])
        codes[_plain(place.code)].append(place)
        names[_plain(place.name)].append(place)
        all_parts[part].append(place)
        if place.kind != "zone":
            parts[part].append(place)
    return codes, parts, names, all_parts


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
