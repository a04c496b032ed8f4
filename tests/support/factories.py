"""Records with defaults, so that a test shows only what matters to it."""

from __future__ import annotations

from typing import Any

from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.records import BenchmarkLog, EpochRecord, Machine, PowerReading
from greenlove_mlflow.core.timing.fit import AdaptiveFit, OriginalFit
from greenlove_mlflow.core.workload import Grid, Workload


def a_machine(**over: Any) -> Machine:
    return Machine(**{"device": "cpu", "cpu_name": "Test CPU", "visible_cpu_count": 2, "host": "abc", **over})


def a_workload(**over: Any) -> Workload:
    return Workload(**{"sample_count": 1000, "batch_size": 10, "epoch_count": 20, "steps_per_epoch": 100, **over})


def a_grid(**over: Any) -> Grid:
    fields = {
        "place": "Germany",
        "code": "DE",
        "basis": "named",
        "intensity_g_per_kwh": Interval(point=300.0, low=250.0, high=360.0),
        "price_usd_per_kwh": Interval(point=0.40, low=0.32, high=0.50),
    }
    return Grid(**{**fields, **over})


def a_fit(**over: Any) -> AdaptiveFit:
    fields = {
        "mode": "whole",
        "sample_count": 1000,
        "steps_per_epoch": 100,
        "one_off_s": 1.0,
        "first_epoch_s": 10.0,
        "epoch_s": 9.0,
        "step_s": 0.09,
        "noise_log_sd": 0.05,
        "block_count": 20,
        "drift_log_sd": 0.05,
        "structure_log_sd": 0.005,
        "t_quantile": 2.1,
    }
    return AdaptiveFit(**{**fields, **over})


def an_original_fit(**over: Any) -> OriginalFit:
    fields = {"method": "original", "sample_count": 1000, "steps_per_epoch": 100, "epoch_s": 9.0}
    return OriginalFit(**{**fields, **over})


def a_power(**over: Any) -> PowerReading:
    return PowerReading(**{"device": "gpu_0", "power_w": 300.0, "log_half_width": 0.1, "source": "counter", **over})


def some_statistics(**over: Any) -> RunFacts:
    fields = {
        "machine": a_machine(),
        "workload": a_workload(),
        "fit": a_fit(),
        "power": (a_power(),),
        "pue": Interval.exactly(1.0),
        "grid": a_grid(),
    }
    return RunFacts(**{**fields, **over})


def an_epoch(**over: Any) -> EpochRecord:
    fields = {
        "epoch_index": 0,
        "phase": "timed",
        "sample_count": 1000,
        "step_count": 100,
        "duration_s": 9.0,
        "whole": True,
    }
    return EpochRecord(**{**fields, **over})


def a_log(**over: Any) -> BenchmarkLog:
    fields = {
        "method": "adaptive",
        "machine": a_machine(),
        "sample_count": 1000,
        "batch_size": 10,
        "steps_per_epoch": 100,
        "epochs": (an_epoch(), an_epoch(epoch_index=1, duration_s=9.2)),
    }
    return BenchmarkLog(**{**fields, **over})
