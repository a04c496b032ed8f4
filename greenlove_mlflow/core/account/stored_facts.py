"""The facts of a run as stored in a tag: short rows in place of records, codes in place of sentences.

A tag holds 8,000 characters, so texts and sources are left out: a sentence is rebuilt from its code and values, a
source from its table and version.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from greenlove_mlflow.core.records import PowerReading

Plain = dict[str, Any]

_POWER_FIELDS = tuple(field.name for field in dataclasses.fields(PowerReading))
_SOURCE_FIELDS = ("producer", "title", "table", "version")
# Fields of home's specs that only board names or the tables themselves need.
_LEFT_OUT_OF_HOME = ("aliases", "alias_is_ambiguous", "source")


def pack(plain: Mapping[str, Any]) -> Plain:
    """The plain facts in their short form."""
    packed = dict(plain)
    used = packed.get("gpu_count", 1)
    packed["ratios"] = [_pack_ratio(each, used) for each in plain.get("ratios", ())]
    packed["power"] = [_pack_row(each, _POWER_FIELDS) for each in plain.get("power", ())]
    packed["caveats"] = [_pack_caveat(each) for each in plain.get("caveats", ())]
    packed["fit"] = {**plain["fit"], "caveats": [_pack_caveat(each) for each in plain["fit"].get("caveats", ())]}
    packed["grid"] = _with_short_sources(plain["grid"])
    if plain.get("home"):
        packed["home"] = {key: value for key, value in plain["home"].items() if key not in _LEFT_OUT_OF_HOME}
    for record in (packed, packed["fit"]):
        for name in ("ratios", "power", "caveats"):
            if name in record and not record[name]:
                del record[name]
    return packed


def unpack(packed: Mapping[str, Any]) -> Plain:
    """The plain facts from their short form.

    Raises:
        AttributeError, KeyError, OverflowError, TypeError, ValueError: If they do not have that form.
    """
    plain = dict(packed)
    plain["ratios"] = [_unpack_ratio(each) for each in packed.get("ratios", ())]
    plain["power"] = [dict(zip(_POWER_FIELDS, each, strict=False)) for each in packed.get("power", ())]
    plain["caveats"] = [_unpack_caveat(each) for each in packed.get("caveats", ())]
    plain["fit"] = {**packed["fit"], "caveats": [_unpack_caveat(each) for each in packed["fit"].get("caveats", ())]}
    return plain


def _pack_ratio(each: Mapping[str, Any], used: int) -> list[Any]:
    """The row of a ratio: GPU, log ratio, its half-width, basis, GPUs in use, GPUs rented."""
    speed = each["speed_ratio"]
    ratio = speed["ratio"]
    low, high = ratio["low"], ratio["high"]
    width = 0.0 if low == high else (math.log(high) - math.log(low)) / 2.0
    return [each["gpu_id"], math.log(ratio["point"]), width, speed["basis"], used, each.get("rented_gpu_count", 0)]


def _unpack_ratio(row: list[Any]) -> Plain:
    gpu_id, log_ratio, width, basis, _, rented = row
    point, factor = math.exp(log_ratio), math.exp(width)
    interval = {"point": point, "low": min(point, point / factor), "high": max(point, point * factor)}
    return {"gpu_id": gpu_id, "speed_ratio": {"ratio": interval, "basis": basis}, "rented_gpu_count": rented}


def _pack_row(record: Mapping[str, Any], fields: tuple[str, ...]) -> list[Any]:
    """The values of a record in the order of its fields, without trailing None values."""
    values = [record.get(name) for name in fields]
    while values and values[-1] is None:
        values.pop()
    return values


def _pack_caveat(each: Mapping[str, Any]) -> list[Any]:
    """The caveat's code and values, and its sentence only if another version of the package wrote it."""
    values = dict(each.get("values", ()))
    return [
        each["code"],
        *([values] if values or each.get("text") else []),
        *([each["text"]] if each.get("text") else []),
    ]


def _unpack_caveat(row: list[Any]) -> Plain:
    missing: list[Any] = [{}, ""]
    code, values, text = [*row, *missing[len(row) - 1 :]]
    return {"code": code, "values": [[name, value] for name, value in values.items()], "text": text}


def _with_short_sources(grid: Mapping[str, Any]) -> Plain:
    short = dict(grid)
    for name in ("intensity_source", "price_source"):
        source = short.get(name)
        if source:
            short[name] = {key: source[key] for key in _SOURCE_FIELDS if key in source}
    return short
