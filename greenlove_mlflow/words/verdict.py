"""The verdict: one or two sentences to act on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.outcome import time_error_ratio
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.choice import best_offer
from greenlove_mlflow.numbers import (
    format_co2_g,
    format_duration_s,
    format_epochs,
    format_kwh,
    format_money,
    format_probability,
    format_share,
    format_time,
)
from greenlove_mlflow.numbers.durations import about, spoken_point, spoken_range
from greenlove_mlflow.numbers.quantities import LEAST_S, usd_scale
from greenlove_mlflow.words.estimate import offer_label

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import Outcome
    from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow
    from greenlove_mlflow.core.offers.offer import Offer


def verdict_sentences(estimate: Estimate, comparison: Comparison | None) -> tuple[str, ...]:
    """Sentences on what the run takes here and on the offer worth mentioning."""
    first = home_sentence(estimate)
    if comparison is None:
        return (first,)
    if comparison.is_too_small_to_rent and comparison.start_s is not None:
        return first, too_small_sentence(comparison.start_s)
    row = best_offer(comparison)
    return (first,) if row is None else (first, offer_sentence(row, comparison.start_s))


def home_sentence(estimate: Estimate) -> str:
    """One sentence with the time and its range, energy, cost and CO2e of the run here."""
    known = [
        format_kwh(estimate.energy_kwh, missing="", with_range=False),
        format_money(estimate.cost_usd, missing="", with_range=False),
    ]
    if estimate.co2_g is not None:
        known.append(f"{format_co2_g(estimate.co2_g, with_range=False)} CO2e")
    parts = [format_duration_s(estimate.time_s), *(text for text in known if text)]
    listed = ", ".join(parts)
    unknown = (
        "" if estimate.energy_kwh is not None else " Its power was not measured, so energy, cost and CO2e are unknown."
    )
    return f"Training here takes {listed}.{unknown}"


def too_small_sentence(start_s: Interval) -> str:
    """One sentence on why renting is pointless for a run that ends before an instance has started."""
    return f"It is too small to rent a GPU for: starting an instance alone takes about {about(start_s.point)}."


def offer_sentence(row: ComparisonRow, start_s: Interval | None = None) -> str:
    """One sentence on an offer: time including the instance's start, rent, and the odds."""
    time_s = row.estimate.time_s.shifted(0.0 if start_s is None else start_s.point)
    duration = spoken_point(time_s) if time_s.is_exact else spoken_range(time_s)
    cost = row.estimate.cost_usd
    rent = "" if cost is None else f" for {usd_scale().point_or_range(cost)}"
    odds = (
        ""
        if row.p_cheaper is None
        else f"; the chance that it is cheaper than here is {format_probability(row.p_cheaper)}"
    )
    return f"{offer_label(row)} at {provider_words(row.offer)} would take {duration}{rent}{odds}."


def provider_words(offer: Offer) -> str:
    """The name of an offer's provider; Crusoe Cloud by its short name."""
    return "Crusoe" if offer.provider.lower().startswith("crusoe") else offer.provider or "another provider"


def ending_words(estimate: Estimate, outcome: Outcome, *, ended: str = "", steps: int | None = None) -> str:
    """How far the training came, and why no further.

    Args:
        estimate: The estimate of the whole training.
        outcome: What happened.
        ended: Why it ended early (``stopped: ...``, ``failed``); empty when it did not, or for no known reason.
        steps: Planned optimizer steps of a training planned by them; None for one planned by epochs.
    """
    if outcome.completed:
        return "Finished"
    planned = format_epochs(estimate.workload.epoch_count)
    if steps is not None:
        planned = planned.replace("epoch", "lap")
    done = f"{len(outcome.epoch_durations_s)} of {planned}"
    return f"Ended after {done}{f', {ended}' if ended else ''}"


def estimate_beside_outcome(estimate: Estimate, outcome: Outcome) -> str:
    """The estimate in one sentence, and whether the outcome lies within its range."""
    figures = [format_time(estimate.time_s), format_kwh(estimate.energy_kwh, missing="", with_range=False)]
    figures.append(format_money(estimate.cost_usd, missing="", with_range=False))
    listed = ", ".join(text for text in figures if text)
    if not outcome.completed:
        return f"Estimated for all of them: {listed}."
    ratio = time_error_ratio(outcome, estimate) or 1.0
    side = "within the range" if estimate.time_s.contains(outcome.time_s) else "outside the range"
    return f"Estimated: {listed}; it took {format_share(abs(ratio - 1.0))} {_longer(ratio)}, {side}."


def ending_sentence(estimate: Estimate, outcome: Outcome, *, ended: str = "", steps: int | None = None) -> str:
    """One sentence at the end of a training: what it took, and the estimated range of its time.

    Args:
        estimate: The estimate of the whole training.
        outcome: What happened.
        ended: Why it ended early; empty when it did not.
        steps: Planned optimizer steps of a training planned by them; None for one planned by epochs.
    """
    figures = [
        format_kwh(outcome.energy_kwh, missing=""),
        format_money(outcome.cost_usd, missing=""),
        "" if outcome.co2_g is None else f"{format_co2_g(outcome.co2_g)} CO2e",
    ]
    listed = "".join(f", {text}" for text in figures if text)
    took = format_time(outcome.time_s)
    if not outcome.completed:
        return f"{ending_words(estimate, outcome, ended=ended, steps=steps)}: {took}{listed}."
    estimated = "under 1 s" if estimate.time_s.high < LEAST_S else spoken_range(estimate.time_s)
    where = "estimated" if estimate.time_s.contains(outcome.time_s) else "outside the estimated"
    return f"Finished in {took} ({where} {estimated}){listed}."


def _longer(ratio: float) -> str:
    return "longer" if ratio > 1.0 else "shorter"
