"""The registry of caveats: each code with its severity, sentence and remedy."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from greenlove_mlflow.core.caveats.offer_caveats import OFFER_KINDS, PLACE_KINDS
from greenlove_mlflow.core.caveats.training_caveats import POWER_KINDS, TIME_KINDS, CaveatKind, Severity

CAVEATS: Mapping[str, CaveatKind] = MappingProxyType({**TIME_KINDS, **POWER_KINDS, **OFFER_KINDS, **PLACE_KINDS})

__all__ = ["CAVEATS", "CaveatKind", "Severity"]
