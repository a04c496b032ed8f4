"""Computes estimates from price rows by the same functions as a comparison, without MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from greenlove_mlflow.core.account.estimate import Change, Estimate, estimate_changed
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.interval import FloatArray, Interval, Intervals
from greenlove_mlflow.core.offers.batch import IndexArray, OfferRows, RowFigures, estimate_rows, run_columns, starts_s
from greenlove_mlflow.core.offers.figures import offer_grid
from greenlove_mlflow.core.offers.offer import rented_gpu_counts
from greenlove_mlflow.core.offers.regions import Regions
from greenlove_mlflow.core.speed.gpus import SpeedRatio
from greenlove_mlflow.errors import GreenloveError, RunDataError, UnknownPlaceError
from greenlove_mlflow.serving.columns import (
    COUNTS,
    FIGURES,
    LOCAL_FIGURES,
    OUTPUTS,
    SPOT_FIGURES,
    default_params,
    figure_columns,
    home_columns,
    object_frame,
    range_columns,
    spread,
    strict_flags,
    strict_numbers,
)
from greenlove_mlflow.serving.facts import ModelFacts
from greenlove_mlflow.serving.price_rows import FoundGpu, GpuFinder, PriceRows, read_price_rows


@dataclass(kw_only=True)
class _Runs:
    """The distinct runs that rows refer to, and the index of each row's run (-1 for none)."""

    index: IndexArray
    statistics: list[RunFacts] = field(default_factory=list)
    homes: list[Estimate] = field(default_factory=list)


class Estimator:
    """Estimates the training of a run, or of the runs that the rows hold, on each price row."""

    def __init__(self, facts: ModelFacts) -> None:
        self._facts = facts
        self._ratios = facts.speed_ratios()
        self._specs = {spec.gpu_id: spec for spec in facts.specs}
        self._regions = Regions(facts.regions)
        self._finder = GpuFinder(facts.specs, facts.offers)
        self._read_statistics = lru_cache(maxsize=1024)(RunFacts.from_json)

    def estimate(self, frame: pd.DataFrame, params: Mapping[str, Any]) -> pd.DataFrame:
        """One row of estimates per price row, in the same order; ``problem`` says why a row could not be estimated.

        Raises:
            InvalidInputError: If a needed column is missing or a param is out of range.
        """
        rows = read_price_rows(frame)
        runs = self._read_runs(rows, change_of_params(self._facts.statistics, params))
        found = self._find(rows, runs)
        usable = np.array([index for index, each in enumerate(found) if each and runs.index[index] >= 0], dtype=np.intp)
        numbers, bases = self._figures(rows, runs, found, usable)
        numbers.update(_local_columns(runs))
        columns: dict[str, Sequence[object]] = {name: strict_numbers(numbers[name]) for name in numbers}
        columns["fits_memory"] = strict_flags(numbers["fits_memory"])
        columns["gpu"], columns["version"], columns["basis"] = rows.gpu, rows.version, bases
        columns["problem"] = ["; ".join(problems) for problems in rows.problems]
        estimates = object_frame({name: columns[name] for name in OUTPUTS})
        estimates.index = frame.index
        return estimates

    def _read_runs(self, rows: PriceRows, change: Change) -> _Runs:
        runs = _Runs(index=np.full(len(rows), -1, dtype=np.intp))
        known: dict[str, int] = {}
        failed: dict[str, str] = {}
        for row, text in enumerate(rows.statistics):
            if text not in known and text not in failed:
                try:
                    statistics = self._statistics_of(text)
                    runs.homes.append(estimate_changed(statistics, change))
                    runs.statistics.append(statistics)
                    known[text] = len(runs.homes) - 1
                except (GreenloveError, ArithmeticError) as error:
                    failed[text] = str(error)
            if text in known:
                runs.index[row] = known[text]
            else:
                rows.problems[row].append(failed[text])
        return runs

    def _statistics_of(self, text: str) -> RunFacts:
        if text:
            return self._read_statistics(text)
        if self._facts.statistics is None:
            raise RunDataError("the row has no statistics, and this model belongs to no run")
        return self._facts.statistics

    def _find(self, rows: PriceRows, runs: _Runs) -> list[FoundGpu | None]:
        found: list[FoundGpu | None] = []
        for row, gpu in enumerate(rows.gpu):
            run = int(runs.index[row])
            own = runs.statistics[run].prices_version if run >= 0 else ""
            memory_gib = float(rows.memory_gib[row])
            try:
                each = self._finder.find(gpu, memory_gib=memory_gib, version=rows.version[row], own_version=own)
                found.append(each)
            except GreenloveError as error:
                rows.problems[row].append(str(error))
                found.append(None)
        return found

    def _figures(
        self, rows: PriceRows, runs: _Runs, found: Sequence[FoundGpu | None], usable: IndexArray
    ) -> tuple[dict[str, FloatArray], list[str]]:
        """The values of every row by column, NaN if unusable, and the basis of each speed ratio."""
        known = [each for each in found if each is not None]
        gpu_ids = sorted({each.spec.gpu_id for each in known})
        column_of = {gpu_id: column for column, gpu_id in enumerate(gpu_ids)}
        of_rows = [(int(row), each) for row in usable if (each := found[row]) is not None]
        columns = run_columns(runs.statistics, runs.homes, gpu_ids, specs=self._specs, ratio_of=self._ratio_of)

        run_index = runs.index[usable]
        rented = rented_gpu_counts(
            [_sold_in(each) for _, each in of_rows],
            np.arange(len(of_rows), dtype=np.intp),
            columns.used_gpu_count[run_index],
        )

        start_s = starts_s(runs.statistics, self._facts.start_s)[run_index]
        intensities = Intervals.of([self._intensity(rows, runs, row, each) for row, each in of_rows])

        def at_price(usd_per_hour: FloatArray) -> RowFigures:
            offers = OfferRows(
                run_index=run_index,
                rented_gpu_count=rented,
                gpu_index=np.array([column_of[each.spec.gpu_id] for _, each in of_rows], dtype=np.intp),
                price_usd_per_hour=usd_per_hour[usable],
                memory_gib=np.array([_memory_gib(rows, row, each) for row, each in of_rows], dtype=np.float64),
                intensity_g_per_kwh=intensities,
            )
            return estimate_rows(columns, offers, pue=self._facts.cloud_pue, start_s=start_s)

        figures = at_price(rows.price_usd_per_hour)
        for row in usable[np.isnan(figures.time_s.point)]:
            rows.problems[row].append(f"no speed ratio is known between this run's machine and {rows.gpu[row]}")
        for row in usable[np.isnan(rented)]:
            rows.problems[row].append(f"no instance of {rows.gpu[row]} has as many GPUs as are at work")
        counts = {"rented_gpu_count": figures.rented_gpu_count, "used_gpu_count": figures.used_gpu_count}
        numbers = {**figure_columns(figures), **counts, "fits_memory": figures.fits_memory}
        if np.isfinite(rows.spot_usd_per_hour).any():
            numbers.update(range_columns("spot_cost_usd", at_price(rows.spot_usd_per_hour).cost_usd))
        whole = {name: np.full(len(rows), np.nan) for name in (*FIGURES, *COUNTS, *SPOT_FIGURES)}
        bases = np.full(len(rows), "", dtype=object)
        bases[usable] = figures.basis
        return {**whole, **spread(numbers, usable, len(rows))}, bases.tolist()

    def _ratio_of(self, statistics: RunFacts, gpu_id: str) -> SpeedRatio | None:
        """The speed ratio of a GPU that is not in the run facts; the model holds those of its own run only."""
        return self._ratios.get(gpu_id) if statistics is self._facts.statistics else None

    def _intensity(self, rows: PriceRows, runs: _Runs, row: int, found: FoundGpu) -> Interval | None:
        """The grid intensity of a row's offer; None, and the row's problem, where no region is meant."""
        if found.offer is None:
            return None
        facts = runs.statistics[runs.index[row]]
        try:
            grid = offer_grid(found.offer, self._regions, region=facts.cloud_region, scope=facts.grid.scope)
        except UnknownPlaceError as error:
            rows.problems[row].append(str(error))
            return None
        return grid.intensity_g_per_kwh


