"""Bounds check of facts read from outside: each number of a record, by the unit in its field's name."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from typing import Any

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.errors import InvalidInputError

# The bounds of a field by name: wide enough for any real value, narrow enough that the product of a few of them does
# not overflow a float.
_BY_NAME: dict[str, tuple[float, float]] = {
    "affine_intercept_s": (-1e10, 1e10),
    "affine_slope_s": (-1e10, 1e10),
    "epoch_s": (1e-9, 1e10),
    "first_epoch_s": (1e-9, 1e10),
    "block_s": (1e-9, 1e10),
    "pue": (1.0, 100.0),
    "level": (1e-6, 1.0 - 1e-6),
    "t_quantile": (0.0, 20.0),
    "bias_log": (-3.0, 3.0),
    "epoch_count": (1e-9, 1e9),
    "validation_every_epochs": (1.0, 1e9),
    "sample_count": (1.0, 1e15),
    "batch_size": (1.0, 1e15),
    "steps_per_epoch": (1.0, 1e15),
    "gpu_count": (1.0, 1e6),
}
# The same by the suffix of a name; the first match counts.
_BY_END: tuple[tuple[str, float, float], ...] = (
    ("log_ratio", -15.0, 15.0),
    ("_rho", -1.0, 1.0),
    ("_r2", -1e6, 1.0),
    ("_year", 1900.0, 3000.0),
    ("log_sd", 0.0, 3.0),
    ("log_half_width", 0.0, 15.0),
    ("log_width", 0.0, 15.0),
    ("ratio", 1e-7, 1e7),
    ("_share", 0.0, 1.0),
    ("per_kwh", 0.0, 1e5),
    ("per_hour", 0.0, 1e7),
    ("_gb_per_s", 0.0, 1e7),
    ("_tflops", 0.0, 1e8),
    ("_flops", 0.0, 1e30),
    ("_count", 0.0, 1e15),
    ("_size", 0.0, 1e15),
    ("_gib", 0.0, 1e7),
    ("_bytes", 0.0, 1e30),
    ("_kwh", 0.0, 1e15),
    ("_usd", 0.0, 1e15),
    ("_kg", 0.0, 1e15),
    ("_g", 0.0, 1e18),
    ("_ms", 0.0, 1e16),
    ("_s", 0.0, 1e10),
    ("_w", 0.0, 1e6),
    ("_j", 0.0, 1e18),
)
_ANYTHING = (-1e15, 1e15)


def check_bounds(record: Any) -> None:
    """Check that every number of a record and of the records in it is plausible for its field's name.

    Args:
        record: A decoded frozen record of facts; its field names end in their units.

    Raises:
        InvalidInputError: If a number is not finite or out of its bounds; names the field.
    """
    for field in dataclasses.fields(record):
        _check(getattr(record, field.name), field.name)


@cache
def bounds_of(name: str) -> tuple[float, float]:
    """The smallest and largest value that a field of that name can hold.

    >>> bounds_of("total_power_w"), bounds_of("pue")
    ((0.0, 1000000.0), (1.0, 100.0))
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    ends = ((low, high) for end, low, high in _BY_END if f"_{name}".endswith(f"_{end.lstrip('_')}"))
    return next(ends, _ANYTHING)


def _check(value: Any, name: str) -> None:
    if isinstance(value, Interval):
        for end in (value.low, value.point, value.high):
            _check_number(end, name)
        _check_number(value.level, "level")
    elif dataclasses.is_dataclass(value):
        check_bounds(value)
    elif isinstance(value, tuple):
        for each in value:
            _check(each, name)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        _check_number(value, name)


def _check_number(value: float, name: str) -> None:
    low, high = bounds_of(name)
    # Compared before conversion: an integer of hundreds of digits does not fit a float.
    if not low <= value <= high or not math.isfinite(value):
        shown = f"{value:.6g}" if isinstance(value, float) else "a number too large" if abs(value) > 1e15 else value
        raise InvalidInputError(f"{name} cannot be {shown}; it lies between {low:g} and {high:g}")
