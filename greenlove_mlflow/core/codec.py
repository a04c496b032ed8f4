"""Records to plain JSON values and back, defaults left out; the decoder of each type is worked out once."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Decoder = Callable[[Any], Any]


def to_plain(value: Any) -> Any:
    """The record as dicts, lists, texts and numbers; fields that hold their default are left out."""
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
    """The record of type ``kind`` that ``to_plain`` took apart.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: If the value is not of that shape.
    """
    return _decoder(kind)(value)


@cache
def _decoder(kind: Any) -> Decoder:
    origin = get_origin(kind)
    if kind is Any or origin is Literal:
        return _as_is
    if origin in (Union, types.UnionType):
        known = [option for option in get_args(kind) if option is not type(None)]
        return _optional(_decoder(known[0]) if len(known) == 1 else _as_is)
    if origin is tuple:
        options = get_args(kind)
        if options[-1] is Ellipsis:
            return _repeated(_decoder(options[0]))
        return _fixed(tuple(_decoder(option) for option in options))
    if dataclasses.is_dataclass(kind):
        return _record(kind)
    return _number if kind is float else _as_is


def _as_is(value: Any) -> Any:
    return value


def _number(value: Any) -> float:
    return float(value)


def _optional(decode: Decoder) -> Decoder:
    return lambda value: None if value is None else decode(value)


def _repeated(decode: Decoder) -> Decoder:
    return lambda value: tuple([decode(item) for item in value])


def _fixed(decoders: tuple[Decoder, ...]) -> Decoder:
    return lambda value: tuple(decode(item) for decode, item in zip(decoders, value, strict=True))


def _record(kind: Any) -> Decoder:
    decoders = {name: _decoder(hint) for name, hint in get_type_hints(kind).items()}

    def decode(value: Any) -> Any:
        return kind(**{name: decoders[name](item) for name, item in value.items()})

    return decode
