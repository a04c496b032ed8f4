"""Fastest, cheapest, lowest carbon, best value: which option that is, home included, and how sure it is.

Best value is the option with the least cost times time among those whose memory fits; an option without a price
cannot be it. Home's time is in every option, so its uncertainty never decides between two of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval
from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow

By = Literal["time", "cost", "co2", "value"]

# Nodes of the integral over one option's distribution; 400 give three decimals.
_NODES = np.array([NormalDist().inv_cdf((index + 0.5) / 400.0) for index in range(400)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The best option by one criterion.

    Args:
        by: The criterion.
        row: The offer; None for home.
        probability: That it is the best of all options compared.
        tied_with: Names of the options whose ranges overlap its own, so that they share its rank.
    """

    by: By
    row: ComparisonRow | None
    probability: float
    tied_with: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A difference with its range; below 0 when the second of the two is greater."""

    point: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """Home minus best value; all zero when home is the best value, None where a figure is unknown."""

    row: ComparisonRow | None
    time_s: Difference
    cost_usd: Difference | None
    co2_g: Difference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    """One option on the log scale, home's time taken as known."""

    row: ComparisonRow | None
    name: str
    log_point: float
    log_sd_below: float
    log_sd_above: float


def fastest(comparison: Comparison) -> Choice:
    """The option that takes the least time among those whose memory fits."""
    choice = _best(comparison, "time")
    assert choice is not None  # noqa: S101 - home always has a time
    return choice


def cheapest(comparison: Comparison) -> Choice | None:
    """The option that costs least among those whose memory fits; None when no cost is known."""
    return _best(comparison, "cost")


def lowest_carbon(comparison: Comparison) -> Choice | None:
    """The option with the least CO2e at the grid of its region; None when no CO2e is known. Claims do not count."""
    return _best(comparison, "co2")


def best_value(comparison: Comparison) -> Choice | None:
    """The option with the least cost times time among those whose memory fits; None when no cost is known."""
    return _best(comparison, "value")


def ranks(comparison: Comparison, by: By) -> tuple[tuple[ComparisonRow | None, int], ...]:
    """Every option with its rank, best first; None is home.

    The rank is 1 plus the number of options that are better beyond their ranges, so options that overlap share one.
    """
    options = _options(comparison, by)
    placed = [(option, 1 + sum(_is_clearly_less(other, option) for other in options)) for option in options]
    placed.sort(key=lambda pair: (pair[1], pair[0].log_point))
    return tuple((option.row, rank) for option, rank in placed)


def saving(comparison: Comparison) -> Saving | None:
    """What the best value saves against home in time, money and CO2e; None when no cost is known."""
    choice = best_value(comparison)
    if choice is None:
        return None
    home = comparison.home
    best = home if choice.row is None else choice.row.estimate
    return Saving(
        row=choice.row,
        time_s=_difference(home.time_s, best.time_s, home),
        cost_usd=_difference_or_none(home.cost_usd, best.cost_usd, home),
        co2_g=_difference_or_none(home.co2_g, best.co2_g, home),
    )


def _best(comparison: Comparison, by: By) -> Choice | None:
    options = _options(comparison, by)
    if not options:
        return None
    best = min(options, key=lambda option: option.log_point)
    tied = [each.name for each in options if each is not best and not _is_clearly_less(best, each)]
    return Choice(by=by, row=best.row, probability=_probability_least(best, options), tied_with=tuple(tied))


def _options(comparison: Comparison, by: By) -> list[_Option]:
    home = comparison.home
    found = [_option(None, comparison.home_name, home, home, by)]
    found += [
        _option(row, row.offer.gpu, row.estimate, home, by) for row in comparison.rows if row.fits_memory is not False
    ]
    return [option for option in found if option is not None]


def _option(row: ComparisonRow | None, name: str, estimate: Estimate, home: Estimate, by: By) -> _Option | None:
    value = {"time": estimate.time_s, "cost": estimate.cost_usd, "co2": estimate.co2_g, "value": estimate.cost_usd}[by]
    if value is None or value.point <= 0.0:
        return None
    shared = home.time_s.log_half_width
    ratio = math.sqrt(max(0.0, estimate.time_s.log_half_width**2 - shared**2))
    below, above = (_beside(side, shared) for side in _sides(value))
    log_point = math.log(value.point)
    if by == "value":
        # Cost is proportional to time, so the uncertainty of the ratio enters cost times time twice.
        log_point += math.log(estimate.time_s.point)
        own = (math.sqrt(max(0.0, side**2 - ratio**2)) for side in (below, above))
        below, above = (math.hypot(side, 2.0 * ratio) for side in own)
    return _Option(
        row=row,
        name=name,
        log_point=log_point,
        log_sd_below=below / NORMAL_QUANTILE_95,
        log_sd_above=above / NORMAL_QUANTILE_95,
    )


def _sides(value: Interval) -> tuple[float, float]:
    return math.log(value.point / value.low), math.log(value.high / value.point)


def _beside(side: float, shared: float) -> float:
    return math.sqrt(max(0.0, side**2 - shared**2))


def _is_clearly_less(one: _Option, other: _Option) -> bool:
    highest = one.log_point + NORMAL_QUANTILE_95 * one.log_sd_above
    lowest = other.log_point - NORMAL_QUANTILE_95 * other.log_sd_below
    return highest < lowest


def _probability_least(best: _Option, options: Sequence[_Option]) -> float:
    """Probability that ``best`` is below all others, the integral over its own distribution."""
    at = best.log_point + np.where(_NODES < 0.0, best.log_sd_below, best.log_sd_above) * _NODES
    alive = np.ones_like(at)
    for other in options:
        if other is not best:
            alive *= [1.0 - _cumulative(other, float(value)) for value in at]
    return float(alive.mean())


def _cumulative(option: _Option, log_value: float) -> float:
    distance = log_value - option.log_point
    sd = option.log_sd_below if distance < 0.0 else option.log_sd_above
    if sd <= 0.0:
        return 0.5 if distance == 0.0 else float(distance > 0.0)
    return 0.5 * (1.0 + math.erf(distance / sd / math.sqrt(2.0)))


def _difference_or_none(one: Interval | None, other: Interval | None, home: Estimate) -> Difference | None:
    return None if one is None or other is None else _difference(one, other, home)


def _difference(one: Interval, other: Interval, home: Estimate) -> Difference:
    """One minus another, both proportional to home's time, by the delta method."""
    if one is other:
        return Difference(point=0.0, low=0.0, high=0.0)
    point, shared = one.point - other.point, home.time_s.log_half_width
    width = math.hypot(
        point * shared,
        one.point * _beside(one.log_half_width, shared),
        other.point * _beside(other.log_half_width, shared),
    )
    return Difference(point=point, low=point - width, high=point + width)
