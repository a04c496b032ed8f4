"""Caveats of power and energy: what was metered, modelled or missed."""

from __future__ import annotations

from collections.abc import Mapping

from greenlove_mlflow.core.caveats.kind import CaveatKind

KINDS: Mapping[str, CaveatKind] = {
    "cpu-power-of-family": CaveatKind(
        "note",
        "{why}: its power is assumed to be {each}, for {count} threads",
        "pass tdp_w= if you know better",
    ),
    "cpu-power-unknown": CaveatKind(
        "act",
        "{why}: its power is assumed to be {each}, for {count} threads",
        "pass tdp_w= if you know better",
    ),
    "energy-counter-frozen": CaveatKind(
        "note",
        "the energy counter of {device} did not move during {frozen_s:.3g} s of work; power samples are used "
        "instead where there are any",
    ),
    "energy-counter-implausible": CaveatKind(
        "note",
        "the energy counter of {device} reads {counter_w:.3g} W, which is impossible; {instead}",
    ),
    "energy-counter-reset": CaveatKind(
        "note",
        "the energy counter of {device} restarted {count} time(s); power samples fill the gaps where there are any",
    ),
    "power-gaps": CaveatKind(
        "note",
        "{device} was metered for {share:.0%} of the time; {filled}",
    ),
    "gpu-index-ignored": CaveatKind(
        "note",
        "gpu_index={index} is not the board that the training runs on; NVML finds that to be {found}, which is metered",
    ),
    "gpu-shared": CaveatKind(
        "act",
        "{count} other process(es) use the board; its whole power is counted, theirs included",
        "run alone for a figure of this training",
    ),
    "idle-not-measured": CaveatKind(
        "note",
        "idle power was not measured on every device, so the energy is gross",
    ),
    "mig-whole-board": CaveatKind(
        "wrong-without",
        "the training runs on a slice (MIG) of a board with a single sensor: the energy is the whole board's",
    ),
    "power-meter-hung": CaveatKind(
        "wrong-without",
        "{what}; {instead}",
    ),
    "power-meter-lost": CaveatKind(
        "wrong-without",
        "{device} stopped answering while it was metered",
    ),
    "power-modelled": CaveatKind(
        "act",
        "power is modelled, not metered: {devices}; it may be off by a factor of {factor:.1f}",
        "pass tdp_w= or run where the meter can be read",
    ),
    "power-not-metered": CaveatKind(
        "note",
        "{device} could not be metered: {why}",
    ),
    "power-sources-disagree": CaveatKind(
        "note",
        "{device} drew {counter_w:.4g} W by its energy counter and {sampled_w:.4g} W by its power samples; the "
        "counter is used and the range covers both",
    ),
    "power-unknown": CaveatKind(
        "act",
        "the power of {device} is neither metered nor in a table",
        "pass tdp_w= for energy, cost and CO2e",
    ),
    "short-energy-window": CaveatKind(
        "note",
        "the power of {device} rests on {window_s:.2g} s of steady training, less than {wanted_s:g} s, so its "
        "range is wider",
        "raise budget_s",
    ),
}
