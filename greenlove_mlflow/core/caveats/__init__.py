"""The registry of caveats: each code with its severity, sentence and remedy."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from greenlove_mlflow.core.caveats import offer_caveats, place_caveats, power_caveats, time_caveats
from greenlove_mlflow.core.caveats.kind import CaveatKind, Severity

CAVEATS: Mapping[str, CaveatKind] = MappingProxyType(
    {**time_caveats.KINDS, **power_caveats.KINDS, **offer_caveats.KINDS, **place_caveats.KINDS}
)

__all__ = ["CAVEATS", "CaveatKind", "Severity"]
