"""Figures from the network, fetched only on request: the live grid, its forecast, an approximate location."""

from __future__ import annotations

from greenlove_mlflow.electricity_maps.lookups import best_start_in, later_start_caveats, live_grid, locate_by_address
from greenlove_mlflow.electricity_maps.service import BASE_URL_V3, BASE_URL_V4, ElectricityMaps, ServiceError

__all__ = [
    "BASE_URL_V3",
    "BASE_URL_V4",
    "ElectricityMaps",
    "ServiceError",
    "best_start_in",
    "later_start_caveats",
    "live_grid",
    "locate_by_address",
]
