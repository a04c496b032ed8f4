"""The summary of a run: a ten-second read on a terminal, at most 14 lines of 80 columns."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from greenlove_mlflow.core.offers.choice import best_value, fastest
from greenlove_mlflow.core.timing.profile import least_step_share
from greenlove_mlflow.numbers import (
    NOT_MEASURED,
    UNKNOWN,
    format_co2_g,
    format_duration_s,
    format_epochs,
    format_kwh,
    format_probability,
    format_share,
    format_usd,
)
from greenlove_mlflow.numbers.durations import spoken_point
from greenlove_mlflow.words.estimate import home_label, offer_label, text_table
from greenlove_mlflow.words.verdict import provider_words, too_small_sentence

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.offers.choice import Choice
    from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow
    from greenlove_mlflow.core.provenance import Caveat
    from greenlove_mlflow.core.records import BoundBy

WIDTH = 80
MOST_LINES = 14
# A longer list of options would not be read; ``--all`` shows it.
MOST_OFFERS = 5
_LONGEST_NAME = 26
_LONGEST_PLACE = 16
# Amounts below this do not affect any decision.
LEAST_USD = 0.01
BOUND_BY_WORDS: dict[BoundBy, str] = {
    "data": "waiting for data",
    "host": "the host",
    "device": "the GPU",
    "cpu": "the CPU",
}


def summary(estimate: Estimate, comparison: Comparison | None = None, *, refusal: str = "") -> str:
    """The figures, the advice, at most five options cheapest first, and how many caveats ask for action.

    Args:
        estimate: The estimate at home.
        comparison: The run on each offer; None without one.
        refusal: Why the run is refused; empty when it is not.

    Returns:
        At most 14 lines of at most 80 columns.
    """
    lines = [_title(estimate, comparison), _figures(estimate), *_bound_by(estimate)]
    if refusal:
        lines.append(f"NOT RUN: {refusal}.")
    if comparison is not None:
        lines += _wrapped(advice(comparison), indent="  ")
        if not comparison.is_too_small_to_rent:
            lines += ["", *_options(comparison)]
    notes = _notes_line([*estimate.caveats, *(comparison.caveats if comparison is not None else ())])
    lines += notes[: max(0, MOST_LINES - len(lines))]
    return "\n".join(_cut(line) for line in lines[:MOST_LINES])


def advice(comparison: Comparison) -> str:
    """One sentence of advice: stay here, which offer to rent, or that no offer can be rented."""
    if comparison.is_too_small_to_rent and comparison.start_s is not None:
        return too_small_sentence(comparison.start_s)
    best, quickest = best_value(comparison), fastest(comparison)
    if best is None:
        return "No offer has a public price and fits, so nothing can be said of renting."
    if best.tied_with:
        said = f"No clear winner: {_option_name(best)} is statistically tied with {_names(best.tied_with)}."
    elif best.row is None:
        said = f"Stay here: best value ({format_probability(best.probability)} sure)."
    else:
        said = f"Rent {_rented(best.row)}: best value ({format_probability(best.probability)} sure)."
    row = None if quickest is None else quickest.row
    if row is None or row is best.row or row.estimate.cost_usd is None:
        return said
    return f"{said} In a hurry: {_rented(row)}."


def bound_by_words(estimate: Estimate) -> str:
    """Text for what the training is bound by; empty where the parts of a step are unknown."""
    profile = None if estimate.statistics is None else estimate.statistics.profile
    if profile is None or profile.bound_by is None:
        return ""
    share = least_step_share(profile)
    busy = "" if share is None else f": the GPU works {format_share(share)} of the time"
    return f"Bound by {BOUND_BY_WORDS[profile.bound_by]}{busy}."


def cheapest_first(comparison: Comparison) -> list[ComparisonRow]:
    """The offers that fit and have a price, the cheapest first."""

    def cost_usd(row: ComparisonRow) -> float:
        return math.inf if row.estimate.cost_usd is None else row.estimate.cost_usd.point

    return sorted((row for row in comparison.rows if row.can_win), key=cost_usd)


def asks_for_action(caveats: Iterable[Caveat]) -> list[Caveat]:
    """The caveats that change how a figure reads or call for action, each once, most severe first."""
    found = [caveat for caveat in dict.fromkeys(caveats) if caveat.severity != "note"]
    return sorted(found, key=lambda caveat: caveat.severity != "wrong-without")


def money_words(usd: float | None, missing: str = UNKNOWN) -> str:
    """Dollars as text for a decision: amounts below one cent all read the same."""
    if usd is None:
        return missing
    return "under 1 cent" if 0.0 < usd < LEAST_USD else format_usd(usd)


def _title(estimate: Estimate, comparison: Comparison | None) -> str:
    home = "here" if comparison is None else home_label(comparison).removesuffix(" (here)")
    return f"Training on {home}, {estimate.grid.place}, {format_epochs(estimate.workload.epoch_count)}"


def _figures(estimate: Estimate) -> str:
    cost = None if estimate.cost_usd is None else estimate.cost_usd.point
    co2 = "" if estimate.co2_g is None else f"{format_co2_g(estimate.co2_g, with_range=False)} CO2e"
    energy = format_kwh(estimate.energy_kwh, missing=f"energy {NOT_MEASURED}", with_range=False)
    parts = [format_duration_s(estimate.time_s), energy, money_words(cost, missing=""), co2]
    return "  " + "    ".join(part for part in parts if part)


def _bound_by(estimate: Estimate) -> list[str]:
    words = bound_by_words(estimate)
    return [f"  {words}"] if words else []


def _options(comparison: Comparison) -> list[str]:
    rentable = cheapest_first(comparison)
    home = comparison.home
    rows: list[tuple[str, ...]] = [("#", "option", "time", "cost", "CO2e", "where")]
    rows.append(
        (
            "-",
            "here",
            spoken_point(home.time_s),
            money_words(None if home.cost_usd is None else home.cost_usd.point),
            format_co2_g(home.co2_g, with_range=False),
            _short(home.grid.place, _LONGEST_PLACE),
        )
    )
    for number, row in enumerate(rentable[:MOST_OFFERS], start=1):
        rows.append((str(number), *_offer_cells(row)))
    lines = [f"  {line}" for line in text_table(rows, gap=2)]
    unpriced = sum(row.estimate.cost_usd is None for row in comparison.rows)
    hidden = len(rentable) - MOST_OFFERS
    rest = [f"{hidden} more"] if hidden > 0 else []
    rest += [f"{unpriced} without a public price"] if unpriced else []
    return [*lines, *([f"     {', '.join(rest)}: --all"] if rest else [])]


def _offer_cells(row: ComparisonRow) -> tuple[str, ...]:
    cost = row.estimate.cost_usd
    return (
        _short(offer_label(row), _LONGEST_NAME),
        spoken_point(row.estimate.time_s),
        money_words(None if cost is None else cost.point),
        format_co2_g(row.estimate.co2_g, with_range=False),
        _short(row.estimate.grid.place, _LONGEST_PLACE),
    )


def _rented(row: ComparisonRow) -> str:
    cost = row.estimate.cost_usd
    price = "" if cost is None else f" for {money_words(cost.point)}"
    return f"{offer_label(row)} at {provider_words(row.offer)}, {spoken_point(row.estimate.time_s)}{price}"


def _option_name(choice: Choice) -> str:
    return "here" if choice.row is None else offer_label(choice.row)


def _names(names: Sequence[str], most: int = 2) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _notes_line(caveats: Iterable[Caveat]) -> list[str]:
    asking = asks_for_action(caveats)
    if not asking:
        return []
    count = "1 note asks" if len(asking) == 1 else f"{len(asking)} notes ask"
    first = asking[0]
    head = f"  {count} for action: {first.code}"
    return [f"{_short(f'{head} ({first.message}', WIDTH - len('). --why'))}). --why"]


def _wrapped(text: str, *, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)[:2]


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3].rstrip()}..."


def _cut(line: str) -> str:
    return _short(line.rstrip(), WIDTH)
