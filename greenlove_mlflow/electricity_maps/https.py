"""One JSON answer over https, bounded in time and size; what went wrong is told apart, and no secret is in it."""

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
    # Both are seen for a zone that is none.
    400: "unknown-zone",
    401: "bad-key",
    403: "not-allowed",
    404: "unknown-zone",
    429: "too-many-requests",
}
# A forecast of 72 hours is about 10 kB; anything above this is not what was asked for.
MOST_BYTES = 1_000_000
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


class ServiceError(ElectricityMapsError):
    """A question to a service that was not answered, and why.

    Args:
        message: What was asked, what was found and what to do.
        reason: Which of the known ways it failed.
        retry_after_s: Seconds the service asks to wait; None when it does not say.
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
    """The JSON that a server answers within ``timeout_s`` seconds; no redirect is followed, so no header strays.

    Raises:
        ServiceError: If it does not answer with JSON in time, or with another status than 200.
    """
    address = urlsplit(url)
    host = address.hostname or ""
    if address.scheme != "https" and host not in _LOOPBACK_HOSTS:
        raise ServiceError(f"{host} is asked over https only", reason="unreachable")
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
        # The cause is named by its type alone: its text may hold a header.
        raise ServiceError(f"{host} cannot be reached ({type(error).__name__})", reason="unreachable") from None
    try:
        return json.loads(content)
    except ValueError:
        raise ServiceError(f"{host} answered with something that is no JSON", reason="garbage") from None


def _read(response: requests.Response, host: str, deadline_s: float) -> bytes:
    """The body, cut off at the deadline and at a size."""
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
    """Seconds to wait by a Retry-After header, which is a number or a date; None when it is neither."""
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
