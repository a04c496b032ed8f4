"""Ledger: running totals of one device, from readings of its counter and its power, robust to faulty ones.

A counter that answers takes precedence. Time in which it stood still, jumped or did not answer is booked from the power
samples taken alongside, and time with neither is unknown: a tally states how much of it there was.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from greenlove_mlflow.core.energy.power import (
    CONTRADICTION_RATIO,
    COUNTER_STALL_S,
    MeteredDevice,
    counter_step_j,
)
from greenlove_mlflow.core.records import PowerSample
from greenlove_mlflow.power.sources import RawReading, SourceTraits

# Two hours of samples at ten per second; beyond that, neighbours are merged in pairs, so long runs stay this small.
MAX_SAMPLE_COUNT = 72_000
# Enough samples for the noise of a mean.
MAX_WINDOW_SAMPLE_COUNT = 8_192
# Samples further apart than this leave the time between them unknown.
SAMPLE_GAP_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Energy of one device since its first reading.

    Args:
        energy_j: Joules, with unknown time filled with the mean of the known.
        known_share: Share of the time that was metered, 0 to 1; the rest was filled.
    """

    energy_j: float
    known_share: float


class SampleStore:
    """The samples of one device, at most ``cap``: when full, neighbours are merged into their mean."""

    def __init__(self, cap: int) -> None:
        self._cap, self._samples, self._weights = max(2, cap), list[PowerSample](), list[int]()

    def append(self, sample: PowerSample) -> None:
        """Add a sample."""
        self._samples.append(sample)
        self._weights.append(1)
        if len(self._samples) > self._cap:
            kept = list(zip(self._samples, self._weights, strict=True))
            pairs = [_merged(*one, *other) for one, other in zip(kept[::2], kept[1::2], strict=False)]
            self._samples, self._weights = map(list, zip(*pairs, *kept[len(pairs) * 2 :], strict=True))

    def all(self) -> tuple[PowerSample, ...]:
        """The stored samples, in time order."""
        return tuple(self._samples)

    def weights(self) -> tuple[int, ...]:
        """How many original samples each stored sample stands for."""
        return tuple(self._weights)


