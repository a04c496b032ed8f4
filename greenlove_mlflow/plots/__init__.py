"""The figures that a run stores as PNG: made with matplotlib but without pyplot, so they work in any thread."""

from __future__ import annotations

from greenlove_mlflow.plots.benchmark_plots import plot_epochs, plot_passes_by_size, plot_power, plot_scaling
from greenlove_mlflow.plots.comparisons import plot_crusoe

__all__ = ["plot_crusoe", "plot_epochs", "plot_passes_by_size", "plot_power", "plot_scaling"]
