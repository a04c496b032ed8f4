"""Estimates: from time to energy to cost and CO2e, each result with its range, also for changed plans."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.run_facts import RunFacts, home_power_w
from greenlove_mlflow.core.account.totals import Totals
from greenlove_mlflow.core.interval import Interval, product
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.workload import Grid, Limits, Workload, limit_words
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.units import G_PER_KG, J_PER_KWH, S_PER_H

if TYPE_CHECKING:
    from greenlove_mlflow.core.records import StepProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The estimate of a run on one machine.

    Args:
        time_s: Seconds of the whole run; its range holds the actual total 95% of the time.
        energy_kwh: Electricity, PUE included; None when power is not measured, modelled or given.
        cost_usd: Electricity bill at home, rent in a cloud, US dollars; None when the price is unknown.
        co2_g: Grams CO2e on the place's grid; None when energy or grid is unknown.
        workload: The planned run.
        grid: The electricity that it was priced with.
        caveats: What the reader must know.
        statistics: The facts it was computed from, enough to compute it again; None for an offer.
    """

    time_s: Interval
    energy_kwh: Interval | None
    cost_usd: Interval | None
    co2_g: Interval | None
    workload: Workload
    grid: Grid
    caveats: tuple[Caveat, ...] = ()
    statistics: RunFacts | None = None

    @property
    def profile(self) -> StepProfile | None:
        """The profile of a step at home; None for an offer, and where nothing was measured."""
        return None if self.statistics is None else self.statistics.profile

    def __str__(self) -> str:
        return str(Totals.of_estimate(self))


def estimate_training(
    statistics: RunFacts,
    *,
    workload: Workload | None = None,
    grid: Grid | None = None,
    pue: Interval | None = None,
) -> Estimate:
    """The estimate at home, with the run's own plan, grid and PUE unless overridden.

    Args:
        statistics: The facts of the run.
        workload: The planned run; the run's own when None.
        grid: Electricity to price it with; the run's own when None.
        pue: Power usage effectiveness, at least 1; the run's own when None.
    """
    workload = workload or statistics.workload
    time_s = statistics.home_fit.predict(workload)
    return estimate_for_time(statistics, time_s, workload=workload, grid=grid, pue=pue)


def estimate_for_time(
    statistics: RunFacts,
    time_s: Interval,
    *,
    workload: Workload | None = None,
    grid: Grid | None = None,
    pue: Interval | None = None,
) -> Estimate:
    """The estimate of a run that takes ``time_s`` seconds at home, whatever the source of that time.

    Args:
        statistics: The facts of the run.
        time_s: Its seconds, with their range.
        workload: The planned run; the run's own when None.
        grid: Electricity to price it with; the run's own when None.
        pue: Power usage effectiveness, at least 1; the run's own when None.
    """
    grid = grid or statistics.grid
    power_w = home_power_w(statistics)
    energy_kwh = None if power_w is None else estimate_energy_kwh(time_s, power_w, pue or statistics.pue)
    price, intensity = grid.price_usd_per_kwh, grid.intensity_g_per_kwh
    if statistics.home_usd_per_hour is not None:
        cost_usd: Interval | None = time_s.scaled(statistics.home_usd_per_hour / S_PER_H)
    else:
        cost_usd = None if energy_kwh is None or price is None else estimate_cost_usd(energy_kwh, price)
    return Estimate(
        time_s=time_s,
        energy_kwh=energy_kwh,
        cost_usd=cost_usd,
        co2_g=None if energy_kwh is None or intensity is None else estimate_co2_g(energy_kwh, intensity),
        workload=workload or statistics.workload,
        grid=grid,
        caveats=(*statistics.fit.caveats, *statistics.caveats),
        statistics=statistics,
    )


def estimate_energy_kwh(time_s: Interval, power_w: Interval, pue: Interval) -> Interval:
    """Electricity of ``time_s`` seconds at ``power_w`` watts, in kWh, times the PUE.

    >>> one = Interval.exactly
    >>> estimate_energy_kwh(one(7200.0), one(500.0), one(1.2)).point
    1.2
    """
    return product(time_s, power_w, pue).scaled(1.0 / J_PER_KWH)


def estimate_cost_usd(energy_kwh: Interval, price_usd_per_kwh: Interval) -> Interval:
    """The electricity bill, US dollars."""
    return product(energy_kwh, price_usd_per_kwh)


def estimate_co2_g(energy_kwh: Interval, intensity_g_per_kwh: Interval) -> Interval:
    """Grams CO2e of that electricity."""
    return product(energy_kwh, intensity_g_per_kwh)


