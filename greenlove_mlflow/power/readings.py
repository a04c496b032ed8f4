"""What a device is asked and what it answers: the readings that a ledger books."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from greenlove_mlflow.core.energy.power import ANY_POWER, COUNTER_TICK_S, POWER_LAG_S, PowerBounds


@dataclass(frozen=True, slots=True, kw_only=True)
class RawReading:
    """One look at one device.

    Args:
        at_s: Seconds since the meter was opened.
        counter_j: Its energy counter, joules from an unknown start; None when it has none or did not answer.
        power_w: Its power, watts; None when it has no such reading or did not answer.
    """

    at_s: float
    counter_j: float | None = None
    power_w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTraits:
    """What is known of a source before it is read.

    Args:
        tick_s: How often its counter moves, seconds.
        lag_s: How long a power reading still shows what was before, seconds.
        wraps_at_j: Where its counter starts again from 0; None when it does not.
        bounds: Between what its power can lie.
        may_rest: Whether its counter may stand still while the device runs, as a count of CPU seconds may.
    """

    tick_s: float = COUNTER_TICK_S
    lag_s: float = POWER_LAG_S
    wraps_at_j: float | None = None
    bounds: PowerBounds = ANY_POWER
    may_rest: bool = False


class DeviceLostError(Exception):
    """The device will not answer again. Never leaves this package."""


class Source(Protocol):
    """A device that can be looked at."""

    device: str
    traits: SourceTraits
    # Where its figures come from, in words.
    note: str

    def read(self, now_s: Callable[[], float]) -> RawReading:
        """One look; a part that did not answer is None.

        Args:
            now_s: Seconds since the meter was opened, asked for once the device has answered.
        """
        ...
