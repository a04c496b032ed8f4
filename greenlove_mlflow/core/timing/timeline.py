"""The timeline of traced steps: how long device and unblocked host are busy, and the kernels a GPU would get."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from greenlove_mlflow.units import US_PER_S

# kernel: work of the device itself; copy: between host and device, by separate engines; launch: a host call that starts
# work; wait: a host call that returns when the device is done; step: a marked step, on the host's clock.
ActivityKind = Literal["kernel", "copy", "launch", "wait", "step"]

# CUDA lets the host run ahead by this many launches of one stream; the next one waits.
QUEUE_LENGTH = 1024
# A launch that takes this multiple of the usual one waited for space in the queue, or for a copy from pageable memory.
BLOCKED_LAUNCH_RATIO = 3.0
# The usual launch is this quantile: where the queue is full, most launches wait.
USUAL_LAUNCH_QUANTILE = 0.2
# A trace that lost more of its kernels than this is unusable; an empty copy leaves no record either.
LARGEST_LOST_SHARE = 0.02
LARGEST_LOST_COUNT = 2
# Beyond this, the host's time cannot be separated from waiting for the device.
FLAT_SHARE = 0.03
LEAST_HOST_SHARE = 0.2
# Bisection of a pace between 0 and 4, to a ten-thousandth.
_BISECTION_COUNT = 15


@dataclass(frozen=True, slots=True)
class Activity:
    """One event of a trace.

    Args:
        kind: Kind of event.
        start_us: When it began, microseconds.
        end_us: When it ended, microseconds.
        stream: Stream of a kernel or copy.
        correlation: Equal for a launch and the work it started; None where the tracer does not record it.
    """

    kind: ActivityKind
    start_us: float
    end_us: float
    stream: int = 0
    correlation: int | None = None

    @property
    def duration_us(self) -> float:
        """Its length, microseconds."""
        return self.end_us - self.start_us


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedSteps:
    """The mean step of a trace.

    Args:
        device_busy_s: Seconds in which at least one kernel ran; None where the trace has none or lost some.
        launch_count: Host calls that started kernels; a replayed graph is one. None where the trace has none.
        sync_count: Calls that made the host wait.
        host_s: The host's own time, seconds; None without an untraced step to compare with.
        reason: Text on why something is None; empty when nothing is.
    """

    device_busy_s: float | None = None
    launch_count: float | None = None
    sync_count: float | None = None
    host_s: float | None = None
    reason: str = ""


def read_steps(
    activities: Sequence[Activity], *, untraced_s: float | None = None, tracer_share: float = 0.0
) -> TracedSteps:
    """The mean over the marked steps of a trace.

    Args:
        activities: All events, in any order. The device is idle at the start of each step and at the end of the trace.
        untraced_s: Seconds of the step function without a tracer, its queue empty at the start.
        tracer_share: Share of the host's traced time that the tracer itself is known to take, 0 to 1; used where the
            untraced step is uninformative because the device alone determined its length.
    """
    steps = [_Step(*each) for each in _split(activities)]
    if not steps:
        return TracedSteps(reason="the trace holds no step")
    kernel_count = sum(len(step.kernels) for step in steps)
    if not kernel_count:
        return TracedSteps(reason="the profiler saw no kernel")
    # The last step is the one least disturbed by the start of the tracer.
    host_us = None if untraced_s is None else steps[-1].host_us(US_PER_S * untraced_s, tracer_share)
    lost = _lost_share(steps)
    return TracedSteps(
        device_busy_s=None if lost > LARGEST_LOST_SHARE else _mean([step.busy_us for step in steps]) / US_PER_S,
        launch_count=_mean([step.launch_count for step in steps]),
        sync_count=_mean([len(step.waits) for step in steps]),
        host_s=None if host_us is None else host_us / US_PER_S,
        reason=f"the profiler lost {lost:.0%} of the kernels" if lost > LARGEST_LOST_SHARE else "",
    )


def busy_us(activities: Iterable[Activity]) -> float:
    """Microseconds in which at least one activity ran, on any stream.

    >>> busy_us([Activity("kernel", 0.0, 4.0, 7), Activity("kernel", 2.0, 5.0, 20), Activity("kernel", 8.0, 9.0, 7)])
    6.0
    """
    total, until = 0.0, float("-inf")
    for each in sorted(activities, key=lambda activity: activity.start_us):
        total += max(0.0, each.end_us - max(each.start_us, until))
        until = max(until, each.end_us)
    return total


class _Step:
    """The activities of one marked step."""

    def __init__(self, mark: Activity, activities: Sequence[Activity]) -> None:
        self.mark = mark
        self.kernels = [each for each in activities if each.kind == "kernel"]
        self.work = [each for each in activities if each.kind in ("kernel", "copy")]
        calls = [each for each in activities if each.kind in ("launch", "wait") and each.start_us <= mark.end_us]
        self.calls = sorted(_outermost(calls), key=lambda each: each.start_us)
        self.waits = [each for each in self.calls if each.kind == "wait"]
        self.launches = [each for each in self.calls if each.kind == "launch"]

    @property
    def busy_us(self) -> float:
        return busy_us(self.kernels)

    @property
    def launch_count(self) -> int:
        """Number of launches that started kernels; one per kernel if the tracer does not correlate them."""
        known = {each.correlation for each in self.kernels if each.correlation is not None}
        return len(known) or len(self.kernels)

    def host_us(self, untraced_us: float, tracer_share: float) -> float | None:
        """The host's own time in a step, microseconds, given its untraced length; None where the host did nothing."""
        events = self._events()
        active_us = sum(each.active_us for each in events)
        if not active_us > 0.0:
            return None
        low = _largest_pace(events, (1.0 - FLAT_SHARE) * untraced_us)
        high = _largest_pace(events, (1.0 + FLAT_SHARE) * untraced_us)
        middle = _largest_pace(events, untraced_us)
        # Where the device alone determines the length, any pace within wide bounds explains the step.
        told_apart = high - low <= 4.0 * FLAT_SHARE * max(high, 1e-9)
        pace = middle if told_apart else min(max(1.0 - tracer_share, low, LEAST_HOST_SHARE), high)
        return pace * active_us

    def _events(self) -> list[_HostEvent]:
        usual_us = _quantile([each.duration_us for each in self.launches], USUAL_LAUNCH_QUANTILE)
        started: dict[int | None, list[Activity]] = {}
        for each in sorted(self.work, key=lambda activity: activity.start_us):
            started.setdefault(each.correlation, []).append(each)
        events, now_us, launched = [], self.mark.start_us, 0
        for call in self.calls:
            work = [] if call.correlation is None else started.get(call.correlation, [])
            end_us = min(call.end_us, self.mark.end_us)
            may_block = launched >= QUEUE_LENGTH or any(each.kind == "copy" for each in work)
            blocked_us = call.duration_us if call.kind == "wait" else 0.0
            if call.kind == "launch" and may_block and call.duration_us > BLOCKED_LAUNCH_RATIO * usual_us:
                blocked_us = call.duration_us - usual_us
            queued = tuple((each.stream, each.duration_us) for each in work)
            events.append(_HostEvent(max(0.0, end_us - now_us - blocked_us), queued, call.kind == "wait"))
            now_us, launched = max(now_us, end_us), launched + (call.kind == "launch")
        events.append(_HostEvent(max(0.0, self.mark.end_us - now_us), (), False))
        return events


