"""What a training adds to the power that the machine draws anyway."""

from __future__ import annotations

import dataclasses

from greenlove_mlflow.core.account.run_facts import RunFacts


def without_idle(statistics: RunFacts) -> RunFacts | None:
    """The statistics with each device's idle power taken off; None when the idle power of one was not measured.

    An idle power of 0 is left, which tells offers to count none of theirs: both sides of a comparison are net.
    """
    readings = []
    for reading in statistics.power:
        if reading.idle_power_w is None or not reading.power_w > reading.idle_power_w:
            return None
        net_w = reading.power_w - reading.idle_power_w
        # The error in watts stays, so on the smaller figure it weighs more.
        width = reading.log_half_width * reading.power_w / net_w
        note = f"{reading.note}, net of {reading.idle_power_w:.0f} W idle".lstrip(", ")
        readings.append(dataclasses.replace(reading, power_w=net_w, log_half_width=width, idle_power_w=0.0, note=note))
    return dataclasses.replace(statistics, power=tuple(readings)) if readings else None
