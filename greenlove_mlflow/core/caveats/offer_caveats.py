"""Caveats of a comparison: the prices, speed ratios, memory and regions of offers."""

from __future__ import annotations

from collections.abc import Mapping

from greenlove_mlflow.core.caveats.kind import CaveatKind

KINDS: Mapping[str, CaveatKind] = {
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
