"""The live grid of a place, and the country of this machine's network address, each only when asked for.

If the live figure is unavailable, the table's stays and a caveat says why.
"""

from __future__ import annotations

import dataclasses
import logging
from datetime import datetime, timedelta, timezone

from greenlove_mlflow.core.energy.train_later import DEFAULT_WINDOW_H, BestStart, IntensityReading, best_start
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval
from greenlove_mlflow.core.provenance import Caveat, Source
from greenlove_mlflow.core.workload import Grid, Scope
from greenlove_mlflow.electricity_maps.service import (
    BASE_URL_V3,
    DEFAULT_TIMEOUT_S,
    HORIZONS_H,
    ElectricityMaps,
    ServiceError,
    fetch_json,
)

logger = logging.getLogger(__name__)

# Log standard deviation of a run's grid intensity about the reading at its start.
LIVE_LOG_SD = 0.10
# The service may publish hours late; an older reading no longer describes the present.
MOST_AGE = timedelta(hours=6)
GIVEN_BY = "the caller"
# A later start is suggested if it saves at least this share of the CO2e; less is within the forecast's error.
LEAST_SAVED_SHARE = 0.05
LOCATION_URL = "https://get.geojs.io/v1/ip/country.json"


def live_grid(
    grid: Grid,
    key: str | None,
    *,
    zone: str | None = None,
    base_url: str = BASE_URL_V3,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> tuple[Grid, tuple[Caveat, ...]]:
    """The grid with the live carbon intensity of its zone, in its own scope; a service failure never raises.

    Args:
        grid: Grid from the tables; a carbon intensity given by the caller is kept.
        key: API token of the service; None without one.
        zone: Electricity Maps zone ("DE", "US-TEX-ERCO"); by default the code of the grid's place.
        base_url: Base URL of the API.
        timeout_s: Timeout of the request, seconds.
    """
    zone = zone or grid.code
    if grid.intensity_source is not None and grid.intensity_source.producer == GIVEN_BY:
        return grid, ()
    if not key:
        return grid, (_kept("there is no key (set ELECTRICITY_MAPS_API_KEY)"),)
    if zone in ("", "WORLD"):
        return grid, (_kept("no place is known (pass country= or a zone as region=)"),)
    try:
        reading = ElectricityMaps(key=key, base_url=base_url, timeout_s=timeout_s).fetch_latest(zone, grid.scope)
    except ServiceError as error:
        logger.info("live carbon intensity of %s: %s", zone, error)
        hint = "; zones read like DE or US-TEX-ERCO: pass one as region=" if error.reason == "unknown-zone" else ""
        return grid, (_kept(f"{error}{hint}"),)
    return _with_reading(grid, reading, base_url)


def best_start_in(
    zone: str,
    hours: float,
    key: str,
    *,
    scope: Scope = "lifecycle",
    base_url: str = BASE_URL_V3,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> BestStart | None:
    """The start within the next 24 hours with the least forecast CO2e; None if the forecast is too short.

    Args:
        zone: Electricity Maps zone.
        hours: Estimated duration of the run, hours.
        key: API token of the service.
        scope: ``lifecycle`` or ``direct``.
        base_url: Base URL of the API.
        timeout_s: Timeout of the request, seconds.

    Raises:
        ServiceError: If the service returns no forecast.
    """
    service = ElectricityMaps(key=key, base_url=base_url, timeout_s=timeout_s)
    return best_start(service.fetch_forecast(zone, scope, hours=DEFAULT_WINDOW_H + hours), hours)


def later_start_caveats(
    grid: Grid,
    hours: float,
    key: str | None,
    *,
    zone: str | None = None,
    base_url: str = BASE_URL_V3,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> tuple[Caveat, ...]:
    """A caveat on the saving of a later start within a day; empty if it is small or the forecast is short or missing.

    Args:
        grid: Grid of the run; only a live one is looked up.
        hours: Estimated duration of the run, hours.
        key: API token of the service.
        zone: Electricity Maps zone; by default the code of the grid's place.
        base_url: Base URL of the API.
        timeout_s: Timeout of the request, seconds.
    """
    if grid.basis != "live" or not key or hours > HORIZONS_H[-1] - DEFAULT_WINDOW_H:
        return ()
    try:
        best = best_start_in(zone or grid.code, hours, key, scope=grid.scope, base_url=base_url, timeout_s=timeout_s)
    except ServiceError as error:
        logger.info("no forecast of the grid, so no better start: %s", error)
        return ()
    if best is None or best.saved_share < LEAST_SAVED_SHARE:
        return ()
    return (
        Caveat.of(
            "train-later",
            wait_h=best.wait_h,
            start=f"{best.start.astimezone(timezone.utc):%Y-%m-%d %H:%M}",
            share=best.saved_share,
        ),
    )


def _with_reading(grid: Grid, reading: IntensityReading, base_url: str) -> tuple[Grid, tuple[Caveat, ...]]:
    moment = reading.at.astimezone(timezone.utc)
    source = Source(
        producer="Electricity Maps",
        title=f"live carbon intensity of zone {reading.zone}, {grid.scope}, {moment:%Y-%m-%d %H:%M} UTC",
        url=f"{base_url}/carbon-intensity/latest",
        licence="terms of Electricity Maps",
        published=f"{moment:%Y-%m-%d}",
        accessed=f"{datetime.now(timezone.utc):%Y-%m-%d}",
    )
    live = dataclasses.replace(
        grid,
        intensity_g_per_kwh=Interval.from_log_width(reading.intensity_g_per_kwh, NORMAL_QUANTILE_95 * LIVE_LOG_SD),
        intensity_source=source,
        basis="live",
    )
    caveats = []
    if reading.is_estimated:
        caveats.append(Caveat.of("live-carbon-estimated", zone=reading.zone))
    if datetime.now(timezone.utc) - moment > MOST_AGE:
        caveats.append(Caveat.of("live-carbon-old", zone=reading.zone, moment=f"{moment:%Y-%m-%d %H:%M}"))
    return live, tuple(caveats)


def _kept(why: str) -> Caveat:
    return Caveat.of("live-carbon-unavailable", why=why)


def locate_by_address(
    *, url: str = LOCATION_URL, timeout_s: float = DEFAULT_TIMEOUT_S
) -> tuple[str | None, Caveat | None]:
    """The ISO 3166-1 code of the address's country, or None, with its caveats."""
    try:
        answer = fetch_json(url, timeout_s=timeout_s)
    except ServiceError as error:
        logger.info("no location from the network address: %s", error)
        return None, _caveat(f"the network address could not be looked up: {error}")
    code = answer.get("country") if isinstance(answer, dict) else None
    if not isinstance(code, str) or len(code) != 2 or not code.isascii() or not code.isalpha():
        return None, _caveat("the service that looks up network addresses named no country")
    return code.upper(), _caveat(
        f"the network address lies in {code.upper()}; a proxy or a cloud may stand elsewhere than the machine"
    )


def _caveat(message: str) -> Caveat:
    return Caveat.of("place-by-address", what=message)
