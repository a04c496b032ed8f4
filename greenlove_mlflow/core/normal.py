"""The normal distribution and the longest of several uncertain durations, using only numpy.

The page's script ``normal.js`` uses the same coefficients and number of iterations, so page and library agree up to
rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, FloatArray

# Hart's rational approximation, highest power first; absolute error below 1e-15.
# Source: G. West, "Better approximations to cumulative normal functions", Wilmott (2005), after Hart (1968).
_NUMERATOR = (
    3.52624965998911e-2, 0.700383064443688, 6.37396220353165, 33.912866078383, 112.079291497871, 221.213596169931,
    220.206867912376,
)  # fmt: skip
_DENOMINATOR = (
    8.83883476483184e-2, 1.75566716318264, 16.064177579207, 86.7807322029461, 296.564248779674, 637.333633378831,
    793.826512519948, 440.413735824752,
)  # fmt: skip
_FAR = 7.07106781186547
_FARTHEST = 37.0
_SQRT_2_PI = 2.5066282746310002
# Newton's method from below on a concave function: from this start, six steps reach 1e-12, eight reach rounding.
_NEWTON_STEPS = 8
# Nodes of the integral over a normal factor: trapezoids on +-6 SD, exact to rounding for smooth integrands.
_NODES = np.arange(-6.0, 6.0 + 1e-9, 0.25)
_WEIGHTS = np.exp(-_NODES * _NODES / 2.0) / np.exp(-_NODES * _NODES / 2.0).sum()
# The same for two factors at once, each with a kink at its median, where a coarse grid shows.
_NODES_OF_TWO = np.arange(-5.0, 5.0 + 1e-9, 0.125)
_WEIGHTS_OF_TWO = np.exp(-_NODES_OF_TWO * _NODES_OF_TWO / 2.0) / np.exp(-_NODES_OF_TWO * _NODES_OF_TWO / 2.0).sum()


def normal_density(z: FloatArray) -> FloatArray:
    """Density of the standard normal distribution, element by element."""
    return np.exp(-z * z / 2.0) / _SQRT_2_PI


def normal_cdf(z: FloatArray | float) -> FloatArray:
    """Probability that a standard normal variable lies below ``z``, element by element; NaN stays NaN.

    >>> [round(float(value), 6) for value in normal_cdf(np.array([-1.959963984540054, 0.0, 1.0]))]
    [0.025, 0.5, 0.841345]
    """
    distance = np.minimum(np.abs(z), _FARTHEST)
    tail = np.exp(-distance * distance / 2.0)
    near = tail * _horner(_NUMERATOR, distance) / _horner(_DENOMINATOR, distance)
    fraction = distance + 0.65
    for numerator in (4.0, 3.0, 2.0, 1.0):
        fraction = distance + numerator / fraction
    upper = np.where(distance < _FAR, near, tail / fraction / _SQRT_2_PI)
    return np.where(np.asarray(z) > 0.0, 1.0 - upper, upper)


def _horner(coefficients: Sequence[float], x: FloatArray) -> FloatArray:
    value = coefficients[0] * x + coefficients[1]
    for coefficient in coefficients[2:]:
        value = value * x + coefficient
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One or many uncertain durations: lognormal, with median ``exp(log_point)``.

    Args:
        log_point: Logarithm of the median; minus infinity for an absent part.
        log_sd: SD of the logarithm; 0 for a duration known exactly.
    """

    log_point: FloatArray
    log_sd: FloatArray

    @classmethod
    def of(cls, point: FloatArray | float, log_sd: FloatArray | float) -> Part:
        """The part with that median; a median of 0 is an absent part."""
        with np.errstate(divide="ignore"):
            log_point = np.log(np.asarray(point, dtype=np.float64))
        return cls(log_point=log_point, log_sd=np.broadcast_to(np.asarray(log_sd, dtype=np.float64), log_point.shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class Longest:
    """The longest of independent uncertain durations; its point is the longest of their points.

    A mean would be biased upward, like the expected maximum of two equal durations. Quantiles and probabilities are
    those of the maximum, whose distribution function is the product of theirs.

    Args:
        parts: The durations, all of one shape.
        only_ranges: How many of the last parts widen the range without affecting the point.
    """

    parts: tuple[Part, ...]
    only_ranges: int = 0

    @property
    def log_point(self) -> FloatArray:
        """Logarithm of the longest point."""
        known = self.parts[: len(self.parts) - self.only_ranges]
        longest = known[0].log_point
        for part in known[1:]:
            longest = np.maximum(longest, part.log_point)
        return longest

    @property
    def point(self) -> FloatArray:
        """The longest point."""
        return np.exp(self.log_point)

    def shifted(self, offset: FloatArray | float) -> Longest:
        """The longest plus an exact duration of at least 0."""
        if np.all(np.asarray(offset) == 0.0):
            return self
        return Longest(parts=tuple(_shifted(part, offset) for part in self.parts), only_ranges=self.only_ranges)

    def at(self, index: int | tuple[int, ...]) -> Longest:
        """The longest at one position."""
        parts = tuple(Part(log_point=part.log_point[index], log_sd=part.log_sd[index]) for part in self.parts)
        return Longest(parts=parts, only_ranges=self.only_ranges)

    def log_quantile(self, probability: float) -> FloatArray:
        """Logarithm of the duration's quantile at that probability."""
        z = _quantile(probability)
        start = self.parts[0].log_point + self.parts[0].log_sd * z
        for part in self.parts[1:]:
            start = np.maximum(start, part.log_point + part.log_sd * z)
        uncertain = [part for part in self.parts if np.any((part.log_sd > 0.0) & (part.log_point > -np.inf))]
        if len(uncertain) < 2:
            return start
        log_value = start
        for _ in range(_NEWTON_STEPS):
            log_value = np.maximum(start, log_value - self._newton_step(uncertain, log_value, math.log(probability)))
        return log_value

    def _newton_step(self, uncertain: Sequence[Part], log_value: FloatArray, log_probability: float) -> FloatArray:
        log_cdf, slope = np.zeros_like(log_value), np.zeros_like(log_value)
        for part in uncertain:
            sd = np.where(part.log_sd > 0.0, part.log_sd, 1.0)
            z = np.where(part.log_sd > 0.0, (log_value - part.log_point) / sd, _FARTHEST)
            z = np.clip(z, -_FARTHEST, _FARTHEST)
            below = normal_cdf(z)
            log_cdf = log_cdf + np.log(below)
            slope = slope + normal_density(z) / (below * sd)
        return (log_cdf - log_probability) / np.where(slope > 0.0, slope, np.inf)

    def probability_below(self, log_value: FloatArray | float) -> FloatArray:
        """Probability that the longest lies below ``exp(log_value)``; a tie with an exact part counts half."""
        below: FloatArray = np.ones_like(self.parts[0].log_point + np.asarray(log_value, dtype=np.float64))
        for part in self.parts:
            if np.any(part.log_point != -np.inf):
                below = below * _part_below(part, log_value)
        return below

    def probability_below_uncertain(
        self, log_value: FloatArray | float, log_sd: float, log_sd_above: float | None = None
    ) -> FloatArray:
        """Probability that the longest lies below a lognormal value that is independent of it.

        Args:
            log_value: Logarithm of the value's median.
            log_sd: SD of its logarithm below the median.
            log_sd_above: SD above it, where different.
        """
        above = log_sd if log_sd_above is None else log_sd_above
        if max(log_sd, above) <= 0.0:
            return self.probability_below(log_value)
        deviations = np.where(_NODES < 0.0, log_sd, above) * _NODES
        shape = np.broadcast_shapes(np.shape(log_value), *(part.log_point.shape for part in self.parts))
        below = self.probability_below(deviations.reshape(-1, *(1 for _ in shape)) + log_value)
        return np.asarray(np.tensordot(_WEIGHTS, below, axes=1))

    def probability_below_quotient(
        self, log_value: float, numerator: tuple[float, float], denominator: tuple[float, float]
    ) -> float:
        """Probability that the longest lies below a quotient of two lognormal values, all independent; one position.

        The median of a quotient of lopsided values is not the quotient of their medians, so it has no two sides of its
        own: the probability is integrated over both.

        Args:
            log_value: Logarithm of the quotient of the medians.
            numerator: SDs of the numerator's logarithm below and above its median.
            denominator: The same of the denominator.
        """
        up, down = (np.where(_NODES_OF_TWO < 0.0, *sides) * _NODES_OF_TWO for sides in (numerator, denominator))
        below = self.probability_below(log_value + up[:, np.newaxis] - down)
        return float(_WEIGHTS_OF_TWO @ below @ _WEIGHTS_OF_TWO)


def _part_below(part: Part, log_value: FloatArray | float) -> FloatArray:
    distance = np.where(part.log_point > -np.inf, log_value - part.log_point, np.inf)
    sd = np.where(part.log_sd > 0.0, part.log_sd, 1.0)
    exact = np.where(distance == 0.0, 0.5, np.where(distance > 0.0, 1.0, 0.0))
    chance = np.where(part.log_sd > 0.0, normal_cdf(distance / sd), exact)
    return np.where(np.isnan(part.log_point), np.nan, chance)


def _shifted(part: Part, offset: FloatArray | float) -> Part:
    point = np.exp(part.log_point)
    is_there = part.log_point > -np.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        log_point = np.where(is_there, np.log(point + offset), part.log_point)
        log_sd = np.where(is_there, part.log_sd * point / (point + offset), part.log_sd)
    return Part(log_point=np.where(np.isnan(part.log_point), np.nan, log_point), log_sd=log_sd)


def _quantile(probability: float) -> float:
    """The standard normal quantile, for the two probabilities at which ranges end."""
    known = {0.025: -NORMAL_QUANTILE_95, 0.5: 0.0, 0.975: NORMAL_QUANTILE_95}
    return known[probability]
