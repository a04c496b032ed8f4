"""The step profile: proportions of a step, what it is bound by, what it could gain."""

from __future__ import annotations

import math

import pytest

from greenlove_mlflow.core.codec import from_plain, to_plain
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.errors import InvalidInputError

# Measured on an H200, seconds: the host's own time and the kernels of a step.
BERT = StepProfile(loader_s=0.0, fetch_s=0.0, host_s=0.0493, device_busy_s=0.0199, launch_count=1253)
WIDE_MLP = StepProfile(loader_s=0.0, fetch_s=0.0, host_s=0.00230, device_busy_s=0.00751, launch_count=58)


def test_training_whose_kernels_are_shorter_than_its_host_is_bound_by_the_host() -> None:
    assert BERT.bound_by == "host"
    assert BERT.longest_s == 0.0493
    assert BERT.busy_share == pytest.approx(0.0199 / 0.0493)


def test_training_whose_kernels_are_longest_is_bound_by_the_device() -> None:
    assert WIDE_MLP.bound_by == "device"
    assert WIDE_MLP.busy_share == 1.0


@pytest.mark.parametrize(
    ("profile", "bound_by"),
    [
        (StepProfile(loader_s=0.03, host_s=0.01, device_busy_s=0.02), "data"),
        (StepProfile(loader_s=0.0, fetch_s=0.03, host_s=0.01, device_busy_s=0.02), "data"),
        (StepProfile(loader_s=0.0, fetch_s=0.009, host_s=0.01, device_busy_s=0.002), "host"),
        (StepProfile(loader_s=0.0, fetch_s=0.001, host_s=0.01, on_cpu=True), "cpu"),
        (StepProfile(loader_s=0.02, fetch_s=0.001, host_s=0.01, on_cpu=True), "data"),
        (StepProfile(host_s=0.01), None),
        (StepProfile(loader_s=0.02, device_busy_s=0.01), None),
        (StepProfile(host_s=0.0, device_busy_s=0.0), None),
    ],
)
def test_what_takes_longest_sets_the_pace(profile: StepProfile, bound_by: str | None) -> None:
    assert profile.bound_by == bound_by


def test_fetching_in_the_steps_own_thread_adds_to_the_host() -> None:
    assert StepProfile(fetch_s=0.002, host_s=0.003, device_busy_s=0.004).longest_s == pytest.approx(0.005)


def test_cpu_has_no_busy_share() -> None:
    assert StepProfile(host_s=0.01, on_cpu=True).busy_share is None


def test_only_a_board_that_waits_has_something_to_gain() -> None:
    assert BERT.least_step_share == pytest.approx(0.404, abs=1e-3)
    assert WIDE_MLP.least_step_share is None
    assert StepProfile(host_s=0.01, on_cpu=True).least_step_share is None
    assert StepProfile(host_s=0.01).least_step_share is None


@pytest.mark.parametrize("field", ["loader_s", "fetch_s", "host_s", "device_busy_s", "launch_count", "moved_bytes"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_figure_that_cannot_be_is_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidInputError, match=field):
        StepProfile(**{field: value})


def test_busy_device_on_a_cpu_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="device_busy_s"):
        StepProfile(on_cpu=True, device_busy_s=0.1)


def test_profile_survives_json() -> None:
    assert from_plain(StepProfile, to_plain(BERT)) == BERT
