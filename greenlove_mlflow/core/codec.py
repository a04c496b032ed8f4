"""Records to plain JSON values and back, without defaults, and the bounds of each number read from outside."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.untrusted import printable

Decoder = Callable[[Any], Any]

# Far above anything in a record of this package.
TEXT_LIMIT, ITEM_LIMIT = 20_000, 1_000_000
# The bounds of a field by name: wide enough for any real value, narrow enough that the product of a few of them does
# not overflow a float.
_BY_NAME: dict[str, tuple[float, float]] = {
    "affine_intercept_s": (-1e10, 1e10),
    "affine_slope_s": (-1e10, 1e10),
    "epoch_s": (1e-9, 1e10),
    "first_epoch_s": (1e-9, 1e10),
    "block_s": (1e-9, 1e10),
    "pue": (1.0, 100.0),
    "level": (1e-6, 1.0 - 1e-6),
    "t_quantile": (0.0, 20.0),
    "bias_log": (-3.0, 3.0),
    "epoch_count": (1e-9, 1e9),
    "validation_every_epochs": (1.0, 1e9),
    "sample_count": (1.0, 1e15),
    "batch_size": (1.0, 1e15),
    "steps_per_epoch": (1.0, 1e15),
    "gpu_count": (1.0, 1e6),
}
# The same by the suffix of a name; the first match counts.
_BY_END: tuple[tuple[str, float, float], ...] = (
    ("log_ratio", -15.0, 15.0),
    ("_rho", -1.0, 1.0),
    ("_r2", -1e6, 1.0),
    ("_year", 1900.0, 3000.0),
    ("log_sd", 0.0, 3.0),
    ("log_half_width", 0.0, 15.0),
    ("log_width", 0.0, 15.0),
    ("ratio", 1e-7, 1e7),
    ("_share", 0.0, 1.0),
    ("per_kwh", 0.0, 1e5),
    ("per_hour", 0.0, 1e7),
    ("_gb_per_s", 0.0, 1e7),
    ("_tflops", 0.0, 1e8),
    ("_flops", 0.0, 1e30),
    ("_count", 0.0, 1e15),
    ("_size", 0.0, 1e15),
    ("_gib", 0.0, 1e7),
    ("_bytes", 0.0, 1e30),
    ("_kwh", 0.0, 1e15),
    ("_usd", 0.0, 1e15),
    ("_kg", 0.0, 1e15),
    ("_g", 0.0, 1e18),
    ("_ms", 0.0, 1e16),
    ("_s", 0.0, 1e10),
    ("_w", 0.0, 1e6),
    ("_j", 0.0, 1e18),
)
_ANYTHING = (-1e15, 1e15)


def to_plain(value: Any) -> Any:
    """The record as dicts, lists, texts and numbers; fields with their default value are left out."""
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    return {
        field.name: to_plain(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if getattr(value, field.name) != field.default
    }


def from_plain(kind: Any, value: Any) -> Any:
    """The record of type ``kind``, from what ``to_plain`` returned.

    Raises:
        AttributeError, KeyError, OverflowError, TypeError, ValueError: If the value does not have that shape.
    """
    return _decoder(kind)(value)


@cache
def _decoder(kind: Any) -> Decoder:
    origin = get_origin(kind)
    if origin is Literal:
        return _one_of(get_args(kind))
    if origin in (Union, types.UnionType):
        known = [option for option in get_args(kind) if option is not type(None)]
        return _optional(_decoder(known[0]) if len(known) == 1 else _any_of(known))
    if origin is tuple:
        options = get_args(kind)
        if options[-1] is Ellipsis:
            return _repeated(_decoder(options[0]))
        return _fixed(tuple(_decoder(option) for option in options))
    if dataclasses.is_dataclass(kind):
        return _record(kind)
    return _PLAIN_DECODERS.get(kind, _as_is)


def _any_of(kinds: list[Any]) -> Decoder:
    """A decoder for one of several records, chosen by their ``method``; without one, the first."""
    if not all(dataclasses.is_dataclass(kind) for kind in kinds):
        return _as_is
    by_method = {get_args(get_type_hints(kind)["method"])[0]: _record(kind) for kind in kinds}
    usual = next(iter(by_method))

    def decode(value: Any) -> Any:
        return by_method[value.get("method", usual)](value)

    return decode


def _as_is(value: Any) -> Any:
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{_shown(value)} is not a number")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{_shown(value)} is not a whole number")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{_shown(value)} is neither true nor false")
    return value


def _text(value: Any) -> str:
    """The text without terminal control characters, as it is untrusted."""
    if not isinstance(value, str) or len(value) > TEXT_LIMIT:
        raise TypeError(f"{_shown(value)} is not text of at most {TEXT_LIMIT} characters")
    return printable(value, lines=True)


_PLAIN_DECODERS: dict[Any, Decoder] = {float: _number, int: _whole, bool: _truth, str: _text}


def _one_of(values: tuple[Any, ...]) -> Decoder:
    def decode(value: Any) -> Any:
        if not isinstance(value, (str, int, bool)) or value not in values:
            raise ValueError(f"{_shown(value)} is not one of {', '.join(map(str, values))}")
        return value

    return decode


def _shown(value: Any) -> str:
    return ascii(value)[:60] if isinstance(value, (str, float, bool)) or value is None else type(value).__name__


def _optional(decode: Decoder) -> Decoder:
    return lambda value: None if value is None else decode(value)


def _repeated(decode: Decoder) -> Decoder:
    return lambda value: tuple([decode(item) for item in _list(value)])


def _fixed(decoders: tuple[Decoder, ...]) -> Decoder:
    return lambda value: tuple(decode(item) for decode, item in zip(decoders, _list(value), strict=True))


def _list(value: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)) or len(value) > ITEM_LIMIT:
        raise TypeError(f"{_shown(value)} is not a list of at most {ITEM_LIMIT} items")
    return value


def _record(kind: Any) -> Decoder:
    decoders = {name: _decoder(hint) for name, hint in get_type_hints(kind).items()}

    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"{_shown(value)} is not of type {kind.__name__}")
        return kind(**{name: decoders[name](item) for name, item in value.items()})

    return decode


def check_bounds(record: Any) -> None:
    """Check that every number of a record and of the records in it is plausible for its field's name.

    Args:
        record: A decoded frozen record of facts; its field names end in their units.

    Raises:
        InvalidInputError: If a number is not finite or out of its bounds; names the field.
    """
    for field in dataclasses.fields(record):
        _check(getattr(record, field.name), field.name)


@cache
def bounds_of(name: str) -> tuple[float, float]:
    """The smallest and largest value that a field of that name can hold.

    >>> bounds_of("total_power_w"), bounds_of("pue")
    ((0.0, 1000000.0), (1.0, 100.0))
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    ends = ((low, high) for end, low, high in _BY_END if f"_{name}".endswith(f"_{end.lstrip('_')}"))
    return next(ends, _ANYTHING)


def _check(value: Any, name: str) -> None:
    if isinstance(value, Interval):
        for end in (value.low, value.point, value.high):
            _check_number(end, name)
        _check_number(value.level, "level")
    elif dataclasses.is_dataclass(value):
        check_bounds(value)
    elif isinstance(value, tuple):
        for each in value:
            _check(each, name)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        _check_number(value, name)


def _check_number(value: float, name: str) -> None:
    low, high = bounds_of(name)
    # Compared before conversion: an integer of hundreds of digits does not fit a float.
    if not low <= value <= high or not math.isfinite(value):
        shown = f"{value:.6g}" if isinstance(value, float) else "a number too large" if abs(value) > 1e15 else value
        raise InvalidInputError(f"{name} cannot be {shown}; it lies between {low:g} and {high:g}")
