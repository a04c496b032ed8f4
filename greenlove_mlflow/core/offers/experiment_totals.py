"""Totals over many runs: what they took, by month, and what they would have taken on each offer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.outcome import Outcome
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.compare import ComparisonRow


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """One of many runs.

    Args:
        name: Run name.
        run_id: Run ID.
        started_at: Start time, ISO 8601 in UTC.
        status: Run status in lower case.
        estimate: Its estimate at home.
        rows: The run on each offer; empty when it could not be compared.
        is_too_small_to_rent: Whether it is over before a rented instance has started.
        outcome: Its outcome; None when it never ran, or still runs.
        so_far: What it took up to its last lap, while it runs.
    """

    name: str
    run_id: str
    started_at: str
    status: str
    estimate: Estimate
    rows: tuple[ComparisonRow, ...] = ()
    is_too_small_to_rent: bool = False
    outcome: Outcome | None = None
    so_far: Outcome | None = None

    @property
    def could_be_rented(self) -> bool:
        """Whether it trained for long enough that a rented GPU would have been of use."""
        return self.outcome is not None and not self.is_too_small_to_rent


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The total outcome of the runs that were trained.

    Args:
        run_count: Runs that were trained, to the end or not.
        time_s: Seconds.
        energy_kwh: Electricity of those with a known energy; None when there are none.
        cost_usd: US dollars of those with a known cost; None when there are none.
        co2_g: Grams CO2e of those with known CO2e; None when there are none.
        unmetered_count: Trained runs without a known energy.
    """

    run_count: int
    time_s: float
    energy_kwh: float | None
    cost_usd: float | None
    co2_g: float | None
    unmetered_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What the trained runs would have taken on one offer.

    Args:
        row: The offer, as compared with one of the runs.
        run_count: Runs that are counted.
        time_s: Their seconds.
        cost_usd: Their rent, US dollars; None without a price.
        co2_g: Their grams CO2e; None when unknown for any of them.
    """

    row: ComparisonRow
    run_count: int
    time_s: Interval
    cost_usd: Interval | None
    co2_g: Interval | None


def spent(trainings: Sequence[ComparedRun]) -> Spent:
    """The total outcome of the runs that were trained; unknown figures are left out and counted."""
    return spent_by(each.outcome for each in trainings if each.outcome is not None)


def spent_by(outcomes: Iterable[Outcome]) -> Spent:
    """The total of outcomes; unknown figures are left out and counted."""
    outcomes = tuple(outcomes)
    return Spent(
        run_count=len(outcomes),
        time_s=math.fsum(outcome.time_s for outcome in outcomes),
        energy_kwh=_known_sum([outcome.energy_kwh for outcome in outcomes]),
        cost_usd=_known_sum([outcome.cost_usd for outcome in outcomes]),
        co2_g=_known_sum([outcome.co2_g for outcome in outcomes]),
        unmetered_count=sum(outcome.energy_kwh is None for outcome in outcomes),
    )


def spent_by_month(trainings: Sequence[ComparedRun]) -> tuple[tuple[str, Spent], ...]:
    """The total outcome for each month in which runs were started ("2026-11"), oldest first."""
    months = sorted({each.started_at[:7] for each in trainings if each.outcome is not None})
    return tuple((month, spent([each for each in trainings if each.started_at[:7] == month])) for month in months)


def promises_kept(trainings: Sequence[ComparedRun]) -> tuple[int, int]:
    """How many runs ended within the estimated range of time, and how many ran to their end."""
    finished = [each for each in trainings if each.outcome is not None and each.outcome.completed]
    kept = [each for each in finished if each.outcome and each.estimate.time_s.contains(each.outcome.time_s)]
    return len(kept), len(finished)


def spent_elsewhere(trainings: Sequence[ComparedRun]) -> tuple[Elsewhere, ...]:
    """What the trained runs would have taken on each offer, in order of first appearance.

    Runs that are too small to rent for are left out.

    A run that took ``t`` seconds here would have taken ``t`` divided by the time ratio there, so only the uncertainty
    of the offer remains. All runs share that error, so the bounds add.
    """
    found: dict[tuple[str, str, int], list[tuple[ComparisonRow, Estimate, float]]] = {}
    for each in trainings:
        if each.outcome is not None and each.could_be_rented:
            for row in each.rows:
                key = (row.offer.gpu, row.offer.billing, row.used_gpu_count)
                found.setdefault(key, []).append((row, each.estimate, each.outcome.time_s))
    return tuple(_elsewhere(parts) for parts in found.values())


def _elsewhere(parts: Sequence[tuple[ComparisonRow, Estimate, float]]) -> Elsewhere:
    def together(pick: Callable[[Estimate], Interval | None]) -> Interval | None:
        shares = []
        for row, home, time_s in parts:
            value = pick(row.estimate)
            if value is None:
                return None
            shares.append(for_known_time(value, home.time_s, time_s))
        return sum_alike(shares)

    time_s = together(lambda estimate: estimate.time_s)
    assert time_s is not None  # noqa: S101 - every offer has a time
    return Elsewhere(
        row=parts[-1][0],
        run_count=len(parts),
        time_s=time_s,
        cost_usd=together(lambda estimate: estimate.cost_usd),
        co2_g=together(lambda estimate: estimate.co2_g),
    )


def for_known_time(value: Interval, home_time_s: Interval, time_s: float) -> Interval:
    """A figure proportional to home's time, given that this time is exactly ``time_s`` seconds."""
    factor = time_s / home_time_s.point
    shared = home_time_s.log_half_width
    below, above = (
        math.sqrt(max(0.0, math.log(side) ** 2 - shared**2))
        for side in (value.point / value.low, value.high / value.point)
    )
    point = value.point * factor
    return Interval(point=point, low=point * math.exp(-below), high=point * math.exp(above), level=value.level)


def sum_alike(addends: Sequence[Interval]) -> Interval:
    """The sum of fully correlated intervals, such as figures from one speed ratio: the bounds add."""
    return Interval(
        point=math.fsum(each.point for each in addends),
        low=math.fsum(each.low for each in addends),
        high=math.fsum(each.high for each in addends),
        level=addends[0].level,
    )


def _known_sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None
