"""The verdict: sentences to act on, the best choices with their probabilities, and what became of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.outcome import time_error_ratio
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.choice import best_offer, best_value, cheapest, fastest, lowest_carbon
from greenlove_mlflow.numbers import (
    NOT_MEASURED,
    UNKNOWN,
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
from greenlove_mlflow.words.plain_text import offer_label

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import Outcome
    from greenlove_mlflow.core.offers.choice import Choice
    from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow
    from greenlove_mlflow.core.offers.offer import Offer

_NOTICES = {"refused": "Not run", "stopped": "Stopped", "pruned": "Pruned"}
# What is said of a training that ended before it could say what it took.
_SILENT_ENDINGS = {
    "failed": ("It failed; what it took was not recorded.",),
    "killed": ("It was killed; what it took was not recorded.",),
}
# How the caveat power-modelled begins.
_MODELLED = "power is modelled, not metered: "
_ENDINGS = {
    "stopped": "then it was stopped",
    "pruned": "then it was pruned",
    "failed": "then it failed",
    "killed": "then it was killed",
}


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


def ending_words(estimate: Estimate, outcome: Outcome, *, ended: str = "", is_running: bool = False) -> str:
    """How far the training came, and what ended it, if it is not its plan.

    Args:
        estimate: The estimate of the whole training.
        outcome: What happened.
        ended: What ended it (``stopped: ...``, ``failed``); empty when it came to its end, or for no known reason.
        is_running: Whether it still runs.
    """
    if is_running:
        return f"Still running, {how_far(estimate, outcome)} done"
    if outcome.completed:
        return f"Finished, then {ended}" if ended else "Finished"
    return f"Ended after {how_far(estimate, outcome)}{f', {ended}' if ended else ''}"


def estimate_beside_outcome(estimate: Estimate, outcome: Outcome, *, is_running: bool = False) -> str:
    """The judgement of the time, and the other figures that were estimated; no judgement while the training runs."""
    figures = [format_kwh(estimate.energy_kwh, missing="", with_range=False)]
    figures.append(format_money(estimate.cost_usd, missing="", with_range=False))
    listed = ", ".join(text for text in figures if text)
    if is_running:
        return f"Estimated in all: {', '.join(filter(None, (format_time(estimate.time_s), listed)))}."
    return f"{judgement_sentence(estimate, outcome)}{f' Estimated: {listed}.' if listed else ''}"


def ending_sentence(estimate: Estimate, outcome: Outcome, *, ended: str = "") -> str:
    """One sentence at the end of a training: what it took, and the estimated range of its time.

    Args:
        estimate: The estimate of the whole training.
        outcome: What happened.
        ended: What ended it, if not its plan.
    """
    figures = [
        format_kwh(outcome.energy_kwh, missing=""),
        format_money(outcome.cost_usd, missing=""),
        "" if outcome.co2_g is None else f"{format_co2_g(outcome.co2_g)} CO2e",
    ]
    listed = "".join(f", {text}" for text in figures if text)
    took = format_time(outcome.time_s)
    if not outcome.completed:
        return f"{ending_words(estimate, outcome, ended=ended)}: {took}{listed}."
    is_as_estimated = estimate.time_s.contains(outcome.time_s)
    if estimate.time_s.low < LEAST_S:  # nobody decides below it, so what ends there is as estimated too
        is_as_estimated = outcome.time_s <= max(LEAST_S, estimate.time_s.high)
        estimated = "under 1 s"
        if estimate.time_s.high >= LEAST_S:
            estimated = f"under 1 s to {format_time(estimate.time_s.high)}"
    else:
        estimated = spoken_range(estimate.time_s)
    where = "estimated" if is_as_estimated else "outside the estimated"
    done = f"{ending_words(estimate, outcome, ended=ended)}:" if ended else "Finished in"
    return f"{done} {took} ({where} {estimated}){listed}."


def choices_in_words(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    """Pairs of criterion and best option as text, then one of all criteria by which no option wins clearly.

    Criteria without known figures are left out.
    """
    found = (
        ("Fastest", fastest(comparison)),
        ("Cheapest", cheapest(comparison)),
        ("Lowest CO2e by the grid", lowest_carbon(comparison)),
        ("Best value (cost times time)", best_value(comparison)),
    )
    known = [(name, choice) for name, choice in found if choice is not None]
    told = [(name, _words(choice)) for name, choice in known if not choice.tied_with]
    tied = [f"{name[0].lower()}{name[1:]} ({_tied(choice)})" for name, choice in known if choice.tied_with]
    return (*told, ("No clear winner", ", ".join(tied))) if tied else tuple(told)


def _words(choice: Choice) -> str:
    return f"{_name(choice)}, {format_probability(choice.probability)} sure"


def _tied(choice: Choice) -> str:
    """Text for the options that are statistically tied; many of them are only counted."""
    names = (_name(choice), *choice.tied_with)
    return f"{' and '.join(names) if len(names) == 2 else f'{len(names)} options'} statistically tied"


def _name(choice: Choice) -> str:
    return "here" if choice.row is None else offer_label(choice.row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """How a run ended, or that it has not ended.

    Args:
        key: Its status in lower case.
        word: The status as shown.
        mark: A sign that tells it from others without colour.
    """

    key: str
    word: str
    mark: str


_FATES = {
    each.key: each
    for each in (
        Fate(key="running", word="RUNNING", mark="\u25b6"),
        Fate(key="finished", word="FINISHED", mark="\u2713"),
        Fate(key="refused", word="NOT RUN", mark="\u2298"),
        Fate(key="stopped", word="STOPPED", mark="\u25a0"),
        Fate(key="pruned", word="PRUNED", mark="\u2702"),
        Fate(key="failed", word="FAILED", mark="\u2717"),
        Fate(key="killed", word="KILLED", mark="\u2717"),
    )
}


def fate_of(status: str) -> Fate | None:
    """The fate of that status; None for no status.

    >>> fate_of("refused").word
    'NOT RUN'
    """
    return _FATES.get(status) or (Fate(key=status, word=status.upper(), mark="") if status else None)


def notice_words(status: str, reason: str) -> str:
    """The first words on a run that was refused, stopped or pruned, and why."""
    return f"{_NOTICES.get(status, status)}: {reason}."


def ran_although_words(reason: str) -> str:
    """The first words on a run that was refused and trained all the same."""
    return f"Ran although it was refused: {reason}."


def headline_sentences(estimate: Estimate, outcome: Outcome | None, *, status: str, notice: str) -> tuple[str, ...]:
    """What happened, before anything that was estimated; empty before the training.

    Args:
        estimate: The estimate.
        outcome: The outcome; None when nothing ran.
        status: Status of the run.
        notice: That the run was refused or stopped, and why; empty when it was not.
    """
    notices = (notice,) if notice else ()
    if outcome is None:
        return notices or _SILENT_ENDINGS.get(status, ())
    happened = happened_sentence(estimate, outcome, status)
    return (happened, *notices, judgement_sentence(estimate, outcome), *_energy_sentences(outcome))


def was_estimated_sentence(estimate: Estimate) -> str:
    """What a run that has begun was estimated to take here."""
    return home_sentence(estimate).replace("Training here takes", "It was estimated to take")


def would_take_sentence(estimate: Estimate) -> str:
    """What a run that was refused would take here."""
    return home_sentence(estimate).replace("Training here takes", "Training here would take")


def happened_sentence(estimate: Estimate, outcome: Outcome, status: str = "") -> str:
    """One sentence with the time, energy, cost and CO2e that a run took, and how far it got if not to its end."""
    if outcome.completed:
        return f"It took {_listed(outcome)}."
    ending = _ENDINGS.get(status, "")
    return f"{how_far(estimate, outcome)} ran{f', {ending}' if ending else ''}: {_listed(outcome)}."


def progress_sentences(estimate: Estimate, so_far: Outcome, *, seen_at: str) -> tuple[str, ...]:
    """How far a running training was when it was last seen, what it had taken and what was left; no word of its end.

    Args:
        estimate: The estimate.
        so_far: What it took up to its last lap.
        seen_at: When that lap ended, ISO 8601 in UTC.
    """
    done = f"{how_far(estimate, so_far)} done: {_listed(so_far)} so far."
    seen = f"Last seen {seen_at[:16].replace('T', ' ')} UTC." if seen_at else ""
    left = ""
    if so_far.forecasts_s:
        whole, taken_s = so_far.forecasts_s[-1], so_far.time_s
        ends = (max(0.0, end - taken_s) for end in (whole.point, whole.low, whole.high))
        point, low, high = ends
        left = f"{format_duration_s(Interval(point=point, low=low, high=high))} left by the latest forecast."
    return tuple(sentence for sentence in (done, left, seen) if sentence)


def how_far(estimate: Estimate, outcome: Outcome) -> str:
    """The laps that were done, of those planned: epochs, or optimizer steps where the plan is one of steps."""
    done, planned = len(outcome.epoch_durations_s), estimate.workload.epoch_count
    if outcome.lap_steps is None:
        return f"{done:,} of {format_epochs(planned)}"
    whole = round(planned * outcome.lap_steps)
    return f"{min(done * outcome.lap_steps, whole):,} of {whole:,} steps"


def _listed(outcome: Outcome) -> str:
    parts = [
        format_duration_s(outcome.time_s),
        format_kwh(outcome.energy_kwh, missing=""),
        format_money(outcome.cost_usd, missing=""),
        "" if outcome.co2_g is None else f"{format_co2_g(outcome.co2_g)} CO2e",
    ]
    return ", ".join(part for part in parts if part)


def _planned(estimate: Estimate, outcome: Outcome) -> str:
    return how_far(estimate, outcome).partition(" of ")[2]


def judgement_sentence(estimate: Estimate, outcome: Outcome) -> str:
    """One sentence on the time against its estimate; a run that was cut short is not judged."""
    estimated = format_duration_s(estimate.time_s)
    if not outcome.completed:
        return f"The estimate of {estimated} was for {_planned(estimate, outcome)} and is not judged."
    ratio = time_error_ratio(outcome, estimate) or 1.0
    side = "within" if estimate.time_s.contains(outcome.time_s) else "outside"
    length = "longer" if ratio > 1.0 else "shorter"
    return f"That is {_off(ratio)} {length} than the estimated {estimated}: {side} the range."


def outcome_table(estimate: Estimate, outcome: Outcome) -> list[tuple[str, str, str, str]]:
    """Rows of quantity, estimate, outcome and difference, headings first."""
    judged = outcome.completed
    ran = how_far(estimate, outcome)
    rows = [("", "estimated", "actual", "difference")]
    pairs = (
        ("time", format_time, estimate.time_s, outcome.time_s, UNKNOWN),
        (f"energy ({outcome.energy_source})" if outcome.energy_source else "energy", format_kwh, estimate.energy_kwh,
         outcome.energy_kwh, NOT_MEASURED),
        ("cost", format_money, estimate.cost_usd, outcome.cost_usd, UNKNOWN),
        ("CO2e", format_co2_g, estimate.co2_g, outcome.co2_g, UNKNOWN),
    )  # fmt: skip
    for name, words, promised, actual, missing in pairs:
        judgement = difference_words(promised, actual) if judged else ran
        rows.append((name, words(promised, missing=missing), words(actual, missing=missing), judgement))
    return rows


def difference_words(estimated: Interval | None, actual: float | None) -> str:
    """The difference between an outcome and its estimate, and whether the range held; empty where either is unknown."""
    if estimated is None or actual is None or estimated.point <= 0.0:
        return ""
    ratio = actual / estimated.point
    side = "in range" if estimated.contains(actual) else "out of range"
    return f"{_off(ratio)} {'more' if ratio > 1.0 else 'less'}, {side}"


def _off(ratio: float) -> str:
    """How far a ratio is from one; nobody decides below one per cent."""
    off = abs(ratio - 1.0)
    return "under 1%" if off < 0.01 else format_share(off)


def _energy_sentences(outcome: Outcome) -> tuple[str, ...]:
    if not outcome.energy_note:
        return ()
    if outcome.energy_note.startswith(_MODELLED):
        # How it is modelled is said where the reader is asked to act on it.
        return ("Its energy is modelled, not metered.",)
    what = {"": "unknown", "measured": "measured, but"}.get(outcome.energy_source, outcome.energy_source)
    return (f"Its energy is {what}: {outcome.energy_note}.",)
