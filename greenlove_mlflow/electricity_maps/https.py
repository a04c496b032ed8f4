"""Fetches one JSON response over https, bounded in time and size; errors are classified and contain no secrets."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import requests

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