@dataclass(frozen=True, slots=True)
class _HostEvent:
    """A stretch of the host's own work, the device work it queues at its end by stream, and whether it waits."""

    active_us: float
    work: tuple[tuple[int, float], ...]
    waits: bool


def _is_through(events: Sequence[_HostEvent], pace: float, until_us: float) -> bool:
    """Whether the host is done by ``until_us`` if its own work takes ``pace`` times its traced time."""
    now_us, last_us, free_us = 0.0, 0.0, dict[int, float]()
    ends_us: list[float] = []
    for event in events:
        now_us += pace * event.active_us
        if event.work:
            if len(ends_us) >= QUEUE_LENGTH:
                now_us = max(now_us, ends_us[-QUEUE_LENGTH])
            for stream, duration_us in event.work:
                free_us[stream] = max(now_us, free_us.get(stream, 0.0)) + duration_us
                last_us = max(last_us, free_us[stream])
            ends_us.append(last_us)
        if event.waits:
            now_us = max(now_us, last_us)
        if now_us > until_us:
            return False
    return True


def _largest_pace(events: Sequence[_HostEvent], until_us: float) -> float:
    """The slowest pace at which the host is done by ``until_us``; 0 where the device alone takes longer."""
    low, high = 0.0, 4.0
    if not _is_through(events, low, until_us):
        return low
    for _ in range(_BISECTION_COUNT):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _is_through(events, middle, until_us) else (low, middle)
    return low


