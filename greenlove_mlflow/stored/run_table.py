"""Tracked runs side by side: what each took and was estimated to take, its best offer, and the params that differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greenlove_mlflow.core.account.estimate import Estimate, estimate_training
from greenlove_mlflow.core.offers.choice import best_offer, best_value
from greenlove_mlflow.core.offers.experiment_totals import ComparedRun, Spent, spent
from greenlove_mlflow.core.offers.offer import PriceSheet
from greenlove_mlflow.stored.stored_runs import Page, StoredComparer, find_experiment_ids, read_pages
from greenlove_mlflow.tables import read_price_sheet
from greenlove_mlflow.tables.prices.sheets import Prices
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.reading import StoredRun, read_run
from greenlove_mlflow.tracking.spool.mlflow_store import make_client
from greenlove_mlflow.words.plain_text import offer_label

ABSENT = ""
_TRACKED = f"tags.`{names.TAG_KIND}` = '{names.KIND_TRACK}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBeside:
    """One run of several.

    Args:
        run: The run as stored in MLflow.
        home: Its estimate at home.
        best_name: The best-value offer; empty when none has a price and fits.
        best: Its estimate on that offer; None when there is none.
        stay_home: Whether home is better value than that offer; None when no cost is known.
        is_too_small_to_rent: Whether it is over before a rented instance has started.
    """

    run: StoredRun
    home: Estimate
    best_name: str
    best: Estimate | None
    stay_home: bool | None
    is_too_small_to_rent: bool = False

    @property
    def training(self) -> ComparedRun:
        """The run as a part of totals."""
        return ComparedRun(
            name=self.run.name,
            run_id=self.run.run_id,
            started_at=names.utc_of_timestamp_ms(self.run.started_ms),
            status=self.run.fate,
            estimate=self.home,
            outcome=self.run.outcome,
        )

    @property
    def label(self) -> str:
        """The run's name and the start of its id."""
        return f"{self.run.name} ({self.run.run_id[:6]})" if self.run.name else self.run.run_id[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """Several runs with the same prices.

    Args:
        runs: The runs in the requested order.
        prices: The price sheet for the best choices.
        differing: Params that differ between runs, each with one value per run; empty where a run has none.
    """

    runs: tuple[RunBeside, ...]
    prices: PriceSheet
    differing: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs that share one thing: what those took that trained, and what the others were estimated to take.

    Args:
        key: What they share; empty for all runs.
        trained: Totals of the runs that trained.
        running_count: Runs that have not ended and have not said yet what they took.
        not_run_count: Runs that did not train, whether refused or planned.
        not_run_time_s: Their estimated seconds.
        not_run_cost_usd: Their estimated cost, US dollars; None where none is known.
    """

    key: str
    trained: Spent
    running_count: int
    not_run_count: int
    not_run_time_s: float
    not_run_cost_usd: float | None


def group_runs(runs: Sequence[RunBeside], by: str = "") -> tuple[Group, ...]:
    """The totals of all runs, or of each group of them, in order of first appearance.

    Args:
        runs: The runs.
        by: ``status``, ``place``, ``machine``, ``month``, or the name of a param; empty for one group of all.
    """
    groups: dict[str, list[RunBeside]] = {}
    for run in runs:
        groups.setdefault(_key(run, by), []).append(run)
    return tuple(_group(key, members) for key, members in groups.items())


def read_experiment(experiments: Sequence[str], tracking_uri: str | None = None) -> Page:
    """The ids of all tracked runs of some experiments, oldest first, and the runs that cannot be read."""
    import mlflow

    client = make_client(tracking_uri or mlflow.get_tracking_uri())
    pages = list(read_pages(client, find_experiment_ids(client, experiments), filter_string=_TRACKED))
    return Page(
        facts=tuple(each for page in pages for each in page.facts),
        skipped=tuple(each for page in pages for each in page.skipped),
    )


def _key(run: RunBeside, by: str) -> str:
    if by == "":
        return ""
    known = {
        "status": run.run.fate,
        "place": run.home.grid.place,
        "machine": run.run.statistics.machine.processor_name,
        "month": names.utc_of_timestamp_ms(run.run.started_ms)[:7],
    }
    return known.get(by) or run.run.params.get(by) or "none"


def _group(key: str, runs: Sequence[RunBeside]) -> Group:
    silent = [run for run in runs if run.run.outcome is None]
    planned = [run.home for run in silent if run.run.fate != "running"]
    costs = [home.cost_usd.point for home in planned if home.cost_usd is not None]
    return Group(
        key=key,
        trained=spent([run.training for run in runs]),
        running_count=len(silent) - len(planned),
        not_run_count=len(planned),
        not_run_time_s=math.fsum(home.time_s.point for home in planned),
        not_run_cost_usd=math.fsum(costs) if costs else None,
    )


def compare_runs(run_ids: Sequence[str], *, prices: Prices = "newest", tracking_uri: str | None = None) -> SideBySide:
    """Compare runs side by side, all with the same prices.

    Args:
        run_ids: Ids of tracked runs.
        prices: ``newest``, a version, a path to your own CSV, or a ``PriceSheet``.
        tracking_uri: Address of the store; MLflow's own setting when not given.

    Raises:
        RunDataError: If a run does not exist or has no run facts.
        TableError: If the price sheet is invalid.
    """
    sheet = read_price_sheet(prices)
    comparer = StoredComparer(sheet)
    stored = [read_run(run_id, store_uri=tracking_uri, with_log=False) for run_id in run_ids]
    return SideBySide(runs=tuple(_beside(run, comparer) for run in stored), prices=sheet, differing=_differing(stored))


def _beside(run: StoredRun, comparer: StoredComparer) -> RunBeside:
    home = estimate_training(run.statistics)
    comparison = comparer.compare(home)
    choice = None if comparison is None else best_value(comparison)
    offer = None if comparison is None else best_offer(comparison)
    return RunBeside(
        run=run,
        home=home,
        best_name="" if offer is None else offer_label(offer),
        best=None if offer is None else offer.estimate,
        stay_home=None if choice is None else choice.row is None,
        is_too_small_to_rent=comparison is not None and comparison.is_too_small_to_rent,
    )


def _differing(runs: Sequence[StoredRun]) -> dict[str, tuple[str, ...]]:
    keys = dict.fromkeys(key for run in runs for key in sorted(run.params))
    values = {key: tuple(run.params.get(key, ABSENT) for run in runs) for key in keys}
    return {key: of_runs for key, of_runs in values.items() if len(set(of_runs)) > 1}
