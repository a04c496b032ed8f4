"""The columns of the model's output: one row per input row, None where a value is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.interval import FloatArray, Interval, Intervals
from greenlove_mlflow.core.offers.batch import IndexArray, RowFigures
from greenlove_mlflow.core.quantity import QUANTITIES

Columns = dict[str, object]


def figure_columns(figures: RowFigures) -> dict[str, FloatArray]:
    """Hours, US dollars, kWh and kg CO2e, each with the ends of its range, by column name."""
    return _columns({each.field: getattr(figures, each.field) for each in QUANTITIES})


def range_columns(name: str, values: Intervals, factor: float = 1.0) -> dict[str, FloatArray]:
    """A quantity as three columns (point, low, high), converted to another unit by an exact factor.

    Args:
        name: Name of the point's column.
        values: The quantity.
        factor: Multiplier from the unit of the values to that of the columns.
    """
    return {name: values.point * factor, f"{name}_lo": values.low * factor, f"{name}_hi": values.high * factor}


def home_columns(homes: Sequence[Estimate]) -> dict[str, FloatArray]:
    """The same columns for estimates at home."""
    return _columns({each.field: _ranges(homes, each.field) for each in QUANTITIES})


def _columns(figures: Mapping[str, Intervals]) -> dict[str, FloatArray]:
    columns: dict[str, FloatArray] = {}
    for quantity in QUANTITIES:
        columns |= range_columns(quantity.column, figures[quantity.field], quantity.factor)
    return columns


def spread(columns: Mapping[str, FloatArray], at: IndexArray, row_count: int) -> dict[str, FloatArray]:
    """The columns spread over rows ``at`` of a table of ``row_count`` rows, NaN elsewhere."""
    spread_out = {}
    for name, values in columns.items():
        whole = np.full(row_count, np.nan)
        whole[at] = values
        spread_out[name] = whole
    return spread_out


def strict_numbers(values: FloatArray) -> list[float | None]:
    """The numbers with None instead of NaN, which is not valid JSON but which MLflow's server would send."""
    return [value if np.isfinite(value) else None for value in values.tolist()]


def strict_flags(values: FloatArray) -> list[bool | None]:
    """True where a value is 1, False where it is 0, None where it is unknown."""
    return [bool(value) if np.isfinite(value) else None for value in values.tolist()]


def object_frame(columns: Mapping[str, Sequence[object]]) -> pd.DataFrame:
    """A table whose cells are plain Python values, including None."""
    return pd.DataFrame({name: pd.Series(list(cells), dtype=object) for name, cells in columns.items()})


def _ranges(homes: Sequence[Estimate], name: str) -> Intervals:
    values: list[Interval | None] = [getattr(home, name) for home in homes]
    return Intervals.of(values)
