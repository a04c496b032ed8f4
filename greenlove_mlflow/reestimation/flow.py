"""Estimates a whole experiment again."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow.parquet as pq

from greenlove_mlflow.core.account.estimate import Change
from greenlove_mlflow.core.offers.offer import DEFAULT_BILLING, PriceSheet
from greenlove_mlflow.core.offers.regions import Regions
from greenlove_mlflow.core.workload import Grid
from greenlove_mlflow.errors import InvalidInputError, TrackingError
from greenlove_mlflow.reestimation import result_run as record
from greenlove_mlflow.reestimation.page_by_page import Batch, Progress, files_in
from greenlove_mlflow.reestimation.pricing import OfferColumns, Pricer, read_sheets
from greenlove_mlflow.reestimation.result_run import changes_frame, make_note
from greenlove_mlflow.reestimation.writing import WriteBack, Written
from greenlove_mlflow.stored.stored_runs import PAGE_SIZE, SkippedRun, find_experiment_ids, read_pages
from greenlove_mlflow.tables import find_grid, read_default_pue, read_instance_start, read_regions
from greenlove_mlflow.tables.prices.sheets import Prices
from greenlove_mlflow.tables.published_speeds import read_ratio_book
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.spool.boundary import cause, first_line
from greenlove_mlflow.tracking.spool.mlflow_store import (
    is_reachable,
    make_client,
    run_url,
    translated,
    without_credentials,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True, kw_only=True)
class Reestimate:
    """The results of a re-estimation.

    Args:
        run_id: The MLflow run that holds it; None after a dry run, or when no run could be estimated.
        url: URL of that run's page; None for a store that has none.
        is_new: Whether that run is new; False when an equal re-estimation already existed.
        run_count: Number of runs estimated.
        versions: Price versions, oldest first.
        skipped: Runs that were left out, each with its reason.
        written: Counts of what was written back into the source runs.
        summary: Totals by version and option, and the number of runs for which each is the best choice.
        changes: Counts of changes from the first best choice to that by the newest prices.
        history: The best choices by the prices of each date.
        changed_run_count: Number of runs whose best choice by the newest prices is another than the first.
        planned: Whether plans that never ran were estimated, and not the runs that trained.
    """

    run_id: str | None
    url: str | None
    is_new: bool
    run_count: int
    versions: tuple[str, ...]
    skipped: tuple[SkippedRun, ...]
    written: Written
    summary: pd.DataFrame
    changes: pd.DataFrame
    history: pd.DataFrame
    changed_run_count: int
    planned: bool
    files: tuple[Path, ...]
    _folder: tempfile.TemporaryDirectory[str]

    @property
    def table(self) -> pd.DataFrame:
        """One row per run, offer and price version.

        Columns: run_id, gpu, version, time_h, cost_usd, energy_kwh, co2_kg (each with ``_lo`` and ``_hi``; NaN where
        unknown), basis, problem, as_of, billing, price_usd_per_hour, fits_memory. Read from disk each time: it may be
        large.
        """
        return _read(self.files[0])

    @property
    def home(self) -> pd.DataFrame:
        """One row per run: the same quantities at home."""
        return _read(self.files[1])

    @property
    def choices(self) -> pd.DataFrame:
        """One row per run and price version: the best choice now and when the run was first compared."""
        return _read(self.files[2])


def reestimate(
    experiment: str | Sequence[str],
    *,
    prices: Prices | Sequence[Prices] = "newest",
    grid: Grid | str | None = None,
    carbon_intensity_g_per_kwh: float | None = None,
    electricity_price_usd_per_kwh: float | None = None,
    pue: float | None = None,
    home_usd_per_hour: float | None = None,
    epochs: int | None = None,
    sample_count: int | None = None,
    write_back: bool = False,
    dry_run: bool = False,
    verify: bool = False,
    planned: bool = False,
    filter_string: str = "",
    billing: Sequence[str] = DEFAULT_BILLING,
    tracking_uri: str | None = None,
    run_name: str | None = None,
    progress: Progress | None = None,
    page_size: int = PAGE_SIZE,
) -> Reestimate:
    """Estimate all tracked runs of an experiment again from their stored facts, with other prices or locations.

    Reads runs by ``search_runs`` alone. Plans that were refused or never ran are left out unless ``planned`` asks for
    them alone: planned and happened are never added up. A run that cannot be estimated is reported and left out.
    Repeating the call with the same inputs makes no second run and writes nothing twice.

    Args:
        experiment: Name or id, or several of them; the new run goes into the first.
        prices: ``newest``, ``all``, a version, a path to your own CSV, a ``PriceSheet``, or several of these.
        grid: Another location for home ("DE", "US-VA"), or its ``Grid``.
        carbon_intensity_g_per_kwh: Grid intensity at home, instead of each run's.
        electricity_price_usd_per_kwh: Electricity price at home, instead of each run's.
        pue: Power usage effectiveness at home, instead of each run's.
        home_usd_per_hour: Hourly rent of home, instead of its electricity cost and of each run's rent.
        epochs: Epochs, instead of each run's.
        sample_count: Samples, instead of each run's.
        write_back: Whether to log the estimates into the source runs, with the prices' date as the step.
        dry_run: Whether to leave MLflow unchanged.
        verify: Whether to download each run's benchmark first and check it against its tag.
        planned: Whether to estimate the plans that were refused or never ran, instead of the runs that trained.
        filter_string: MLflow's filter for the runs.
        billing: Kinds of price to include.
        tracking_uri: Address of the store; MLflow's own setting when not given.
        run_name: Name of the new run.
        progress: Called after each page with the number of runs estimated and left out.
        page_size: Runs read at a time.

    Returns:
        The counts and tables of the re-estimation, and the MLflow run that holds them.

    Raises:
        InvalidInputError: If an argument is invalid.
        TableError: If a price sheet is invalid.
        RunDataError: If there is no such experiment.
        TrackingError: If the store does not answer or cannot be read.
    """
    sheets = read_sheets(prices)
    change = Change(
        epoch_count=epochs,
        sample_count=sample_count,
        grid=_grid(grid),
        intensity_g_per_kwh=carbon_intensity_g_per_kwh,
        price_usd_per_kwh=electricity_price_usd_per_kwh,
        pue=pue,
        home_usd_per_hour=home_usd_per_hour,
    )
    if write_back:
        _check_dates([sheet.as_of for sheet in sheets])
    uri = _store(tracking_uri)
    with _told_as_ours(uri, filter_string):
        client = make_client(uri)
        experiment_ids = find_experiment_ids(client, [experiment] if isinstance(experiment, str) else experiment)
    folder = tempfile.TemporaryDirectory(prefix="greenlove-reestimate-")
    batch = _open_batch(
        client, sheets, change, Path(folder.name), billing=tuple(billing), verify=verify, planned=planned
    )
    if write_back and not dry_run:
        batch.write_back = WriteBack(client, batch.offers, change)
    pages = read_pages(client, experiment_ids, filter_string=filter_string, page_size=page_size)
    with contextlib.closing(batch.files), _told_as_ours(uri, filter_string):
        batch.take_all(pages, progress)
    run_id, is_new = (None, False) if dry_run else _keep(batch, experiment_ids[0], run_name)
    url = None if run_id is None else run_url(uri, experiment_ids[0], run_id)
    return _outcome(batch, folder, run_id=run_id, url=url, is_new=is_new)


def _open_batch(
    client: MlflowClient,
    sheets: tuple[PriceSheet, ...],
    change: Change,
    folder: Path,
    *,
    billing: tuple[str, ...],
    verify: bool,
    planned: bool,
) -> Batch:
    regions = Regions(read_regions())
    offers = OfferColumns(sheets=sheets, regions=regions, billing=billing)
    return Batch(
        client=client,
        offers=offers,
        change=change,
        pricer=Pricer(
            book=read_ratio_book(),
            cloud_pue=read_default_pue("cloud")[0],
            start_s=read_instance_start()[0].point,
        ),
        files=files_in(folder, offers),
        verify=verify,
        planned=planned,
    )


def _outcome(
    batch: Batch, folder: tempfile.TemporaryDirectory[str], *, run_id: str | None, url: str | None, is_new: bool
) -> Reestimate:
    return Reestimate(
        run_id=run_id,
        url=url,
        is_new=is_new,
        run_count=batch.summary.run_count,
        versions=tuple(sheet.version for sheet in batch.offers.sheets),
        skipped=(*batch.skipped, *batch.written.failed),
        written=batch.written,
        summary=batch.summary.frame(),
        changes=changes_frame(batch.summary),
        history=batch.summary.history(),
        planned=batch.planned,
        changed_run_count=batch.summary.changed_run_count,
        files=(batch.files.rows, batch.files.homes, batch.files.choices),
        _folder=folder,
    )


def _read(path: Path) -> pd.DataFrame:
    frame: pd.DataFrame = pq.read_table(path).to_pandas()
    return frame


def _keep(batch: Batch, experiment_id: str, run_name: str | None) -> tuple[str | None, bool]:
    """Record the re-estimation; its run id and whether the run is new, or None when there is nothing to record."""
    if not batch.summary.run_count:
        return None, False
    same = record.find_same(batch.client, experiment_id, batch.digest)
    if same is not None:
        return same, False
    summary = batch.summary
    content = record.Content(
        digest=batch.digest,
        sheets=batch.offers.sheets,
        summary=summary.frame(),
        changes=changes_frame(summary),
        history=summary.history(),
        files=(batch.files.rows, batch.files.homes, batch.files.choices),
        skipped=(*batch.skipped, *batch.written.failed),
        counts={
            record.RUN_COUNT: summary.run_count,
            record.SKIPPED_COUNT: len(batch.skipped),
            record.CHANGED_COUNT: summary.changed_run_count,
            record.WRITTEN_COUNT: batch.written.run_count,
        },
        settings=_settings(batch),
        note=make_note(batch),
    )
    return record.record(batch.client, experiment_id, content, run_name=run_name), True


def _settings(batch: Batch) -> dict[str, str]:
    change = batch.change
    values = {
        names.PARAM_PRICES_VERSION: ", ".join(sheet.version for sheet in batch.offers.sheets),
        names.PARAM_EPOCHS: change.epoch_count,
        names.PARAM_SAMPLE_COUNT: change.sample_count,
        names.PARAM_COUNTRY: None if change.grid is None else change.grid.code or change.grid.place,
        names.PARAM_CARBON_G_PER_KWH: change.intensity_g_per_kwh,
        names.PARAM_USD_PER_KWH: change.price_usd_per_kwh,
        "green.pue": change.pue,
        "green.home_usd_per_hour": change.home_usd_per_hour,
    }
    return {key: str(value) for key, value in values.items() if value is not None}


def _grid(grid: Grid | str | None) -> Grid | None:
    if not isinstance(grid, str):
        return grid
    return dataclasses.replace(find_grid(environment_place=grid)[0], basis="named")


def _check_dates(dates: Sequence[str]) -> None:
    """Raise an error if two price sheets would share a step."""
    steps = [names.step_of_date(date) for date in dates]
    twice = sorted({step for step in steps if steps.count(step) > 1})
    if twice:
        raise InvalidInputError(
            f"two price sheets are of the date {twice[0]}, which is the step that they would be written back as; "
            "write them back one after the other"
        )


@contextlib.contextmanager
def _told_as_ours(uri: str, filter_string: str) -> Iterator[None]:
    """A block in which MLflow errors become errors of this package that say what to do."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if filter_string and error.error_code == "INVALID_PARAMETER_VALUE":
            raise InvalidInputError(f"MLflow cannot read the filter {filter_string!r}: {first_line(error)}") from cause(
                error
            )
        raise translated(error, uri, "read runs") from cause(error)


def _store(tracking_uri: str | None) -> str:
    import mlflow

    uri = tracking_uri or mlflow.get_tracking_uri()
    if not is_reachable(uri):
        raise TrackingError(f"MLflow at {without_credentials(uri)} does not answer")
    return uri
