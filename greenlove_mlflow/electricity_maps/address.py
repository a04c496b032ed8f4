"""Country of this machine's network address: only if requested by ``locate="geoip"``, over https only."""

from __future__ import annotations

import logging

from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.electricity_maps.https import ServiceError, fetch_json
from greenlove_mlflow.electricity_maps.service import DEFAULT_TIMEOUT_S

logger = logging.getLogger(__name__)

LOCATION_URL = "https://get.geojs.io/v1/ip/country.json"


def locate_by_address(
    *, url: str = LOCATION_URL, timeout_s: float = DEFAULT_TIMEOUT_S
) -> tuple[str | None, Caveat | None]:
    """The ISO 3166-1 code of the address's country, or None, with its caveats."""
    try:
        answer = fetch_json(url, timeout_s=timeout_s)
    except ServiceError as error:
        logger.warning("no location from the network address: %s", error)
        return None, _caveat(f"the network address could not be looked up: {error}")
    code = answer.get("country") if isinstance(answer, dict) else None
    if not isinstance(code, str) or len(code) != 2 or not code.isascii() or not code.isalpha():
        return None, _caveat("the service that looks up network addresses named no country")
    return code.upper(), _caveat(
        f"the network address lies in {code.upper()}; a proxy or a cloud may stand elsewhere than the machine"
    )


def _caveat(message: str) -> Caveat:
    return Caveat.of("place-by-address", what=message)
