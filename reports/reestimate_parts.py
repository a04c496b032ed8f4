"""What ``reestimate.py`` times, each part in a process of its own that prints one JSON object."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PAGE = 500


class Stopwatch:
    """Seconds and CPU seconds spent inside some functions, by the name of the part that they belong to."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    @contextlib.contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Count the block into a part."""
        start, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.cpu[part] = self.cpu.get(part, 0.0) + time.process_time() - cpu
            self.wall[part] = self.wall.get(part, 0.0) + time.perf_counter() - start
            self.calls[part] = self.calls.get(part, 0) + 1

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Time every call of that function or method."""
        original: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            with self.timing(part):
                return original(*args, **options)

        setattr(owner, name, timed)


def bare(uri: str, experiment: str) -> dict[str, Any]:
    """The runs of an experiment by ``search_runs`` alone, page after page, each page let go."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment_id = client.get_experiment_by_name(experiment).experiment_id
    count, token = 0, None
    start, cpu = time.perf_counter(), time.process_time()
    while True:
        page = client.search_runs(
            [experiment_id], max_results=PAGE, order_by=["attributes.start_time ASC"], page_token=token
        )
        count += len(page)
        token = page.token
        if not token:
            break
    return {"run_count": count, "wall_s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}


def ours(uri: str, experiment: str, *, prices: str = "all", **options: Any) -> dict[str, Any]:
    """The same runs estimated again on all offers of all dates, and where the time went."""
    from mlflow import MlflowClient

    import greenlove_mlflow as greenlove
    from greenlove_mlflow.reestimation import page_by_page, pricing, results, writing
    from greenlove_mlflow.reestimation import result_run as record
    from greenlove_mlflow.stored import stored_runs as reading

    watch = Stopwatch()
    watch.watch(MlflowClient, "search_runs", "search")
    watch.watch(MlflowClient, "download_artifacts", "artifact")
    watch.watch(MlflowClient, "log_batch", "log_batch")
    watch.watch(reading, "_read_page", "decode")
    watch.watch(pricing.Pricer, "price", "arithmetic")
    watch.watch(page_by_page, "best_choices", "arithmetic")
    watch.watch(results.ResultFiles, "add", "rows")
    watch.watch(results.Summary, "add", "rows")
    watch.watch(writing.WriteBack, "write", "write_back")
    watch.watch(record, "record", "record")
    MlflowClient(uri).get_experiment_by_name(experiment)
    start, cpu = time.perf_counter(), time.process_time()
    found = greenlove.reestimate(experiment, prices=prices, tracking_uri=uri, **options)
    return {
        "run_count": found.run_count,
        "skipped_count": len(found.skipped),
        "row_count": sum(found.summary["time_h_run_count"]) - found.run_count * len(found.versions),
        "changed_count": found.changed_run_count,
        "written_count": found.written.run_count,
        "metric_count": found.written.metric_count,
        "wall_s": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu,
        "parts_s": watch.wall,
        "parts_cpu_s": watch.cpu,
        "artifact_reads": watch.calls.get("artifact", 0),
        "file_bytes": sum(path.stat().st_size for path in found.files),
    }


def spark(run_count: int, cores: int) -> dict[str, Any]:
    """Rows a second of the model as a Spark function, on synthetic runs and the offers of all dates."""
    import mlflow.pyfunc
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyspark.sql import SparkSession
    from pyspark.sql.functions import broadcast, struct
    from reestimate_store import synthetic_statistics

    from greenlove_mlflow.reestimation.pricing import OfferColumns, read_sheets
    from greenlove_mlflow.serving.logging_model import gather_facts, save_estimator_model
    from greenlove_mlflow.tables.published_speeds import read_ratio_book

    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master(f"local[{cores}]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    offers = OfferColumns(sheets=read_sheets("all"), regions={})
    book = read_ratio_book()
    with tempfile.TemporaryDirectory() as scratch:
        runs = [book.completed(synthetic_statistics(seed), offers.gpu_ids).to_json() for seed in range(run_count)]
        pq.write_table(pa.table({"statistics": runs}), f"{scratch}/runs.parquet")
        save_estimator_model(f"{scratch}/model", gather_facts(None))
        estimate = mlflow.pyfunc.spark_udf(session, f"{scratch}/model", env_manager="local")
        prices = session.createDataFrame(
            [(each.gpu, each.price_usd_per_hour, each.version) for each in offers.offers],
            "gpu string, price_usd_per_hour double, version string",
        )
        inputs = struct("gpu", "price_usd_per_hour", "version", "statistics")

        def run(limit: int) -> float:
            rows = session.read.parquet(f"{scratch}/runs.parquet").limit(limit).repartition(2 * cores)
            rows = rows.crossJoin(broadcast(prices)).withColumn("estimate", estimate(inputs)).select("estimate.*")
            start = time.perf_counter()
            rows.write.format("noop").mode("overwrite").save()
            return time.perf_counter() - start

        cold_s = run(2 * cores)
        warm_s = run(run_count)
    session.stop()
    return {"cores": cores, "row_count": run_count * len(offers.offers), "cold_s": cold_s, "wall_s": warm_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["bare", "ours", "spark"])
    parser.add_argument("--uri", default="")
    parser.add_argument("--experiment", default="")
    parser.add_argument("--options", type=json.loads, default={})
    given = parser.parse_args()
    begun = time.perf_counter()
    if given.part == "spark":
        result = spark(**given.options)
    else:
        result = {"bare": bare, "ours": ours}[given.part](given.uri, given.experiment, **given.options)
    result["whole_s"] = time.perf_counter() - begun
    result["rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    print(json.dumps(result))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    main()
