"""Where figures come from, and what their reader must know."""

from __future__ import annotations

from dataclasses import dataclass

from greenlove_mlflow.core.caveats import CAVEATS, Severity
from greenlove_mlflow.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where figures come from, as a table's sidecar or a caller states it; dates are ISO 8601."""

    producer: str
    title: str
    url: str = ""
    licence: str = ""
    published: str = ""
    accessed: str = ""
    table: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caveat:
    """Something that the reader of a number must know.

    Args:
        code: Its kind, a key of ``core.caveats.CAVEATS``; one of another version of the package is kept as it is.
        values: What the sentence of its kind is filled with, by placeholder.
        text: The sentence, where it was written by another version of the package; empty for that of its kind.
    """

    code: str
    values: tuple[tuple[str, float | str], ...] = ()
    text: str = ""

    @classmethod
    def of(cls, code: str, **values: float | str) -> Caveat:
        """A caveat of a registered kind, its sentence filled with ``values``.

        >>> Caveat.of("larger-batch", count=2).severity
        'note'

        Raises:
            InvalidInputError: If the kind is not registered, or its sentence needs other values.
        """
        caveat = cls(code=code, values=tuple(values.items()))
        try:
            CAVEATS[code].filled(values)
        except (KeyError, ValueError) as error:
            raise InvalidInputError(f"no caveat {code!r} with the values {sorted(values)}: {error!r}") from error
        return caveat

    @property
    def severity(self) -> Severity:
        """How much it matters; ``note`` where the kind is unknown."""
        return CAVEATS[self.code].severity if self.code in CAVEATS else "note"

    @property
    def message(self) -> str:
        """The sentence and what to do about it."""
        kind = CAVEATS.get(self.code)
        if self.text or kind is None:
            return self.text or self.code
        try:
            return kind.filled(dict(self.values))
        except (KeyError, ValueError):
            return kind.sentence

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
