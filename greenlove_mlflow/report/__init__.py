"""The report: one self-contained HTML page per run, and the sentences it shares with terminal and note."""

from __future__ import annotations

from greenlove_mlflow.report.content import ReportContent
from greenlove_mlflow.report.page import render_report
from greenlove_mlflow.report.verdict import verdict_sentences

__all__ = ["ReportContent", "render_report", "verdict_sentences"]
