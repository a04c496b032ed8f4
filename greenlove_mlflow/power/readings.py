"""Device sources and their readings, which a ledger books."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from greenlove_mlflow.core.energy.power import ANY_POWER, COUNTER_TICK_S, POWER_LAG_S, PowerBounds


@dataclass(frozen=True, slots=True, kw_only=True)
class RawReading:
    """One reading of one device.

    Args:
        at_s: Seconds since the meter was opened.
        counter_j: Its energy counter, joules from an unknown start; None if it has none or did not answer.
        power_w: Its power, watts; None if it does not report power or did not answer.
    """

    at_s: float
    counter_j: float | None = None
    power_w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTraits:
    """What is known about a source before it is read.

    Args:
        tick_s: Update interval of its counter, seconds.
        lag_s: Delay with which a power reading follows a change, seconds.
        wraps_at_j: Value at which its counter wraps to 0, joules; None if it does not.
        bounds: Possible range of its power.
        may_rest: Whether its counter may stand still while the device runs, as a count of CPU seconds may.
    """

    tick_s: float = COUNTER_TICK_S
    lag_s: float = POWER_LAG_S
    wraps_at_j: float | None = None
    bounds: PowerBounds = ANY_POWER
    may_rest: bool = False


class DeviceLostError(Exception):
    """The device is lost and will not answer again. Never leaves this package."""


class Source(Protocol):
    """A device that can be read."""

    device: str
    traits: SourceTraits
    # Description of where its figures come from.
    note: str

    def read(self, now_s: Callable[[], float]) -> RawReading:
        """Read the device once; a part that did not answer is None.

        Args:
            now_s: Returns seconds since the meter was opened; called once the device has answered.
        """
        ...