def broken_limits(estimate: Estimate, limits: Limits) -> tuple[str, ...]:
    """One sentence per limit that the estimate's point values break; an unknown figure breaks none."""
    checks = (
        ("hours", limits.hours, estimate.time_s, 1.0 / S_PER_H),
        ("usd", limits.usd, estimate.cost_usd, 1.0),
        ("kwh", limits.kwh, estimate.energy_kwh, 1.0),
        ("kg_co2", limits.kg_co2, estimate.co2_g, 1.0 / G_PER_KG),
    )
    return tuple(
        limit_words(name, limit, estimated=figure.point * factor)
        for name, limit, figure, factor in checks
        if limit is not None and figure is not None and figure.point * factor > limit
    )


def replan(workload: Workload, *, epoch_count: int | None = None, sample_count: int | None = None) -> Workload:
    """The workload with another number of epochs or samples; batches, validation and extras are unchanged.

    A short last batch is dropped or kept as before; a loader whose steps follow another rule keeps its steps per
    sample.

    Args:
        workload: The workload to start from.
        epoch_count: Epochs, at least 1; unchanged when None.
        sample_count: Samples in one epoch, at least 1; unchanged when None.

    Raises:
        InvalidInputError: If a count is below 1.

    >>> plan = Workload(sample_count=100, batch_size=32, epoch_count=5, steps_per_epoch=3)
    >>> replan(plan, sample_count=1000).steps_per_epoch
    31
    """
    samples = workload.sample_count if sample_count is None else sample_count
    epochs = workload.epoch_count if epoch_count is None else epoch_count
    steps = workload.steps_per_epoch if samples == workload.sample_count else _steps(workload, samples)
    return dataclasses.replace(workload, epoch_count=epochs, sample_count=samples, steps_per_epoch=steps)


def _steps(workload: Workload, sample_count: int) -> int:
    whole = workload.sample_count / workload.batch_size
    if workload.steps_per_epoch == math.ceil(whole):
        return math.ceil(sample_count / workload.batch_size)
    if workload.steps_per_epoch == math.floor(whole):
        return max(1, sample_count // workload.batch_size)
    return max(1, math.ceil(sample_count * workload.steps_per_epoch / workload.sample_count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Overrides for a stored run; None keeps the run's value.

    Args:
        epoch_count: Epochs of the run, at least 1.
        sample_count: Samples in one epoch, at least 1.
        grid: Another place's electricity.
        intensity_g_per_kwh: Grams CO2e per kWh at home, in place of the grid's.
        price_usd_per_kwh: US dollars per kWh at home, in place of the grid's.
        pue: Power usage effectiveness at home, at least 1.
        home_usd_per_hour: Rent of home, in place of its electricity.
    """

    epoch_count: int | None = None
    sample_count: int | None = None
    grid: Grid | None = None
    intensity_g_per_kwh: float | None = None
    price_usd_per_kwh: float | None = None
    pue: float | None = None
    home_usd_per_hour: float | None = None

    def __post_init__(self) -> None:
        leasts = {"intensity_g_per_kwh": 0.0, "price_usd_per_kwh": 0.0, "pue": 1.0, "home_usd_per_hour": 0.0}
        for name, least in leasts.items():
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise InvalidInputError(f"{name} must be a number of at least {least:g}, got {value!r}")
        for name in ("epoch_count", "sample_count"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInputError(f"{name} must be at least 1, got {value!r}")

    @property
    def is_none(self) -> bool:
        """Whether nothing is overridden."""
        return self == Change()


def estimate_changed(statistics: RunFacts, change: Change) -> Estimate:
    """The estimate at home with the overrides applied; the run's own estimate when there are none."""
    if change.home_usd_per_hour is not None:
        statistics = dataclasses.replace(statistics, home_usd_per_hour=change.home_usd_per_hour)
    workload = replan(statistics.workload, epoch_count=change.epoch_count, sample_count=change.sample_count)
    pue = None if change.pue is None else Interval.exactly(change.pue)
    return estimate_training(statistics, workload=workload, grid=_changed_grid(statistics.grid, change), pue=pue)


def _changed_grid(grid: Grid, change: Change) -> Grid:
    grid = change.grid or grid
    if change.intensity_g_per_kwh is not None:
        intensity = Interval.exactly(change.intensity_g_per_kwh)
        grid = dataclasses.replace(grid, intensity_g_per_kwh=intensity, intensity_source=None, basis="given")
    if change.price_usd_per_kwh is not None:
        price = Interval.exactly(change.price_usd_per_kwh)
        grid = dataclasses.replace(grid, price_usd_per_kwh=price, price_source=None, basis="given")
    return grid
