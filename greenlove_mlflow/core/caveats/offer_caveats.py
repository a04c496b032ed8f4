"""Caveats of a comparison: the prices, speed ratios, memory and regions of offers."""

from __future__ import annotations

from collections.abc import Mapping

from greenlove_mlflow.core.caveats.kind import CaveatKind

KINDS: Mapping[str, CaveatKind] = {
    "ambiguous-gpu": CaveatKind(
        "note",
        "{gpu} and {twins} report one name and memory; the figures of the first were used",
    ),
    "matrix-rate-unknown": CaveatKind(
        "note",
        "no source states the matrix rate of {gpus}: the ratio rests on its other rates, with a wide range",
    ),
    "gpu-slice": CaveatKind(
        "note",
        "{gpu} is a part of a board: its rates and power are the board's in proportion; who uses the rest of it counts",
    ),
    "larger-batch": CaveatKind(
        "note",
        "{count} GPUs at the same batch per GPU make {count} times the batch: fewer steps an epoch, and a learning "
        "rate and a number of epochs that may have to change",
    ),
    "all-at-work": CaveatKind(
        "note",
        "all {count} GPUs of {gpu} at work would take about {time} for the same rent an hour, if the batch may grow",
        "pass gpus={count}",
    ),
    "no-such-instance": CaveatKind(
        "note",
        "no instance of {gpus} has {count} GPUs; they are left out",
    ),
    "counted-work": CaveatKind(
        "note",
        "times on offers follow from the launches, operations and bytes of a step as counted on {machine}, which says "
        "what a GPU takes to a factor of about four",
        "measure on a GPU before much depends on it",
    ),
    "whole-time-scaled": CaveatKind(
        "note",
        "nobody measured which part of a step is the board's, so speed ratios scale all of it; a training that waits "
        "for its data or its host gains less than that on a faster board",
    ),
    "memory-too-small": CaveatKind(
        "act",
        "the training took {peak_gib:.1f} GiB here and {gpu} has {memory_gib:g}; {advice}",
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
        "processor and memory of an offer are taken to draw what those here draw, {host_w:.0f} W",
    ),
    "offer-host-left-out": CaveatKind(
        "note",
        "energy counts boards alone, here and on offers: processor and memory were not metered here",
    ),
    "offer-left-out": CaveatKind(
        "note",
        "no speed ratio or no specs for {gpus}; they are left out",
    ),
    "offer-power-modelled": CaveatKind(
        "note",
        "{gpu} is assumed to draw, while it works, {how} of {tdp_w:g} W",
    ),
    "offer-power-unknown": CaveatKind(
        "note",
        "no source states the power of {gpu}, so its energy and CO2e are unknown",
    ),
    "old-price": CaveatKind(
        "act",
        "the price of {gpu} at {provider} is of {as_of}, {age_days} days old",
        "look it up again",
    ),
    "precision-assumed": CaveatKind(
        "note",
        "speed ratios are those of {precision} benchmarks, as in the original, while this training computes in "
        "{computes_in}",
        "precision= chooses",
    ),
    "prices-not-in-tables": CaveatKind(
        "note",
        "the run was priced by a sheet of its own, {wanted!r}; this page uses the one of {as_of}",
    ),
    "probed-hardware": CaveatKind(
        "note",
        "no table knows {machine}: a short matrix product and copy stand in for its specs, so the ratios are rough",
        "pass speed_ratios= where you know better",
    ),
    "region-grid-partial": CaveatKind(
        "note",
        "{gpu} is sold in {regions}; the grid is known of {count} of them only",
    ),
    "region-of-provider": CaveatKind(
        "note",
        "CO2e of {gpu} is at the median grid of its provider's regions ({regions}): {why}",
        "name a region with region=",
    ),
    "region-unknown": CaveatKind(
        "note",
        "CO2e of {gpu} is unknown: {why}",
        "name a region with region=",
    ),
    "sold-in-instances": CaveatKind(
        "note",
        "{gpu} is rented with {sizes} GPUs an instance: all {rented} are paid, {idle} of them idle",
    ),
    "specs-across-makers": CaveatKind(
        "note",
        "nobody has published how much of its specs a training sees on {gpus}; software decides that, so the range "
        "is wide",
    ),
    "time-measured-elsewhere": CaveatKind(
        "act",
        "the time was measured on {machine} and is used here as if it were that of {gpu}",
        "measure on that GPU to be sure",
    ),
}
