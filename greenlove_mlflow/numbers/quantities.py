"""Dollars, kWh, grams, watts, ratios and shares as text, alone or in a column with one unit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

NOT_MEASURED = "not measured"
NO_PUBLIC_PRICE = "no public price"
UNKNOWN = "unknown"
# Dollars and seconds below these do not affect any decision.
LEAST_USD, LEAST_S = 0.01, 1.0

# A single value takes the largest unit in which it is at least 0.5; a column takes the largest unit in which the
# geometric mean of its smallest and largest value is at least 1.
_LONE_SHARE = 0.5
_COLUMN_SHARE = 1.0
_KWH_UNITS = (("mWh", 1e6), ("Wh", 1e3), ("kWh", 1.0), ("MWh", 1e-3))
_CO2_UNITS = (("mg", 1e3), ("g", 1.0), ("kg", 1e-3), ("t", 1e-6))
_TIME_UNITS = (("ms", 1e3), ("s", 1.0), ("min", 1.0 / 60.0), ("h", 1.0 / 3600.0))
_POWER_UNITS = (("mW", 1e3), ("W", 1.0), ("kW", 1e-3), ("MW", 1e-6))


class Ranged(Protocol):
    """Anything with a point and a range, such as ``core.interval.Interval``."""

    @property
    def point(self) -> float: ...  # noqa: D102
    @property
    def low(self) -> float: ...  # noqa: D102
    @property
    def high(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A unit shared by a whole column.

    Args:
        unit: Printed after the number ("kWh"); empty for money.
        factor: From the quantity's own unit to this one.
        prefix: Printed before the number ("$").
        fewest_decimals: Decimals of an amount that has any (2 for money).
    """

    unit: str
    factor: float = 1.0
    prefix: str = ""
    fewest_decimals: int = 0

    def number(self, value: float, like: Ranged | None = None) -> str:
        """The number alone, with as many digits as the range of ``like`` justifies.

        >>> Scale(unit="kWh").number(2.1234)
        '2.12'
        """
        decimals = _decimals(value * self.factor, *_scaled_ends(value, like, self.factor), self.fewest_decimals)
        return f"{self.prefix}{_fixed(value * self.factor, decimals)}"

    def text(self, value: float) -> str:
        """The number and its unit."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def range(self, value: Ranged) -> str:
        """Both ends of the range, the unit stated once.

        >>> from greenlove_mlflow.core.interval import Interval
        >>> Scale(unit="kWh").range(Interval(point=2.1, low=1.9, high=2.4))
        '1.9 to 2.4 kWh'
        """
        return f"{self.number(value.low, value)} to {self.number(value.high, value)} {self.unit}".rstrip()

    def point(self, value: Ranged) -> str:
        """The point alone, with as many digits as its range justifies."""
        if value.low == value.high:
            return self.text(value.point)
        return f"{self.number(value.point, value)} {self.unit}".rstrip()

    def point_or_range(self, value: Ranged) -> str:
        """The range, or the point of an exact value."""
        return self.text(value.point) if value.low == value.high else self.range(value)

    def with_range(self, value: Ranged) -> str:
        """The point and, where it is not exact, its range in brackets."""
        if value.low == value.high:
            return self.text(value.point)
        return f"{self.point(value)} ({self.range(value)})"


def usd_scale(values: Iterable[float | Ranged | None] = ()) -> Scale:
    """Dollars; the same for every column, so that cents and dollars are never mixed up."""
    del values
    return Scale(unit="", prefix="$", fewest_decimals=2)


def energy_scale(values_kwh: Iterable[float | Ranged | None]) -> Scale:
    """The most readable unit for a column of kWh."""
    return _column_scale(values_kwh, _KWH_UNITS, 2)


def co2_scale(values_g: Iterable[float | Ranged | None]) -> Scale:
    """The most readable unit for a column of grams CO2e.

    >>> co2_scale([120.0, 64_000.0]).unit
    'kg'
    """
    return _column_scale(values_g, _CO2_UNITS, 1)


def duration_scale(values_s: Iterable[float | Ranged | None]) -> Scale:
    """The most readable unit for a column of seconds.

    >>> duration_scale([1800.0, 18_600.0]).text(18_600.0)
    '5.17 h'
    """
    return _column_scale(values_s, _TIME_UNITS, 1)


def format_interval(
    value: Ranged | float | None, scale: Scale, *, missing: str = UNKNOWN, with_range: bool = True
) -> str:
    """A value with its range, a plain value, or the text for a missing one."""
    if value is None:
        return missing
    if isinstance(value, (int, float)):
        return scale.text(float(value))
    return scale.with_range(value) if with_range else scale.point(value)


def format_usd(value: Ranged | float | None, *, missing: str = UNKNOWN, with_range: bool = True) -> str:
    """Dollars as text, with the range where there is one.

    >>> format_usd(0.0018)
    '$0.0018'
    >>> format_usd(None, missing=NO_PUBLIC_PRICE)
    'no public price'
    """
    return format_interval(value, usd_scale(), missing=missing, with_range=with_range)


def format_money(value: Ranged | float | None, *, missing: str = UNKNOWN, with_range: bool = True) -> str:
    """Dollars as text for a decision: amounts below one cent all read the same.

    >>> format_money(0.0018), format_money(1.234), format_money(0.0)
    ('under 1 cent', '$1.23', '$0')
    """
    return at_least(value, LEAST_USD, "under 1 cent", format_usd, missing=missing, with_range=with_range)


def at_least(
    value: Ranged | float | None,
    least: float,
    below: str,
    format_one: Callable[[float | Ranged], str],
    *,
    missing: str,
    with_range: bool,
) -> str:
    """A value as ``format_one`` writes it, where it and the ends of its range are not smaller than anyone cares about.

    Args:
        value: The value, with its range where it has one.
        least: The smallest amount that affects a decision.
        below: The text for smaller amounts.
        format_one: Writes a value and its range.
        missing: The text for an unknown value.
        with_range: Whether to write the range.
    """
    if value is None:
        return missing
    if isinstance(value, (int, float)):
        return below if 0.0 < value < least else format_one(float(value))
    if value.low >= least or value.high == 0.0:
        return format_one(value) if with_range else format_one(value).split(" (")[0]
    if value.high < least:
        return below
    point = below if value.point < least else format_one(value).split(" (")[0]
    if not with_range:
        return point
    high = format_one(value.high)
    return f"{point} (up to {high})" if value.point < least else f"{point} ({below} to {high})"


def format_kwh(value: Ranged | float | None, *, missing: str = NOT_MEASURED, with_range: bool = True) -> str:
    """Electricity as text, in mWh, Wh, kWh or MWh, with the range where there is one.

    >>> format_kwh(0.0082)
    '8.20 Wh'
    """
    return format_interval(value, _lone_scale(value, _KWH_UNITS, 2), missing=missing, with_range=with_range)


def format_co2_g(value: Ranged | float | None, *, missing: str = UNKNOWN, with_range: bool = True) -> str:
    """Grams CO2e as text, in mg, g, kg or t, with the range where there is one; the caller adds "CO2e".

    >>> format_co2_g(812.0)
    '0.812 kg'
    """
    return format_interval(value, _lone_scale(value, _CO2_UNITS, 1), missing=missing, with_range=with_range)


def format_w(value: Ranged | float | None, *, missing: str = NOT_MEASURED, with_range: bool = True) -> str:
    """Power as text, in watts or kilowatts, with the range where there is one."""
    return format_interval(value, _lone_scale(value, _POWER_UNITS, 1), missing=missing, with_range=with_range)


def format_ratio(value: Ranged | float | None, *, missing: str = UNKNOWN) -> str:
    """A ratio as text.

    >>> format_ratio(16.42)
    '16.4x'
    """
    if value is None:
        return missing
    if isinstance(value, (int, float)):
        return f"{format_significant(float(value), 3)}x"
    scale = Scale(unit="")
    if value.low == value.high:
        return f"{scale.number(value.point)}x"
    return (
        f"{scale.number(value.point, value)}x ({scale.number(value.low, value)}x to {scale.number(value.high, value)}x)"
    )


def format_probability(probability: float | None, *, missing: str = UNKNOWN) -> str:
    """A probability in whole per cent, with "under" and "over" at the extremes: no estimate is certain.

    >>> format_probability(0.021), format_probability(0.0001), format_probability(0.9999)
    ('2%', 'under 1%', 'over 99%')
    """
    if probability is None:
        return missing
    if probability < 0.005:
        return "under 1%"
    if probability > 0.995:
        return "over 99%"
    return f"{max(1, min(99, round(probability * 100.0)))}%"


def format_share(share: float | None, *, missing: str = UNKNOWN) -> str:
    """A share between 0 and 1, or a relative difference, in per cent.

    >>> format_share(0.0345), format_share(-0.12)
    ('3.5%', '-12%')
    """
    return missing if share is None else f"{format_significant(share * 100.0, 2)}%"


def format_count(count: float) -> str:
    """A count with thousands separators.

    >>> format_count(60000)
    '60,000'
    """
    return f"{round(count):,}"


def format_days_old(days: int) -> str:
    """How old something is.

    >>> format_days_old(1), format_days_old(1200)
    ('1 day old', '1,200 days old')
    """
    return f"{days:,} day{'' if days == 1 else 's'} old"


def format_epochs(count: float) -> str:
    """A number of epochs as text, with two decimals unless it is whole.

    >>> format_epochs(1), format_epochs(1200), format_epochs(41.0 + 2.0 / 3.0)
    ('1 epoch', '1,200 epochs', '41.67 epochs')
    """
    if count == 1:
        return "1 epoch"
    return f"{count:,.2f}".rstrip("0").rstrip(".") + " epochs"


def format_laps(count: int, *, is_epoch: bool) -> str:
    """A number of laps as text, as epochs where they are epochs.

    >>> format_laps(3, is_epoch=True), format_laps(1, is_epoch=False)
    ('3 epochs', '1 lap')
    """
    return format_epochs(count) if is_epoch else f"{count:,} lap{'' if count == 1 else 's'}"


def format_significant(value: float, digits: int = 2) -> str:
    """A number with ``digits`` significant digits, without exponents, and 0 only for zero itself.

    >>> format_significant(0.000345), format_significant(12345.0, 3)
    ('0.00034', '12,300')
    """
    if value == 0.0 or not math.isfinite(value):
        return "0" if value == 0.0 else str(value)
    return _fixed(value, digits - 1 - _exponent(value))


def round_significant(value: float, digits: int = 4) -> float:
    """A number rounded to that many significant digits, for tables and charts that show every digit they are given.

    >>> round_significant(0.000123456), round_significant(1234567.0)
    (0.0001235, 1235000.0)
    """
    return float(f"{value:.{digits - 1}e}")


def _fixed(value: float, decimals: int) -> str:
    rounded = round(value, decimals)
    return f"{rounded:,.{max(0, decimals)}f}"


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value)))


def _decimals(value: float, point: float, half_range: float, fewest: int) -> int:
    """How many decimals a number with that half range justifies; a negative count rounds to tens."""
    if value == 0.0:
        return 0
    exponent = _exponent(point) if point else 0
    if half_range > 0.0:
        first = _exponent(half_range)
        # One digit of the half range, two where its first digit is 1, so that rounding moves an end by at most a tenth.
        wanted = -first + (1 if half_range < 2.0 * 10.0**first else 0)
        decimals = min(max(wanted, 1 - exponent), 3 - exponent)
    else:
        decimals = 2 - exponent
    own = _exponent(value)
    decimals = max(min(decimals, 2 - own), -own)
    return decimals if fewest == 0 else _money_decimals(abs(value), decimals, fewest, lone=half_range == 0.0)


def _money_decimals(amount: float, decimals: int, fewest: int, *, lone: bool) -> int:
    """Decimals of money: cents or none for amounts that cents can show, two significant digits below that."""
    if amount >= 10.0**-fewest * 10.0:
        exact = lone and amount < 10.0 ** (fewest + 1)
        return fewest if decimals > 0 or exact else decimals
    return min(decimals, 1 - _exponent(amount)) if lone else decimals


def _scaled_ends(value: float, like: Ranged | None, factor: float) -> tuple[float, float]:
    if like is None:
        return value * factor, 0.0
    return like.point * factor, (like.high - like.low) / 2.0 * factor


def _points(values: Iterable[float | Ranged | None]) -> list[float]:
    plain = [value if isinstance(value, (int, float)) else value.point for value in values if value is not None]
    return [abs(value) for value in plain if value and math.isfinite(value)]


def _column_scale(values: Iterable[float | Ranged | None], units: Sequence[tuple[str, float]], usual: int) -> Scale:
    points = _points(values)
    return (
        _scale_for(math.sqrt(min(points) * max(points)), units, _COLUMN_SHARE)
        if points
        else Scale(unit=units[usual][0], factor=units[usual][1])
    )


def _lone_scale(value: float | Ranged | None, units: Sequence[tuple[str, float]], usual: int) -> Scale:
    points = _points([value])
    return _scale_for(points[0], units, _LONE_SHARE) if points else Scale(unit=units[usual][0], factor=units[usual][1])


def _scale_for(typical: float, units: Sequence[tuple[str, float]], share: float) -> Scale:
    fitting = [unit for unit in units if typical * unit[1] >= share]
    name, factor = fitting[-1] if fitting else units[0]
    return Scale(unit=name, factor=factor)
