"""Where figures come from, and what their reader must know."""

from __future__ import annotations

from dataclasses import dataclass


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
    """Something the reader of a number must know: a kebab-case code, and what was seen and what to do about it."""

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
