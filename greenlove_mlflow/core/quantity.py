"""The four figures of an estimate, each with its field, unit, column and metric."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.units import G_PER_KG, S_PER_H

# The name of home in metric keys.
LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One figure of an estimate.

    Args:
        field: Its name in ``Estimate`` and in every record of figures, unit included.
        column: Its name in tables, unit included.
        factor: Conversion from the field's unit to the column's.
        metric: Prefix of its metric keys in MLflow; a key is ``<metric>/<subject>``.
        saving_metric: Metric of the best option's saving; empty when none is logged.
    """

    field: str
    column: str
    factor: float = 1.0
    metric: str
    saving_metric: str = ""


TIME = Quantity(
    field="time_s",
    column="time_h",
    factor=1.0 / S_PER_H,
    metric="green/time_h",
    saving_metric="green/saving/time_h",
)
COST = Quantity(field="cost_usd", column="cost_usd", metric="green/cost_usd", saving_metric="green/saving/usd")
CO2 = Quantity(
    field="co2_g",
    column="co2_kg",
    factor=1.0 / G_PER_KG,
    metric="green/co2_kg",
    saving_metric="green/saving/co2_kg",
)
ENERGY = Quantity(field="energy_kwh", column="energy_kwh", metric="green/energy_kwh")

QUANTITIES = (TIME, COST, CO2, ENERGY)
# Columns in display order, alone and with the ends of their ranges.
COLUMNS = (TIME.column, COST.column, ENERGY.column, CO2.column)


def known_figures(figures: object) -> Iterator[tuple[Quantity, Interval]]:
    """The known figures of an estimate, or of a record with the same fields, in column units."""
    for quantity in QUANTITIES:
        value: Interval | None = getattr(figures, quantity.field)
        if value is not None:
            yield quantity, value.scaled(quantity.factor)
