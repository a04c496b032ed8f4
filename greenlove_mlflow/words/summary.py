"""The summary of a run: a ten-second read on a terminal, at most 14 lines of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.choice import best_value, fastest
from greenlove_mlflow.numbers import (
    NOT_MEASURED,
    format_co2_g,
    format_epochs,
    format_kwh,
    format_money,
    format_probability,
    format_share,
    format_time,
)
from greenlove_mlflow.numbers.durations import about
from greenlove_mlflow.words.fitting import fitted, shortened, text_table
from greenlove_mlflow.words.plain_text import home_label, offer_label
from greenlove_mlflow.words.verdict import ending_words, estimate_beside_outcome, provider_words, too_small_sentence

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import Outcome
    from greenlove_mlflow.core.offers.choice import Choice
    from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow
    from greenlove_mlflow.core.provenance import Caveat
    from greenlove_mlflow.core.records import BoundBy

WIDTH = 80
MOST_LINES = 14
# A longer list of options would not be read; ``--all`` shows it.
MOST_OFFERS = 5
# Times that differ by less are the same to a reader, and a start that is less of them is not worth a word.
AS_FAST = 1.01
LEAST_START_SHARE = 0.1
_LONGEST_NAME = 26
_LONGEST_PLACE = 16
_BAR_LENGTH = 16
BOUND_BY_WORDS: dict[BoundBy, str] = {
    "data": "waiting for data",
    "host": "the host",
    "device": "the GPU",
    "cpu": "the CPU",
}


def summary(
    estimate: Estimate,
    comparison: Comparison | None = None,
    *,
    refusal: str = "",
    outcome: Outcome | None = None,
    ended: str = "",
    is_running: bool = False,
    steps: int | None = None,
) -> str:
    """The figures, the advice, at most five options cheapest first, and how many caveats ask for action.

    Args:
        estimate: The estimate at home.
        comparison: The run on each offer; None without one.
        refusal: Why the run is refused; empty when it is not.
        outcome: What happened so far; it then leads, with the estimate beside it. None before training.
        ended: What ended the training, if not its plan.
        is_running: Whether it still runs.
        steps: Planned optimizer steps of a training planned by them; None for one planned by epochs.

    Returns:
        At most 14 lines of at most 80 columns.
    """
    lines = [_title(estimate, comparison, steps)]
    if refusal:
        lines += _wrapped(f"NOT RUN: {refusal}.", indent="")
    if outcome is None:
        lines.append(_figures(estimate.time_s, estimate.energy_kwh, estimate.cost_usd, estimate.co2_g))
    else:
        lines += _wrapped(f"{ending_words(estimate, outcome, ended=ended, is_running=is_running)}:", indent="")
        lines.append(_figures(outcome.time_s, outcome.energy_kwh, outcome.cost_usd, outcome.co2_g))
        lines += _wrapped(estimate_beside_outcome(estimate, outcome, is_running=is_running), indent="  ")
    words = bound_by_words(estimate, comparison)
    lines += _wrapped(words, indent="  ") if words else []
    if comparison is not None:
        lines += _wrapped(advice(comparison), indent="  ")
    notes = _notes_line([*estimate.caveats, *(comparison.caveats if comparison is not None else ())])
    if comparison is not None and not comparison.is_too_small_to_rent:
        lines += _options(comparison, MOST_LINES - len(lines) - len(notes))
    lines = lines[: MOST_LINES - len(notes)] + notes
    return "\n".join(_cut(line) for line in lines)


def live_line(
    what: str, done_share: float, *, elapsed_s: float, forecast: Estimate | None, so_far: Outcome | None
) -> str:
    """One line while a training runs: how far it is, what is left, and what it took so far.

    Args:
        what: The epoch or step that runs, of how many.
        done_share: Share of them that is done, 0 to 1.
        elapsed_s: Seconds since the training began.
        forecast: The forecast of the whole training; None before there is an estimate.
        so_far: What it took so far; None before there is an estimate.
    """
    done = round(max(0.0, min(1.0, done_share)) * _BAR_LENGTH)
    head = f"{what} [{'#' * done}{'-' * (_BAR_LENGTH - done)}]"
    if forecast is None:
        return f"{head} its first seconds are timed for the estimate"
    left = {end: max(0.0, getattr(forecast.time_s, end) - elapsed_s) for end in ("point", "low", "high")}
    parts = [f"{head} {format_time(Interval(**left))} left"]
    if so_far is not None:
        parts += [format_kwh(so_far.energy_kwh, missing=""), format_money(so_far.cost_usd, missing="")]
    return ", ".join(part for part in parts if part)


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
    row = None if row is None else _cheapest_as_fast(comparison, row)
    if row is None or row is best.row or row.estimate.cost_usd is None:
        return said
    return f"{said} In a hurry: {_rented(row, comparison.start_s)}."


def next_time(comparison: Comparison, *, has_ended: bool) -> str:
    """The advice, as of a training to come once this one has ended."""
    said = advice(comparison)
    return f"Next time: {said[0].lower()}{said[1:]}" if has_ended else said


def best_option_words(comparison: Comparison) -> str:
    """The option of best value in two or three words: here, an offer, or that renting does not pay."""
    if comparison.is_too_small_to_rent:
        return "too small to rent"
    best = best_value(comparison)
    return "unknown" if best is None else _option_name(best)


def bound_by_words(estimate: Estimate, comparison: Comparison | None = None) -> str:
    """Text for what the training is bound by, here and on the offers; empty where the parts of a step are unknown."""
    profile = None if estimate.statistics is None else estimate.statistics.profile
    if profile is None or profile.bound_by is None:
        return ""
    share = profile.least_step_share
    busy = "" if share is None else f": the GPU works {format_share(share)} of the time"
    here = f"Bound by {BOUND_BY_WORDS[profile.bound_by]}{busy}."
    return f"{here}{_where_gpus_wait(comparison)}"


def _where_gpus_wait(comparison: Comparison | None) -> str:
    """Text for offers whose GPU would wait, all of them, so that a faster one is no faster; empty for others."""
    if comparison is None or comparison.is_too_small_to_rent:
        return ""
    bounds = {row.bound_by for row in comparison.rows if row.can_win}
    if bounds == {"host"}:
        return " Every offer's GPU would wait for its host (launch-bound): the cheapest is as fast as any."
    if bounds == {"data"}:
        return " Every offer's GPU would wait for data: the cheapest is as fast as any."
    return ""


def cheapest_first(comparison: Comparison) -> list[ComparisonRow]:
    """The offers that fit and have a price, the cheapest first."""

    def cost_usd(row: ComparisonRow) -> float:
        return math.inf if row.estimate.cost_usd is None else row.estimate.cost_usd.point

    return sorted((row for row in comparison.rows if row.can_win), key=cost_usd)


def asks_for_action(caveats: Iterable[Caveat]) -> list[Caveat]:
    """The caveats that change how a figure reads or call for action, each once, most severe first."""
    found = [caveat for caveat in dict.fromkeys(caveats) if caveat.severity != "note"]
    return sorted(found, key=lambda caveat: caveat.severity != "wrong-without")


def _title(estimate: Estimate, comparison: Comparison | None, steps: int | None) -> str:
    home = "here" if comparison is None else home_label(comparison).removesuffix(" (here)")
    planned = format_epochs(estimate.workload.epoch_count) if steps is None else f"{steps:,} steps"
    return f"Training on {home}, {estimate.grid.place}, {planned}"


def _figures(
    time_s: Interval | float,
    energy_kwh: Interval | float | None,
    cost_usd: Interval | float | None,
    co2_g: Interval | float | None,
) -> str:
    co2 = "" if co2_g is None else f"{format_co2_g(co2_g, with_range=False)} CO2e"
    energy = format_kwh(energy_kwh, missing=f"energy {NOT_MEASURED}", with_range=False)
    parts = [format_time(time_s), energy, format_money(cost_usd, missing="", with_range=False), co2]
    known = [part for part in parts if part]
    gap = next((gap for gap in (4, 3) if cell_len("  " + (" " * gap).join(known)) <= WIDTH), 2)
    return "  " + (" " * gap).join(known)


def _options(comparison: Comparison, most_lines: int) -> list[str]:
    """A blank line, home, as many offers as have room, and how many are left out."""
    rentable = cheapest_first(comparison)
    shown = max(0, min(MOST_OFFERS, most_lines - 4, len(rentable)))
    rows: list[tuple[str, ...]] = [("#", "option", "time", "cost", "CO2e", "where")]
    rows.append(("-", "here", *_figure_cells(comparison.home, comparison.home.grid.place)))
    names_provider = len({row.offer.provider for row in comparison.rows}) > 1
    for number, row in enumerate(rentable[:shown], start=1):
        cells = _figure_cells(row.estimate, _offer_place(row, names_provider=names_provider))
        rows.append((str(number), shortened(offer_label(row), _LONGEST_NAME), *cells))
    lines = [f"  {line}" for line in text_table(rows)]
    unpriced = sum(row.estimate.cost_usd is None for row in comparison.rows)
    hidden = len(rentable) - shown
    rest = [f"{hidden} more"] if hidden > 0 else []
    rest += [f"{unpriced} without a public price"] if unpriced else []
    return ["", *lines, *([f"     {', '.join(rest)}: --all"] if rest else [])]


def _figure_cells(estimate: Estimate, place: str) -> tuple[str, ...]:
    return (
        format_time(estimate.time_s, with_range=False),
        format_money(estimate.cost_usd, with_range=False),
        format_co2_g(estimate.co2_g, with_range=False),
        shortened(place, _LONGEST_PLACE),
    )


def _offer_place(row: ComparisonRow, *, names_provider: bool) -> str:
    """The offer's place; on a sheet of several clouds its cloud, then its regions."""
    return f"{row.offer.provider} {', '.join(row.offer.regions)}".strip() if names_provider else row.estimate.grid.place


