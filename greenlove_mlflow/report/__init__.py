"""The report: a self-contained HTML page per run or experiment, and text shared by terminal and note."""

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
