"""The options of ``track`` and ``estimate`` as types, so that editors complete them and mypy rejects misspellings.

``pipeline.options.Options`` documents and checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.offers.offer import PriceSheet
from greenlove_mlflow.core.records import Method
from greenlove_mlflow.core.speed.gpus import Precision
from greenlove_mlflow.core.workload import Scope
from greenlove_mlflow.pipeline.options import BenchmarkMode, Progress, TrainStep


class TrackOptions(TypedDict, total=False):
    """The keyword options of ``track`` and ``estimate``, besides their named parameters."""

    done: int
    accumulation: int | None
    lap_steps: int | None
    benchmark: BenchmarkMode | None
    batch_size: int | None
    device: Any
    train_step: TrainStep | None
    steps_per_epoch: int | None
    extra_state: tuple[Any, ...]
    validation: Any
    validation_every_epochs: int
    extra_per_epoch_s: float
    one_off_s: float
    method: Method
    budget_s: float | None
    precision: Precision | None
    task: str | None
    country: str | None
    region: str | None
    scope: Scope
    carbon_intensity_g_per_kwh: float | None
    electricity_price_usd_per_kwh: float | None
    pue: float | None
    tdp_w: float | None
    gpu_utilization: float | None
    gpu_index: int | None
    net_of_idle: bool
    live_carbon: bool
    live_zone: str | None
    locate: Literal["geoip"] | None
    prices: str | Path | PriceSheet
    speed_ratios: Mapping[str, float]
    measured: str | None
    cloud_region: str | None
    billing: tuple[str, ...]
    gpus: int | None
    start_s: float | None
    home_usd_per_hour: float | None
    history: bool
    power_poll_interval_s: float
    summary: bool | None
    progress: Progress | None
    on_epoch: Callable[[int, int, Estimate], None] | None
    plan: Mapping[str, Any]
