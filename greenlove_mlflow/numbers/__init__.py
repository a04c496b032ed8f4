"""Numbers as text; rounding happens only here.

Quantities carry their unit, their range and as many digits as the range justifies; a nonzero value never prints as
zero, and an unknown one prints as a word such as "unknown".
"""

from __future__ import annotations

from greenlove_mlflow.numbers.durations import format_duration_s, format_limit, format_time
from greenlove_mlflow.numbers.quantities import (
    NO_PUBLIC_PRICE,
    NOT_MEASURED,
    UNKNOWN,
    Scale,
    co2_scale,
    duration_scale,
    energy_scale,
    format_co2_g,
    format_count,
    format_epochs,
    format_interval,
    format_kwh,
    format_laps,
    format_money,
    format_probability,
    format_ratio,
    format_share,
    format_significant,
    format_usd,
    format_w,
    round_significant,
    usd_scale,
)

__all__ = [
    "NOT_MEASURED",
    "NO_PUBLIC_PRICE",
    "UNKNOWN",
    "Scale",
    "co2_scale",
    "duration_scale",
    "energy_scale",
    "format_co2_g",
    "format_count",
    "format_duration_s",
    "format_epochs",
    "format_interval",
    "format_kwh",
    "format_laps",
    "format_limit",
    "format_money",
    "format_probability",
    "format_ratio",
    "format_share",
    "format_significant",
    "format_time",
    "format_usd",
    "format_w",
    "round_significant",
    "usd_scale",
]
