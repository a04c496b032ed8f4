"""The columns of the model, in its MLflow signature and in its output: one row per input row, None where unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.interval import FloatArray, Interval, Intervals
from greenlove_mlflow.core.offers.batch import IndexArray, RowFigures
from greenlove_mlflow.core.quantity import COLUMNS, LOCAL, QUANTITIES

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import DataType


FIGURES = tuple(f"{column}{end}" for column in COLUMNS for end in ("", "_lo", "_hi"))
LOCAL_FIGURES = tuple(f"{LOCAL}_{column}" for column in COLUMNS)
SPOT_FIGURES = ("spot_cost_usd", "spot_cost_usd_lo", "spot_cost_usd_hi")
COUNTS = ("rented_gpu_count", "used_gpu_count")
REQUIRED_INPUTS = ("gpu", "price_usd_per_hour")
# ``memory_gib`` is read if present but is not in the signature: MLflow's command line reads a column of whole GiB as
# integers, which its check does not accept as doubles, and names imply the memory ("A100 PCIe 80GB").
NUMBER_INPUTS = ("price_usd_per_hour", "spot_usd_per_hour")
INPUTS = (*REQUIRED_INPUTS, "spot_usd_per_hour", "version", "as_of", "statistics")
TEXT_OUTPUTS = ("gpu", "version", "basis", "problem")
OUTPUTS = ("gpu", "version", *FIGURES, *COUNTS, "basis", "problem", *LOCAL_FIGURES, "fits_memory", *SPOT_FIGURES)
WHOLE_PARAMS = ("epochs", "sample_count")
PARAMS = ("epochs", "sample_count", "carbon_g_per_kwh", "usd_per_kwh", "pue", "home_usd_per_hour")


def make_signature(statistics: RunFacts | None) -> ModelSignature:
    """The signature: price rows in, one estimate per row out, the run's plan and place as default params.

    It is typed, since MLflow's server parses a CSV by the signature's types and refuses one without. Prices are
    doubles: in a CSV for MLflow's command line, which ignores the signature, whole prices must be written as 2.0.

    Args:
        statistics: Run facts; None for a model whose rows hold their own.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    required = (*REQUIRED_INPUTS, *(() if statistics else ("statistics",)))
    defaults = default_params(statistics)
    return ModelSignature(
        inputs=Schema([ColSpec(_input_type(name), name, required=name in required) for name in INPUTS]),
        outputs=Schema([ColSpec(getattr(DataType, _output_type(name)), name, required=False) for name in OUTPUTS]),
        params=ParamSchema(
            [
                ParamSpec(name, DataType.long if name in WHOLE_PARAMS else DataType.double, defaults[name])
                for name in PARAMS
            ]
        ),
    )


def default_params(statistics: RunFacts | None) -> dict[str, float | int | None]:
    """The run's plan and location by param; None keeps the run's value, or leaves it unknown."""
    if statistics is None:
        return dict.fromkeys(PARAMS)
    grid, epochs = statistics.grid, statistics.workload.epoch_count
    return {
        "epochs": round(epochs) if epochs == round(epochs) else None,
        "sample_count": statistics.workload.sample_count,
        "carbon_g_per_kwh": None if grid.intensity_g_per_kwh is None else grid.intensity_g_per_kwh.point,
        "usd_per_kwh": None if grid.price_usd_per_kwh is None else grid.price_usd_per_kwh.point,
        "pue": statistics.pue.point,
        "home_usd_per_hour": statistics.home_usd_per_hour,
    }


def _input_type(name: str) -> DataType:
    from mlflow.types.schema import DataType

    return DataType.double if name in NUMBER_INPUTS else DataType.string


def _output_type(name: str) -> str:
    if name == "fits_memory":
        return "boolean"
    return "string" if name in TEXT_OUTPUTS else "double"


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
