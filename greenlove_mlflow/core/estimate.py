"""Time to energy to cost and CO2e, each a named function, each result with its range and its caveats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from greenlove_mlflow.core.interval import Interval, product
from greenlove_mlflow.errors import InvalidInputError

if TYPE_CHECKING:
    from greenlove_mlflow.core.statistics import Statistics

S_PER_H = 3600.0
J_PER_KWH = 3.6e6
G_PER_KG = 1000.0

# lifecycle: building and fuel supply of the power plants included; direct: what leaves the stacks.
Scope = Literal["lifecycle", "direct"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where figures come from, as a table's sidecar or a caller states it; dates are ISO 8601."""

    producer: str
    title: str
    url: str = ""
    licence: str = ""
    published: str = ""
    accessed: str = ""
    table: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caveat:
    """Something the reader of a number must know: a kebab-case code, and what was seen and what to do about it."""

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The training that is planned.

    Args:
        sample_count: Samples in one epoch.
        batch_size: Samples in a full batch.
        epoch_count: Epochs of the real training, at least 1.
        steps_per_epoch: Batches in one epoch.
        validation_s: Seconds of one validation pass, measured; 0 when there is none.
        validation_every_epochs: A validation pass follows every so many epochs.
        extra_per_epoch_s: Seconds per epoch that the benchmark does not see (checkpoints, logging), as given.
        one_off_s: Seconds paid once (preprocessing), as given.
    """

    sample_count: int
    batch_size: int
    epoch_count: int
    steps_per_epoch: int
    validation_s: float = 0.0
    validation_every_epochs: int = 1
    extra_per_epoch_s: float = 0.0
    one_off_s: float = 0.0

    def __post_init__(self) -> None:
        if self.epoch_count < 1:
            raise InvalidInputError(f"epochs must be at least 1, got {self.epoch_count}")
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
            if value is not None and not value > 0.0:
                raise InvalidInputError(f"limit {name} must be above 0, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a training takes on one machine.

    Args:
        time_s: Seconds of the whole training; its range holds the real total 95 % of the time.
        energy_kwh: Electricity, PUE included; None when power is not measured, modelled or given.
        cost_usd: Electricity bill at home, rent in a cloud; None when the price is unknown.
        co2_g: Grams CO2e at the grid of the place; None when energy or grid is unknown.
        workload: The plan it is for.
        grid: The electricity it was priced with.
        caveats: What the reader must know.
        statistics: What it was made from and can be made again from; None for an offer.
    """

    time_s: Interval
    energy_kwh: Interval | None
    cost_usd: Interval | None
    co2_g: Interval | None
    workload: Workload
    grid: Grid
    caveats: tuple[Caveat, ...] = ()
    statistics: Statistics | None = None

    def __str__(self) -> str:
        from greenlove_mlflow.formatting import format_estimate

        return format_estimate(self)

    def _repr_html_(self) -> str:
        from greenlove_mlflow.formatting import format_estimate_html

        return format_estimate_html(self)


def estimate_energy_kwh(time_s: Interval, power_w: Interval, pue: Interval) -> Interval:
    """Electricity of ``time_s`` seconds at ``power_w`` watts, the building's overhead included, in kWh.

    >>> one = Interval.exactly
    >>> estimate_energy_kwh(one(7200.0), one(500.0), one(1.2)).point
    1.2
    """
    return product(time_s, power_w, pue).scaled(1.0 / J_PER_KWH)


def estimate_cost_usd(energy_kwh: Interval, price_usd_per_kwh: Interval) -> Interval:
    """The electricity bill in US dollars."""
    return product(energy_kwh, price_usd_per_kwh)


def estimate_co2_g(energy_kwh: Interval, intensity_g_per_kwh: Interval) -> Interval:
    """Grams CO2e of that electricity."""
    return product(energy_kwh, intensity_g_per_kwh)


def broken_limits(estimate: Estimate, limits: Limits) -> tuple[str, ...]:
    """The limits that the estimate's point values break, each in words; a figure that is unknown breaks none."""
    checks = (
        ("hours", limits.hours, estimate.time_s, 1.0 / S_PER_H),
        ("usd", limits.usd, estimate.cost_usd, 1.0),
        ("kwh", limits.kwh, estimate.energy_kwh, 1.0),
        ("kg_co2", limits.kg_co2, estimate.co2_g, 1.0 / G_PER_KG),
    )
    return tuple(
        f"limit {name} = {limit:g} (estimated {figure.point * factor:.3g})"
        for name, limit, figure, factor in checks
        if limit is not None and figure is not None and figure.point * factor > limit
    )
