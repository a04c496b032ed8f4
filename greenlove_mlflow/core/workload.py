"""The planned run, its electricity and its limits."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Literal

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.numbers import format_limit

# lifecycle: including construction and fuel supply of power plants; direct: stack emissions only.
Scope = Literal["lifecycle", "direct"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The planned run.

    Args:
        sample_count: Samples in one epoch.
        batch_size: Samples in a full batch.
        epoch_count: Epochs of the run, above 0; may be fractional where it is planned by steps (3.75).
        steps_per_epoch: Batches in one epoch.
        validation_s: Seconds of one validation pass, measured; 0 when there is none.
        validation_every_epochs: Number of epochs from one validation pass to the next.
        extra_per_epoch_s: Seconds per epoch outside the benchmark (checkpoints, logging), as given.
        one_off_s: One-time seconds (preprocessing), as given.
    """

    sample_count: int
    batch_size: int
    epoch_count: float
    steps_per_epoch: int
    validation_s: float = 0.0
    validation_every_epochs: int = 1
    extra_per_epoch_s: float = 0.0
    one_off_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.epoch_count < float("inf"):
            raise InvalidInputError(f"epochs must be above 0, got {self.epoch_count}")
        if self.sample_count < 1 or self.batch_size < 1 or self.steps_per_epoch < 1:
            raise InvalidInputError(f"a workload needs samples, a batch size and steps, got {self}")
        if self.validation_every_epochs < 1:
            raise InvalidInputError(f"validation every {self.validation_every_epochs} epochs cannot be planned")
        if min(self.validation_s, self.extra_per_epoch_s, self.one_off_s) < 0.0:
            raise InvalidInputError("seconds beside the training steps cannot be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The electricity of a place.

    Args:
        place: Name of the place ("Germany", "US-VA", "world average").
        intensity_g_per_kwh: Grams CO2e per kWh; None when unknown.
        price_usd_per_kwh: US dollars per kWh; None when unknown.
        scope: Which emissions the intensity includes.
        basis: How the place was found: ``given``, ``named``, ``environment``, ``time-zone``, ``world``, ``live``,
            ``geoip``.
        code: The place's code in the tables ("DE", "US-VA"); empty when the figures were given.
        intensity_source: The table row of the intensity; None when it was given or is unknown.
        price_source: The table row of the price; None when it was given or is unknown.
    """

    place: str
    intensity_g_per_kwh: Interval | None
    price_usd_per_kwh: Interval | None
    scope: Scope = "lifecycle"
    basis: str = "given"
    code: str = ""
    intensity_source: Source | None = None
    price_source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper limits of a run; None means no limit."""

    hours: float | None = None
    usd: float | None = None
    kwh: float | None = None
    kg_co2: float | None = None

    def __post_init__(self) -> None:
        for name in ("hours", "usd", "kwh", "kg_co2"):
            value = getattr(self, name)
            is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if value is not None and not (is_number and value > 0.0):
                raise InvalidInputError(f"limit {name} must be a number above 0, got {value!r}")


def limit_words(name: str, limit: float, **figures: float) -> str:
    """A limit with the figures that are held against it.

    >>> limit_words("usd", 0.05, estimated=0.163)
    'the limit of $0.05 (estimated $0.163)'
    """
    listed = ", ".join(f"{words.replace('_', ' ')} {format_limit(name, figure)}" for words, figure in figures.items())
    return f"the limit of {format_limit(name, limit)} ({listed})"
