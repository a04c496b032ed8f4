"""Power from metering: a board's energy counter and its samples, or a model where neither can be read."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval, quadrature
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import EnergySource, PowerReading, PowerSample

# NVML's energy counter updates about ten times a second, so each edge of a window may be off by one such tick.
COUNTER_TICK_S = 0.1
# Over 5 s the tick errs by 0.8% rms (0.1 s x sqrt(2 / 12) over 5 s), well under the meter's own error.
MIN_COUNTER_WINDOW_S = 5.0
# The meter's own error as a log SD: NVML states +-5% for its readings.
METER_LOG_SD = 0.05
# Sampled power alone: boards like the A100 and H100 sample only a quarter of the time, and many report a mean of the
# past second, so samples are less certain than a counter (Yang et al., SC24, arXiv 2312.02741).
SAMPLED_LOG_SD = 0.10
# Share of its TDP that an unmetered board is assumed to draw while training, at home and as an offer: the lower end of
# the original's 0.70 to 0.80.
ASSUMED_UTILIZATION = 0.70
# Log SD of design power times a utilisation, or times a share of the cores: comparisons with wall meters find errors up
# to 40% (Fischer 2025, arXiv 2509.22092), and a run that waits for its host draws less than half of that share.
MODELLED_POWER_LOG_SD = 0.3
# Counter and samples that differ by more than this over a window long enough for ticks and lag not to matter disagree.
DISAGREEMENT_RATIO = 1.10
MIN_COMPARISON_S = 10.0
# Most boards average a sample over up to the past second, so the first second of a steady span still shows the past.
POWER_LAG_S = 1.0
# The noise of the mean is estimated from one-second means; fewer than five say nothing about their spread.
NOISE_BIN_S = 1.0
MIN_NOISE_BIN_COUNT = 5
# Beyond this lag-1 correlation a short record cannot tell noise from drift.
MAX_CORRELATION = 0.9
# No board draws this much: a counter that claims so has jumped (a reset, a torn read), and such a sample is invalid.
IMPLAUSIBLE_POWER_W = 10_000.0
# A board that is switched on draws more, even asleep; a lower reading is in another unit or invalid.
LEAST_BOARD_POWER_W = 1.0
# NVML's readings are means, which exceed the highest limit that a board can be set to by far less than this. A table's
# TDP may be another variant's, so it bounds more loosely.
MOST_PER_LIMIT_RATIO = 1.5
MOST_PER_TDP_RATIO = 3.0
# Slack for counters beyond the time since they last moved: their ticks are not of one length.
COUNTER_BURST_S = 0.25
# A counter updates ten times a second; one unchanged for this long while the device runs has stopped counting.
COUNTER_STALL_S = 1.0
# Counter and samples that differ by more than this cannot both be right.
CONTRADICTION_RATIO = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerBounds:
    """The plausible range of a device's power; a reading outside it is invalid.

    Args:
        least_w: Lower bound of its power while switched on, watts; 0 where unknown.
        most_w: Upper bound of its power, watts.

    >>> bounds = PowerBounds(least_w=1.0, most_w=600.0)
    >>> [bounds.hold(watts) for watts in (0.0, -5.0, 0.2, 250.0, 4_294_967.0, float("nan"))]
    [False, False, False, True, False, False]
    """

    least_w: float = 0.0
    most_w: float = IMPLAUSIBLE_POWER_W

    def hold(self, power_w: float) -> bool:
        """Whether a power is plausible: finite, above 0 and within the bounds."""
        return power_w > 0.0 and self.least_w <= power_w <= self.most_w


ANY_POWER = PowerBounds()


def board_bounds(limit_w: float | None, tdp_w: float | None = None) -> PowerBounds:
    """The power bounds of a GPU board.

    Args:
        limit_w: The highest power limit that its firmware allows, watts; None when not reported.
        tdp_w: Its design power in the specs table, watts; None when unknown.

    >>> board_bounds(400.0).most_w, board_bounds(None, 400.0).most_w, board_bounds(None).most_w
    (600.0, 1200.0, 10000.0)
    """
    most_w = IMPLAUSIBLE_POWER_W
    if limit_w is not None and LEAST_BOARD_POWER_W < limit_w < IMPLAUSIBLE_POWER_W:
        most_w = min(most_w, MOST_PER_LIMIT_RATIO * limit_w)
    elif tdp_w is not None and tdp_w > LEAST_BOARD_POWER_W:
        most_w = min(most_w, MOST_PER_TDP_RATIO * tdp_w)
    return PowerBounds(least_w=LEAST_BOARD_POWER_W, most_w=most_w)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteredDevice:
    """What was metered of one device over its steady windows.

    Args:
        device: ``gpu_0``, ``cpu`` or ``ram``.
        counter_s: Seconds that the energy counter covers.
        counter_j: Joules it counted; None without a counter.
        window_count: Separate windows that make up those seconds; 0 where none was marked and everything counts.
        tick_s: Update interval of the counter, seconds.
        sampled_s: Seconds that the samples cover.
        sampled_j: Joules integrated from the samples; None without any.
        samples: Samples inside the windows, in time order.
        bounds: The plausible range of its power.
    """

    device: str
    counter_s: float = 0.0
    counter_j: float | None = None
    window_count: int = 1
    tick_s: float = COUNTER_TICK_S
    sampled_s: float = 0.0
    sampled_j: float | None = None
    samples: tuple[PowerSample, ...] = ()
    bounds: PowerBounds = ANY_POWER

    @property
    def counter_w(self) -> float | None:
        """Mean power by the counter, watts; None when it counted nothing."""
        return self.counter_j / self.counter_s if self.counter_j and self.counter_s > 0.0 else None

    @property
    def sampled_w(self) -> float | None:
        """Mean power by the samples, watts; None without any."""
        return self.sampled_j / self.sampled_s if self.sampled_j and self.sampled_s > 0.0 else None

    @property
    def is_counter_believed(self) -> bool:
        """Whether the counter's mean power is plausible, by itself and against the samples.

        Sensor faults lose energy (the counter stalls, misses ticks, repeats an old value), and those that invent energy
        exceed the bounds, so of two contradicting figures the larger one is used.
        """
        counter_w, sampled_w = self.counter_w, self.sampled_w
        if counter_w is None:
            return False
        # In a short window, one tick more or less at the edges is no contradiction.
        slack = 1.0 + 2.0 * self.tick_s / self.counter_s
        if counter_w > self.bounds.most_w * slack or counter_w * slack < self.bounds.least_w:
            return False
        return sampled_w is None or counter_w * slack * CONTRADICTION_RATIO >= sampled_w


def counter_step_j(
    before_j: float,
    after_j: float,
    elapsed_s: float,
    *,
    wraps_at_j: float | None = None,
    most_w: float = IMPLAUSIBLE_POWER_W,
) -> float | None:
    """Joules between two counter readings, never negative; None when the counter was reset or jumped.

    Args:
        before_j: Earlier reading, joules.
        after_j: Later reading, joules.
        elapsed_s: Seconds since the counter last changed.
        wraps_at_j: Where the counter wraps around to 0, joules; None when it does not.
        most_w: Upper bound of the device's power, watts.

    >>> counter_step_j(10.0, 40.0, 0.1)
    30.0
    >>> counter_step_j(90.0, 10.0, 0.1, wraps_at_j=100.0)
    20.0
    >>> counter_step_j(90.0, 10.0, 0.1) is None
    True
    """
    step_j = after_j - before_j
    if step_j < 0.0 and wraps_at_j is not None:
        step_j += wraps_at_j
    most_j = most_w * (max(0.0, elapsed_s) + COUNTER_BURST_S)
    return step_j if 0.0 <= step_j <= most_j else None


def tick_log_half_width(window_s: float, window_count: int, tick_s: float = COUNTER_TICK_S) -> float:
    """The log half-width of a mean power due to the counter's ticks.

    For long windows the 95% range of the two edges' random phases, for short ones the worst case.

    >>> round(tick_log_half_width(10.0, 1), 4)
    0.008
    """
    if window_s <= 0.0:
        return math.inf
    edges = math.sqrt(max(1, window_count)) * tick_s / window_s
    if window_s < MIN_COUNTER_WINDOW_S:
        return math.log1p(edges)
    return NORMAL_QUANTILE_95 * edges / math.sqrt(6.0)


def noise_log_half_width(samples: Sequence[PowerSample]) -> float:
    """95% half-width of the log of mean power, from the spread of its one-second means; 0 with too few of them.

    The effective number of means is that of a first-order autocorrelated series.
    """
    bins: dict[int, list[float]] = {}
    for sample in samples:
        if sample.power_w > 0.0:
            bins.setdefault(int(sample.at_s // NOISE_BIN_S), []).append(sample.power_w)
    logs = [math.log(math.fsum(values) / len(values)) for _, values in sorted(bins.items())]
    if len(logs) < MIN_NOISE_BIN_COUNT:
        return 0.0
    centre = math.fsum(logs) / len(logs)
    offsets = [value - centre for value in logs]
    squares = math.fsum(offset * offset for offset in offsets)
    if squares == 0.0:
        return 0.0
    lagged = math.fsum(one * two for one, two in itertools.pairwise(offsets)) / squares
    correlation = min(MAX_CORRELATION, max(0.0, lagged))
    effective = len(logs) * (1.0 - correlation) / (1.0 + correlation)
    return NORMAL_QUANTILE_95 * math.sqrt(squares / (len(logs) - 1) / effective)


def read_metered(metered: MeteredDevice, *, note: str, idle_power_w: float | None = None) -> PowerReading | None:
    """Mean power of a metered device with its range, from the counter or else the samples; None without either.

    Args:
        metered: What was metered of the device.
        note: Text on where the figure comes from.
        idle_power_w: The device's power before the benchmark, watts; None when not measured.
    """
    sampled_w = metered.sampled_w
    counter_w = metered.counter_w if metered.is_counter_believed else None
    noise = noise_log_half_width(metered.samples)
    power_w = counter_w if counter_w is not None else sampled_w
    if power_w is None:
        return None
    by_counter = counter_w is not None
    if by_counter:
        tick = tick_log_half_width(metered.counter_s, metered.window_count, metered.tick_s)
        width = quadrature(NORMAL_QUANTILE_95 * METER_LOG_SD, tick, noise)
    else:
        width = quadrature(NORMAL_QUANTILE_95 * SAMPLED_LOG_SD, noise)
    if sampled_w is not None and sources_disagree(metered):
        width = quadrature(width, abs(math.log(sampled_w / power_w)))
    return PowerReading(
        device=metered.device,
        power_w=power_w,
        log_half_width=width,
        source="counter" if by_counter else "sampled",
        window_s=metered.counter_s if by_counter else metered.sampled_s,
        energy_j=metered.counter_j if by_counter else metered.sampled_j,
        sampled_power_w=sampled_w if by_counter else None,
        idle_power_w=idle_power_w,
        note=note,
    )


def sources_disagree(metered: MeteredDevice) -> bool:
    """Whether counter and samples contradict each other over a long enough time."""
    counter_w, sampled_w = metered.counter_w, metered.sampled_w
    if counter_w is None or sampled_w is None or min(metered.counter_s, metered.sampled_s) < MIN_COMPARISON_S:
        return False
    return max(counter_w / sampled_w, sampled_w / counter_w) > DISAGREEMENT_RATIO


def metering_caveats(metered: MeteredDevice) -> tuple[Caveat, ...]:
    """The caveats of a metered power: a short window, or counter and samples that disagree."""
    counter_w, sampled_w = metered.counter_w, metered.sampled_w
    caveats = []
    metered_s = metered.counter_s if metered.is_counter_believed else metered.sampled_s
    if metered.window_count and metered.tick_s > 0.0 and 0.0 < metered_s < MIN_COUNTER_WINDOW_S:
        caveats.append(
            Caveat.of("short-energy-window", device=metered.device, window_s=metered_s, wanted_s=MIN_COUNTER_WINDOW_S)
        )
    if counter_w is not None and not metered.is_counter_believed:
        instead = "it is not used" if sampled_w is None else f"the {sampled_w:.4g} W of its power samples are used"
        caveats.append(
            Caveat.of("energy-counter-implausible", device=metered.device, counter_w=counter_w, instead=instead)
        )
    elif counter_w is not None and sampled_w is not None and sources_disagree(metered):
        caveats.append(
            Caveat.of("power-sources-disagree", device=metered.device, counter_w=counter_w, sampled_w=sampled_w)
        )
    return tuple(caveats)


def model_power(
    device: str, full_power_w: Interval, share: float, *, source: EnergySource = "modelled", note: str = ""
) -> PowerReading:
    """Modelled power: a share of the device's full-load power, with a wide range.

    Args:
        device: ``gpu_0``, ``cpu`` or ``ram``.
        full_power_w: Power at full load, watts.
        share: Share of it assumed while training.
        source: How the figure is known.
        note: Text on where the figure comes from.

    >>> model_power("gpu_0", Interval.exactly(300.0), 0.5).power_w
    150.0
    """
    return PowerReading(
        device=device,
        power_w=full_power_w.point * share,
        log_half_width=quadrature(full_power_w.log_half_width, NORMAL_QUANTILE_95 * MODELLED_POWER_LOG_SD),
        source=source,
        note=note,
    )
