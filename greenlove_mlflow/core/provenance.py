"""Sources of figures, and caveats about them."""

from __future__ import annotations

from dataclasses import dataclass

from greenlove_mlflow.core.caveats import CAVEATS, Severity
from greenlove_mlflow.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The source of figures, as stated by a table's sidecar or a caller; dates are ISO 8601."""

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
    """Something that the reader of a figure must know.

    Args:
        code: Its kind, a key of ``core.caveats.CAVEATS``; an unknown code from another version is kept as it is.
        values: Values for the placeholders of its kind's sentence.
        text: The sentence, if written by another version of the package; empty to use that of its kind.
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
            InvalidInputError: If the code is not registered, or its sentence needs other values.
        """
        caveat = cls(code=code, values=tuple(values.items()))
        try:
            CAVEATS[code].filled(values)
        except (KeyError, ValueError) as error:
            raise InvalidInputError(f"no caveat {code!r} with the values {sorted(values)}: {error!r}") from error
        return caveat

    @property
    def severity(self) -> Severity:
        """Its severity; ``note`` for an unknown code."""
        return CAVEATS[self.code].severity if self.code in CAVEATS else "note"

    @property
    def message(self) -> str:
        """The sentence and the remedy."""
        kind = CAVEATS.get(self.code)
        if self.text or kind is None:
            return self.text or self.code
        try:
            return kind.filled(dict(self.values))
        except (KeyError, ValueError):
            return kind.sentence

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
