"""Interval: a value with its range, and the functions that combine uncertain values.

Every quantity here is positive and known up to a factor, so uncertainties live on the log scale: an interval is
``[point / e^low_width, point * e^high_width]``, an exact factor moves the three numbers together, and independent
uncertain factors add their log half-widths in quadrature.

Source: the delta method on logarithms; the predictive interval itself comes from ``core.timing``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from greenlove_mlflow.errors import InvalidInputError

DEFAULT_LEVEL = 0.95
# The standard normal quantile of a two-sided 95% range, which turns a table's log SD into a half-width.
NORMAL_QUANTILE_95 = 1.959963984540054

_UNKNOWN = (math.nan, math.nan, math.nan)

FloatArray = NDArray[np.float64]
FloatOrArray = TypeVar("FloatOrArray", float, FloatArray)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A point value and the range that holds the truth with probability ``level``.

    Args:
        point: Best value, in the unit of the field that holds the interval; at least 0.
        low: Lower end, 0 <= low <= point.
        high: Upper end, point <= high.
        level: Probability that the range holds the truth, between 0 and 1.

    Raises:
        InvalidInputError: If the three numbers are not finite, not ordered or negative.

    >>> Interval(point=10.0, low=8.0, high=12.5).scaled(2.0)
    Interval(point=20.0, low=16.0, high=25.0, level=0.95)
    """

    point: float
    low: float
    high: float
    level: float = DEFAULT_LEVEL

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (self.point, self.low, self.high)):
            raise InvalidInputError(f"an interval needs finite numbers, got {self.low}, {self.point}, {self.high}")
        if not 0.0 <= self.low <= self.point <= self.high:
            raise InvalidInputError(
                f"an interval needs 0 <= low <= point <= high, got {self.low}, {self.point}, {self.high}"
            )
        if not 0.0 < self.level < 1.0:
            raise InvalidInputError(f"a level lies between 0 and 1, got {self.level}")

    @classmethod
    def exactly(cls, value: float) -> Interval:
        """The interval of a value known without error."""
        return cls(point=value, low=value, high=value)

    @classmethod
    def from_log_width(cls, point: float, log_half_width: float, level: float = DEFAULT_LEVEL) -> Interval:
        """The interval ``point`` times or divided by ``e^log_half_width``.

        >>> Interval.from_log_width(100.0, math.log(1.25))
        Interval(point=100.0, low=80.0, high=125.0, level=0.95)
        """
        factor = math.exp(log_half_width)
        return cls(point=point, low=min(point, point / factor), high=max(point, point * factor), level=level)

    @property
    def log_half_width(self) -> float:
        """Half the width on the log scale, unitless; 0 for an exact value or a point of 0."""
        if self.low <= 0.0:
            return 0.0 if self.high == self.low else math.inf
        return (math.log(self.high) - math.log(self.low)) / 2.0

    @property
    def is_exact(self) -> bool:
        """Whether the range is the point alone."""
        return self.low == self.high

    def contains(self, value: float) -> bool:
        """Whether the range holds ``value``."""
        return self.low <= value <= self.high

    def scaled(self, factor: float) -> Interval:
        """The interval times an exact factor of at least 0."""
        return Interval(point=self.point * factor, low=self.low * factor, high=self.high * factor, level=self.level)

    def shifted(self, offset: float) -> Interval:
        """The interval plus ``offset``, an exact amount of at least 0 in the interval's unit."""
        return Interval(point=self.point + offset, low=self.low + offset, high=self.high + offset, level=self.level)


def quadrature(*log_half_widths: FloatOrArray) -> FloatOrArray:
    """The log half-width of a product of independent uncertain factors; floats or arrays of one shape.

    >>> quadrature(0.3, 0.4)
    0.5
    """
    total = log_half_widths[0] * log_half_widths[0]
    for width in log_half_widths[1:]:
        total = total + width * width
    return math.sqrt(total) if isinstance(total, float) else np.sqrt(total)


def product(*factors: Interval) -> Interval:
    """The product of independent uncertain factors, in the product of their units.

    The lower log widths add in quadrature, and so do the upper ones.

    >>> product(Interval.exactly(2.0), Interval(point=10.0, low=8.0, high=12.5))
    Interval(point=20.0, low=16.0, high=25.0, level=0.95)
    """
    uncertain = [factor for factor in factors if not factor.is_exact]
    point = math.prod(factor.point for factor in factors)
    if not uncertain or point == 0.0:
        return Interval.exactly(point)
    if len(uncertain) == 1:
        exact = math.prod(factor.point for factor in factors if factor.is_exact)
        return uncertain[0].scaled(exact)
    below = quadrature(*(math.log(factor.point / factor.low) if factor.low else math.inf for factor in uncertain))
    above = quadrature(*(math.log(factor.high / factor.point) for factor in uncertain))
    return Interval(point=point, low=point * math.exp(-below), high=point * math.exp(above), level=uncertain[0].level)


