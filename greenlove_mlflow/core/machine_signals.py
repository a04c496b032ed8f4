"""What a machine's counters said of it while the benchmark's timed passes ran."""

from __future__ import annotations

from dataclasses import dataclass

# A board's clock that fell by more than this share is being held back by heat or power.
FALLING_CLOCK_RATIO = -0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSignals:
    """Shares of the timed passes' time, 0 to 1 unless stated otherwise; None where not read.

    Args:
        cpu_share: CPU seconds of this process per second; above 1 with several threads.
        run_wait_share: Time this process was ready to run but others ran.
        steal_share: Time the hypervisor ran others, of all cores.
        neighbour_share: CPU time of other processes, of all cores.
        load_ratio: Load average per core.
        is_virtual: Whether the CPU is a virtual machine's.
        throttled_share: Time the board was held back by heat or power.
        clock_ratio: The board's clock relative to its maximum.
        clock_change_ratio: Change of that clock from first to last reading: -0.05 if it fell by 5%.
        temperature_rise_c: Rise of the board's temperature, degrees Celsius.
    """

    cpu_share: float | None = None
    run_wait_share: float | None = None
    steal_share: float | None = None
    neighbour_share: float | None = None
    load_ratio: float | None = None
    is_virtual: bool | None = None
    throttled_share: float | None = None
    clock_ratio: float | None = None
    clock_change_ratio: float | None = None
    temperature_rise_c: float | None = None

    @property
    def is_clock_falling(self) -> bool:
        """Whether the board's clock fell while it was timed."""
        return (self.clock_change_ratio or 0.0) < FALLING_CLOCK_RATIO


NOTHING_READ = MachineSignals()
