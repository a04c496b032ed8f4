"""Results of a re-estimation: rows streamed to Parquet page by page, and sums whose size is independent of the runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from greenlove_mlflow.core.interval import FloatArray
from greenlove_mlflow.core.offers.batch import IndexArray
from greenlove_mlflow.core.quantity import COLUMNS, LOCAL
from greenlove_mlflow.reestimation.pricing import LOCAL_CHOICE, NO_CHOICE, OfferColumns, PricedPage
from greenlove_mlflow.serving.columns import FIGURES, figure_columns, home_columns

_NUMBERS = [(name, pa.float64()) for name in FIGURES]
ROWS_SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("gpu", pa.string()),
        ("version", pa.string()),
        *_NUMBERS,
        ("rented_gpu_count", pa.int32()),
        ("used_gpu_count", pa.int32()),
        ("basis", pa.string()),
        ("problem", pa.string()),
        ("as_of", pa.string()),
        ("billing", pa.string()),
        ("price_usd_per_hour", pa.float64()),
        ("fits_memory", pa.bool_()),
    ]
)
HOME_SCHEMA = pa.schema([("run_id", pa.string()), ("run_name", pa.string()), *_NUMBERS])
CHOICES_SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("version", pa.string()),
        ("best", pa.string()),
        ("best_before", pa.string()),
        ("version_before", pa.string()),
        ("changed", pa.bool_()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The best choice of each run of a page, by price sheet, and when the run was first compared.

    Args:
        best: Names of offers, ``local`` for home, empty where no cost is known; runs x sheets.
        before: Best choice with the run's own prices, grid and plan, one per run; empty where unknown.
        version_before: Price version of ``before``, one per run.
    """

    best: Sequence[Sequence[str]]
    before: Sequence[str]
    version_before: Sequence[str]


NO_INSTANCE = "no instance of that GPU has as many as are at work"
NO_RATIO = "no speed ratio is known between this run's machine and that GPU"


class ResultFiles:
    """Three Parquet files that grow page by page: estimates, estimates at home, best choices."""

    def __init__(self, folder: Path, metadata: dict[str, str]) -> None:
        self.rows = folder / "reestimates.parquet"
        self.homes = folder / "homes.parquet"
        self.choices = folder / "choices.parquet"
        schemas = {self.rows: ROWS_SCHEMA, self.homes: HOME_SCHEMA, self.choices: CHOICES_SCHEMA}
        self._writers = {
            path: pq.ParquetWriter(path, schema.with_metadata(metadata), compression="zstd")
            for path, schema in schemas.items()
        }

    def add(self, page: PricedPage, offers: OfferColumns, choices: Choices) -> None:
        """Write a page."""
        if page.facts:
            self._write(self.rows, _row_columns(page, offers))
            self._write(self.homes, _home_columns(page))
            self._write(self.choices, _choice_columns(page, offers, choices))

    def close(self) -> None:
        """Finish the files."""
        for writer in self._writers.values():
            writer.close()

    def _write(self, path: Path, columns: dict[str, pa.Array]) -> None:
        schema = self._writers[path].schema
        self._writers[path].write_table(pa.table([columns[name] for name in schema.names], schema=schema))


class Summary:
    """Sums over all runs, per offer and for home, and counts of best choices by date and of changes by the newest."""

    def __init__(self, offers: OfferColumns) -> None:
        self._offers = offers
        size = len(offers.offers)
        self._count = {name: np.zeros(size) for name in COLUMNS}
        self._total = {name: np.zeros(size) for name in COLUMNS}
        self._home_count: Counter[str] = Counter()
        self._home_total = dict.fromkeys(COLUMNS, 0.0)
        self._best: Counter[tuple[int, str]] = Counter()
        self.transitions: Counter[tuple[str, str]] = Counter()
        self.run_count = 0
        self.changed_run_count = 0

    def add(self, page: PricedPage, choices: Choices) -> None:
        """Add a page to the sums."""
        self.run_count += len(page.facts)
        columns, homes = figure_columns(page.figures), home_columns(page.homes)
        for name in COLUMNS:
            values = page.table(columns[name])
            self._count[name] += np.isfinite(values).sum(axis=0)
            self._total[name] += np.nansum(values, axis=0)
            self._home_count[name] += int(np.isfinite(homes[name]).sum())
            self._home_total[name] += float(np.nansum(homes[name]))
        for best, before in zip(choices.best, choices.before, strict=True):
            self._best.update(enumerate(best))
            # Only the newest prices say what is best now.
            if before and best[-1] and best[-1] != before:
                self.transitions[before, best[-1]] += 1
                self.changed_run_count += 1

    def frame(self) -> pd.DataFrame:
        """One row per version and option: totals over the runs, and the number of runs for which it is best.

        The columns are in the order by which MLflow's artifact view compares. A total covers the runs with a known
        value, counted by ``*_run_count``.
        """
        rows: list[dict[str, Any]] = []
        for index in range(len(self._offers.sheets)):
            rows.append(self._row(index, LOCAL, self._home_total, self._home_count))
            for at in np.flatnonzero(self._offers.sheet_index == index):
                total = {name: float(self._total[name][at]) for name in COLUMNS}
                count = {name: int(self._count[name][at]) for name in COLUMNS}
                rows.append(self._row(index, self._offers.labels[at], total, count))
        return pd.DataFrame(rows)

    def history(self) -> pd.DataFrame:
        """The best choices by the prices of each sheet: oldest first, most frequent first.

        ``not_listed`` names the best choices by the newest prices that the sheet does not list.
        """
        newest = len(self._offers.sheets) - 1
        now = [name for (sheet, name), _ in self._best.most_common() if sheet == newest and name not in ("", LOCAL)]
        rows: list[dict[str, Any]] = []
        for index, sheet in enumerate(self._offers.sheets):
            listed = {self._offers.labels[at] for at in np.flatnonzero(self._offers.sheet_index == index)}
            missing = ", ".join(name for name in now if name not in listed)
            then = [(name, count) for (at, name), count in self._best.most_common() if at == index]
            rows += [
                {"version": sheet.version, "best": name, "run_count": count, "not_listed": missing}
                for name, count in then
            ]
        return pd.DataFrame(rows, columns=["version", "best", "run_count", "not_listed"])

    def _row(self, sheet: int, gpu: str, total: Any, count: Any) -> dict[str, Any]:
        order = ("cost_usd", "time_h", "co2_kg", "energy_kwh")
        return {
            "gpu": gpu,
            **{f"{name}_total": total[name] if count[name] else None for name in order},
            "version": self._offers.sheets[sheet].version,
            "as_of": self._offers.sheets[sheet].as_of,
            "best_for_run_count": self._best[sheet, gpu],
            **{f"{name}_run_count": count[name] for name in order},
        }


