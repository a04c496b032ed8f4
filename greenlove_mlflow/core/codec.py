"""Records to plain JSON values and back, without defaults; the decoder of each type is built once.

Decoding checks types: a text must be a text, a number a number, a literal one of its values.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from greenlove_mlflow.untrusted import printable

Decoder = Callable[[Any], Any]

# Far above anything in a record of this package.
TEXT_LIMIT, ITEM_LIMIT = 20_000, 1_000_000


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
