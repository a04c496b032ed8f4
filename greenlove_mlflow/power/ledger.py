"""Ledger: the running totals of one device, from readings of its counter and its power."""

from __future__ import annotations

from dataclasses import dataclass

from greenlove_mlflow.core.energy.power import COUNTER_TICK_S, POWER_LAG_S, MeteredDevice, counter_step_j
from greenlove_mlflow.core.records import PowerSample

# Two hours of samples at ten a second; beyond, neighbours are merged in pairs, so a run of weeks stays this small.
MAX_SAMPLE_COUNT = 72_000
# The noise of a mean needs no more.
MAX_WINDOW_SAMPLE_COUNT = 8_192


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


class SampleStore:
    """The samples of one device, at most ``cap`` of them: when full, neighbours are merged into their mean."""

    def __init__(self, cap: int) -> None:
        self._cap, self._samples = max(2, cap), list[PowerSample]()

    def append(self, sample: PowerSample) -> None:
        """Keeps a sample."""
        self._samples.append(sample)
        if len(self._samples) > self._cap:
            pairs = zip(self._samples[::2], self._samples[1::2], strict=False)
            odd = self._samples[-1:] if len(self._samples) % 2 else []
            self._samples = [_merged(one, two) for one, two in pairs] + odd

    def all(self) -> tuple[PowerSample, ...]:
        """What is kept, in time order."""
        return tuple(self._samples)


