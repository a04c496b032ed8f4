"""Writes estimates back into their runs as new steps of the same metrics, never twice."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlove_mlflow.core.account.estimate import Change
from greenlove_mlflow.core.codec import to_plain
from greenlove_mlflow.core.interval import FloatArray
from greenlove_mlflow.core.offers.batch import IndexArray
from greenlove_mlflow.core.offers.offer import PriceSheet
from greenlove_mlflow.core.quantity import LOCAL, QUANTITIES
from greenlove_mlflow.numbers import round_significant
from greenlove_mlflow.reestimation.pricing import (
    LOCAL_CHOICE,
    NO_CHOICE,
    OfferColumns,
    PricedPage,
    best_choices,
    sheet_digest,
)
from greenlove_mlflow.serving.columns import figure_columns, home_columns
from greenlove_mlflow.stored.stored_runs import TAG_WRITTEN_BACK, SkippedRun, StoredFacts
from greenlove_mlflow.tables import read_price_sheet
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.spool.run_events import now_ms

if TYPE_CHECKING:
    from mlflow import MlflowClient

_DIGEST_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """How much was written back, and the runs that could not be written."""

    run_count: int = 0
    metric_count: int = 0
    failed: tuple[SkippedRun, ...] = ()

    def __add__(self, other: Written) -> Written:
        return Written(
            run_count=self.run_count + other.run_count,
            metric_count=self.metric_count + other.metric_count,
            failed=(*self.failed, *other.failed),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _SheetStep:
    """One price sheet to write into a run: its index, step and time."""

    sheet: int
    step: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cells:
    """The figures of a page by column: home one per run, offers as runs x offers, choices as runs x sheets."""

    homes: Mapping[str, FloatArray]
    offers: Mapping[str, FloatArray]
    choices: IndexArray


class WriteBack:
    """Writes the estimates of pages into their runs.

    The step is the date of the price sheet. Its time is that date too if only the prices differ from the run's own
    estimate; otherwise, or if it replaces another sheet of that date, it is the time of writing, which makes the point
    the newest of its step. A tag of the run records what each step was last written from, so that writing the same
    again does nothing.
    """

    def __init__(self, client: MlflowClient, offers: OfferColumns, change: Change) -> None:
        self._client = client
        self._offers = offers
        self._is_own = change.is_none
        made_of = "own" if change.is_none else _digest(json.dumps(to_plain(change), sort_keys=True))
        self._marks = [f"{sheet_digest(sheet)[:_DIGEST_LENGTH]}/{made_of}" for sheet in offers.sheets]
        self._sold = _still_sold(offers.sheets)
        self._subjects: dict[tuple[int, int], str] = {}

    def write(self, page: PricedPage) -> Written:
        """Write a page; a run that cannot be written is reported and skipped."""
        cells = _Cells(
            homes=home_columns(page.homes),
            offers={name: page.table(column) for name, column in figure_columns(page.figures).items()},
            choices=best_choices(page, self._offers),
        )
        written = Written()
        for run, facts in enumerate(page.facts):
            steps = self._missing_steps(facts)
            points = [
                (key, value, step)
                for step in steps
                for key, value in self._points(cells, run, step.sheet, facts.statistics.gpu_count)
            ]
            if points:
                written += self._send(facts, points, steps)
        return written

    def _missing_steps(self, facts: StoredFacts) -> list[_SheetStep]:
        marks = _read_marks(facts.written_back)
        missing = []
        for index, sheet in enumerate(self._offers.sheets):
            step = names.step_of_date(sheet.as_of)
            mark = marks.get(str(step))
            is_tracks = mark is None and facts.statistics.prices_version == sheet.version
            if mark == self._marks[index] or (is_tracks and self._is_own):
                continue
            is_first = mark is None and not is_tracks
            at_ms = names.timestamp_ms_of_date(sheet.as_of) if is_first and self._is_own else now_ms()
            missing.append(_SheetStep(sheet=index, step=step, timestamp_ms=at_ms))
        return missing

    def _points(self, cells: _Cells, run: int, sheet: int, gpu_count: int) -> Iterator[tuple[str, float]]:
        """Keys and values of all metrics that ``track`` logs for an estimate and its comparison."""
        homes, values, choice = cells.homes, cells.offers, int(cells.choices[run, sheet])
        for column, quantity in ((each.column, each.metric) for each in QUANTITIES):
            for end in ("", "lo", "hi"):
                value = float(homes[f"{column}_{end}" if end else column][run])
                if math.isfinite(value):
                    yield names.metric_key(quantity, LOCAL, end), value
            for offer in (self._offers.sheet_index == sheet).nonzero()[0]:
                if self._offers.offers[int(offer)].gpu_id not in self._sold:
                    continue  # MLflow shows each metric's last value, so it would stand beside today's prices
                value = float(values[column][run, offer])
                if math.isfinite(value):
                    yield names.metric_key(quantity, self._subject(int(offer), gpu_count)), value
        if choice != NO_CHOICE:
            for column, key in ((each.column, each.saving_metric) for each in QUANTITIES if each.saving_metric):
                home = float(homes[column][run])
                best = home if choice == LOCAL_CHOICE else float(values[column][run, choice])
                if math.isfinite(home - best):
                    yield key, home - best

    def _subject(self, offer: int, gpu_count: int) -> str:
        if (offer, gpu_count) not in self._subjects:
            self._subjects[offer, gpu_count] = names.slug_of_offer(self._offers.offers[offer], gpu_count)
        return self._subjects[offer, gpu_count]

    def _send(
        self, facts: StoredFacts, points: list[tuple[str, float, _SheetStep]], steps: list[_SheetStep]
    ) -> Written:
        from mlflow.entities import Metric, RunTag
        from mlflow.exceptions import MlflowException

        unique = {
            (key, step.step): Metric(key, round_significant(value), step.timestamp_ms, step.step)
            for key, value, step in points
        }
        marks = {**_read_marks(facts.written_back), **{str(each.step): self._marks[each.sheet] for each in steps}}
        tag = RunTag(TAG_WRITTEN_BACK, json.dumps(marks, separators=(",", ":"), sort_keys=True))
        try:
            self._client.log_batch(facts.run_id, metrics=list(unique.values()), tags=[tag])
        except MlflowException as error:
            reason = f"writing back failed: {str(error).splitlines()[0]}"
            return Written(failed=(SkippedRun(run_id=facts.run_id, reason=reason),))
        return Written(run_count=1, metric_count=len(unique))


def _still_sold(sheets: Sequence[PriceSheet]) -> frozenset[str]:
    """The GPUs that a provider's newest sheet lists, of those given and the newest published one."""
    newest: dict[str, PriceSheet] = {}
    for sheet in sorted([*sheets, read_price_sheet()], key=lambda each: each.as_of):
        newest.update({offer.provider: sheet for offer in sheet.offers})
    return frozenset(offer.gpu_id for sheet in newest.values() for offer in sheet.offers)


def _read_marks(text: str) -> dict[str, str]:
    """What each step was last written from; empty if the tag is not valid."""
    try:
        content = json.loads(text or "{}")
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in content.items()} if isinstance(content, dict) else {}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]
