"""CaveatKind: what all caveats of one code have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

# wrong-without: the figure misleads without it; act: the reader can and should do something; note: an assumption
# worth knowing.
Severity = Literal["wrong-without", "act", "note"]


@dataclass(frozen=True, slots=True)
class CaveatKind:
    """A kind's severity, its sentence with ``{placeholders}``, and its remedy."""

    severity: Severity
    sentence: str
    remedy: str = ""

    def filled(self, values: Mapping[str, Any]) -> str:
        """The sentence and the remedy with their placeholders filled.

        >>> CaveatKind("act", "the price is {age_days} days old", "look it up again").filled({"age_days": 200})
        'the price is 200 days old; look it up again'

        Raises:
            KeyError, ValueError: If a value is missing or does not suit its placeholder.
        """
        return "; ".join(part.format_map(values) for part in (self.sentence, self.remedy) if part)
