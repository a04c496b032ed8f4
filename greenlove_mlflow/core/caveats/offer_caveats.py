"""Caveats of offers and places: prices, speed ratios, memory, regions and carbon intensity."""

from __future__ import annotations

from collections.abc import Mapping

from greenlove_mlflow.core.caveats.training_caveats import CaveatKind

OFFER_KINDS: Mapping[str, CaveatKind] = {
    "ambiguous-gpu": CaveatKind(
        "note",
        "{gpu} and {twins} report the same name and memory; the figures of the first are used",
    ),
    "matrix-rate-unknown": CaveatKind(
        "note",
        "no source states the matrix rate of {gpus}: the ratio rests on the other rates, with a wide range",
    ),
    "gpu-slice": CaveatKind(
        "note",
        "{gpu} is a slice of a board: its rates and power are its share of the board's; load on the rest of the board "
        "affects it",
    ),
    "larger-batch": CaveatKind(
        "note",
        "{count} GPUs at the same batch size per GPU multiply the global batch by {count}: each epoch has fewer "
        "steps, and the learning rate and number of epochs may have to change",
    ),
    "all-at-work": CaveatKind(
        "note",
        "with all {count} GPUs of {gpu} in use, it would take about {time} at the same hourly rent, if the batch "
        "may grow",
        "pass gpus={count}",
    ),
    "unusual-figure": CaveatKind(
        "act",
        "the stated {what} of {value:g} is above {most}, the most that a table of published figures may hold",
        "check its unit",
    ),
    "no-such-instance": CaveatKind(
        "note",
        "no instance of {gpus} has {count} GPUs, so they are left out",
    ),
    "counted-work": CaveatKind(
        "note",
        "times on offers are derived from the launches, operations and bytes of a step as counted on {machine}; "
        "they are accurate to a factor of about four",
        "measure on a GPU before much depends on it",
    ),
    "whole-time-scaled": CaveatKind(
        "note",
        "the step was not profiled, so speed ratios scale all of it; a training limited by its data or its host gains "
        "less than that from a faster board",
    ),
    "memory-too-small": CaveatKind(
        "act",
        "the training used {peak_gib:.1f} GiB here, but {gpu} has {memory_gib:g} GiB; {advice}",
    ),
    "no-comparison": CaveatKind(
        "act",
        "the offers could not be compared: {why}",
    ),
    "not-listed-in-region": CaveatKind(
        "note",
        "the price sheet lists {gpu} in {regions}, not in {region}",
    ),
    "offer-host-carried": CaveatKind(
        "note",
        "the processor and memory of an offer are assumed to draw what they draw here, {host_w:.0f} W",
    ),
    "offer-host-left-out": CaveatKind(
        "note",
        "energy counts only the boards, here and on offers: processor and memory were not metered here",
    ),
    "offer-left-out": CaveatKind(
        "note",
        "no speed ratio or specs are known for {gpus}, so they are left out",
    ),
    "offer-power-modelled": CaveatKind(
        "note",
        "{gpu} is assumed to draw {how} of {tdp_w:g} W while it works",
    ),
    "offer-power-unknown": CaveatKind(
        "note",
        "no source states the power of {gpu}, so its energy and CO2e are unknown",
    ),
    "old-price": CaveatKind(
        "act",
        "the price of {gpu} at {provider} dates from {as_of}, {age_days} days ago",
        "look it up again",
    ),
    "precision-assumed": CaveatKind(
        "note",
        "speed ratios come from {precision} benchmarks, as in the original, but this training computes in "
        "{computes_in}",
        "choose one with precision=",
    ),
    "prices-not-in-tables": CaveatKind(
        "note",
        "the run was priced by its own price sheet, {wanted!r}; this page uses the one of {as_of}",
    ),
    "probed-hardware": CaveatKind(
        "note",
        "{machine} is in no table: a short matrix product and copy stand in for its specs, so the ratios are rough",
        "pass speed_ratios= where you know better",
    ),
    "region-grid-partial": CaveatKind(
        "note",
        "{gpu} is sold in {regions}, but the grid is known for only {count} of them",
    ),
    "region-of-provider": CaveatKind(
        "note",
        "CO2e of {gpu} uses the median grid of its provider's regions ({regions}): {why}",
        "name a region with region=",
    ),
    "region-unknown": CaveatKind(
        "note",
        "CO2e of {gpu} is unknown: {why}",
        "name a region with region=",
    ),
    "sold-in-instances": CaveatKind(
        "note",
        "{gpu} is rented in instances of {sizes} GPUs: all {rented} are paid for, {idle} of them idle",
    ),
    "specs-across-makers": CaveatKind(
        "note",
        "no published source says how much of its specs {gpus} delivers in training; it depends on software, so "
        "the range is wide",
    ),
    "time-measured-elsewhere": CaveatKind(
        "act",
        "the time was measured on {machine} and is used here as if measured on {gpu}",
        "measure on that GPU to be sure",
    ),
}


PLACE_KINDS: Mapping[str, CaveatKind] = {
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
