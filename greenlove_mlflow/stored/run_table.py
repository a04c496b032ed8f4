"""Compares tracked runs side by side: each at home and on its best offer, and the params that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greenlove_mlflow.core.account.estimate import Estimate, estimate_training
from greenlove_mlflow.core.offers.choice import best_offer, best_value
from greenlove_mlflow.core.offers.offer import PriceSheet
from greenlove_mlflow.stored.compare_stored import StoredComparer
from greenlove_mlflow.tables import read_price_sheet
from greenlove_mlflow.tables.prices.sheets import Prices
from greenlove_mlflow.tracking.reading import StoredRun, read_run

ABSENT = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBeside:
    """One run of several.

    Args:
        run: The run as stored in MLflow.
        home: Its estimate at home.
        best_name: The best-value offer; empty when none has a price and fits.
        best: Its estimate on that offer; None when there is none.
        stay_home: Whether home is better value than that offer; None when no cost is known.
    """

    run: StoredRun
    home: Estimate
    best_name: str
    best: Estimate | None
    stay_home: bool | None

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
        best_name="" if offer is None else offer.offer.gpu,
        best=None if offer is None else offer.estimate,
        stay_home=None if choice is None else choice.row is None,
    )


def _differing(runs: Sequence[StoredRun]) -> dict[str, tuple[str, ...]]:
    keys = dict.fromkeys(key for run in runs for key in sorted(run.params))
    values = {key: tuple(run.params.get(key, ABSENT) for run in runs) for key in keys}
    return {key: of_runs for key, of_runs in values.items() if len(set(of_runs)) > 1}
