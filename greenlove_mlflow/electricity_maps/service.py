"""Carbon intensity of a zone from Electricity Maps: latest, the past 24 hours, and the forecast; over https only.

A response is bounded in time and size; errors are classified and contain no secrets.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import requests

from greenlove_mlflow.core.energy.train_later import IntensityReading
from greenlove_mlflow.core.workload import Scope
from greenlove_mlflow.errors import ElectricityMapsError

Reason = Literal[
    "bad-key", "not-allowed", "unknown-zone", "too-many-requests", "timeout", "unreachable", "server-error", "garbage"
]
_REASON_OF_STATUS: dict[int, Reason] = {
    # The service returns either of these for an unknown zone.
    400: "unknown-zone",
    401: "bad-key",
    403: "not-allowed",
    404: "unknown-zone",
    429: "too-many-requests",
}
# A forecast of 72 hours is about 10 kB; a larger response cannot be valid.
MOST_BYTES = 1_000_000
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
BASE_URL_V3 = "https://api.electricitymaps.com/v3"
BASE_URL_V4 = "https://api.electricitymaps.com/v4"
DEFAULT_TIMEOUT_S = 3.0
# The service updates hourly; a repeated request within a quarter of an hour returns nothing new.
CACHE_S = 900.0
# The forecast horizons that the service offers, hours.
HORIZONS_H = (24, 48, 72)
# Upper limit for any grid: even lignite, including losses, stays below 1,500 g/kWh.
MOST_G_PER_KWH = 2000.0


class ServiceError(ElectricityMapsError):
    """A failed request to a service, with the reason.

    Args:
        message: What was requested, what was found and what to do.
        reason: Category of the failure.
        retry_after_s: Seconds the service asks to wait; None if not stated.
    """

    def __init__(self, message: str, *, reason: Reason, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.retry_after_s = retry_after_s


def fetch_json(
    url: str,
    *,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float,
) -> Any:
    """The JSON response within ``timeout_s`` seconds; redirects are not followed, so no header leaks.

    Args:
        url: Address, https only except for loopback hosts.
        params: Query parameters.
        headers: Request headers, which may hold a key.
        timeout_s: Limit on the whole request, seconds.

    Raises:
        ServiceError: If there is no JSON response in time, or the status is not 200.
    """
    address = urlsplit(url)
    host = address.hostname or ""
    if address.scheme != "https" and host not in _LOOPBACK_HOSTS:
        raise ServiceError(f"{host} is contacted over https only", reason="unreachable")
    deadline_s = time.perf_counter() + timeout_s
    try:
        with requests.get(
            url, params=params, headers=headers, timeout=timeout_s, allow_redirects=False, stream=True
        ) as response:
            if response.status_code != 200:
                raise _refusal(host, response)
            content = _read(response, host, deadline_s)
    except requests.Timeout:
        raise ServiceError(f"{host} did not answer within {timeout_s:g} s", reason="timeout") from None
    except requests.RequestException as error:
        # The cause is named only by its type, because its text may contain a header.
        raise ServiceError(f"{host} cannot be reached ({type(error).__name__})", reason="unreachable") from None
    try:
        return json.loads(content)
    except ValueError:
        raise ServiceError(f"{host} did not answer with JSON", reason="garbage") from None


def _read(response: requests.Response, host: str, deadline_s: float) -> bytes:
    """The body, limited by the deadline and by size."""
    content = bytearray()
    for chunk in response.iter_content(chunk_size=16_384):
        content += chunk
        if time.perf_counter() > deadline_s:
            raise ServiceError(f"{host} did not finish its answer in time", reason="timeout")
        if len(content) > MOST_BYTES:
            raise ServiceError(f"{host} answered with more than {MOST_BYTES} bytes", reason="garbage")
    return bytes(content)


def _refusal(host: str, response: requests.Response) -> ServiceError:
    status = response.status_code
    reason: Reason = _REASON_OF_STATUS.get(status, "server-error")
    words = {
        "bad-key": "it does not know the key",
        "not-allowed": "the key's plan does not allow this zone or question",
        "unknown-zone": "it knows no such zone",
        "too-many-requests": "too many requests",
        "server-error": "it could not answer",
    }
    wait_s = _retry_after_s(response.headers.get("Retry-After")) if status == 429 else None
    later = "" if wait_s is None else f"; it asks to wait {wait_s:g} s"
    return ServiceError(f"{host} answered {status}: {words[reason]}{later}", reason=reason, retry_after_s=wait_s)


def _retry_after_s(text: str | None) -> float | None:
    """Seconds to wait from a Retry-After header, which is a number or a date; None if it is neither."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectricityMaps:
    """A client of the service, with its own cache.

    Args:
        key: API token; never shown, logged or written.
        base_url: Base URL of version 3 or 4 of the API.
        timeout_s: Timeout of one request, seconds.

    Raises:
        ServiceError: If the key is malformed.
    """

    key: str = field(repr=False)
    base_url: str = BASE_URL_V3
    timeout_s: float = DEFAULT_TIMEOUT_S
    _answers: dict[tuple[str, str, str, int], tuple[float, Any]] = field(
        default_factory=dict, repr=False, compare=False, init=False
    )

    def __post_init__(self) -> None:
        if not self.key or not self.key.isascii() or not self.key.isprintable() or " " in self.key:
            raise ServiceError(
                "the Electricity Maps key is empty or contains a space or control character", reason="bad-key"
            )

    def fetch_latest(self, zone: str, scope: Scope = "lifecycle") -> IntensityReading:
        """The newest reading of a zone.

        Raises:
            ServiceError: If there is no usable response.
        """
        return _reading(self._ask("latest", zone, scope), zone, scope)

    def fetch_history(self, zone: str, scope: Scope = "lifecycle") -> tuple[IntensityReading, ...]:
        """The readings of the past 24 hours, oldest first; hours without a figure are left out."""
        return _readings(self._ask("history", zone, scope), "history", zone, scope)

    def fetch_forecast(
        self, zone: str, scope: Scope = "lifecycle", *, hours: float = 24.0
    ) -> tuple[IntensityReading, ...]:
        """The forecast for at least ``hours`` ahead if offered, soonest first; the free plan has no forecast.

        Args:
            zone: Electricity Maps zone.
            scope: ``lifecycle`` or ``direct``.
            hours: Least time span of the forecast, hours.
        """
        horizon_h = next((horizon for horizon in HORIZONS_H if horizon >= hours), HORIZONS_H[-1])
        return _readings(self._ask("forecast", zone, scope, horizon_h), "forecast", zone, scope)

    def _ask(self, question: str, zone: str, scope: Scope, horizon_h: int = 0) -> Any:
        """The response to a query, from the cache if it is fresh."""
        name = (question, zone, scope, horizon_h)
        asked_s, answer = self._answers.get(name, (-math.inf, None))
        if time.monotonic() - asked_s < CACHE_S:
            return answer
        answer = fetch_json(
            f"{self.base_url}/carbon-intensity/{question}",
            params={
                "zone": zone,
                "emissionFactorType": scope,
                **({"horizonHours": str(horizon_h)} if horizon_h else {}),
            },
            headers={"auth-token": self.key},
            timeout_s=self.timeout_s,
        )
        self._answers[name] = (time.monotonic(), answer)
        return answer


