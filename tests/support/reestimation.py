"""Tracked runs in a store, made through MLflow's own API and the code that ``track`` keeps its promise with."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import TYPE_CHECKING, Any

from greenlove_mlflow.core.account.estimate import estimate_training
from greenlove_mlflow.core.account.run_facts import OfferRatio, RunFacts
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.compare import Comparison, compare_offers
from greenlove_mlflow.core.offers.offer import PriceSheet, Rental
from greenlove_mlflow.core.offers.regions import Regions
from greenlove_mlflow.core.speed.gpus import GpuSpec
from greenlove_mlflow.tables import (
    read_default_pue,
    read_gpu_specs,
    read_instance_start,
    read_price_sheet,
    read_regions,
)
from greenlove_mlflow.tables.published_speeds import read_ratio_book
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking import values as record
from tests.support.factories import a_fit, a_grid, a_machine, a_power, some_statistics

if TYPE_CHECKING:
    from mlflow import MlflowClient

A100 = "nvidia-a100-pcie-40gb"
OWN_VERSION = "2026-06-11"


@cache
def the_specs() -> dict[str, GpuSpec]:
    return {spec.gpu_id: spec for spec in read_gpu_specs()}


def gpu_statistics(**over: Any) -> RunFacts:
    """RunFacts of a training on an A100, with nothing in them that is a round number."""
    fields = {
        "machine": a_machine(device="cuda:0", gpu_name="NVIDIA A100-PCIE-40GB", gpu_id=A100),
        "home": the_specs()[A100],
        "fit": a_fit(one_off_s=1.7, first_epoch_s=11.3, epoch_s=9.137),
        "power": (a_power(power_w=211.7), a_power(device="cpu", power_w=61.3, log_half_width=0.5, source="modelled")),
        "pue": Interval.from_log_width(1.13, 0.07),
        "grid": a_grid(intensity_g_per_kwh=Interval(point=331.0, low=200.0, high=400.0)),
        "precision": "fp16",
        "model_kind": "transformer",
        "peak_memory_gib": 61.0,
    }
    return some_statistics(**{**fields, **over})


def compare_as_track_does(statistics: RunFacts, sheet: PriceSheet | str = OWN_VERSION) -> tuple[RunFacts, Comparison]:
    """The comparison of the first estimate, and the statistics that remember its ratios."""
    sheet = read_price_sheet(sheet)
    book = read_ratio_book()
    ratios = {offer.gpu_id: book.ratio_of(statistics, offer.gpu_id) for offer in sheet.offers}
    known = {gpu_id: ratio for gpu_id, ratio in ratios.items() if ratio is not None}
    stated = None if statistics.instance_start_s is None else Interval.exactly(statistics.instance_start_s)
    comparison = compare_offers(
        estimate_training(statistics),
        sheet=sheet,
        ratios=known,
        specs=the_specs(),
        regions=Regions(read_regions()),
        pue=read_default_pue("cloud")[0],
        region=statistics.cloud_region,
        rental=Rental(used_gpu_count=statistics.gpu_count, start_s=stated or read_instance_start()[0]),
    )
    kept = tuple(OfferRatio(gpu_id=gpu_id, speed_ratio=ratio) for gpu_id, ratio in known.items())
    remembering = dataclasses.replace(statistics, ratios=kept, prices_version=sheet.version)
    return remembering, dataclasses.replace(comparison, home=estimate_training(remembering))


def log_tracked_run(
    client: MlflowClient,
    experiment_id: str,
    statistics: RunFacts | None = None,
    *,
    sheet: str = OWN_VERSION,
    has_trained: bool = True,
) -> tuple[str, Comparison]:
    """A run as ``track`` leaves it, less its artifacts; one that never trained has no outcome."""
    from mlflow.entities import Metric, Param, RunTag

    remembering, comparison = compare_as_track_does(statistics or gpu_statistics(), sheet)
    points = record.estimate_points(comparison.home, comparison, as_of=comparison.prices.as_of)
    run_id: str = client.create_run(experiment_id, tags=record.opening_tags()).info.run_id
    client.log_batch(
        run_id,
        metrics=[Metric(each.key, each.value, each.timestamp_ms, each.step) for each in points],
        params=[Param(key, value) for key, value in record.params_of(remembering).items()],
        tags=[RunTag(key, value) for key, value in record.tags_of(remembering, comparison.prices.as_of).items()],
    )
    if has_trained:
        client.log_metric(run_id, names.ACTUAL_TIME_H, comparison.home.time_s.point / 3600.0)
    client.set_terminated(run_id)
    return run_id, comparison
