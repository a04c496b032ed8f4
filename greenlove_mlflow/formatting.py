"""The only file that rounds: plain numbers and records to text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenlove_mlflow.core.compare import Comparison
    from greenlove_mlflow.core.estimate import Estimate

NOT_MEASURED = "not measured"


def format_estimate(estimate: Estimate) -> str:
    """An estimate as a few lines of plain text."""
    raise NotImplementedError


def format_estimate_html(estimate: Estimate) -> str:
    """An estimate as an HTML fragment, escaped."""
    raise NotImplementedError


def format_comparison(comparison: Comparison) -> str:
    """A comparison as a plain text table."""
    raise NotImplementedError


def format_comparison_html(comparison: Comparison) -> str:
    """A comparison as an HTML table, escaped."""
    raise NotImplementedError
