"""Country of an IANA time zone, from the zone tables of the tzdata package, else of the system."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path

_SYSTEM_FOLDER = Path("/usr/share/zoneinfo")
# These name an offset, not a place, although the time zone database links some of them to one.
_PLACELESS_NAMES = (
    "UTC UCT GMT GMT0 GMT+0 GMT-0 Zulu Universal Greenwich Factory CET MET EET WET EST MST HST EST5EDT "
    "CST6CDT MST7MDT PST8PDT localtime posixrules"
)
_PLACELESS = frozenset(_PLACELESS_NAMES.split())


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
