"""Totals of several trainings: what a study has taken so far, and what all of its trials will take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.quantity import QUANTITIES
from greenlove_mlflow.core.workload import Limits, limit_words
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.numbers import format_co2_g, format_kwh, format_money, format_time
from greenlove_mlflow.units import G_PER_KG, S_PER_H

_FIELDS = tuple(quantity.field for quantity in QUANTITIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Time, energy, cost and CO2e of one or several trainings; what has been spent is exact.

    Args:
        time_s: Seconds, one training after the other.
        energy_kwh: Electricity, PUE included; None when unknown for any of them.
        cost_usd: US dollars; None when unknown for any of them.
        co2_g: Grams CO2e; None when unknown for any of them.
    """

    time_s: Interval
    energy_kwh: Interval | None = None
    cost_usd: Interval | None = None
    co2_g: Interval | None = None

    @classmethod
    def of_estimate(cls, figures: object) -> Totals:
        """The figures of an estimate, or of a record with the same fields."""
        return _of_fields({name: getattr(figures, name) for name in _FIELDS})

    @classmethod
    def of_outcome(cls, figures: object) -> Totals:
        """The figures of an outcome, which are exact."""
        values = {name: getattr(figures, name) for name in _FIELDS}
        return _of_fields({name: None if value is None else Interval.exactly(value) for name, value in values.items()})

    def __str__(self) -> str:
        figures = (
            format_time(self.time_s),
            format_kwh(self.energy_kwh, missing="energy not measured"),
            format_money(self.cost_usd, missing="cost unknown"),
            "CO2e unknown" if self.co2_g is None else f"{format_co2_g(self.co2_g)} CO2e",
        )
        return "; ".join(figures)


