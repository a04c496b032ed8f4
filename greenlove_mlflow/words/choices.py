"""Text for fastest, cheapest, lowest carbon and best value, each with its probability."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenlove_mlflow.core.offers.choice import best_value, cheapest, fastest, lowest_carbon
from greenlove_mlflow.numbers import format_probability
from greenlove_mlflow.words.estimate import offer_label

if TYPE_CHECKING:
    from greenlove_mlflow.core.offers.choice import Choice
    from greenlove_mlflow.core.offers.compare import Comparison

# A longer list of names would not be read.
_MOST_NAMES = 3


def choices_in_words(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    """Pairs of criterion and best option as text; criteria without known figures are left out."""
    found = (
        ("Fastest", fastest(comparison)),
        ("Cheapest", cheapest(comparison)),
        ("Lowest CO2e by the grid", lowest_carbon(comparison)),
        ("Best value (cost times time)", best_value(comparison)),
    )
    return tuple((name, _words(choice)) for name, choice in found if choice is not None)


def _words(choice: Choice) -> str:
    name = "here" if choice.row is None else offer_label(choice.row)
    sure = f"{name}, {format_probability(choice.probability)} sure"
    if not choice.tied_with:
        return sure
    rest = len(choice.tied_with) - _MOST_NAMES
    others = ", ".join(choice.tied_with[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")
    return f"{sure}; not told apart from {others}"
