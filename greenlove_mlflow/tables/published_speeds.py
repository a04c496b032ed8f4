"""All evidence in the tables on relative GPU speeds, as one core record."""

from __future__ import annotations

from collections import defaultdict

from greenlove_mlflow.core.account.ratio_book import RatioBook
from greenlove_mlflow.core.speed.gpus import RatioModel, SpecBlend, TaskModel
from greenlove_mlflow.core.speed.published import RatioEvidence
from greenlove_mlflow.tables.hardware import read_gpu_specs, read_mlperf, read_suite_bridges, read_throughput
from greenlove_mlflow.tables.store.rows import kept, rows_of
from greenlove_mlflow.tables.store.store import read_table

_ANY = "any"
_FIELD_OF_PARAMETER = {
    "base_log_sd": "base",
    "log_sd_per_log_ratio": "per_log_ratio",
    "log_sd_per_log_memory": "per_log_memory",
    "group_variance": "group_variance",
    "prior_weight": "prior_weight",
}


@kept
def read_ratio_evidence() -> RatioEvidence:
    """Throughput, bridges, MLPerf, specs and the constants of the newest tables, each with its source."""
    return RatioEvidence(
        throughput=read_throughput(),
        bridges=read_suite_bridges(),
        mlperf=read_mlperf(),
        specs=read_gpu_specs(),
        model=read_ratio_model(),
        throughput_source=read_table("gpu_throughput").source,
        mlperf_source=read_table("mlperf").source,
        specs_source=read_table("gpu_specs").source,
    )


@kept
def read_ratio_model() -> RatioModel:
    """The fitted constants of speed ratios."""
    task_fields: dict[str, dict[str, float]] = defaultdict(dict)
    noise: dict[str, list[tuple[str, float]]] = defaultdict(list)
    blend_fields: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    others: dict[str, float] = {}
    for _, row in rows_of("speed_ratio_model"):
        parameter, precision, group, value = row["parameter"], row["precision"], row["group"], row["value"]
        if parameter == "task_noise":
            noise[precision].append((group, value))
        elif parameter.startswith("blend_"):
            blend_fields[precision, group][parameter.removeprefix("blend_")] = value
        elif precision != _ANY:
            task_fields[precision][_FIELD_OF_PARAMETER[parameter]] = value
        else:
            others[parameter] = value
    return RatioModel(
        tasks={
            precision: TaskModel(**fields, noise=tuple(noise[precision])) for precision, fields in task_fields.items()
        },
        blends={key: SpecBlend(**fields) for key, fields in blend_fields.items()},
        **others,
    )


@kept
def read_ratio_book() -> RatioBook:
    """The book of speed ratios from the tables; one per process, because it caches its results."""
    return RatioBook({spec.gpu_id: spec for spec in read_gpu_specs()}, read_ratio_evidence)