class Ledger:
    """Totals of one device since opening and inside steady windows; it reads no clock and never raises.

    Args:
        device: ``gpu_0``, ``cpu`` or ``ram``.
        traits: Traits of its source.
        sample_gap_s: Samples further apart than this leave the time between them unknown, seconds.
    """

    def __init__(self, device: str, traits: SourceTraits | None = None, *, sample_gap_s: float = SAMPLE_GAP_S) -> None:
        self.device, self._traits, self._sample_gap_s = device, traits or SourceTraits(), sample_gap_s
        self.samples, self._window_samples = SampleStore(MAX_SAMPLE_COUNT), SampleStore(MAX_WINDOW_SAMPLE_COUNT)
        self.is_lost = False
        self._reset_count = 0
        self._frozen_s = 0.0
        self._first_s: float | None = None
        self._last_sample: RawReading | None = None
        self._is_inside_since_sample = True
        # The last reading with a plausible counter, the one at which it last moved, and one that contradicts both.
        self._counted: _Count | None = None
        self._suspect: _Count | None = None
        self._stretch = _Stretch(start_s=0.0)
        self._by_counter, self._by_samples = _Total(), _Total()
        self._sampled = _Total()
        self._window = _WindowTotals()
        self._steady_since_s, self._steady_until_s = 0.0, float("-inf")

    @property
    def has_answered(self) -> bool:
        """Whether the device ever returned a reading."""
        return self._counted is not None or self._last_sample is not None

    @property
    def reset_count(self) -> int:
        """How often the counter was reset, or seems to have been."""
        return self._reset_count + (self._suspect is not None)

    @property
    def frozen_s(self) -> float:
        """Seconds in which the counter stood still although the device ran."""
        return self._frozen_s + (self._stretch.still_s if self._is_stalled else 0.0)

    def tally(self, at_s: float) -> Tally | None:
        """Energy since the first reading; None while nothing is known.

        Args:
            at_s: End of the time span, seconds since the meter was opened.
        """
        if self._first_s is None or not self.has_answered:
            return None
        stretch, known = self._stretch, self._by_counter.plus(self._by_samples)
        if not self._total().is_counter_believed and self._by_counter.j > 0.0 and self._by_counter.s > COUNTER_STALL_S:
            known = self._sampled
        elif self._is_counting and at_s - stretch.start_s <= COUNTER_STALL_S:
            # The counter is about to move: only the time up to its last tick is known.
            at_s = stretch.start_s
        else:
            known = known.plus(stretch.sampled)
        total_s = at_s - self._first_s
        if known.s == 0.0 and total_s <= COUNTER_STALL_S and self._suspect is None:
            return Tally(energy_j=0.0, known_share=1.0)
        if known.s <= 0.0 or known.j <= 0.0:
            return None
        share = min(1.0, known.s / total_s) if total_s > 0.0 else 1.0
        # A tick right after another says little of the mean: what fills the rest is no more than the device can draw.
        mean_w = min(known.j / known.s, self._traits.bounds.most_w)
        return Tally(energy_j=known.j + mean_w * max(0.0, total_s - known.s), known_share=share)

    def begin_window(self, at_s: float) -> None:
        """Begin a steady window; one that directly follows another continues it."""
        if at_s - self._steady_until_s > self._traits.tick_s:
            self._window.count += 1
            self._steady_since_s = at_s

    def end_window(self, at_s: float) -> None:
        """End the steady window."""
        self._steady_until_s = at_s

    def add(self, reading: RawReading, *, inside: bool) -> float | None:
        """Book the time since the last reading and return the current power, watts; None if unknown.

        Args:
            reading: The new reading of the device.
            inside: Whether all the time since the last one was inside a window.
        """
        if reading.power_w is not None and not self._traits.bounds.hold(reading.power_w):
            reading = replace(reading, power_w=None)
        if self._first_s is None:
            self._first_s = reading.at_s
            self._stretch = _Stretch(start_s=reading.at_s)
        self._stretch.is_inside = self._stretch.is_inside and inside
        self._book_sample(reading, inside=inside)
        mean_w = self._book_counter(reading, inside=inside)
        return mean_w if reading.power_w is None else reading.power_w

    def keep_sample(self, sample: PowerSample, *, inside: bool) -> None:
        """Store a sample for the record, and for the noise of the mean if it was inside a window."""
        self.samples.append(sample)
        if inside:
            self._window_samples.append(sample)

    def metered(self, *, with_samples: bool = True) -> MeteredDevice:
        """What was metered inside the windows; everything since opening if no window was marked.

        Args:
            with_samples: Whether to include the samples, which determine the noise and may be many.
        """
        window = self._window
        if window.count == 0:
            samples = self.samples.all() if with_samples else ()
            return replace(self._total(), samples=samples)
        late = window.sampled.s >= self._traits.lag_s
        sampled = window.sampled if late else window.sampled.plus(window.early)
        return MeteredDevice(
            device=self.device,
            counter_s=max(0.0, window.counter.s),
            counter_j=window.counter.j if window.counter.s > 0.0 else None,
            window_count=window.count,
            tick_s=self._traits.tick_s,
            sampled_s=sampled.s,
            sampled_j=sampled.j if sampled.s > 0.0 else None,
            samples=self._window_samples.all() if with_samples else (),
            bounds=self._traits.bounds,
        )

    @property
    def _is_counting(self) -> bool:
        return self._counted is not None and self._suspect is None

    @property
    def _is_stalled(self) -> bool:
        return not self._traits.may_rest and self._stretch.still_s > COUNTER_STALL_S

    def _total(self) -> MeteredDevice:
        return MeteredDevice(
            device=self.device,
            counter_s=self._by_counter.s,
            counter_j=self._by_counter.j if self._by_counter.s > 0.0 else None,
            window_count=0,
            tick_s=self._traits.tick_s,
            sampled_s=self._sampled.s,
            sampled_j=self._sampled.j if self._sampled.s > 0.0 else None,
            bounds=self._traits.bounds,
        )

    def _book_sample(self, reading: RawReading, *, inside: bool) -> None:
        """Book the joules between two samples by the trapezoidal rule, unless they are too far apart."""
        last, self._is_inside_since_sample = self._last_sample, self._is_inside_since_sample and inside
        if reading.power_w is None:
            return
        inside, self._is_inside_since_sample = self._is_inside_since_sample, True
        self._last_sample = reading
        if last is None or last.power_w is None or not 0.0 < reading.at_s - last.at_s <= self._sample_gap_s:
            return
        elapsed_s = reading.at_s - last.at_s
        mean_w = (last.power_w + reading.power_w) / 2.0
        self._sampled.add(mean_w * elapsed_s, elapsed_s)
        since_s = min(elapsed_s, reading.at_s - self._stretch.start_s)
        self._stretch.sampled.add(mean_w * since_s, since_s)
        if inside:
            late = last.at_s >= self._steady_since_s + self._traits.lag_s
            (self._window.sampled if late else self._window.early).add(mean_w * elapsed_s, elapsed_s)

    def _book_counter(self, reading: RawReading, *, inside: bool) -> float | None:
        """Book the counter reading; return the mean power since it last moved, None if it did not move."""
        counted = self._counted
        if reading.counter_j is None:
            self._mark_outside(inside)
            return None
        now = _Count(at_s=reading.at_s, counter_j=reading.counter_j)
        if counted is None:
            self._begin(now)
            return None
        self._mark_outside(inside)
        # Energy since the counter last moved may arrive at once.
        step_j = self._step_j(counted, now, now.at_s - self._stretch.start_s)
        if step_j is None:
            self._doubt(now)
            return None
        self._suspect = None
        self._counted = now
        if step_j == 0.0 and not self._traits.may_rest:
            self._stand_still(now, counted)
            return None
        return self._move(step_j, now, counted)

    def _mark_outside(self, inside: bool) -> None:
        for count in (self._counted, self._suspect):
            if count is not None:
                count.is_inside = count.is_inside and inside

    def _step_j(self, before: _Count, after: _Count, elapsed_s: float) -> float | None:
        return counter_step_j(
            before.counter_j,
            after.counter_j,
            max(0.0, elapsed_s),
            wraps_at_j=self._traits.wraps_at_j,
            most_w=self._traits.bounds.most_w,
        )

    def _begin(self, now: _Count) -> None:
        """Start the counter at its first answer; the time before is known from samples at most."""
        self._counted = now
        self._settle_by_samples(now.at_s)

    def _stand_still(self, now: _Count, counted: _Count) -> None:
        """Handle a counter that has not moved: up to its tick that is normal, after that it has stopped counting."""
        stretch, window = self._stretch, self._window
        was_stalled = self._is_stalled
        stretch.still_s = now.at_s - stretch.start_s
        if self._is_stalled:
            if not was_stalled:
                window.counter.s -= stretch.window_s
            return
        if counted.is_inside:
            stretch.window_s += now.at_s - counted.at_s
            window.counter.s += now.at_s - counted.at_s

    def _move(self, step_j: float, now: _Count, counted: _Count) -> float | None:
        """Book a step of the counter; after a standstill, only if the step accounts for that time."""
        stretch, elapsed_s = self._stretch, now.at_s - self._stretch.start_s
        if not self._is_stalled:
            self._by_counter.add(step_j, elapsed_s)
            if counted.is_inside:
                self._window.counter.add(step_j, now.at_s - counted.at_s)
        elif self._makes_up(step_j, elapsed_s):
            self._by_counter.add(step_j, elapsed_s)
            if stretch.is_inside:
                self._window.counter.add(step_j, elapsed_s)
        else:
            self._frozen_s += elapsed_s
            self._settle_by_samples(now.at_s)
            return None
        self._stretch = _Stretch(start_s=now.at_s)
        return step_j / elapsed_s if elapsed_s > 0.0 else None

    def _makes_up(self, step_j: float, elapsed_s: float) -> bool:
        """Whether a step after a standstill covers the energy of all that time, by the samples or the mean before."""
        rest = self._stretch.sampled if self._stretch.sampled.s >= elapsed_s / 2.0 else self._by_counter
        mean_w = rest.j / rest.s if rest.s > 0.0 else self._traits.bounds.least_w
        return step_j * CONTRADICTION_RATIO >= mean_w * elapsed_s

    def _doubt(self, now: _Count) -> None:
        """Hold back an implausible reading: a bad read if the next one fits the last, else a counter reset."""
        suspect = self._suspect
        step_j = None if suspect is None else self._step_j(suspect, now, now.at_s - suspect.at_s)
        if suspect is None or step_j is None:
            self._suspect = now
            return
        self._reset_count += 1
        self._suspect, self._counted = None, now
        stretch = self._stretch
        since_s = now.at_s - suspect.at_s
        if stretch.sampled.s >= (now.at_s - stretch.start_s) / 2.0:
            self._settle_by_samples(now.at_s)
        else:
            self._by_counter.add(step_j, since_s)
            self._stretch = _Stretch(start_s=now.at_s)
        if suspect.is_inside:
            self._window.counter.add(step_j, since_s)

    def _settle_by_samples(self, at_s: float) -> None:
        """Close the stretch from its samples; time without samples stays unknown."""
        self._by_samples = self._by_samples.plus(self._stretch.sampled)
        self._stretch = _Stretch(start_s=at_s)