def _rented(row: ComparisonRow, start_s: Interval | None = None) -> str:
    """The offer with provider, time and rent; a start that is a good part of the time is told beside it."""
    cost = row.estimate.cost_usd
    price = "" if cost is None else f" for {format_money(cost, with_range=False)}"
    time = format_time(row.estimate.time_s, with_range=False)
    counts = start_s is not None and start_s.point > row.estimate.time_s.point * LEAST_START_SHARE
    start = f" after a start of {about(start_s.point)}" if counts and start_s is not None else ""
    return f"{offer_label(row)} at {provider_words(row.offer)}, {time}{start}{price}"


def _cheapest_as_fast(comparison: Comparison, row: ComparisonRow) -> ComparisonRow:
    """The cheapest offer that takes no longer than that one; many do where all wait for their host or for data."""
    longest_s = row.estimate.time_s.point * AS_FAST
    return next(each for each in (*cheapest_first(comparison), row) if each.estimate.time_s.point <= longest_s)


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
    return [f"{shortened(f'{head} ({first.message}', WIDTH - len('). --why'))}). --why"]


def _wrapped(text: str, *, indent: str, most: int = 2) -> list[str]:
    """The text in at most two lines; a number stays with its unit."""
    lines = fitted(f"{indent}{text}", WIDTH, hanging=indent).split("\n")
    if len(lines) > most:
        lines = [*lines[: most - 1], _cut(" ".join([lines[most - 1], *(line.strip() for line in lines[most:])]))]
    return lines


def _cut(line: str) -> str:
    return shortened(line.rstrip(), WIDTH)
