"""Fastest, cheapest, lowest carbon and best value among the offers and home, with probabilities.

Best value is the option with the least cost times time among those whose memory fits; an option without a price is
never chosen. Home's time is a factor of every option, so its uncertainty never decides between two of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, FloatArray, Interval
from greenlove_mlflow.core.normal import Longest, Part
from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow

By = Literal["time", "cost", "co2", "value"]

# Slices of an option's distribution; 400 give three decimals.
_SLICES = 400
# Log width that stands for a range ending at 0; wider than that of any figure.
_WIDEST = 50.0
# Stands for the log of nothing (free electricity, a grid without emissions): below that of any figure.
_LOG_OF_NOTHING = -600.0
_AT_HOME = Longest(parts=(Part.of(1.0, 0.0),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The best option by one criterion.

    Args:
        by: The criterion.
        row: The offer; None for home.
        probability: Probability that it is the best of all options compared.
        tied_with: Names of the options statistically tied with it: their ranges overlap.
    """

    by: By
    row: ComparisonRow | None
    probability: float
    tied_with: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A difference with its range; negative when the second value is greater."""

    point: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """Home minus best value; all 0 when home is the best value, None where a figure is unknown."""

    row: ComparisonRow | None
    time_s: Difference
    cost_usd: Difference | None
    co2_g: Difference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    """One option by one criterion on the log scale, given home's time.

    The criterion is ``exp(log_scale)`` times the time to the power ``power``, times any further uncertain factor.
    """

    row: ComparisonRow | None
    name: str
    time: Longest
    log_scale: float
    power: float
    log_sd_below: float
    log_sd_above: float

    @property
    def log_point(self) -> float:
        """Log of the criterion's point value."""
        return self.log_scale + self.power * float(self.time.log_point)

    def log_end(self, probability: float) -> float:
        """Log of the criterion's quantile at that probability."""
        away = self.power * (float(self.time.log_quantile(probability)) - float(self.time.log_point))
        is_low = probability < 0.5
        width = math.hypot(away, NORMAL_QUANTILE_95 * (self.log_sd_below if is_low else self.log_sd_above))
        return self.log_point - width if is_low else self.log_point + width

    def probability_below(self, log_value: FloatArray) -> FloatArray:
        """Probability that the criterion lies below each of the values."""
        at = (log_value - self.log_scale) / self.power
        # Uncertainty other than that of the time moves the threshold for the time in the opposite direction.
        return self.time.probability_below_uncertain(at, self.log_sd_above / self.power, self.log_sd_below / self.power)


def fastest(comparison: Comparison) -> Choice | None:
    """The option that finishes first among those whose memory fits, including the start of an instance.

    None where the run at home ends before an instance has started.
    """
    return _best(comparison, "time")


def cheapest(comparison: Comparison) -> Choice | None:
    """The cheapest option among those whose memory fits; None when no cost is known or nothing can be rented."""
    return _best(comparison, "cost")


def lowest_carbon(comparison: Comparison) -> Choice | None:
    """The option with the least CO2e on the grid of its region; None when no CO2e is known. Claims do not count."""
    return _best(comparison, "co2")


def best_value(comparison: Comparison) -> Choice | None:
    """The option with the least cost times time among those whose memory fits; None when no cost is known.

    Also None for a run that ends before an instance has started.
    """
    return _best(comparison, "value")


def best_offer(comparison: Comparison) -> ComparisonRow | None:
    """The offer with the least cost times time among those that fit and can be rented; None when there is none.

    Also None for a run that ends before an instance has started.
    """
    if comparison.is_too_small_to_rent:
        return None
    start_s = 0.0 if comparison.start_s is None else comparison.start_s.point

    def worth(row: ComparisonRow) -> float:
        cost = row.estimate.cost_usd
        return math.inf if cost is None else cost.point * (row.estimate.time_s.point + start_s)

    return min((row for row in comparison.rows if row.can_win), key=worth, default=None)