def _readings(answer: Any, name: str, zone: str, scope: Scope) -> tuple[IntensityReading, ...]:
    """The readings in a list of a response, in time order; those without a figure are left out."""
    rows = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(rows, list):
        raise ServiceError(f"Electricity Maps gave no {name} for zone {zone}", reason="garbage")
    stated = [row for row in rows if not (isinstance(row, dict) and row.get("carbonIntensity") is None)]
    return tuple(sorted((_reading(row, zone, scope) for row in stated), key=lambda reading: reading.at))


def _reading(answer: Any, zone: str, scope: Scope) -> IntensityReading:
    """One validated reading of a response."""
    if not isinstance(answer, dict):
        raise ServiceError(f"Electricity Maps gave no reading for zone {zone}", reason="garbage")
    if answer.get("zone", zone) != zone or answer.get("emissionFactorType", scope) != scope:
        raise ServiceError(
            f"Electricity Maps answered for another zone or scope than {zone}, {scope}", reason="garbage"
        )
    value = _intensity(answer.get("carbonIntensity"), zone)
    estimated = answer.get("isEstimated")
    return IntensityReading(
        zone=zone,
        at=_moment(answer.get("datetime"), zone),
        intensity_g_per_kwh=value,
        is_estimated=estimated if isinstance(estimated, bool) else None,
    )


def _intensity(value: Any, zone: str) -> float:
    """Carbon intensity, g CO2e/kWh: 0 is a figure, null means none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 <= value <= MOST_G_PER_KWH:
        return float(value)
    # Text is not repeated, because the server controls it and it may contain the key.
    found = f"{value:g}" if isinstance(value, (int, float)) else type(value).__name__
    raise ServiceError(
        f"Electricity Maps gave the carbon intensity {found} for zone {zone}; it must lie in 0..{MOST_G_PER_KWH:g}",
        reason="garbage",
    )


def _moment(text: Any, zone: str) -> datetime:
    try:
        # Python 3.10 does not parse "Z".
        moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ServiceError(
            f"Electricity Maps gave a reading of zone {zone} without a date and time zone", reason="garbage"
        )
    return moment
