"""The object that ``track`` hands to the body: the promise, and the real epochs timed, metered and re-forecast."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from greenlove_mlflow.core.estimate import Estimate
from greenlove_mlflow.core.forecast import forecast_total_s
from greenlove_mlflow.core.outcome import Outcome, settle_outcome
from greenlove_mlflow.core.statistics import estimate_for_time

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from greenlove_mlflow.core.compare import Comparison
    from greenlove_mlflow.core.interval import Interval
    from greenlove_mlflow.core.records import BenchmarkLog, PowerSample
    from greenlove_mlflow.power import PowerMeter
    from greenlove_mlflow.tracking import TrackedRun

logger = logging.getLogger(__name__)


class TrackedTraining:
    """A training with its promise.

    Attributes:
        estimate: What the training was promised to take.
        comparison: The same training on each offer; None when the comparison could not be made.
        log: What the benchmark measured.
        approved: False when ``confirm`` said no or a limit is broken; ``epochs()`` is then empty.
        refusal: Why it is not approved, in words; empty when it is.
        forecast: The estimate made again from the epochs done so far.
        outcome: What really happened; None before the first epoch has ended.
    """

    def __init__(
        self,
        *,
        estimate: Estimate,
        comparison: Comparison | None,
        log: BenchmarkLog,
        tracked: TrackedRun,
        refusal: str,
        open_training_meter: Callable[[], AbstractContextManager[PowerMeter]],
        synchronize: Callable[[], None],
    ) -> None:
        self.estimate = estimate
        self.comparison = comparison
        self.log = log
        self.refusal = refusal
        self.forecast = estimate
        self.outcome: Outcome | None = None
        self.power_samples: tuple[PowerSample, ...] = ()
        self._tracked = tracked
        self._open_meter = open_training_meter
        self._synchronize = synchronize

    @property
    def approved(self) -> bool:
        """Whether the training may run."""
        return not self.refusal

    @property
    def run_id(self) -> str | None:
        """The MLflow run that keeps everything; None while the server cannot be reached."""
        return self._tracked.run_id

    @property
    def url(self) -> str | None:
        """Where the run can be looked at in a browser; None when the store has no pages."""
        return self._tracked.url

    @property
    def how_to_open(self) -> str:
        """A command or an address that shows the run."""
        return self._tracked.how_to_open

    def epochs(self) -> Iterator[int]:
        """The epochs of the training, 0 and up, each timed and metered from its start to the start of the next.

        Empty when the training is not approved. Leaving the loop early is fine: the outcome then says so.
        """
        if not self.approved:
            return
        durations: list[float] = []
        forecasts: list[Interval] = []
        with self._open_meter() as meter:
            training_start = epoch_start = time.perf_counter()
            energy_start = meter.energy_j()
            for epoch in range(self.estimate.workload.epoch_count):
                energy_before = meter.energy_j()
                yield epoch
                self._synchronize()
                now = time.perf_counter()
                durations.append(now - epoch_start)
                epoch_start = now
                energy_now = meter.energy_j()
                forecasts.append(self._renew_forecast(durations, now - training_start))
                self.outcome = settle_outcome(
                    self.estimate,
                    epoch_durations_s=tuple(durations),
                    time_s=now - training_start,
                    energy_j=_difference(energy_now, energy_start),
                    forecasts_s=tuple(forecasts),
                )
                self._tracked.log_epoch(epoch, durations[-1], _difference(energy_now, energy_before), forecasts[-1])
            self.power_samples = meter.samples()

    def _renew_forecast(self, durations: list[float], elapsed_s: float) -> Interval:
        statistics = self.estimate.statistics
        if statistics is None:
            return self.estimate.time_s
        total_s = forecast_total_s(statistics.fit, self.estimate.workload, durations, elapsed_s)
        promised = self.estimate.time_s
        if total_s.low > promised.high or total_s.high < promised.low:
            if self.forecast.time_s.high >= promised.low and self.forecast.time_s.low <= promised.high:
                logger.warning(
                    "after %d epochs the training is heading for %.0f s (%.0f to %.0f), outside the promised %.0f to %.0f s",
                    len(durations), total_s.point, total_s.low, total_s.high, promised.low, promised.high,
                )  # fmt: skip
        self.forecast = estimate_for_time(statistics, total_s)
        return total_s


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else max(0.0, after - before)


def replace_ratios(estimate: Estimate, comparison: Comparison) -> Estimate:
    """The estimate whose statistics remember the speed ratio that each offer was given."""
    from greenlove_mlflow.core.statistics import OfferRatio

    if estimate.statistics is None:
        return estimate
    ratios = {row.offer.gpu_id: row.speed_ratio for row in comparison.rows}
    statistics = dataclasses.replace(
        estimate.statistics,
        ratios=tuple(OfferRatio(gpu_id=gpu_id, speed_ratio=ratio) for gpu_id, ratio in ratios.items()),
        prices_version=comparison.prices.version,
    )
    return dataclasses.replace(estimate, statistics=statistics)