def saving(comparison: Comparison) -> Saving | None:
    """The best value's saving over home in time, money and CO2e; None where there is no best value."""
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
    if not options or comparison.is_too_small_to_rent:
        return None
    best = min(options, key=lambda option: option.log_point)
    tied = [each.name for each in options if each is not best and not _is_clearly_less(best, each)]
    return Choice(by=by, row=best.row, probability=_probability_least(best, options), tied_with=tuple(tied))


def _options(comparison: Comparison, by: By) -> list[_Option]:
    home = comparison.home
    start = 0.0 if comparison.start_s is None else comparison.start_s.point / home.time_s.point
    found = [_option(None, comparison.home_name, home, _AT_HOME, by=by, home=home)]
    for row in comparison.rows:
        if row.fits_memory is not False:
            time = row.longest(home.time_s)
            time = time if by == "co2" else time.shifted(start)
            found.append(_option(row, row.offer.gpu, row.estimate, time, by=by, home=home))
    return [option for option in found if option is not None]


def _option(
    row: ComparisonRow | None, name: str, estimate: Estimate, time: Longest, *, by: By, home: Estimate
) -> _Option | None:
    value = {"time": estimate.time_s, "cost": estimate.cost_usd, "co2": estimate.co2_g, "value": estimate.cost_usd}[by]
    if value is None:
        return None
    log_time = float(time.log_point)
    is_by_time = by == "time" or (row is not None and by != "co2") or value.point <= 0.0
    sides = (0.0, 0.0) if is_by_time else _sides_beside(value, estimate.time_s)
    log_value = math.log(value.point) if value.point > 0.0 else _LOG_OF_NOTHING
    if by == "time":
        log_scale, power = math.log(home.time_s.point), 1.0
    elif by == "value":
        # Cost is proportional to time, so time enters cost times time squared.
        log_scale, power = log_value + math.log(home.time_s.point) - log_time, 2.0
    else:
        log_scale, power = log_value - log_time, 1.0
    return _Option(
        row=row,
        name=name,
        time=time,
        log_scale=log_scale,
        power=power,
        log_sd_below=sides[0],
        log_sd_above=sides[1],
    )


def _sides_beside(value: Interval, time_s: Interval) -> tuple[float, float]:
    """Log SDs below and above the point, without the uncertainty of the time."""
    pairs = ((value.point, value.low, time_s.point, time_s.low), (value.high, value.point, time_s.high, time_s.point))
    sides = []
    for above, below, time_above, time_below in pairs:
        whole = math.log(above / below) if below > 0.0 else _WIDEST
        shared = math.log(time_above / time_below) if time_below > 0.0 else _WIDEST
        sides.append(_beside(whole, shared) / NORMAL_QUANTILE_95)
    return sides[0], sides[1]


def _beside(side: float, shared: float) -> float:
    return math.sqrt(max(0.0, side**2 - shared**2))


def _is_clearly_less(one: _Option, other: _Option) -> bool:
    return one.log_end(0.975) < other.log_end(0.025)


def _probability_least(best: _Option, options: Sequence[_Option]) -> float:
    """Probability that ``best`` is below all others, summed over slices of its distribution."""
    spread = [best.log_end(probability) - best.log_point for probability in (0.025, 0.975)]
    if spread[1] - spread[0] <= 0.0:
        at, weights = np.array([best.log_point]), np.ones(1)
    else:
        # Four SDs either way miss less than one draw in ten thousand.
        edges = best.log_point + np.linspace(2.0 * spread[0], 2.0 * spread[1], _SLICES + 1)
        below = best.probability_below(edges)
        at, weights = (edges[1:] + edges[:-1]) / 2.0, np.diff(below)
    alive = np.ones_like(at)
    for other in options:
        if other is not best:
            alive *= 1.0 - other.probability_below(at)
    return float(np.sum(alive * weights) / np.sum(weights))


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