def choice_names(choices: IndexArray, offers: OfferColumns) -> list[list[str]]:
    """The names of choices given by index, one list per run."""
    names = {LOCAL_CHOICE: LOCAL, NO_CHOICE: "", **dict(enumerate(offers.labels))}
    return [[names[int(choice)] for choice in of_run] for of_run in choices]


def _row_columns(page: PricedPage, offers: OfferColumns) -> dict[str, pa.Array]:
    """The rows of a page, run by run, as Arrow columns; unknown values are null."""
    run_count, offer_count = len(page.facts), len(offers.offers)
    fits = page.figures.fits_memory
    has_no_ratio = np.isnan(page.figures.time_s.point)
    no_instance = np.where(np.isnan(page.figures.rented_gpu_count), NO_INSTANCE, "")
    versions = [offers.sheets[sheet].version for sheet in offers.sheet_index]
    dates = [offers.sheets[sheet].as_of for sheet in offers.sheet_index]
    return {
        "run_id": _repeated([each.run_id for each in page.facts], offer_count),
        "gpu": _tiled([offer.gpu for offer in offers.offers], run_count),
        "version": _tiled(versions, run_count),
        **_number_columns(figure_columns(page.figures)),
        "rented_gpu_count": pa.array(page.figures.rented_gpu_count, from_pandas=True).cast(pa.int32()),
        "used_gpu_count": pa.array(page.figures.used_gpu_count, from_pandas=True).cast(pa.int32()),
        "basis": pa.array(page.figures.basis, type=pa.string()),
        "problem": pa.array(np.where(has_no_ratio, NO_RATIO, no_instance).astype(object), type=pa.string()),
        "as_of": _tiled(dates, run_count),
        "billing": _tiled([offer.billing for offer in offers.offers], run_count),
        "price_usd_per_hour": pa.array(np.tile(offers.price_usd_per_hour, run_count), from_pandas=True),
        "fits_memory": pa.array(fits == 1.0, mask=np.isnan(fits)),
    }


def _home_columns(page: PricedPage) -> dict[str, pa.Array]:
    return {
        "run_id": pa.array([each.run_id for each in page.facts]),
        "run_name": pa.array([each.name for each in page.facts]),
        **_number_columns(home_columns(page.homes)),
    }


def _choice_columns(page: PricedPage, offers: OfferColumns, choices: Choices) -> dict[str, pa.Array]:
    sheet_count, run_count = len(offers.sheets), len(page.facts)
    best = [name for of_run in choices.best for name in of_run]
    before = [name for name in choices.before for _ in range(sheet_count)]
    changed = [bool(now and then and now != then) for now, then in zip(best, before, strict=True)]
    return {
        "run_id": _repeated([each.run_id for each in page.facts], sheet_count),
        "version": _tiled([sheet.version for sheet in offers.sheets], run_count),
        "best": pa.array(best, type=pa.string()),
        "best_before": pa.array(before, type=pa.string()),
        "version_before": _repeated(choices.version_before, sheet_count),
        "changed": pa.array(changed, type=pa.bool_()),
    }


def _number_columns(columns: Mapping[str, FloatArray]) -> dict[str, pa.Array]:
    return {name: pa.array(values, type=pa.float64(), from_pandas=True) for name, values in columns.items()}


def _repeated(texts: Sequence[str], times: int) -> pa.Array:
    """Each text repeated ``times`` times in a row."""
    return _picked(texts, np.repeat(np.arange(len(texts)), times))


def _tiled(texts: Sequence[str], times: int) -> pa.Array:
    """The sequence of texts repeated ``times`` times."""
    return _picked(texts, np.tile(np.arange(len(texts)), times))


def _picked(texts: Sequence[str], index: IndexArray) -> pa.Array:
    dictionary = pa.array(list(texts), type=pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(index, type=pa.int32()), dictionary).cast(pa.string())