def _split(activities: Sequence[Activity]) -> list[tuple[Activity, list[Activity]]]:
    """Each marked step with the activities that began before the next one."""
    marks = sorted((each for each in activities if each.kind == "step"), key=lambda each: each.start_us)
    starts = [mark.start_us for mark in marks]
    parts: list[tuple[Activity, list[Activity]]] = [(mark, []) for mark in marks]
    for each in activities:
        index = bisect.bisect_right(starts, each.start_us) - 1
        if each.kind != "step" and index >= 0:
            parts[index][1].append(each)
    return parts


def _outermost(calls: Sequence[Activity]) -> list[Activity]:
    """The calls not nested in another: a runtime call may be recorded again as the driver call that it makes."""
    kept: list[Activity] = []
    for each in sorted(calls, key=lambda call: (call.start_us, -call.end_us)):
        if kept and each.end_us <= kept[-1].end_us and each.kind == kept[-1].kind:
            continue
        kept.append(each)
    return kept


def _lost_share(steps: Sequence[_Step]) -> float:
    """Share of the launches whose kernel is not in the trace; 0 where the tracer does not correlate."""
    launched = {each.correlation for step in steps for each in step.launches if each.correlation is not None}
    seen = {each.correlation for step in steps for each in step.work if each.correlation is not None}
    lost = len(launched - seen)
    return lost / len(launched) if seen and lost > LARGEST_LOST_COUNT * len(steps) else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * len(values))] if values else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFactors:
    """Sourced conversion factors from operator counts to GPU kernels, from ``data/kernel_factors``.

    Args:
        per_operator: Kernels per operator that is not a view, over forward, backward and optimizer.
        per_recurrent_step: Kernels of a fused recurrent layer per time step, forward and backward.
        tracer_s: Host overhead of torch's profiler per operator, seconds.
    """

    per_operator: float = 1.0
    per_recurrent_step: float = 1.0
    tracer_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCounts:
    """The operators counted in one step.

    Args:
        operator_count: Operators that do work, without those of recurrent layers.
        recurrent_step_count: Time steps of fused recurrent layers, over all layers and directions.
        flop_count: Floating-point operations of matrix products, convolutions and attention.
        moved_bytes: Bytes that the operators read and write.
    """

    operator_count: float
    recurrent_step_count: float = 0.0
    flop_count: float = 0.0
    moved_bytes: float = 0.0


def expected_launches(counts: OperatorCounts, factors: KernelFactors) -> float:
    """Kernels that the step would launch on a GPU.

    >>> expected_launches(OperatorCounts(operator_count=30.0, recurrent_step_count=100.0),
    ...                   KernelFactors(per_operator=1.5, per_recurrent_step=5.0))
    545.0
    """
    return factors.per_operator * counts.operator_count + factors.per_recurrent_step * counts.recurrent_step_count