@dataclass(slots=True)
class _Total:
    """Joules over seconds."""

    j: float = 0.0
    s: float = 0.0

    def add(self, energy_j: float, elapsed_s: float) -> None:
        self.j += energy_j
        self.s += elapsed_s

    def plus(self, other: _Total) -> _Total:
        return _Total(j=self.j + other.j, s=self.s + other.s)


@dataclass(slots=True)
class _Count:
    """A counter reading, and whether all the time since then was inside a window."""

    at_s: float
    counter_j: float
    is_inside: bool = True


@dataclass(slots=True)
class _Stretch:
    """The time since the counter last moved, or since the first reading if there is no counter."""

    start_s: float
    still_s: float = 0.0
    window_s: float = 0.0
    is_inside: bool = True
    sampled: _Total = field(default_factory=_Total)


@dataclass(slots=True)
class _WindowTotals:
    count: int = 0
    counter: _Total = field(default_factory=_Total)
    sampled: _Total = field(default_factory=_Total)
    early: _Total = field(default_factory=_Total)


def _merged(one: PowerSample, weight: int, other: PowerSample, other_weight: int) -> tuple[PowerSample, int]:
    total = weight + other_weight
    at_s = (one.at_s * weight + other.at_s * other_weight) / total
    power_w = (one.power_w * weight + other.power_w * other_weight) / total
    return PowerSample(at_s=at_s, device=one.device, power_w=power_w), total
