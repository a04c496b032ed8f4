"""Argument checks: each validates type and range and returns the value in the form used internally."""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
import operator
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from greenlove_mlflow.errors import InvalidInputError

_NAMES_SHOWN = 12
# The largest whole number that every float tells from the next.
MOST = 10**15


def whole(name: str, value: Any, *, least: int = 1) -> int:
    """Check for a whole number; NumPy integers are accepted.

    Raises:
        InvalidInputError: If it is not one, is below ``least``, or is more than any training counts.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise InvalidInputError(f"{name} must be a whole number of at least {least}, got {value!r}")
    if number > MOST:
        raise InvalidInputError(
            f"{name} must be a whole number of at most {MOST:.0e}, got one of {len(str(number))} digits"
        )
    return number


def number(name: str, value: Any, *, least: float = 0.0, most: float = math.inf, above: bool = False) -> float:
    """Check for a finite number within a range.

    Args:
        name: Name of the argument.
        value: The value as given; text is not accepted.
        least: Lower bound.
        most: Upper bound.
        above: Whether the lower bound itself is excluded.

    Raises:
        InvalidInputError: If it is not a number or out of range.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not (value > least if above else value >= least) or not value <= most or math.isinf(value):
        words = f"above {least:g}" if above else f"at least {least:g}"
        words = words if math.isinf(most) else f"a share between {least:g} and {most:g}"
        hint = "; text is not taken for a number" if isinstance(value, str) else ""
        raise InvalidInputError(f"{name} must be {words}, got {value!r}{hint}")
    return float(value)


def choice(name: str, value: Any, choices: Iterable[Any]) -> Any:
    """Check for one of several choices.

    Raises:
        InvalidInputError: If it is none of them; the message lists the choices.
    """
    known = list(choices)
    if not any(type(value) is type(each) and value == each for each in known):
        words = ", ".join(repr(each) for each in known if each is not None)
        raise InvalidInputError(f"{name} must be one of {words}, got {value!r}")
    return value


def flag(name: str, value: Any) -> bool:
    """Check for True or False.

    Raises:
        InvalidInputError: If it is neither.
    """
    if not isinstance(value, bool) and type(value).__name__ != "bool":  # NumPy's bool does not subclass bool
        raise InvalidInputError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def text(name: str, value: Any) -> str:
    """Check for non-empty text.

    Raises:
        InvalidInputError: If it is anything else.
    """
    if not isinstance(value, str) or not value:
        raise InvalidInputError(f"{name} must be text, got {value!r}")
    return value


def function(name: str, value: Any, *, takes: str) -> Any:
    """Check for a callable that can be called as it will be.

    Args:
        name: Name of the argument.
        value: The function as given.
        takes: The arguments that it is called with, by position: "model, batch".

    Raises:
        InvalidInputError: If it is not callable, or takes other arguments.
    """
    if not callable(value):
        raise InvalidInputError(f"{name} must be a function {name}({takes}), got {value!r}")
    try:
        inspect.signature(_called(value)).bind(*takes.split(", "))
    except TypeError as error:
        raise InvalidInputError(f"{name} is called as {name}({takes}), and {value!r} cannot be: {error}") from None
    except ValueError:  # a built-in that does not tell
        pass
    return value


def _called(value: Any) -> Any:
    """The function that a call of ``value`` ends in, which for a module of torch is its ``forward``."""
    torch = sys.modules.get("torch")
    return value.forward if torch is not None and isinstance(value, torch.nn.Module) else value


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Check for one or several texts and return them as a tuple.

    Raises:
        InvalidInputError: If there is none, or one is not text.
    """
    items = (value,) if isinstance(value, str) else value
    if not isinstance(items, (list, tuple, set, frozenset)) or not items:
        raise InvalidInputError(f"{name} must be one text or several, got {value!r}")
    return tuple(text(name, each) for each in items)


def named(name: str, value: str, known: Iterable[str]) -> str:
    """Check for a known name.

    Raises:
        InvalidInputError: If it is unknown; the message suggests the nearest names, or lists all if there are few.
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
    """Check for a mapping from names to ratios above 0.

    Raises:
        InvalidInputError: If it is not a mapping, or a ratio is invalid.
    """
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{name} must map names of GPUs to numbers, got {value!r}")
    return {text(f"a name in {name}", gpu): number(f"{name}[{gpu!r}]", each, above=True) for gpu, each in value.items()}
