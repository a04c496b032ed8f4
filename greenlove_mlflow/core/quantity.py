"""The four figures of an estimate: field, unit, column and metric of each, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.units import G_PER_KG, S_PER_H

# What home is called in metric keys.
LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One figure of an estimate.

    Args:
        field: Its name in ``Estimate`` and in every record of figures, unit included.
        column: Its name in tables, unit included.
        factor: What turns the field's unit into the column's.
        metric: The head of its metric keys in MLflow; a key is ``<metric>/<subject>``.
        saving_metric: The metric of what the best option saves of it; empty when none is logged.
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
# Columns in the order in which tables show them, and each with the ends of its range.
COLUMNS = (TIME.column, COST.column, ENERGY.column, CO2.column)


def known_figures(figures: object) -> Iterator[tuple[Quantity, Interval]]:
    """The known figures of an estimate, or of a record with the same fields, in the units of the columns."""
    for quantity in QUANTITIES:
        value: Interval | None = getattr(figures, quantity.field)
        if value is not None:
            yield quantity, value.scaled(quantity.factor)