class Ledger:
    """The totals of one device since opening and inside steady windows; it knows no clock and raises nothing.

    Args:
        device: ``gpu_0``, ``cpu`` or ``ram``.
        wraps_at_j: Where the counter starts again from 0; None when it does not.
        tick_s: How often the counter moves, seconds.
        lag_s: How long a power reading still shows what was before, seconds.
    """

    def __init__(
        self,
        device: str,
        *,
        wraps_at_j: float | None = None,
        tick_s: float = COUNTER_TICK_S,
        lag_s: float = POWER_LAG_S,
    ) -> None:
        self.device, self._wraps_at_j, self._tick_s, self._lag_s = device, wraps_at_j, tick_s, lag_s
        self.samples, self._window_samples = SampleStore(MAX_SAMPLE_COUNT), SampleStore(MAX_WINDOW_SAMPLE_COUNT)
        self.reset_count = 0
        self.is_lost = False
        self._has_hole = False
        self._last: RawReading | None = None
        self._last_counted: RawReading | None = None
        # Since the counter last answered: joules by samples, and whether all of it was inside a window.
        self._pending_sampled_j: float | None = 0.0
        self._pending_is_inside = True
        self._counter_j, self._sampled_j, self._sampled_s = 0.0, 0.0, 0.0
        self._window = _WindowTotals()
        self._steady_since_s, self._steady_until_s = 0.0, float("-inf")

    @property
    def energy_j(self) -> float | None:
        """Joules since opening; None when the device never answered, was lost, or its counter left a hole."""
        if self.is_lost or self._has_hole:
            return None
        if self._last_counted is not None:
            return self._counter_j
        return self._sampled_j if self._sampled_s > 0.0 else None

    def begin_window(self, at_s: float) -> None:
        """A steady stretch begins; one that follows another at once continues it."""
        if at_s - self._steady_until_s > self._tick_s:
            self._window.count += 1
            self._steady_since_s = at_s

    def end_window(self, at_s: float) -> None:
        """The steady stretch ends."""
        self._steady_until_s = at_s

    def add(self, reading: RawReading, *, inside: bool) -> float | None:
        """Power now, watts, having booked what happened since the last reading; None when it cannot be told.

        Args:
            reading: The new look at the device.
            inside: Whether all the time since the last one was inside a window.
        """
        before, counted_j = self._last_counted, self._counter_j
        sampled_j = self._book_samples(reading, inside=inside)
        self._pending_is_inside = self._pending_is_inside and inside
        if self._pending_sampled_j is not None:
            self._pending_sampled_j = None if sampled_j is None else self._pending_sampled_j + sampled_j
        self._book_counter(reading)
        self._last = reading
        if reading.power_w is not None or reading.counter_j is None or before is None:
            return reading.power_w
        elapsed_s = reading.at_s - before.at_s
        return (self._counter_j - counted_j) / elapsed_s if elapsed_s > 0.0 else None

    def keep_sample(self, sample: PowerSample, *, inside: bool) -> None:
        """Keeps a sample for the record, and for the noise of the mean when it was inside a window."""
        self.samples.append(sample)
        if inside:
            self._window_samples.append(sample)

    def metered(self) -> MeteredDevice:
        """What was metered inside the windows; all since opening when no window was marked."""
        window = self._window
        if window.count == 0:
            counted = None if self._has_hole else self._last_counted
            return MeteredDevice(
                device=self.device,
                counter_s=0.0 if counted is None else counted.at_s,
                counter_j=None if counted is None else self._counter_j,
                tick_s=self._tick_s,
                sampled_s=self._sampled_s,
                sampled_j=self._sampled_j if self._sampled_s > 0.0 else None,
                samples=self.samples.all(),
            )
        late = window.sampled_s >= self._lag_s
        sampled_s = window.sampled_s if late else window.sampled_s + window.early_s
        sampled_j = window.sampled_j if late else window.sampled_j + window.early_j
        return MeteredDevice(
            device=self.device,
            counter_s=window.counter_s,
            counter_j=window.counter_j if window.counter_s > 0.0 else None,
            window_count=window.count,
            tick_s=self._tick_s,
            sampled_s=sampled_s,
            sampled_j=sampled_j if sampled_s > 0.0 else None,
            samples=self._window_samples.all(),
        )

    def _book_samples(self, reading: RawReading, *, inside: bool) -> float | None:
        """Joules since the last reading by the samples at both ends; None when one of them is missing."""
        last = self._last
        if last is None:
            return 0.0
        if last.power_w is None or reading.power_w is None:
            return None
        elapsed_s = max(0.0, reading.at_s - last.at_s)
        energy_j = (last.power_w + reading.power_w) / 2.0 * elapsed_s
        self._sampled_j += energy_j
        self._sampled_s += elapsed_s
        if inside and last.at_s >= self._steady_since_s + self._lag_s:
            self._window.sampled_j += energy_j
            self._window.sampled_s += elapsed_s
        elif inside:
            self._window.early_j += energy_j
            self._window.early_s += elapsed_s
        return energy_j

    def _book_counter(self, reading: RawReading) -> None:
        if reading.counter_j is None:
            return
        before = self._last_counted
        if before is not None and before.counter_j is not None:
            elapsed_s = max(0.0, reading.at_s - before.at_s)
            step_j = counter_step_j(before.counter_j, reading.counter_j, elapsed_s, wraps_at_j=self._wraps_at_j)
            if step_j is None:
                self.reset_count += 1
                # The counter says nothing about this stretch; the samples beside it do, if they were there.
                step_j = self._pending_sampled_j
            if step_j is None:
                self._has_hole = True
            else:
                self._counter_j += step_j
                if self._pending_is_inside:
                    self._window.counter_j += step_j
                    self._window.counter_s += elapsed_s
        elif before is None:
            # Joules before the counter first answered are not in its total.
            self._has_hole = self._pending_sampled_j is None
            self._counter_j = self._sampled_j
        self._last_counted = reading
        self._pending_sampled_j, self._pending_is_inside = 0.0, True


@dataclass(slots=True)
class _WindowTotals:
    count: int = 0
    counter_s: float = 0.0
    counter_j: float = 0.0
    sampled_s: float = 0.0
    sampled_j: float = 0.0
    early_s: float = 0.0
    early_j: float = 0.0


def _merged(one: PowerSample, two: PowerSample) -> PowerSample:
    return PowerSample(at_s=(one.at_s + two.at_s) / 2.0, device=one.device, power_w=(one.power_w + two.power_w) / 2.0)
