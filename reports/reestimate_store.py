"""Fills a store with synthetic tracked runs, through MLflow's real API and the code that ``track`` keeps them with."""

from __future__ import annotations

import dataclasses
import json
import random
import sqlite3
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from greenlove_mlflow.core.account.estimate import estimate_training
from greenlove_mlflow.core.account.run_facts import OfferRatio, RunFacts
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.compare import compare_offers
from greenlove_mlflow.core.records import Machine, PowerReading
from greenlove_mlflow.core.speed.gpus import GpuSpec, Precision, ProbeResult
from greenlove_mlflow.core.timing.fit import AdaptiveFit
from greenlove_mlflow.core.workload import Grid, Workload
from greenlove_mlflow.tables import find_grid, read_default_pue, read_gpu_specs, read_price_sheet, read_regions
from greenlove_mlflow.tables.published_speeds import read_ratio_book
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking import values as record

# What people train on at home, and where; every eighth run is on a CPU that no table knows.
HOMES = ("nvidia-geforce-rtx-4090", "nvidia-a100-pcie-40gb", "nvidia-rtx-a6000", "nvidia-t4", "nvidia-l40s")
PLACES = ("DE", "US-VA", "IS", "PL", "FR", "world")
PRECISIONS: tuple[Precision, ...] = ("fp16", "bf16", "fp32")
KINDS = ("convolutional", "transformer", "other")
PRICES_VERSION = "2026-09-28"


@cache
def specs() -> dict[str, GpuSpec]:
    return {spec.gpu_id: spec for spec in read_gpu_specs()}


@cache
def grid_of(place: str) -> Grid:
    return find_grid(environment_place=None if place == "world" else place)[0]


def synthetic_statistics(seed: int) -> RunFacts:
    """RunFacts of a training that nobody ran: seconds, watts and samples drawn by the seed."""
    draw = random.Random(seed)
    is_cpu = seed % 8 == 7
    spec = None if is_cpu else specs()[draw.choice([home for home in HOMES if home in specs()])]
    epoch_s = draw.lognormvariate(4.0, 1.5)
    steps = draw.randrange(50, 5000)
    watts = 65.0 if spec is None else (spec.tdp_w or 250.0) * draw.uniform(0.4, 0.95)
    return RunFacts(
        machine=Machine(
            device="cpu" if spec is None else "cuda:0",
            gpu_name=None if spec is None else spec.name,
            gpu_id=None if spec is None else spec.gpu_id,
            cpu_name="a CPU of the report",
            visible_cpu_count=8,
            host=f"{seed % 97:012x}",
        ),
        workload=Workload(
            sample_count=steps * 64, batch_size=64, epoch_count=draw.randrange(1, 200), steps_per_epoch=steps
        ),
        fit=AdaptiveFit(
            method="adaptive",
            mode="truncated",
            sample_count=steps * 64,
            steps_per_epoch=steps,
            one_off_s=draw.uniform(0.1, 5.0),
            first_epoch_s=epoch_s * 1.07,
            epoch_s=epoch_s,
            step_s=epoch_s / steps,
            noise_log_sd=draw.uniform(0.005, 0.05),
            block_count=20,
            drift_log_sd=0.03,
            t_quantile=2.1,
        ),
        power=(PowerReading(device="cpu" if is_cpu else "gpu_0", power_w=watts, log_half_width=0.1, source="counter"),),
        pue=Interval.exactly(1.0),
        grid=grid_of(draw.choice(PLACES)),
        precision=draw.choice(PRECISIONS),
        model_kind=draw.choice(KINDS),
        peak_memory_gib=None if is_cpu else draw.uniform(2.0, 70.0),
        workload_fingerprint=f"{seed % 31:012x}",
        home=spec,
        probe=_probe(draw) if is_cpu else None,
    )


def _probe(draw: random.Random) -> ProbeResult:
    return ProbeResult(
        device_name="a CPU of the report",
        matmul_tflops=Interval.from_log_width(draw.uniform(0.1, 2.0), 0.1),
        copy_gb_per_s=Interval.from_log_width(draw.uniform(8.0, 40.0), 0.1),
    )