_ZERO = Interval.exactly(0.0)
NOTHING = Totals(time_s=_ZERO, energy_kwh=_ZERO, cost_usd=_ZERO, co2_g=_ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial of a study.

    Args:
        estimated: Its estimate; None without one.
        spent: What it took; None while it runs, and if it took nothing that was measured.
        is_whole: Whether all planned epochs were trained.
        has_ended: Whether it is over.
    """

    estimated: Totals | None = None
    spent: Totals | None = None
    is_whole: bool = False
    has_ended: bool = False


def add_up(totals: Sequence[Totals]) -> Totals:
    """The sum of trainings that share their error: on one machine all of them are too slow or too fast together.

    Lower ends add up, and so do upper ends, as they do for values that are wrong by the same factor. A figure that is
    unknown for one of them is unknown for all.

    >>> one = Totals(time_s=Interval(point=10.0, low=8.0, high=12.5))
    >>> add_up([one, one]).time_s
    Interval(point=20.0, low=16.0, high=25.0, level=0.95)
    """
    return _of_fields({name: _sum([getattr(each, name) for each in totals]) for name in _FIELDS})


def spent(trials: Sequence[Trial]) -> Totals:
    """What the trials that are over have taken."""
    return add_up([each.spent for each in trials if each.spent is not None and each.has_ended])


def committed(trials: Sequence[Trial]) -> Totals:
    """What the trials have taken, and what those that still run are estimated to take."""
    running = [each.estimated for each in trials if not each.has_ended and each.estimated is not None]
    return add_up([spent(trials), *running])


def forecast_of_trials(trials: Sequence[Trial], planned_count: int | None) -> Totals | None:
    """What all planned trials will take: the sum of what is spent and of the estimates of the rest.

    A trial without an estimate yet is taken for the mean of the others. The estimates of the rest move with what whole
    trials took: by the mean log ratio of actual to estimated over ``n`` of them, times ``n / (n + 1)``, the posterior
    mean where half of an estimate's error is shared by all trials. The range stays that of the estimates, added up as
    in ``add_up``.

    Args:
        trials: The trials begun so far.
        planned_count: Trials planned in all; None when unknown, then those begun so far.

    Returns:
        The totals; None before the first estimate.
    """
    estimates = [each.estimated for each in trials if each.estimated is not None]
    if not estimates:
        return None
    left_count = max(0, (planned_count or 0) - len(trials))
    running = [each for each in trials if not each.has_ended]
    unknown_count = left_count + sum(each.estimated is None for each in running)
    known = [each.estimated for each in running if each.estimated is not None]
    total = spent(trials)
    figures: dict[str, Interval | None] = {}
    for name in _FIELDS:
        rest = [getattr(each, name) for each in known]
        usual = _mean([getattr(each, name) for each in estimates])
        rest += [] if unknown_count == 0 else [None if usual is None else usual.scaled(float(unknown_count))]
        left, taken = _sum(rest), getattr(total, name)
        is_known = left is not None and taken is not None
        figures[name] = _plus(left.scaled(_pace(trials, name)), taken) if is_known else None  # type: ignore[union-attr]
    return _of_fields(figures)


def broken_by(taken: Totals, planned: Totals, limits: Limits) -> tuple[str, ...]:
    """One text per limit that a study would break with one more trial; an unknown figure breaks none.

    Args:
        taken: What its trials have taken and, while they run, are estimated to take.
        planned: The estimate of the next trial.
        limits: The study's limits.
    """
    return tuple(
        limit_words(name, limit, spent=have, the_next_trial_is_estimated_at=more)
        for name, limit, have, more in _limited(taken, planned, limits)
        if have + more > limit
    )


def spent_of(taken: Totals, limits: Limits) -> tuple[str, ...]:
    """One text per limit that a study has spent; an unknown figure exceeds none."""
    return tuple(
        limit_words(name, limit, spent=have)
        for name, limit, have, _ in _limited(taken, NOTHING, limits)
        if have >= limit
    )


def _limited(taken: Totals, planned: Totals, limits: Limits) -> list[tuple[str, float, float, float]]:
    checks = (
        ("hours", limits.hours, taken.time_s, planned.time_s, 1.0 / S_PER_H),
        ("usd", limits.usd, taken.cost_usd, planned.cost_usd, 1.0),
        ("kwh", limits.kwh, taken.energy_kwh, planned.energy_kwh, 1.0),
        ("kg_co2", limits.kg_co2, taken.co2_g, planned.co2_g, 1.0 / G_PER_KG),
    )
    return [
        (name, limit, have.point * factor, more.point * factor)
        for name, limit, have, more, factor in checks
        if limit is not None and have is not None and more is not None
    ]


def _pace(trials: Sequence[Trial], name: str) -> float:
    """The factor by which estimates of further trials move, from the whole trials so far."""
    logs = []
    for each in trials:
        if each.is_whole and each.estimated is not None and each.spent is not None:
            estimated, actual = getattr(each.estimated, name), getattr(each.spent, name)
            if estimated is not None and actual is not None and estimated.point > 0.0 and actual.point > 0.0:
                logs.append(math.log(actual.point / estimated.point))
    return math.exp(math.fsum(logs) / (len(logs) + 1.0))


def _sum(intervals: Sequence[Interval | None]) -> Interval | None:
    total = Interval.exactly(0.0)
    for each in intervals:
        if each is None:
            return None
        total = _plus(total, each)
    return total


def _plus(one: Interval, other: Interval) -> Interval:
    return Interval(point=one.point + other.point, low=one.low + other.low, high=one.high + other.high)


def _of_fields(figures: Mapping[str, Interval | None]) -> Totals:
    time_s = figures["time_s"]
    if time_s is None:
        raise InvalidInputError("the time of a training is never unknown")
    return Totals(time_s=time_s, energy_kwh=figures["energy_kwh"], cost_usd=figures["cost_usd"], co2_g=figures["co2_g"])


def _mean(intervals: Sequence[Interval | None]) -> Interval | None:
    total = _sum(intervals)
    return None if total is None else total.scaled(1.0 / len(intervals))
