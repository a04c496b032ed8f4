"""ReportContent: everything that one run's report shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.account.outcome import Outcome
    from greenlove_mlflow.core.energy.equivalences import Equivalence
    from greenlove_mlflow.core.offers.compare import Comparison
    from greenlove_mlflow.core.offers.offer import PriceSheet
    from greenlove_mlflow.core.provenance import Source
    from greenlove_mlflow.core.records import BenchmarkLog
    from greenlove_mlflow.core.timing.fit import Fit


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePoint:
    """What the training was estimated to cost on one option by the prices of one date.

    Args:
        as_of: Date of the prices, ISO 8601.
        gpu: Name of the option.
        cost_usd: US dollars.
        price_usd_per_hour: Per GPU and hour; None at home.
    """

    as_of: str
    gpu: str
    cost_usd: float
    price_usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContent:
    """What a report is made from; None or empty is said in the report, never hidden.

    Args:
        estimate: What the training was promised to take here.
        comparison: The same on each offer; None when it could not be made.
        log: What the benchmark measured.
        fit: What the log says about time; that of the estimate's statistics when not given.
        sources: Of every table used, beside those that estimate and comparison carry.
        run_id: Of the MLflow run.
        run_name: Of the MLflow run.
        status: ``running``, ``finished``, ``failed``, ``killed`` or empty.
        notice: What stands before all else: that the training was refused or stopped, and why.
        url: Where the run is looked at.
        outcome: What really happened; None before the training has begun.
        price_history: Each estimate of a cost that the run holds, when prices of several dates were used.
        price_sheets: The dated sheets that the what-if panel offers.
        equivalences: What the CO2e is put beside.
        made_at: When the page was made, ISO 8601 in UTC.
    """

    estimate: Estimate
    comparison: Comparison | None = None
    log: BenchmarkLog | None = None
    fit: Fit | None = None
    sources: tuple[Source, ...] = ()
    run_id: str | None = None
    run_name: str = ""
    status: str = ""
    notice: str = ""
    url: str | None = None
    outcome: Outcome | None = None
    price_history: tuple[PricePoint, ...] = ()
    price_sheets: tuple[PriceSheet, ...] = ()
    equivalences: tuple[Equivalence, ...] = ()
    made_at: str = ""

    @property
    def known_fit(self) -> Fit | None:
        """The fit given, else that of the estimate's statistics."""
        statistics = self.estimate.statistics
        return self.fit if self.fit is not None or statistics is None else statistics.fit
