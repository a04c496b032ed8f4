"""Electricity of a place or cloud region: g CO2e/kWh and USD/kWh, each with range, source and how it was found."""

from __future__ import annotations

import math

from greenlove_mlflow.core.energy.equivalences import Equivalence
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval, quadrature
from greenlove_mlflow.core.offers.regions import Region
from greenlove_mlflow.core.provenance import Caveat, Source
from greenlove_mlflow.core.workload import Grid, Scope
from greenlove_mlflow.errors import InvalidInputError, UnknownPlaceError
from greenlove_mlflow.tables.places.index import (
    WORLD,
    Place,
    SourcedFigure,
    countries_of_time_zone,
    country_of_time_zone,
    find_country,
    find_place,
    find_region,
    is_other_code,
    places,
    region_price,
)
from greenlove_mlflow.tables.store.rows import kept, row_source, rows_of
from greenlove_mlflow.tables.store.store import read_schema

# Log standard deviations of a run's electricity about a table's figure: the annual mean of a country, state or zone
# differs by about a quarter from the hours of one run; the world mean may be half or twice that of any grid.
# The tariff of one household differs by about 15% from its country's mean.
AREA_LOG_SD = 0.25
WORLD_LOG_SD = 0.50
AREA_PRICE_LOG_SD = 0.15
# Three neighbours may agree by chance: prices within a world region are assumed to differ by at least this, about the
# median of the regions in this release.
LEAST_REGION_PRICE_LOG_SD = 0.40
# Prices differ more between countries than grids do: the log SD of this release's country rows is 0.67.
WORLD_PRICE_LOG_SD = 0.65
# Added width where a lifecycle figure is computed from a direct one: over 19 US states and subregions, such figures
# differ from the lifecycle figures of their Electricity Maps zones by 0.13 (root mean square of logs).
DERIVED_LOG_SD = 0.15

Located = tuple[Place, str, tuple[Caveat, ...]]

_GIVEN_INTENSITY = Source(producer="the caller", title="carbon_intensity_g_per_kwh")
_GIVEN_PRICE = Source(producer="the caller", title="electricity_price_usd_per_kwh")
Found = tuple[Interval | None, Source | None, tuple[Caveat, ...]]
CRUSOE = "Crusoe Cloud"
SCOPES: tuple[Scope, ...] = ("lifecycle", "direct")


def find_grid(
    *,
    country: str | None = None,
    region: str | None = None,
    carbon_intensity_g_per_kwh: float | None = None,
    electricity_price_usd_per_kwh: float | None = None,
    environment_place: str | None = None,
    address_country: str | None = None,
    time_zone: str | None = None,
    scope: Scope = "lifecycle",
) -> tuple[Grid, tuple[Caveat, ...]]:
    """The grid that a run uses, with its caveats.

    Each figure is the given one, else that of the place, which is found by name, environment, network address or time
    zone, else the world's.

    Args:
        country: ISO 3166-1 code or English name.
        region: US state, eGRID subregion, Electricity Maps zone, Australian state or Chinese province.
        carbon_intensity_g_per_kwh: Carbon intensity given by the caller, at least 0.
        electricity_price_usd_per_kwh: Price given by the caller, at least 0.
        environment_place: Country or region named by the environment.
        address_country: ISO 3166-1 code from a network address lookup, if the caller requested one.
        time_zone: IANA name of the system's time zone.
        scope: ``lifecycle`` or ``direct``; the two are never mixed.

    Raises:
        UnknownPlaceError: If a given country or region is in no table.
        InvalidInputError: If a given figure is negative or not finite, or the scope is invalid.
    """
    if scope not in ("lifecycle", "direct"):
        raise InvalidInputError(f"scope must be 'lifecycle' or 'direct', got {scope!r}")
    given_intensity = _given("carbon_intensity_g_per_kwh", carbon_intensity_g_per_kwh)
    given_price = _given("electricity_price_usd_per_kwh", electricity_price_usd_per_kwh)
    both_given = given_intensity is not None and given_price is not None
    if both_given and country is None and region is None:
        return _grid_as_given(given_intensity, given_price, scope), ()
    place, basis, caveats = _locate(country, region, environment_place, address_country, time_zone)
    if not place.intensities and given_intensity is None:
        raise UnknownPlaceError(
            f"no carbon intensity is known for {place.name} ({place.code}); pass carbon_intensity_g_per_kwh="
        )
    intensity, intensity_source, intensity_caveats = _intensity(place, scope)
    price, price_source, price_caveats = _price(place)
    if given_intensity is not None:
        intensity, intensity_source, intensity_caveats = given_intensity, _GIVEN_INTENSITY, ()
    if given_price is not None:
        price, price_source, price_caveats = given_price, _GIVEN_PRICE, ()
    grid = Grid(
        place=place.name if place.code != WORLD else "world average",
        intensity_g_per_kwh=intensity,
        price_usd_per_kwh=price,
        scope=scope,
        basis=basis,
        code=place.code,
        intensity_source=intensity_source,
        price_source=price_source,
    )
    return grid, (*(() if both_given else caveats), *intensity_caveats, *price_caveats)


