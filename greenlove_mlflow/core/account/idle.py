"""Power above idle."""

from __future__ import annotations

import dataclasses

from greenlove_mlflow.core.account.run_facts import RunFacts


def without_idle(statistics: RunFacts) -> RunFacts | None:
    """The facts with each device's idle power subtracted; None when any device's idle power was not measured.

    The remaining idle power of 0 makes offers count none of theirs either: both sides of a comparison are net.
    """
    readings = []
    for reading in statistics.power:
        if reading.idle_power_w is None or not reading.power_w > reading.idle_power_w:
            return None
        net_w = reading.power_w - reading.idle_power_w
        # The error in watts stays the same, so relative to the smaller figure it is larger.
        width = reading.log_half_width * reading.power_w / net_w
        note = f"{reading.note}, net of {reading.idle_power_w:.0f} W idle".lstrip(", ")
        readings.append(dataclasses.replace(reading, power_w=net_w, log_half_width=width, idle_power_w=0.0, note=note))
    return dataclasses.replace(statistics, power=tuple(readings)) if readings else None
