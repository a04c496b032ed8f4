from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from greenlove_mlflow.tracking.names import TRAIN_ENERGY_J, TRAIN_EPOCH_S, TRAIN_FORECAST_TIME_H, power_key
from greenlove_mlflow.tracking.spool.delivery import FULL_COUNT, Point, Thinner
from greenlove_mlflow.tracking.spool.events import Event, LapEvent, MetricEvent, PowerEvent, TagsEvent


def points_of(events: list[Event]) -> dict[str, list[Point]]:
    thinner = Thinner()
    points = [point for event in events for point in thinner.add(event)] + thinner.rest()
    found: dict[str, list[Point]] = {}
    for point in points:
        found.setdefault(point.key, []).append(point)
    return found


def laps(count: int) -> list[Event]:
    return [
        LapEvent(index=n, duration_s=1.0 + n, energy_j=2.0 * n, forecast_s=(3600.0, 1800.0, 7200.0), timestamp_ms=n)
        for n in range(count)
    ]


def readings(count: int, per_s: int = 10, device: str = "gpu_0") -> list[Event]:
    step = 10 // per_s
    return [
        PowerEvent(device=device, at_s=n / per_s, power_w=float(n), timestamp_ms=n * 1000 // per_s, step=n * step)
        for n in range(count)
    ]


def test_a_lap_is_a_point_of_each_of_its_figures() -> None:
    found = points_of(laps(3))
    assert [(point.step, point.value) for point in found[TRAIN_EPOCH_S]] == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert [point.value for point in found[TRAIN_ENERGY_J]] == [0.0, 2.0, 4.0]
    ends = [found[f"{TRAIN_FORECAST_TIME_H}{end}"][0].value for end in ("", "_lo", "_hi")]
    assert ends == [1.0, 0.5, 2.0]


def test_what_was_not_measured_is_no_point() -> None:
    lap = LapEvent(index=0, duration_s=1.0, energy_j=None, forecast_s=None, timestamp_ms=1, is_epoch=False)
    assert set(points_of([lap])) == {"green/train/lap_s"}


def test_twenty_thousand_laps_are_all_kept() -> None:
    points = points_of(laps(FULL_COUNT))[TRAIN_EPOCH_S]
    assert FULL_COUNT == 20_000
    assert [point.step for point in points] == list(range(FULL_COUNT))


def test_beyond_that_times_are_means_and_energies_sums() -> None:
    count = 60_000
    found = points_of(laps(count))
    times, energies = found[TRAIN_EPOCH_S], found[TRAIN_ENERGY_J]
    assert FULL_COUNT < len(times) < 30_000
    assert sum(point.value for point in energies) == pytest.approx(2.0 * count * (count - 1) / 2)
    steps = [-1, *(point.step for point in times)]
    widths = [after - before for before, after in itertools.pairwise(steps)]
    assert sum(width * point.value for width, point in zip(widths, times, strict=True)) == pytest.approx(
        sum(1.0 + n for n in range(count))
    )
    assert times[-1].step == count - 1


def test_power_is_a_point_a_second_the_mean_of_its_readings() -> None:
    points = points_of(readings(35))[power_key("gpu_0")]
    assert [(point.step, point.value) for point in points] == [(0, 4.5), (1, 14.5), (2, 24.5), (3, 32.0)]
    assert [point.timestamp_ms for point in points] == [900, 1900, 2900, 3400]


def test_a_reading_a_second_or_less_is_kept_as_it_is() -> None:
    points = points_of(readings(30, per_s=1))[power_key("gpu_0")]
    assert [point.value for point in points] == [float(n) for n in range(30)]


def test_boards_are_kept_apart() -> None:
    found = points_of([each for pair in zip(readings(20), readings(20, device="gpu_1"), strict=True) for each in pair])
    assert len(found[power_key("gpu_0")]) == len(found[power_key("gpu_1")]) == 2


def test_a_week_of_power_is_some_thirty_thousand_points_with_the_same_mean() -> None:
    count = 7 * 24 * 3600
    points = points_of(readings(count, per_s=1))[power_key("gpu_0")]
    assert len(points) < 35_000
    steps = [-1, *(point.step for point in points)]
    widths = [after - before for before, after in itertools.pairwise(steps)]
    mean = sum(width * point.value for width, point in zip(widths, points, strict=True)) / count
    assert mean == pytest.approx((count - 1) / 2)


def test_the_same_series_again_gives_the_same_points() -> None:
    assert points_of(laps(21_000)) == points_of(laps(21_000))


def test_other_metrics_keep_their_last_and_other_events_are_no_points() -> None:
    events: list[Event] = [MetricEvent(key="k", value=float(n), timestamp_ms=n, step=n) for n in range(25_000)]
    assert points_of(events)["k"][-1].value == 24_999.0
    assert points_of([TagsEvent(texts={"a": "b"})]) == {}


def test_odd_figures_break_no_series() -> None:
    huge: list[Event] = [MetricEvent(key=TRAIN_ENERGY_J, value=1e308, timestamp_ms=n, step=n) for n in range(25_000)]
    odd: list[Event] = [
        MetricEvent(key=TRAIN_EPOCH_S, value=value, timestamp_ms=1, step=1)
        for value in [1.0] * FULL_COUNT * 2 + [float("inf"), float("-inf"), float("nan")]
    ]
    assert len(points_of(huge)) == len(points_of(odd)) == 1


def test_a_warning_is_seen_without_logging_set_up_where_warnings_are_errors() -> None:
    code = (
        "import warnings; from greenlove_mlflow.tracking.spool.boundary import say; "
        "warnings.simplefilter('error'); say('the store is gone')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr == "the store is gone\n"