def log_run(client: MlflowClient, experiment_id: str, seed: int) -> None:
    """A run as ``track`` leaves it after its promise, less its files: some 60 metrics, 12 params, 10 tags."""
    statistics = synthetic_statistics(seed)
    sheet, book = read_price_sheet(PRICES_VERSION), read_ratio_book()
    found = {offer.gpu_id: book.ratio_of(statistics, offer.gpu_id) for offer in sheet.offers}
    ratios = {gpu_id: ratio for gpu_id, ratio in found.items() if ratio is not None}
    kept = tuple(OfferRatio(gpu_id=gpu_id, speed_ratio=ratio) for gpu_id, ratio in ratios.items())
    statistics = dataclasses.replace(statistics, ratios=kept, prices_version=sheet.version, throughput_version="v2")
    comparison = compare_offers(
        estimate_training(statistics),
        sheet=sheet,
        ratios=ratios,
        specs=specs(),
        regions={region.name: region for region in read_regions()},
        pue=read_default_pue("cloud")[0],
    )
    points = record.estimate_points(comparison.home, comparison, as_of=sheet.as_of)
    hours = comparison.home.time_s.point / 3600.0
    trained = dataclasses.replace(points[0], key=names.ACTUAL_TIME_H, value=hours, step=0)
    run_id = client.create_run(experiment_id, tags=record.opening_tags()).info.run_id
    client.log_batch(
        run_id,
        metrics=[Metric(each.key, each.value, each.timestamp_ms, each.step) for each in [*points, trained]],
        params=[Param(key, value) for key, value in record.params_of(statistics).items()],
        tags=[RunTag(key, value) for key, value in record.tags_of(statistics, sheet.as_of).items()],
    )
    client.set_terminated(run_id)


def fill(client: MlflowClient, name: str, run_count: int) -> Iterator[tuple[int, float]]:
    """Make an experiment of so many runs, or complete one that was begun; yields the count and the seconds spent."""
    found = client.get_experiment_by_name(name)
    experiment_id = found.experiment_id if found else client.create_experiment(name)
    begun = _count(client, experiment_id)
    start = time.perf_counter()
    for seed in range(begun, run_count):
        log_run(client, experiment_id, seed)
        if (seed + 1) % 100 == 0 or seed + 1 == run_count:
            yield seed + 1, time.perf_counter() - start


def copy_runs(store: Path, name: str, run_count: int) -> None:
    """Complete an experiment of a SQLite store by copies of its runs' rows, each with statistics of its own.

    Copies take seconds where MLflow's API takes a tenth of a second each; a search reads both alike.
    """
    with sqlite3.connect(store) as rows:
        (experiment_id,) = rows.execute("SELECT experiment_id FROM experiments WHERE name = ?", (name,)).fetchone()
        query = "SELECT run_uuid FROM runs WHERE experiment_id = ? ORDER BY start_time, run_uuid"
        made = [run_id for (run_id,) in rows.execute(query, (experiment_id,))]
        columns = {
            table: [column for _, column, *_ in rows.execute(f"PRAGMA table_info({table})") if column != "run_uuid"]
            for table in ("runs", "metrics", "latest_metrics", "params", "tags")
        }
        for number in range(len(made), run_count):
            source, copied = made[number % len(made)], f"{number:032x}"
            for table, others in columns.items():
                listed = ", ".join(others)
                rows.execute(
                    f"INSERT INTO {table} (run_uuid, {listed}) SELECT ?, {listed} FROM {table} WHERE run_uuid = ?",
                    (copied, source),
                )
            (text,) = rows.execute(
                "SELECT value FROM tags WHERE run_uuid = ? AND key = ?", (copied, names.TAG_STATS)
            ).fetchone()
            rows.execute(
                "UPDATE tags SET value = ? WHERE run_uuid = ? AND key = ?",
                (_of_its_own(text, number), copied, names.TAG_STATS),
            )


def _of_its_own(text: str, seed: int) -> str:
    """The statistics of a training of another length and power."""
    content, draw = json.loads(text), random.Random(seed)
    longer = draw.lognormvariate(0.0, 0.5)
    for part in ("first_epoch_s", "epoch_s", "step_s"):
        content["fit"][part] *= longer
    content["power"][0][1] *= draw.uniform(0.9, 1.1)
    return json.dumps(content, separators=(",", ":"))


def _count(client: MlflowClient, experiment_id: str) -> int:
    count, token = 0, None
    while True:
        page = client.search_runs([experiment_id], max_results=1000, page_token=token)
        count += len(page)
        token = page.token
        if not token:
            return count
