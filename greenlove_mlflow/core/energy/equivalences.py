"""Everyday equivalents of a mass of CO2e: a distance driven, phones charged, seedlings grown."""

from __future__ import annotations

from dataclasses import dataclass

from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.units import G_PER_KG


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    """The CO2e of one everyday activity.

    Args:
        key: Key in the table.
        thing: Its name as text ("smartphone fully charged").
        unit: What is counted ("charge").
        kg_per_unit: Kilograms CO2e emitted, or taken up, per unit.
        direction: ``emitted``, ``sequestered`` or ``avoided``.
        factor_year: Year or edition of the factor.
    """

    key: str
    thing: str
    unit: str
    kg_per_unit: float
    direction: str
    factor_year: str
    evidence: str = ""
    source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalent:
    """An amount of one equivalence, in a unit that keeps the number readable."""

    equivalence: Equivalence
    amount: float
    unit: str


# Smaller and larger names of a unit, each with its exact size in the table's unit, smallest first.
_SCALES: dict[str, tuple[tuple[str, float], ...]] = {
    "km": (("m", 0.001), ("km", 1.0)),
    "mile": (("ft", 1.0 / 5280.0), ("mile", 1.0)),
    "charge": (("% of a charge", 0.01), ("charge", 1.0)),
    "litre": (("ml", 0.001), ("litre", 1.0)),
    "seedling grown for 10 years": (
        ("days of a seedling's growth", 1.0 / 3652.5),
        ("seedling grown for 10 years", 1.0),
    ),
}
# Shown by default: a distance, something small and something that absorbs CO2.
SHOWN_KEYS = ("car_km_epa", "smartphone_charge_epa", "tree_seedling_10y_epa")


def find_equivalents(
    co2_g: float, equivalences: tuple[Equivalence, ...], keys: tuple[str, ...] = SHOWN_KEYS
) -> tuple[Equivalent, ...]:
    """The equivalents of ``co2_g`` grams CO2e, one per known key, in the order of the keys.

    Args:
        co2_g: Grams CO2e, at least 0.
        equivalences: Rows of the table.
        keys: Which rows to use.

    Raises:
        InvalidInputError: If the mass is negative.

    >>> phone = Equivalence(key="p", thing="", unit="charge", kg_per_unit=0.0124, direction="emitted", factor_year="")
    >>> find_equivalents(3.1, (phone,), keys=("p",))[0].amount
    25.0
    """
    if not co2_g >= 0.0:
        raise InvalidInputError(f"grams CO2e must be at least 0, got {co2_g}")
    by_key = {equivalence.key: equivalence for equivalence in equivalences}
    return tuple(_scaled(co2_g, by_key[key]) for key in keys if key in by_key)


def _scaled(co2_g: float, equivalence: Equivalence) -> Equivalent:
    """The amount in the largest unit in which it is at least 1, else in the smallest."""
    amount = co2_g / G_PER_KG / equivalence.kg_per_unit
    scales = _SCALES.get(equivalence.unit, ((equivalence.unit, 1.0),))
    fitting = [scale for scale in scales if amount / scale[1] >= 1.0]
    unit, size = fitting[-1] if fitting else scales[0]
    return Equivalent(equivalence=equivalence, amount=amount / size, unit=unit)
