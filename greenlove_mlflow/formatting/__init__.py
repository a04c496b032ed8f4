"""The only place that rounds: plain numbers and records to text and to light HTML.

Quantities carry their unit, their range and as many digits as the range deserves; nothing that is not zero prints as
zero, and what is unknown is said in words.
"""

from __future__ import annotations

from greenlove_mlflow.formatting.durations import format_duration_s
from greenlove_mlflow.formatting.html import format_comparison_html, format_estimate_html
from greenlove_mlflow.formatting.quantities import (
    NO_PUBLIC_PRICE,
    NOT_MEASURED,
    UNKNOWN,
    Scale,
    co2_scale,
    duration_scale,
    energy_scale,
    format_co2_g,
    format_count,
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
from greenlove_mlflow.formatting.text import format_comparison, format_estimate

__all__ = [
    "NOT_MEASURED",
    "NO_PUBLIC_PRICE",
    "UNKNOWN",
    "Scale",
    "co2_scale",
    "duration_scale",
    "energy_scale",
    "format_co2_g",
    "format_comparison",
    "format_comparison_html",
    "format_count",
    "format_duration_s",
    "format_estimate",
    "format_estimate_html",
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
