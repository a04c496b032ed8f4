"""Cloud regions with their grids, and the CO2e equivalences."""

from __future__ import annotations

from greenlove_mlflow.core.energy.equivalences import Equivalence
from greenlove_mlflow.core.offers.offer import Region
from greenlove_mlflow.core.workload import Scope
from greenlove_mlflow.tables.places.grid import find_grid
from greenlove_mlflow.tables.places.index import places
from greenlove_mlflow.tables.store.cache import kept
from greenlove_mlflow.tables.store.rows import row_source, rows_of

CRUSOE = "Crusoe Cloud"
SCOPES: tuple[Scope, ...] = ("lifecycle", "direct")


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
