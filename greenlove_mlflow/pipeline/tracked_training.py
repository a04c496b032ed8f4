"""The object that ``track`` hands to the body: the promise, and the real epochs timed, metered and re-forecast."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.outcome import Outcome, settle_outcome
from greenlove_mlflow.core.account.run_facts import OfferRatio, estimate_for_time
from greenlove_mlflow.core.timing.forecast import forecast_total_s
from greenlove_mlflow.tables import table_versions

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from greenlove_mlflow.core.interval import Interval
    from greenlove_mlflow.core.offers.compare import Comparison
    from greenlove_mlflow.core.records import BenchmarkLog
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
        on_epoch: Callable[[int, int, Estimate], None] | None = None,
    ) -> None:
        self.estimate = estimate
        self.comparison = comparison
        self.log = log
        self.refusal = refusal
        self.forecast = estimate
        self.outcome: Outcome | None = None
        self._forecasts: list[Interval] = []
        self._open = ExitStack()
        self._tracked = tracked
        self._open_meter = open_training_meter
        self._synchronize = synchronize
        self._on_epoch = on_epoch

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
        self.close()
        meter = self._open.enter_context(self._open_meter())
        durations: list[float] = []
        started_s = time.perf_counter()
        started_j = meter.energy_j(modelled=True)
        begun_s, begun_j = started_s, started_j
        for epoch in range(self.estimate.workload.epoch_count):
            yield epoch
            self._synchronize()
            now_s, now_j = time.perf_counter(), meter.energy_j(modelled=True)
            durations.append(now_s - begun_s)
            try:
                self._settle(
                    tuple(durations),
                    elapsed_s=now_s - started_s,
                    energy_j=_difference(now_j, started_j),
                    is_metered=meter.is_metered,
                    energy_note=meter.energy_note(),
                )
                self._tracked.log_epoch(epoch, durations[-1], _difference(now_j, begun_j), self.forecast.time_s)
            except (ArithmeticError, ValueError) as error:
                # An odd clock must not end the training that it was to time.
                logger.warning("epoch %d is not in the forecast: %s", epoch, error)
            if self._on_epoch is not None:
                self._on_epoch(len(durations), self.estimate.workload.epoch_count, self.forecast)
            begun_s, begun_j = now_s, now_j
        self.close()

    def close(self) -> None:
        """Stop metering; epochs that are still under way are no longer counted."""
        self._open.close()

    def __str__(self) -> str:
        from greenlove_mlflow.words.notebook import format_training

        return format_training(self.estimate, self.comparison, self.outcome, refusal=self.refusal)

    def _repr_html_(self) -> str:
        from greenlove_mlflow.words.notebook import format_training_html

        return format_training_html(
            self.estimate, self.comparison, self.outcome, how_to_open=self.how_to_open, refusal=self.refusal
        )

    def _settle(
        self,
        durations_s: tuple[float, ...],
        *,
        elapsed_s: float,
        energy_j: float | None,
        is_metered: bool,
        energy_note: str,
    ) -> None:
        """Renew forecast and outcome after an epoch, and say so at once when the promise no longer holds."""
        statistics, promised = self.estimate.statistics, self.estimate.time_s
        total_s = promised
        if statistics is not None:
            total_s = forecast_total_s(statistics.fit, self.estimate.workload, durations_s, elapsed_s)
            if _are_apart(total_s, promised) and not _are_apart(self.forecast.time_s, promised):
                logger.warning(
                    "after %d epochs the training heads for %.0f s (%.0f to %.0f), outside the promised %.0f to %.0f s",
                    len(durations_s), total_s.point, total_s.low, total_s.high, promised.low, promised.high,
                )  # fmt: skip
            self.forecast = estimate_for_time(statistics, total_s)
        self._forecasts.append(total_s)
        self.outcome = settle_outcome(
            self.estimate,
            epoch_durations_s=durations_s,
            time_s=elapsed_s,
            energy_j=energy_j,
            is_metered=is_metered,
            energy_note=energy_note,
            forecasts_s=tuple(self._forecasts),
        )


def _are_apart(one: Interval, other: Interval) -> bool:
    return one.low > other.high or one.high < other.low


def _difference(after: float | None, before: float | None) -> float | None:
    """Joules in between; None where they are unknown or the meter has not moved."""
    return None if after is None or before is None or after <= before else after - before


def replace_ratios(estimate: Estimate, comparison: Comparison, *, cloud_region: str | None = None) -> Estimate:
    """The estimate whose statistics remember the speed ratio that each offer was given, and how it was asked for."""
    if estimate.statistics is None:
        return estimate
    ratios = {row.offer.gpu_id: row.speed_ratio for row in comparison.rows}
    statistics = dataclasses.replace(
        estimate.statistics,
        ratios=tuple(OfferRatio(gpu_id=gpu_id, speed_ratio=ratio) for gpu_id, ratio in ratios.items()),
        prices_version=comparison.prices.version,
        throughput_version=table_versions("gpu_throughput")[-1],
        cloud_region=cloud_region,
        gpu_count=comparison.rows[0].gpu_count if comparison.rows else 1,
    )
    return dataclasses.replace(estimate, statistics=statistics)
