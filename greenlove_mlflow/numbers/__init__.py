"""The only place that rounds: plain numbers to text.

Quantities carry their unit, their range and as many digits as the range deserves; nothing that is not zero prints as
zero, and what is unknown is said in words.
"""

from __future__ import annotations

from greenlove_mlflow.numbers.durations import format_duration_s
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
    format_probability,
    format_ratio,
    format_share,
    format_significant,
    format_usd,
    format_w,
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
    "format_probability",
    "format_ratio",
    "format_share",
    "format_significant",
    "format_usd",
    "format_w",
    "usd_scale",
]