def _grid_as_given(intensity: Interval | None, price: Interval | None, scope: Scope) -> Grid:
    return Grid(
        place="as given",
        intensity_g_per_kwh=intensity,
        price_usd_per_kwh=price,
        scope=scope,
        intensity_source=_GIVEN_INTENSITY,
        price_source=_GIVEN_PRICE,
    )


def _given(name: str, value: float | None) -> Interval | None:
    """A figure given by the caller, taken as exact."""
    if value is None:
        return None
    if isinstance(value, bool) or not math.isfinite(value) or value < 0.0:
        raise InvalidInputError(f"{name} must be a number of at least 0, got {value}")
    return Interval.exactly(float(value))


def _locate(
    country: str | None,
    region: str | None,
    environment_place: str | None,
    address_country: str | None,
    time_zone: str | None,
) -> Located:
    """The place, how it was found, and the caveats."""
    if country is not None or region is not None:
        return _named(country, region), "named", _code_caveats(country)
    if environment_place:
        return find_place(environment_place), "environment", _code_caveats(environment_place)
    if address_country and address_country in places():
        return places()[address_country], "geoip", ()
    return _by_time_zone(time_zone) if time_zone else _world("no place was named and the time zone is unknown")


def _by_time_zone(time_zone: str) -> Located:
    """The country of the time zone, else the world."""
    code = country_of_time_zone(time_zone)
    if code is None:
        return _world(f"the time zone {time_zone} names no place")
    place = find_country(code)
    if not place.intensities:
        return _world(f"no table has figures for {code}, the country of time zone {time_zone}")
    return place, "time-zone", (_time_zone_caveat(time_zone, place),)


def _named(country: str | None, region: str | None) -> Place:
    if region is None:
        return find_place(country or "")
    within = None if country is None else find_country(country)
    return find_region(region, within)


def _code_caveats(text: str | None) -> tuple[Caveat, ...]:
    if text is None or not is_other_code(text):
        return ()
    place = find_country(text)
    return (Caveat.of("place-code", text=text, place=place.name, iso_code=place.code),)


def _time_zone_caveat(time_zone: str, place: Place) -> Caveat:
    others = [code for code in countries_of_time_zone(time_zone) if code != place.code]
    shared = f" (also kept in {', '.join(others)})" if others else ""
    return Caveat.of("place-from-time-zone", time_zone=time_zone, shared=shared, place=place.name)


def _world(reason: str) -> Located:
    caveat = Caveat.of("place-unknown", why=reason)
    return places()[WORLD], "world", (caveat,)


def _intensity(place: Place, scope: Scope) -> Found:
    """Grams CO2e per kWh of a place in one scope."""
    figure = place.intensities.get(scope)
    if figure is not None:
        return _interval(figure, WORLD_LOG_SD if place.code == WORLD else AREA_LOG_SD), figure.source, ()
    nation = places().get(place.country_code)
    if nation is None or nation is place:
        caveat = Caveat.of("no-direct-intensity", scope=scope, place=place.name)
        return None, None, (caveat,)
    return _derived(place, nation, scope) or _national(place, nation, scope)


def _derived(place: Place, nation: Place, scope: Scope) -> Found | None:
    """A region's figure converted from the other scope by the national ratio of the two; None if that is unknown."""
    other: Scope = "direct" if scope == "lifecycle" else "lifecycle"
    known, national, national_other = (
        place.intensities.get(other),
        nation.intensities.get(scope),
        nation.intensities.get(other),
    )
    if known is None or national is None or national_other is None or place.kind == "zone":
        return None
    value = known.value * national.value / national_other.value
    caveat = Caveat.of("intensity-derived", known=other, place=place.name, scope=scope, nation=nation.name)
    return (
        _interval(SourcedFigure(value=value, source=known.source), quadrature(AREA_LOG_SD, DERIVED_LOG_SD)),
        known.source,
        (caveat,),
    )


def _national(place: Place, nation: Place, scope: Scope) -> Found:
    """The national figure, used instead of a region's."""
    interval, source, caveats = _intensity(nation, scope)
    if interval is None:
        return interval, source, caveats
    caveat = Caveat.of("intensity-of-country", scope=scope, place=place.name, nation=nation.name)
    return interval, source, (caveat,)


