"""Checks: whether a value that a caller gave is of the right type and range; each returns it as it is used."""

from __future__ import annotations

import difflib
import math
import numbers
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from greenlove_mlflow.errors import InvalidInputError

_NAMES_SHOWN = 12


def whole(name: str, value: Any, *, least: int = 1) -> int:
    """A whole number, NumPy's included.

    Raises:
        InvalidInputError: If it is none, or below ``least``.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise InvalidInputError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return number


def number(name: str, value: Any, *, least: float = 0.0, most: float = math.inf, above: bool = False) -> float:
    """A finite number of a range.

    Args:
        name: What the caller calls it.
        value: As given; text is no number.
        least: The least it may be; what it must be above, with ``above``.
        most: The most it may be.
        above: Whether ``least`` itself is too little.

    Raises:
        InvalidInputError: If it is no number or out of range.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not (value > least if above else value >= least) or not value <= most or math.isinf(value):
        words = f"above {least:g}" if above else f"at least {least:g}"
        words = words if math.isinf(most) else f"a share between {least:g} and {most:g}"
        hint = "; text is not taken for a number" if isinstance(value, str) else ""
        raise InvalidInputError(f"{name} must be {words}, got {value!r}{hint}")
    return float(value)


def choice(name: str, value: Any, choices: Iterable[Any]) -> Any:
    """One of some choices.

    Raises:
        InvalidInputError: If it is another; the choices are listed.
    """
    known = list(choices)
    if not any(type(value) is type(each) and value == each for each in known):
        words = ", ".join(repr(each) for each in known if each is not None)
        raise InvalidInputError(f"{name} must be one of {words}, got {value!r}")
    return value


def flag(name: str, value: Any) -> bool:
    """True or False.

    Raises:
        InvalidInputError: If it is neither.
    """
    if not isinstance(value, bool) and type(value).__name__ != "bool":  # NumPy's own is no bool
        raise InvalidInputError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def text(name: str, value: Any) -> str:
    """Text that is not empty.

    Raises:
        InvalidInputError: If it is something else.
    """
    if not isinstance(value, str) or not value:
        raise InvalidInputError(f"{name} must be text, got {value!r}")
    return value


def function(name: str, value: Any) -> Any:
    """Something that can be called.

    Raises:
        InvalidInputError: If it cannot.
    """
    if not callable(value):
        raise InvalidInputError(f"{name} must be a function, got {value!r}")
    return value


def texts(name: str, value: Any) -> tuple[str, ...]:
    """One or several texts, as a tuple.

    Raises:
        InvalidInputError: If there is none, or one is no text.
    """
    items = (value,) if isinstance(value, str) else value
    if not isinstance(items, (list, tuple, set, frozenset)) or not items:
        raise InvalidInputError(f"{name} must be one text or several, got {value!r}")
    return tuple(text(name, each) for each in items)


def named(name: str, value: str, known: Iterable[str]) -> str:
    """A name among those known.

    Raises:
        InvalidInputError: If it is another; the nearest are named, or all where they are few.
    """
    names = sorted(set(known))
    if value in names:
        return value
    by_lower = {each.lower(): each for each in names}
    near = [by_lower[each] for each in difflib.get_close_matches(value.lower(), by_lower, n=3)]
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else ""
    listed = f"known are {', '.join(names[:_NAMES_SHOWN])}" if not near or len(names) <= _NAMES_SHOWN else ""
    raise InvalidInputError(f"{name}={value!r} is not known; {' '.join(filter(None, (hint, listed)))}")


def ratios(name: str, value: Any) -> dict[str, float]:
    """Ratios above 0 by name.

    Raises:
        InvalidInputError: If it is no mapping, or a ratio is none.
    """
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{name} must map names of GPUs to numbers, got {value!r}")
    return {text(f"a name in {name}", gpu): number(f"{name}[{gpu!r}]", each, above=True) for gpu, each in value.items()}
