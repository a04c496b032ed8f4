"""Past one machine: all runs of an experiment on all offers of all price dates, by the logged model's code on Spark.

    python examples/spark_reestimate.py --experiment NAME --output rows.parquet

Runs in local mode as it stands; with ``--master spark://...`` on a cluster. The driver reads what each run keeps (pages
of ``search_runs``, no file), completes its speed ratios from the tables, and hands rows of run and offer to
``mlflow.pyfunc.spark_udf``. The workers need mlflow-skinny, pandas and pyarrow, and neither the tables nor torch.

Needs the extra ``spark`` and Java 17 or newer.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlflow
import mlflow.pyfunc
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import broadcast, struct

from greenlove_mlflow.reestimation.pricing import OfferColumns, read_sheets
from greenlove_mlflow.serving.logging_model import gather_facts, save_estimator_model
from greenlove_mlflow.stored.stored_runs import find_experiment_ids, read_pages
from greenlove_mlflow.tables import read_regions
from greenlove_mlflow.tables.published_speeds import read_ratio_book

RUNS_SCHEMA = pa.schema([("run_id", pa.string()), ("statistics", pa.string())])


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", required=True, help="name or id")
    parser.add_argument("--prices", nargs="*", default=["all"], help="all, newest, versions, or paths of your own CSVs")
    parser.add_argument("--store", default=None, help="MLflow store; MLflow's own setting by default")
    parser.add_argument("--master", default="local[2]", help="of Spark")
    parser.add_argument("--output", default="reestimates.parquet", help="folder that Spark writes")
    parser.add_argument("--partitions", type=int, default=8)
    return parser.parse_args()


def start_spark(master: str) -> SparkSession:
    # Workers take whatever `python3` is first on the path unless they are told which one has the packages.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    return (
        SparkSession.builder.master(master)
        .appName("greenlove-reestimate")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .getOrCreate()
    )


def write_runs(path: Path, experiment: str, store: str | None, gpu_ids: tuple[str, ...]) -> int:
    """Write one row per run that can be estimated, a page at a time; say which ones cannot."""
    client = mlflow.MlflowClient(store)
    book = read_ratio_book()
    count = 0
    with pq.ParquetWriter(path, RUNS_SCHEMA) as writer:
        for page in read_pages(client, find_experiment_ids(client, [experiment])):
            for skipped in page.skipped:
                print(f"left out {skipped.run_id}: {skipped.reason}")
            rows = {
                "run_id": [each.run_id for each in page.facts],
                "statistics": [book.completed(each.statistics, gpu_ids).to_json() for each in page.facts],
            }
            writer.write_table(pa.table(rows, schema=RUNS_SCHEMA))
            count += len(page.facts)
    return count


def offer_rows(offers: OfferColumns) -> Iterator[tuple[str, float | None, float, str]]:
    for offer in offers.offers:
        yield offer.gpu, offer.price_usd_per_hour, offer.memory_gib, offer.version


def estimate_all(spark: SparkSession, runs: Path, offers: OfferColumns, model: Path, partitions: int) -> DataFrame:
    """One row per run and offer with its estimate."""
    estimate = mlflow.pyfunc.spark_udf(spark, str(model), env_manager="local")
    prices = spark.createDataFrame(
        list(offer_rows(offers)), "gpu string, price_usd_per_hour double, memory_gib double, version string"
    )
    # All offers of a run stay together, so that a worker takes its statistics apart once.
    rows = spark.read.parquet(str(runs)).repartition(partitions).crossJoin(broadcast(prices))
    inputs = struct("gpu", "price_usd_per_hour", "memory_gib", "version", "statistics")
    return rows.withColumn("estimate", estimate(inputs)).select("run_id", "estimate.*")


def main() -> None:
    options = read_options()
    sheets = read_sheets(options.prices)
    offers = OfferColumns(sheets=sheets, regions={region.name: region for region in read_regions()})
    spark = start_spark(options.master)
    with tempfile.TemporaryDirectory(prefix="greenlove-spark-") as scratch:
        runs, model = Path(scratch) / "runs.parquet", Path(scratch) / "model"
        count = write_runs(runs, options.experiment, options.store, offers.gpu_ids)
        save_estimator_model(model, gather_facts(None))
        estimate_all(spark, runs, offers, model, options.partitions).write.mode("overwrite").parquet(options.output)
    written = spark.read.parquet(options.output).count()
    print(f"{count} runs x {len(offers.offers)} offers = {written} rows in {options.output}")
    spark.stop()


if __name__ == "__main__":
    main()