def quotient(numerator: Interval, denominator: Interval) -> Interval:
    """The quotient of two independent uncertain values above 0.

    >>> quotient(Interval.exactly(10.0), Interval(point=2.0, low=1.0, high=4.0))
    Interval(point=5.0, low=2.5, high=10.0, level=0.95)
    """
    if denominator.low <= 0.0:
        raise InvalidInputError(f"cannot divide by a range that reaches 0: {denominator}")
    inverse = Interval(
        point=1.0 / denominator.point,
        low=1.0 / denominator.high,
        high=1.0 / denominator.low,
        level=denominator.level,
    )
    return product(numerator, inverse)


def total(*addends: Interval) -> Interval:
    """The sum of independent uncertain values of one unit; half-widths add in quadrature on the linear scale.

    >>> total(Interval.exactly(1.0), Interval.exactly(2.0)).point
    3.0
    """
    if len(addends) == 1:
        return addends[0]
    point = math.fsum(addend.point for addend in addends)
    absolute = math.sqrt(math.fsum((addend.point * math.expm1(addend.log_half_width)) ** 2 for addend in addends))
    width = math.log1p(absolute / point) if point else 0.0
    return Interval.from_log_width(point, width, addends[0].level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Many intervals as arrays of one shape, NaN where a value is unknown.

    The arithmetic is that of ``product``: independent widths add in quadrature, separately on each side.

    Args:
        point: Best values.
        below: Widths from the lower ends to the points on the log scale.
        above: Widths from the points to the upper ends.
    """

    point: FloatArray
    below: FloatArray
    above: FloatArray

    @classmethod
    def of(cls, intervals: Sequence[Interval | None]) -> Intervals:
        """The intervals as arrays, NaN for None."""
        rows = [_UNKNOWN if each is None else (each.point, each.low, each.high) for each in intervals]
        point, low, high = np.array(rows, dtype=np.float64).reshape(-1, 3).T
        return cls.between(point, low, high)

    @classmethod
    def between(cls, point: FloatArray, low: FloatArray, high: FloatArray) -> Intervals:
        """The intervals with the given points and ends."""
        with np.errstate(divide="ignore", invalid="ignore"):
            below = np.where(low == point, 0.0, np.log(point / low))
            above = np.where(high == point, 0.0, np.log(high / point))
        return cls(point=point, below=below, above=above)

    @classmethod
    def symmetric(cls, point: FloatArray, log_half_width: FloatArray) -> Intervals:
        """The intervals that are equally wide below and above their points on the log scale."""
        return cls(point=point, below=log_half_width, above=log_half_width)

    @property
    def low(self) -> FloatArray:
        """Lower ends."""
        return self.point * np.exp(-self.below)

    @property
    def high(self) -> FloatArray:
        """Upper ends."""
        return self.point * np.exp(self.above)

    def times(self, other: Intervals) -> Intervals:
        """The element-wise product of two independent uncertain factors."""
        return Intervals(
            point=self.point * other.point,
            below=np.hypot(self.below, other.below),
            above=np.hypot(self.above, other.above),
        )

    def scaled(self, factor: float | FloatArray) -> Intervals:
        """The intervals times an exact factor, element by element; NaN where the factor is unknown."""
        unknown = np.isnan(factor)
        return Intervals(
            point=self.point * factor,
            below=np.where(unknown, np.nan, self.below),
            above=np.where(unknown, np.nan, self.above),
        )

    def shifted(self, offset: float | FloatArray) -> Intervals:
        """The intervals plus an exact amount of at least 0, element by element."""
        moved = Intervals.between(self.point + offset, self.low + offset, self.high + offset)
        return Intervals(
            point=moved.point,
            below=np.where(offset == 0.0, self.below, moved.below),
            above=np.where(offset == 0.0, self.above, moved.above),
        )

    def picked(self, index: Any) -> Intervals:
        """The intervals at a numpy index, which may also change the shape."""
        return Intervals(point=self.point[index], below=self.below[index], above=self.above[index])

    def at(self, index: int | tuple[int, ...]) -> Interval | None:
        """The interval at one position; None where unknown."""
        point, low, high = float(self.point[index]), float(self.low[index]), float(self.high[index])
        if math.isnan(point) or math.isnan(low) or math.isnan(high):
            return None
        return Interval(point=point, low=min(point, low), high=max(point, high))
