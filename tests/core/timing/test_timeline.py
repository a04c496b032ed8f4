"""The timeline of traced steps: what the device and the host really took, whatever the tracer cost."""

from __future__ import annotations

import dataclasses

import pytest

from greenlove_mlflow.core.timing.timeline import Activity, busy_us, read_steps


@dataclasses.dataclass
class Played:
    """A step as a machine would run it: the host's pieces of work, each launch's kernel, waits where they are."""

    host_us: float
    kernel_us: float
    count: int
    waits_at: tuple[int, ...] = ()
    copy_us: float = 0.0
    queue: int = 1024

    def trace(self, *, slowdown: float = 1.0, start_us: float = 0.0) -> tuple[list[Activity], float]:
        """Its activities with a host so many times slower, and when the step function returned."""
        now, free, ends = start_us, start_us, list[float]()
        events: list[Activity] = []
        for index in range(self.count):
            now += slowdown * self.host_us
            begun = now
            if len(ends) >= self.queue:
                now = max(now, ends[-self.queue])
            now += 2.0
            start = max(now, free)
            free = start + self.kernel_us
            ends.append(free)
            events.append(Activity("launch", begun, now, 7, index))
            events.append(Activity("kernel", start, free, 7, index))
            if index in self.waits_at:
                begun, now = now, max(now, free)
                events.append(Activity("wait", begun, now))
        events.append(Activity("step", start_us, now))
        return events, now - start_us

    @property
    def own_us(self) -> float:
        return self.count * (self.host_us + 2.0)


STEPS = {
    "bound by the host": Played(host_us=40.0, kernel_us=10.0, count=100),
    "bound by the device": Played(host_us=5.0, kernel_us=40.0, count=100),
    "asks for the loss at the end, bound by the host": Played(40.0, 10.0, 100, waits_at=(99,)),
    "copies the batch first": Played(30.0, 20.0, 100, waits_at=(0, 1)),
    "asks for a number in the middle": Played(30.0, 20.0, 100, waits_at=(30, 60)),
    "fills the queue": Played(host_us=5.0, kernel_us=20.0, count=3000),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("slowdown", [1.0, 1.8])
def test_host_time_is_found_however_much_the_tracer_slows_it(name: str, slowdown: float) -> None:
    played = STEPS[name]
    _, untraced_us = played.trace()
    events, _ = played.trace(slowdown=slowdown)

    found = read_steps(events, untraced_s=untraced_us / 1e6, tracer_share=1.0 - 1.0 / slowdown)

    assert found.device_busy_s == pytest.approx(played.count * played.kernel_us / 1e6)
    assert found.launch_count == played.count
    assert found.sync_count == len(played.waits_at)
    assert found.host_s == pytest.approx(played.own_us / 1e6, rel=0.15)


def test_device_that_decides_alone_leaves_the_host_what_it_took_less_the_tracer() -> None:
    played = Played(host_us=5.0, kernel_us=40.0, count=100, waits_at=(99,))
    _, untraced_us = played.trace()
    events, _ = played.trace(slowdown=2.0)

    found = read_steps(events, untraced_s=untraced_us / 1e6, tracer_share=0.4)

    assert untraced_us > 4000.0
    assert found.host_s == pytest.approx(100 * 7.0 / 1e6, rel=0.2)


def test_several_steps_give_their_mean() -> None:
    one, one_us = Played(host_us=40.0, kernel_us=10.0, count=10).trace()
    other, _ = Played(host_us=40.0, kernel_us=30.0, count=10).trace(start_us=10_000.0)

    found = read_steps([*one, *other], untraced_s=one_us / 1e6)

    assert found.device_busy_s == pytest.approx(200e-6)
    assert found.launch_count == 10


def test_work_before_the_first_step_counts_for_none() -> None:
    events, _ = Played(host_us=40.0, kernel_us=10.0, count=10).trace(start_us=1000.0)
    warm_up = [Activity("launch", 0.0, 2.0, 7, 900), Activity("kernel", 3.0, 500.0, 7, 900)]

    assert read_steps([*warm_up, *events]).device_busy_s == pytest.approx(100e-6)


def test_kernels_of_two_streams_that_overlap_keep_the_device_busy_once() -> None:
    kernels = [Activity("kernel", 0.0, 10.0, 7, 1), Activity("kernel", 5.0, 12.0, 20, 2)]

    assert busy_us(kernels) == 12.0
    assert read_steps([Activity("step", -1.0, 3.0), *kernels]).device_busy_s == pytest.approx(12e-6)


def test_replayed_graph_is_one_launch_of_many_kernels() -> None:
    kernels = [Activity("kernel", 10.0 * index, 10.0 * index + 8.0, 7, 5) for index in range(1, 51)]
    step = [Activity("step", 0.0, 9.0), Activity("launch", 1.0, 8.0, 0, 5), *kernels]

    found = read_steps(step, untraced_s=9e-6)

    assert found.launch_count == 1
    assert found.device_busy_s == pytest.approx(400e-6)
    assert found.host_s == pytest.approx(9e-6, rel=0.05)


def test_copies_between_host_and_device_keep_no_kernel_busy() -> None:
    events = [Activity("step", 0.0, 9.0), Activity("copy", 1.0, 6.0, 7, 1), Activity("kernel", 6.0, 8.0, 7, 2)]

    assert read_steps(events).device_busy_s == pytest.approx(2e-6)


def test_runtime_call_recorded_once_more_by_its_driver_call_is_one() -> None:
    events = [
        Activity("step", 0.0, 30.0),
        Activity("launch", 1.0, 9.0, 0, 1),
        Activity("launch", 2.0, 8.0, 0, 2),
        Activity("kernel", 10.0, 20.0, 7, 1),
    ]

    assert read_steps(events).device_busy_s == pytest.approx(10e-6)


def test_trace_that_lost_kernels_says_nothing_of_the_device() -> None:
    events, _ = Played(host_us=40.0, kernel_us=10.0, count=100).trace()
    torn = [each for each in events if each.kind != "kernel" or each.correlation % 5]

    found = read_steps(torn, untraced_s=4200e-6)

    assert found.device_busy_s is None
    assert "lost 20% of the kernels" in found.reason


def test_trace_without_kernels_or_without_steps_says_why() -> None:
    assert read_steps([Activity("step", 0.0, 9.0)]).reason == "the profiler saw no kernel"
    assert read_steps([Activity("kernel", 0.0, 9.0)]).reason == "the trace holds no step"


def test_tracer_without_correlations_still_counts_kernels() -> None:
    events, _ = Played(host_us=40.0, kernel_us=10.0, count=20).trace()
    bare = [dataclasses.replace(each, correlation=None) for each in events]

    found = read_steps(bare)

    assert found.launch_count == 20
    assert found.device_busy_s == pytest.approx(200e-6)
