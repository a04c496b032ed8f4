"""Durations as text: ``5 h 10 min (4 h 50 min to 5 h 35 min)``."""

from __future__ import annotations

import math

from greenlove_mlflow.numbers.quantities import LEAST_S, UNKNOWN, Ranged, Scale, at_least, format_significant
from greenlove_mlflow.units import S_PER_H

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
# Rounding steps of a duration, in seconds: those of a clock face.
_STEPS = (1.0, 5.0, 10.0, 30.0, _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE, _HOUR, 6 * _HOUR, _DAY)
# A step is at most a third of the half range and a twentieth of the value, so that rounding is invisible in both.
_RANGE_SHARE, _VALUE_SHARE = 3.0, 20.0
# Without a range, half a per cent is fine enough.
_LONE_SHARE = 200.0
_LIMITS = {"hours": "{} h", "usd": "${}", "kwh": "{} kWh", "kg_co2": "{} kg CO2e"}
# After "about", a tenth is fine enough.
_ABOUT_SHARE = 10.0


def format_duration_s(value: Ranged | float | None, *, missing: str = UNKNOWN) -> str:
    """A duration in seconds as text, with its range where it has one.

    >>> format_duration_s(18_600.0), format_duration_s(12.43), format_duration_s(0.0042)
    ('5 h 10 min', '12.4 s', '4.2 ms')
    >>> from greenlove_mlflow.core.interval import Interval
    >>> format_duration_s(Interval(point=18_610.0, low=17_420.0, high=20_090.0))
    '5 h 10 min (4 h 50 min to 5 h 35 min)'
    >>> format_duration_s(Interval(point=1860.0, low=1440.0, high=2460.0))
    '31 min (24 to 41 min)'
    """
    if value is None:
        return missing
    if isinstance(value, (int, float)):
        return _spoken(float(value), _step(float(value), 0.0))
    if value.low == value.high:
        return _spoken(value.point, _step(value.point, 0.0))
    return f"{spoken_point(value)} ({spoken_range(value)})"


def format_time(value: Ranged | float | None, *, missing: str = UNKNOWN, with_range: bool = True) -> str:
    """A duration in seconds as text for a decision: anything below one second reads the same.

    >>> format_time(0.0042), format_time(12.43), format_time(0.0)
    ('under 1 s', '12.4 s', '0 s')
    """
    return at_least(value, LEAST_S, "under 1 s", format_duration_s, missing=missing, with_range=with_range)


def format_limit(name: str, value: float) -> str:
    """A limit, or what was spent of it, with its unit.

    >>> format_limit("usd", 0.05), format_limit("usd", 3.5), format_limit("hours", 1.5), format_limit("kg_co2", 0.1234)
    ('$0.05', '$3.50', '1.5 h', '0.123 kg CO2e')
    >>> format_limit("hours", 0.5), format_limit("hours", 0.00312)
    ('30 min', '11.2 s')
    """
    if name == "usd" and value >= 1.0:
        return f"${value:,.2f}"
    if name == "hours" and value < 1.0:
        return format_duration_s(value * S_PER_H)
    digits = format_significant(value, 3)
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return _LIMITS[name].format(digits)


def about(seconds: float) -> str:
    """A duration in seconds as text, rounded to a tenth.

    >>> about(61.0), about(272.0)
    ('1 min', '4 min 30 s')
    """
    return _spoken(seconds, max((step for step in _STEPS if step <= seconds / _ABOUT_SHARE), default=1.0))


def spoken_point(value: Ranged) -> str:
    """The point of a duration in seconds as text, rounded as its range justifies."""
    if _is_short(value):
        return f"{_short_scale(value).number(value.point, value)} {_short_scale(value).unit}"
    return _spoken(value.point, _step(value.point, (value.high - value.low) / 2.0))


def spoken_range(value: Ranged) -> str:
    """The range of a duration in seconds as text, the unit stated once where both ends share it."""
    if _is_short(value):
        return _short_scale(value).range(value)
    half = (value.high - value.low) / 2.0
    low, high = (_spoken(end, _step(end, half, of=value.point)) for end in (value.low, value.high))
    low_words, high_words = low.split(), high.split()
    if len(low_words) == len(high_words) == 2 and low_words[1] == high_words[1]:
        return f"{low_words[0]} to {high}"
    return f"{low} to {high}"


def _is_short(value: Ranged) -> bool:
    """Whether to print seconds alone: the point is under a minute and the range not far over it."""
    return value.point < _MINUTE and value.high < 2.0 * _MINUTE


def _short_scale(value: Ranged) -> Scale:
    return Scale(unit="s") if value.point >= 0.1 else Scale(unit="ms", factor=1e3)


def _step(value: float, half_range: float, of: float | None = None) -> float:
    finest = value / _LONE_SHARE
    if half_range > 0.0:
        finest = max(finest, min(half_range / _RANGE_SHARE, (value if of is None else of) / _VALUE_SHARE))
    return max((step for step in _STEPS if step <= finest), default=1.0)


def _spoken(seconds: float, step: float) -> str:
    if not math.isfinite(seconds):
        return UNKNOWN
    rounded = round(seconds / step) * step
    if rounded < _MINUTE and seconds < _MINUTE:
        return f"{rounded:.0f} s" if step > 1.0 and rounded else _seconds(seconds)
    for unit, small, name, small_name in (
        (_DAY, _HOUR, "d", "h"),
        (_HOUR, _MINUTE, "h", "min"),
        (_MINUTE, 1.0, "min", "s"),
    ):
        if rounded >= unit:
            units, rest = divmod(rounded, unit)
            smaller = round(rest / small)
            if smaller * small >= unit:
                units, smaller = units + 1, 0
            return f"{units:,.0f} {name}" + (f" {smaller} {small_name}" if smaller else "")
    return f"{rounded:.0f} s"


def _seconds(seconds: float) -> str:
    if seconds <= 0.0:
        return "0 s"
    if seconds < 0.1:
        return f"{format_significant(seconds * 1e3, 2)} ms"
    return f"{format_significant(seconds, 3 if seconds >= 10.0 else 2)} s"