def change_of_params(own: RunFacts | None, params: Mapping[str, Any]) -> Change:
    """The overrides given as params; a param equal to the run's value keeps that value's range.

    Raises:
        InvalidInputError: If a param is out of range.
    """
    defaults = default_params(own)
    given = {name: value for name, value in params.items() if value is not None and value != defaults.get(name)}
    return Change(
        epoch_count=given.get("epochs"),
        sample_count=given.get("sample_count"),
        intensity_g_per_kwh=given.get("carbon_g_per_kwh"),
        price_usd_per_kwh=given.get("usd_per_kwh"),
        pue=given.get("pue"),
        home_usd_per_hour=given.get("home_usd_per_hour"),
    )


def _local_columns(runs: _Runs) -> dict[str, FloatArray]:
    at = np.flatnonzero(runs.index >= 0)
    figures = home_columns(runs.homes)
    points = {name: figures[name.removeprefix("local_")][runs.index[at]] for name in LOCAL_FIGURES}
    return spread(points, at, len(runs.index))


def _sold_in(found: FoundGpu) -> tuple[int, ...]:
    """The numbers of GPUs per instance for a row's GPU; any number if the row matches no published offer."""
    return () if found.offer is None else found.offer.gpu_counts


def _memory_gib(rows: PriceRows, row: int, found: FoundGpu) -> float:
    if not np.isnan(rows.memory_gib[row]):
        return float(rows.memory_gib[row])
    if found.offer is not None:
        return found.offer.memory_gib
    return np.nan if found.spec.memory_gib is None else found.spec.memory_gib
