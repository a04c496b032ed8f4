"""The planned training, the electricity it draws on, and what it may take at most."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Literal

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.errors import InvalidInputError

# lifecycle: building and fuel supply of the power plants included; direct: what leaves the stacks.
Scope = Literal["lifecycle", "direct"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The training that is planned.

    Args:
        sample_count: Samples in one epoch.
        batch_size: Samples in a full batch.
        epoch_count: Epochs of the real training, above 0; a part of one where it is planned by steps (3.75).
        steps_per_epoch: Batches in one epoch.
        validation_s: Seconds of one validation pass, measured; 0 when there is none.
        validation_every_epochs: A validation pass follows every so many epochs.
        extra_per_epoch_s: Seconds per epoch that the benchmark does not see (checkpoints, logging), as given.
        one_off_s: Seconds paid once (preprocessing), as given.
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
        place: In words ("Germany", "US-VA", "world average").
        intensity_g_per_kwh: Grams CO2e per kWh; None when unknown.
        price_usd_per_kwh: US dollars per kWh; None when unknown.
        scope: What the intensity counts.
        basis: How the place was found: ``given``, ``named``, ``environment``, ``time-zone``, ``world``, ``live``,
            ``geoip``.
        code: The place's code in the tables ("DE", "US-VA"); empty when the figures were given.
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
    """What a training may take at most; None does not limit."""

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
