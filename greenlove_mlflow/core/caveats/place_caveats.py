"""Caveats of a place: its electricity price and carbon intensity."""

from __future__ import annotations

from collections.abc import Mapping

from greenlove_mlflow.core.caveats.kind import CaveatKind

KINDS: Mapping[str, CaveatKind] = {
    "intensity-derived": CaveatKind(
        "note",
        "the table has only a {known} figure for {place}; the {scope} figure is derived from the ratio of the two"
        " in {nation}",
    ),
    "intensity-of-country": CaveatKind(
        "note",
        "no table has a {scope} carbon intensity for {place}: that of {nation} stands in",
    ),
    "live-carbon-estimated": CaveatKind(
        "note",
        "the reading of {zone} is an estimate by Electricity Maps",
    ),
    "live-carbon-old": CaveatKind(
        "note",
        "the newest reading of {zone} dates from {moment} UTC",
    ),
    "live-carbon-unavailable": CaveatKind(
        "note",
        "no live carbon intensity: {why}; the table's figure is used",
    ),
    "no-direct-intensity": CaveatKind(
        "act",
        "no table has a {scope} carbon intensity for {place}, so CO2e is not estimated",
        "use scope='lifecycle' or pass carbon_intensity_g_per_kwh=",
    ),
    "place-by-address": CaveatKind(
        "act",
        "{what}",
        "pass country= if you know it",
    ),
    "place-code": CaveatKind(
        "note",
        "{text!r} is read as {place}, whose ISO 3166 code is {iso_code}",
    ),
    "place-from-time-zone": CaveatKind(
        "act",
        "the time zone {time_zone}{shared} is read as {place}",
        "pass country= if it is another",
    ),
    "place-unknown": CaveatKind(
        "act",
        "{why}: the world's average electricity stands in, with a wide range",
        "pass country= or region=",
    ),
    "price-of-region": CaveatKind(
        "act",
        "no table has an electricity price for {place}: the mean of {count} countries stands in for {region}, "
        "with their spread as its range",
        "pass electricity_price_usd_per_kwh=",
    ),
    "price-of-world": CaveatKind(
        "act",
        "no table has an electricity price for {place}: the world's average stands in, with a wide range",
        "pass electricity_price_usd_per_kwh=",
    ),
    "stale-table": CaveatKind(
        "note",
        "the figures of {table} date from {as_of}, {age_days} days ago",
        "upgrade greenlove-mlflow, or add newer figures: greenlove tables add --table {table}",
    ),
    "train-later": CaveatKind(
        "act",
        "starting in {wait_h:.0f} h ({start} UTC) would emit {share:.0%} less CO2e than starting now, by Electricity "
        "Maps' forecast",
    ),
}