def _price(place: Place) -> Found:
    """US dollars per kWh of a place: its own price, else that of its country, its world region or the world."""
    if place.price is not None:
        width = WORLD_PRICE_LOG_SD if place.code == WORLD else AREA_PRICE_LOG_SD
        return _interval(place.price, width), place.price.source, ()
    nation = places().get(place.country_code)
    if nation is not None and nation is not place and nation.price is not None:
        return _interval(nation.price, AREA_PRICE_LOG_SD), nation.price.source, ()
    return _price_of_region(place) or _price_of_world(place)


def _price_of_region(place: Place) -> Found | None:
    """The price of the world region around a place; None if its world region is in no table."""
    region = region_price(place.country_code)
    if region is None:
        return None
    caveat = Caveat.of("price-of-region", place=place.name, count=region.country_count, region=region.name)
    log_sd = max(region.log_sd, LEAST_REGION_PRICE_LOG_SD)
    return _interval(region.figure, log_sd), region.figure.source, (caveat,)


def _price_of_world(place: Place) -> Found:
    world = places()[WORLD].price
    if world is None:
        return None, None, ()
    caveat = Caveat.of("price-of-world", place=place.name)
    return _interval(world, WORLD_PRICE_LOG_SD), world.source, (caveat,)


def _interval(figure: SourcedFigure, log_sd: float) -> Interval:
    return Interval.from_log_width(figure.value, NORMAL_QUANTILE_95 * log_sd)


def unusual_caveats(
    *, carbon_intensity_g_per_kwh: float | None, electricity_price_usd_per_kwh: float | None, pue: float | None
) -> tuple[Caveat, ...]:
    """The caveats of stated figures beyond the ranges that published ones are held to; None is not stated."""
    stated = (
        ("carbon intensity", carbon_intensity_g_per_kwh, "carbon_intensity", "intensity_g_per_kwh", " g/kWh"),
        ("electricity price", electricity_price_usd_per_kwh, "electricity_prices", "residential_usd_per_kwh", " $/kWh"),
        ("PUE", pue, "pue", "pue", ""),
    )
    found = []
    for what, value, table, name, unit in stated:
        most = next(each.maximum for each in read_schema(table).columns if each.name == name)
        if value is not None and most is not None and value > most:
            found.append(Caveat.of("unusual-figure", what=what, value=value, most=f"{most:g}{unit}"))
    return tuple(found)


@kept
def read_regions() -> tuple[Region, ...]:
    """Every region of Crusoe Cloud and other clouds, with its grid's carbon intensity per scope; None if unknown.

    For Crusoe, lifecycle figures are those of the region's Electricity Maps zone, and direct ones those of its eGRID
    subregion; for other clouds, those of the state or country that the provider names.
    """
    return (*_crusoe_regions(), *_other_regions())


def _other_regions() -> tuple[Region, ...]:
    found = []
    for _, row in rows_of("cloud_regions"):
        grids = {scope: find_grid(environment_place=row["place_code"], scope=scope)[0] for scope in SCOPES}
        lifecycle, direct = (grids[scope].intensity_g_per_kwh for scope in SCOPES)
        found.append(
            Region(
                name=row["region"],
                country=row["country_code"],
                location=row["location"],
                intensity_g_per_kwh=None if lifecycle is None else lifecycle.point,
                intensity_direct_g_per_kwh=None if direct is None else direct.point,
                energy_claim=None,
                source=row["source"],
                provider=row["provider"],
            )
        )
    return tuple(found)


def _crusoe_regions() -> tuple[Region, ...]:
    return tuple(
        Region(
            name=row["region"],
            country=row["country_code"],
            location=row["location"],
            intensity_g_per_kwh=_zone_figures().get(row["electricity_maps_zone"]),
            intensity_direct_g_per_kwh=_direct_figure(row["egrid_subregion"]),
            energy_claim=row["energy_claim"],
            source=row["source"],
            provider=CRUSOE,
        )
        for _, row in rows_of("crusoe_regions")
    )


@kept
def _zone_figures() -> dict[str | None, float]:
    return {row["code"]: row["intensity_g_per_kwh"] for _, row in rows_of("electricity_maps_zones")}


def _direct_figure(code: str | None) -> float | None:
    place = places().get(code) if code else None
    figure = place.intensities.get("direct") if place else None
    return figure.value if figure else None


@kept
def read_equivalences() -> tuple[Equivalence, ...]:
    """Every row of the newest equivalences table."""
    return tuple(
        Equivalence(
            key=row["key"],
            thing=row["equivalence"],
            unit=row["unit"],
            kg_per_unit=row["kg_per_unit"],
            direction=row["direction"],
            factor_year=row["factor_year"],
            evidence=row["evidence"],
            source=row_source(table, row),
        )
        for table, row in rows_of("co2_equivalences")
    )
