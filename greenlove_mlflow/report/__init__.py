"""The report: one self-contained HTML page a run or experiment, and the sentences that terminal and note share."""

from __future__ import annotations

from greenlove_mlflow.report.content import PricePoint, ReportContent
from greenlove_mlflow.report.experiment import ExperimentContent, render_experiment
from greenlove_mlflow.report.page import render_report
from greenlove_mlflow.words.verdict import verdict_sentences

__all__ = [
    "ExperimentContent",
    "PricePoint",
    "ReportContent",
    "render_experiment",
    "render_report",
    "verdict_sentences",
]
