"""What-if: the same run with other epochs, data size or location."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from greenlove_mlflow.core.account.estimate import Estimate, estimate_training
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.workload import Grid, Workload
from greenlove_mlflow.errors import InvalidInputError


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
