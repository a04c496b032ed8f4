"""ReportContent: everything shown in the report of a run."""

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
    """The estimated cost of the training on one option by the prices of one date.

    Args:
        as_of: Date of the prices, ISO 8601.
        gpu: Name of the option.
        cost_usd: Cost, US dollars.
        price_usd_per_hour: Price per GPU and hour, US dollars; None at home.
    """

    as_of: str
    gpu: str
    cost_usd: float
    price_usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContent:
    """The content of a report; missing parts are stated in the report, never hidden.

    Args:
        estimate: The estimate of the training here.
        comparison: The comparison with offers; None when it could not be made.
        log: The benchmark's log.
        fit: The fit of time to the log; that of the estimate's run facts when not given.
        sources: Sources of the tables used, besides those in estimate and comparison.
        run_id: Id of the MLflow run.
        run_name: Name of the MLflow run.
        status: ``running``, ``finished``, ``refused``, ``stopped``, ``failed``, ``killed`` or empty.
        notice: Text shown first: that the training was refused or stopped, and why.
        started_at: When the run started, ISO 8601 in UTC; that of the log when empty.
        url: URL of the run's page.
        outcome: The outcome; None before training has begun and while it runs.
        so_far: What a running training took up to its last lap; None before it has ended.
        seen_at: When that lap ended, ISO 8601 in UTC.
        price_history: All cost estimates that the run holds, if prices of several dates were used.
        price_sheets: The dated sheets that the what-if panel offers.
        equivalences: Everyday equivalents to compare CO2e with.
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
    started_at: str = ""
    url: str | None = None
    outcome: Outcome | None = None
    so_far: Outcome | None = None
    seen_at: str = ""
    price_history: tuple[PricePoint, ...] = ()
    price_sheets: tuple[PriceSheet, ...] = ()
    equivalences: tuple[Equivalence, ...] = ()
    made_at: str = ""

    @property
    def known_fit(self) -> Fit | None:
        """The given fit, else that of the estimate's run facts."""
        statistics = self.estimate.statistics
        return self.fit if self.fit is not None or statistics is None else statistics.fit

    @property
    def date(self) -> str:
        """The day that the run, else its benchmark, started on, else the page was made; ISO 8601."""
        logged = "" if self.log is None else self.log.started_at
        return (self.started_at or logged or self.made_at)[:10]
