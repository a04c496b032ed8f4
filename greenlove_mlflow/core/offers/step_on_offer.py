"""A training step on an offer, as a share of the step at home: the longest of its host and board parts.

Only the board's part gets faster with a faster board. Loading, fetching, Python and kernel launches belong to the host;
one-off costs, preprocessing and worker startup do not change. The measured step at home is the anchor: profiles give
proportions only. Where the benchmark tells how much neighbours slow down home, the anchor is the step without them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from greenlove_mlflow.core.interval import FloatArray
from greenlove_mlflow.core.normal import Longest, Part
from greenlove_mlflow.core.records import BoundBy, StepProfile

# Log SD of the speed of an offer's host relative to home's, both CPUs unknown: single-thread scores of 18 CPUs of GPU
# instances have a log SD of 0.20, twice in quadrature, plus 0.10 from score to launch.
HOST_LOG_SD = 0.3
# Host cost of launching a kernel, over forward, backward and optimizer: 6 to 17 us on good hosts (PyTorch and CUDA
# reports of 2019 to 2026), 13 to 52 us measured over nine workloads on two virtual machines with an H100 and an H200.
# The middle on the log scale, and an SD whose 95% range covers both.
LAUNCH_S = 17.7e-6
LEAST_LAUNCH_S = 6e-6
MOST_LAUNCH_S = 52e-6
LAUNCH_LOG_SD = 0.7
# An operator forward and backward without any arithmetic costs a CPU 4.4 us where an offer's host takes LAUNCH_S.
LAUNCH_PER_DISPATCH = 4.0
# An unmeasured loader takes between none and all of the step: a quarter, with all of it at the 97.5% quantile. A
# board's utilisation counts a tiny kernel as a busy board, so the host may be the bottleneck after all: half.
UNKNOWN_LOADER_SHARE = 0.25
UNKNOWN_LOADER_LOG_SD = 0.707
UNKNOWN_HOST_SHARE = 0.5
UNKNOWN_HOST_LOG_SD = 0.354
# The share of the time that others took tells how much they slow a step only roughly: where one of several threads
# waits, all may wait, and a thread may wait for what was not needed yet. From nothing to twice as much.
CONTENTION_LOG_SD = 0.5
# A process that hardly ever runs tells nothing of its own pace.
LARGEST_CONTENTION_SHARE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeSteps:
    """Steps at home, one per run, split into parts: each a share of the longest.

    Args:
        loader: Part of the data loader alone; 0 where unknown.
        thread: Part of the main thread on any host: fetching the batch and, where home has a GPU, its own work.
        launch: Part of kernel launches on an offer's host, where home is a CPU; else 0.
        device: Part of the board; 1 where unknown, and on a CPU, whose ratio is that of the whole step.
        unknown: Assumed length of an unmeasured part; 0 where everything is measured.
        unknown_log_sd: Log SD of ``unknown``.
        fetch_leads: Whether the main thread spends more time on the batch than on its own work.
        wait_log: Log of how much neighbours slow down loader and main thread; an offer's host has none.
    """

    loader: FloatArray
    thread: FloatArray
    launch: FloatArray
    device: FloatArray
    unknown: FloatArray
    unknown_log_sd: FloatArray
    fetch_leads: FloatArray
    wait_log: FloatArray

    @classmethod
    def of(
        cls,
        profiles: Sequence[StepProfile | None],
        *,
        contention_shares: Sequence[float] | None = None,
    ) -> HomeSteps:
        """The steps of profiles; a profile that cannot be split is all the board's part.

        Args:
            profiles: One per run; None where nothing was measured.
            contention_shares: Share of the time in which each run was ready but others ran, 0 to 1; 0 when None.
        """
        rows = np.array([_shares(profile) for profile in profiles], dtype=np.float64).reshape(-1, 7)
        loader, thread, launch, device, unknown, unknown_log_sd, fetch_leads = rows.T
        shares = np.zeros(len(profiles)) if contention_shares is None else np.array(contention_shares, dtype=np.float64)
        return cls(
            loader=loader,
            thread=thread,
            launch=launch,
            device=device,
            unknown=unknown,
            unknown_log_sd=unknown_log_sd,
            fetch_leads=fetch_leads,
            wait_log=-np.log1p(-np.minimum(shares, LARGEST_CONTENTION_SHARE)),
        )

    def picked(self, index: Any) -> HomeSteps:
        """The steps at a numpy index, which may also change the shape."""
        return HomeSteps(**{name: getattr(self, name)[index] for name in HomeSteps.__slots__})


def launch_cost_s(dispatch_s: float | None) -> float:
    """Seconds per kernel launch on an offer's host: this CPU's own dispatch cost, clamped to the sourced range.

    >>> launch_cost_s(None), launch_cost_s(4.4e-6), launch_cost_s(1.0)
    (1.77e-05, 1.76e-05, 5.2e-05)
    """
    if dispatch_s is None:
        return LAUNCH_S
    return min(MOST_LAUNCH_S, max(LEAST_LAUNCH_S, LAUNCH_PER_DISPATCH * dispatch_s))


def can_split(profile: StepProfile | None) -> bool:
    """Whether a profile separates the part of a step that a faster board speeds up.

    On a CPU, that needs the launches of the step: without them, the part of a GPU's host is unknown.
    """
    if profile is None or profile.longest_s is None:
        return False
    return profile.launch_count is not None if profile.on_cpu else True


def _shares(profile: StepProfile | None) -> tuple[float, ...]:
    if profile is None or not can_split(profile):
        return 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0
    longest_s = profile.longest_s or 1.0
    fetch, loader = (profile.fetch_s or 0.0) / longest_s, (profile.loader_s or 0.0) / longest_s
    unknown, unknown_log_sd = (UNKNOWN_LOADER_SHARE, UNKNOWN_LOADER_LOG_SD) if profile.loader_s is None else (0.0, 0.0)
    if profile.on_cpu:
        launch = (profile.launch_count or 0.0) * launch_cost_s(profile.dispatch_s) / longest_s
        return loader, fetch, launch, 1.0, unknown, unknown_log_sd, float(fetch > launch)
    thread, busy = (profile.step_thread_s or 0.0) / longest_s, (profile.device_busy_s or 0.0) / longest_s
    if profile.busy_is_upper_bound and busy >= thread:
        unknown, unknown_log_sd = UNKNOWN_HOST_SHARE, UNKNOWN_HOST_LOG_SD
    return loader, thread, 0.0, busy, unknown, unknown_log_sd, float(2.0 * fetch > thread)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOnOffer:
    """Steps on offers, as shares of the step at home; arrays of one shape.

    Args:
        loader: The data loader's part.
        thread: The main thread's part, launches included.
        device: The board's part.
        unknown: Assumed length of an unmeasured part.
        host_log_sd: Log SD of the speed of the offer's host relative to home's.
        fetch_leads: 1 where the main thread spends more time on the batch than on its own work.
    """

    loader: Part
    thread: Part
    device: Part
    unknown: Part
    host_log_sd: float
    fetch_leads: FloatArray

    @property
    def longest(self) -> Longest:
        """The longest part, which is the length of the step."""
        return _longest(self.loader, self.thread, self.device, self.unknown)

    @property
    def busy_share(self) -> FloatArray:
        """The share of the step in which the board is busy, 0 to 1, element by element."""
        return np.exp(self.device.log_point - self.longest.log_point)


def step_on_offer(
    home: HomeSteps,
    *,
    log_ratio: FloatArray,
    ratio_log_sd: FloatArray,
    is_whole: FloatArray,
    step_share: FloatArray | float = 1.0,
    host_log_sd: float = HOST_LOG_SD,
) -> StepOnOffer:
    """The step on each offer.

    Args:
        home: Steps at home, in the shape of the ratios.
        log_ratio: Log of how many times faster the boards in use process the board's part of all samples.
        ratio_log_sd: Log SD of that ratio.
        is_whole: 1 where the ratio is of the whole step (given, or measured in own runs) and is used as it is.
        step_share: Steps on the offer over steps at home for the same samples: 1/8 on eight boards against one.
        host_log_sd: Log SD of the speed of the offer's host relative to home's.
    """
    split = 1.0 - is_whole
    # Neighbours slow down the host at home alone. No board's part has them: a GPU is not shared so, and a CPU's ratio
    # rests on work that was counted, or on a probe that the same neighbours slowed down.
    alone = split * np.exp(-home.wait_log)
    host_sd = np.hypot(host_log_sd, CONTENTION_LOG_SD * home.wait_log)
    loader, fetch = home.loader * alone, home.thread * alone * step_share
    launch = home.launch * split * step_share
    thread = fetch + launch
    # Loader and main thread of a GPU's host share one factor, so they are one part; a CPU's launches have their own.
    is_gpu_home = home.launch == 0.0
    thread = np.where(is_gpu_home, np.maximum(loader, thread), thread)
    loader = np.where(is_gpu_home, 0.0, loader)
    with np.errstate(divide="ignore", invalid="ignore"):
        thread_log_sd = np.where(thread > 0.0, (fetch * host_sd + launch * LAUNCH_LOG_SD) / thread, host_sd)
        device_log = np.log(np.where(is_whole > 0.0, 1.0, home.device)) - log_ratio
    return StepOnOffer(
        loader=Part.of(loader, host_sd),
        thread=Part.of(thread, np.where(is_gpu_home, host_sd, thread_log_sd)),
        device=Part(log_point=device_log, log_sd=ratio_log_sd),
        unknown=Part.of(home.unknown * split, home.unknown_log_sd),
        host_log_sd=host_log_sd,
        fetch_leads=np.where(home.loader > home.thread * step_share, 1.0, home.fetch_leads) * split,
    )


def bound_by_on_offer(step: StepOnOffer, index: int | tuple[int, ...]) -> BoundBy:
    """What one of the steps is bound by on its offer."""
    thread, loader = float(step.thread.log_point[index]), float(step.loader.log_point[index])
    if float(step.device.log_point[index]) >= max(thread, loader):
        return "device"
    return "data" if loader > thread or step.fetch_leads[index] > 0.0 else "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingShares:
    """The parts of a run's time at home, as shares that sum to 1; arrays of the offers' shape.

    Args:
        steps: Training steps.
        validation: Validation passes.
        fixed: Time that no board speeds up: compilation, preprocessing, worker startup, stated extras.
        paid: In addition, one-off costs that home has already paid and an offer pays again.
    """

    steps: FloatArray
    validation: FloatArray
    fixed: FloatArray
    paid: FloatArray | float = 0.0


def training_on_offer(step: StepOnOffer, validation: StepOnOffer, shares: TrainingShares) -> Longest:
    """The whole run on each offer, as a share of its time at home.

    Time other than that of the steps is added to each part: ``max(a, b) + c`` is ``max(a + c, b + c)``.

    Args:
        step: Training steps on the offers.
        validation: Validation steps on them.
        shares: The parts of the time at home.
    """
    validation_ratio = validation.longest.point
    checked = shares.validation * validation_ratio
    unscaled = shares.fixed + shares.paid
    fixed = checked + unscaled
    with np.errstate(divide="ignore", invalid="ignore"):
        fixed_log_sd = (checked * _mixed_log_sd(validation) + unscaled * step.host_log_sd) / fixed
    fixed_log_sd = np.where(fixed > 0.0, fixed_log_sd, 0.0)

    def whole(part: Part) -> Part:
        step_ratio = np.exp(part.log_point)
        # Written as a change, so that a board against itself is exactly 1.
        both = 1.0 + shares.steps * (step_ratio - 1.0) + shares.validation * (validation_ratio - 1.0) + shares.paid
        with np.errstate(divide="ignore", invalid="ignore"):
            log_point = np.where((shares.steps == 1.0) & (shares.paid == 0.0), part.log_point, np.log(both))
            # The host's parts move together; next to the board's part, this errs on the wide side.
            log_sd = (shares.steps * step_ratio * part.log_sd + fixed * fixed_log_sd) / both
        is_there = part.log_point > -np.inf
        return Part(
            log_point=np.where(is_there, log_point, part.log_point), log_sd=np.where(is_there, log_sd, part.log_sd)
        )

    return _longest(whole(step.loader), whole(step.thread), whole(step.device), whole(step.unknown))


def _mixed_log_sd(step: StepOnOffer) -> FloatArray:
    """Log SD of a step's longest part, blended between parts of similar length."""
    weights = [np.exp(part.log_point) for part in (step.loader, step.thread, step.device)]
    spread = [w * part.log_sd for w, part in zip(weights, (step.loader, step.thread, step.device), strict=True)]
    mixed: FloatArray = (spread[0] + spread[1] + spread[2]) / (weights[0] + weights[1] + weights[2])
    return mixed


def _longest(loader: Part, thread: Part, device: Part, unknown: Part) -> Longest:
    """The longest of the present parts; the unknown one only widens the range."""
    known = [device, *(part for part in (thread, loader) if np.any(part.log_point > -np.inf))]
    widening = [part for part in (unknown,) if np.any(part.log_point > -np.inf)]
    return Longest(parts=(*known, *widening), only_ranges=len(widening))


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePart:
    """One of the host or board parts whose maximum is the time on an offer.

    Args:
        share: Its length as a share of the time at home.
        log_sd: SD of its logarithm.
        only_widens: Whether it affects the range only, because it was not measured.
    """

    share: float
    log_sd: float
    only_widens: bool = False


def time_parts(longest: Longest) -> tuple[TimePart, ...]:
    """The host and board parts whose maximum is the time on an offer, without those of no length."""
    last = len(longest.parts) - longest.only_ranges
    return tuple(
        TimePart(share=math.exp(float(part.log_point)), log_sd=float(part.log_sd), only_widens=index >= last)
        for index, part in enumerate(longest.parts)
        if float(part.log_point) > -math.inf
    )
