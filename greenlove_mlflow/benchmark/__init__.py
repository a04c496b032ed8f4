"""Benchmark: runs the user's own training step for a few seconds and restores the state it found."""

from __future__ import annotations

from greenlove_mlflow.benchmark.feed import Feed, make_feed
from greenlove_mlflow.benchmark.machine.machine import read_machine
from greenlove_mlflow.benchmark.run import run_benchmark
from greenlove_mlflow.benchmark.session import BenchmarkPlan
from greenlove_mlflow.benchmark.subject.model_kind import ModelDescription, describe_model
from greenlove_mlflow.benchmark.subject.training import CallableRunner, EpochRunner, Training, default_train_step

__all__ = [
    "BenchmarkPlan",
    "CallableRunner",
    "EpochRunner",
    "Feed",
    "ModelDescription",
    "Training",
    "default_train_step",
    "describe_model",
    "make_feed",
    "read_machine",
    "run_benchmark",
]
