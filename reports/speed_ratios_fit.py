"""Fit the constants of speed ratios on one half of the GPUs and write them as a table.

    python reports/speed_ratios_fit.py VERSION

VERSION is the date of the new version of ``data/speed_ratio_model``. ``reports/speed_ratios.py`` tests the constants
on the other half.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import sys

import numpy as np
import pandas as pd
import speed_ratios_data as data
from scipy import optimize, stats

from greenlove_mlflow.core.speed.gpus import TASK_GROUPS, Precision, RatioModel, SpecBlend, TaskModel, group_of_task
from greenlove_mlflow.core.speed.published import LogRatio, predict_new_workload
from greenlove_mlflow.core.speed.spec_offsets import compute_tflops, gpu_offset
from greenlove_mlflow.tables import data_root, read_throughput
from greenlove_mlflow.tables.store.schema import format_sidecar, read_sidecar
from greenlove_mlflow.tables.store.store import read_table_file

NOISY_TASKS = ("tacotron2", "waveglow", "transformerxlbase", "transformerxllarge", "ncf")
# How many tasks the prior counts for, as in the literature's fit; free, it runs off to 0 and the rest with it.
PRIOR_WEIGHT = 4.0
# Pull of every logarithm towards where the search starts: a factor of e costs as much as 1% of density.
PULL = 0.01
SOFTWARE_LOG_SD = 0.1
Row = tuple[str, str, str, float, str, str]


def main(version: str) -> None:
    """Fit everything and write the version."""
    rows: list[Row] = []
    fitted = data.fitted_half()
    tasks: dict[str, TaskModel] = {}
    blends: dict[tuple[str, str], SpecBlend] = {}
    for precision in data.PRECISIONS:
        pairs = data.pairs_within(precision, fitted)
        tasks[precision] = fit_task_model(pairs)
        print(precision, tasks[precision])
        rows += _task_rows(precision, tasks[precision], len(pairs))
        for group in ("any", *TASK_GROUPS):
            blend = blends[precision, group] = fit_blend(precision, group, fitted)
            print(precision, group, blend)
            how = f"least squares over {len(fitted)} GPUs of gpu_throughput; SD of each beyond its architecture"
            rows += [
                (f"blend_{name}", precision, group, value, "derived", how)
                for name, value in dataclasses.asdict(blend).items()
            ]
    rows += _fp32_rows(blends)
    rows += _other_rows(fitted, RatioModel(tasks=tasks, blends=blends))
    write_table(version, rows)


def _fp32_rows(blends: dict[tuple[str, str], SpecBlend]) -> list[Row]:
    """The blends of specs where TF32 is forbidden: from the GPUs that have none.

    They are of three generations, so that their spread says little of later ones: it is not taken below TF32's.
    """
    gpus = data.gpus_without_tf32()
    rows: list[Row] = []
    for group in ("any", *TASK_GROUPS):
        own = fit_blend("fp32", group, gpus)
        blend = dataclasses.replace(own, log_sd=max(own.log_sd, blends["tf32", group].log_sd))
        print("fp32", group, blend)
        how = f"least squares over the {len(gpus)} GPUs of gpu_throughput without TF32; SD of each beyond its kin"
        rows += [
            (f"blend_{name}", "fp32", group, value, "derived", how) for name, value in dataclasses.asdict(blend).items()
        ]
    return rows


def fit_task_model(pairs: list[data.Pair]) -> TaskModel:
    """The model that gives held-out tasks the greatest t density, with and without their group known."""

    def unpacked(logs: np.ndarray) -> TaskModel:
        values = [float(value) for value in np.exp(logs)]
        return TaskModel(
            group_variance=values[0],
            noise=tuple(zip(NOISY_TASKS, (values[1], values[2], values[3], values[3], values[4]), strict=True)),
            base=values[5],
            per_log_ratio=values[6],
            per_log_memory=values[7],
            prior_weight=PRIOR_WEIGHT,
        )

    def loss(logs: np.ndarray) -> float:
        found = leave_one_task_out(pairs, unpacked(logs))
        sds = np.hypot(found["log_sd"], math.log(1.08) / 1.96)
        scores = stats.t.logpdf(found["error"] / sds, found["freedom"]) - np.log(sds)
        return float(-np.mean(scores) + PULL * np.sum((logs - start) ** 2))

    start = np.log([1.5, 6.0, 6.0, 6.0, 2.0, 0.07, 0.07, 0.1])
    found = optimize.minimize(
        loss, start, method="Nelder-Mead", options={"maxfev": 400, "xatol": 0.05, "fatol": 1e-4, "adaptive": True}
    )
    return unpacked(found.x)


def leave_one_task_out(pairs: list[data.Pair], model: TaskModel) -> pd.DataFrame:
    """Each task of each pair predicted from the others, without and (where its group has others) with its group."""
    rows = []
    for pair in pairs:
        for held in pair.found:
            others = [each for each in pair.found if each.task != held.task]
            group = group_of_task(held.task)
            known = [None, *([group] if any(group_of_task(each.task) == group for each in others) else [])]
            for name in known:
                guess = predict_new_workload(others, model, group=name, log_memory_ratio=pair.log_memory_ratio)
                rows.append(
                    {
                        "home": pair.home.gpu_id,
                        "offer": pair.offer.gpu_id,
                        "suite": pair.suite,
                        "task": held.task,
                        "by": "mean" if name is None else "kind",
                        "actual": held.log_ratio,
                        "predicted": guess.log_ratio,
                        "error": held.log_ratio - guess.log_ratio,
                        "log_sd": guess.log_sd,
                        "freedom": guess.degrees_of_freedom,
                    }
                )
    return pd.DataFrame(rows)


def fit_blend(precision: Precision, group: str, gpus: frozenset[str]) -> SpecBlend:
    """Exponents by least squares of mean log ratios on logs of spec ratios, and the spread of GPUs about them."""
    pairs = data.newest_pairs(precision, gpus)
    features = np.array([_features(pair, precision) for pair in pairs])
    means = np.array([_group_mean(pair.found, group) for pair in pairs])
    usable = ~np.isnan(means)
    exponents, _ = optimize.nnls(features[usable], means[usable])
    count = len({gpu for pair in pairs for gpu in (pair.home.gpu_id, pair.offer.gpu_id)})
    blend = SpecBlend(
        compute=float(exponents[0]),
        plain=float(exponents[1]),
        bandwidth=float(exponents[2]),
        log_sd=0.0,
        degrees_of_freedom=float(count - len(exponents)),
    )
    return dataclasses.replace(blend, log_sd=_unmeasured_log_sd(precision, group, gpus, blend))


def _unmeasured_log_sd(precision: Precision, group: str, gpus: frozenset[str], blend: SpecBlend) -> float:
    """Root mean square of what a GPU is from its specs, beyond what the others of its architecture tell of it."""
    model = RatioModel(blends={(precision, group): blend})
    name = None if group == "any" else group
    rows = tuple(row for row in read_throughput() if row.gpu_id in gpus)
    known = dataclasses.replace(data.evidence(model), throughput=rows, mlperf=())
    errors = []
    for gpu in sorted(gpus):
        others = tuple(row for row in rows if row.gpu_id != gpu)
        own = gpu_offset(data.specs()[gpu], known, precision, name)
        told = gpu_offset(data.specs()[gpu], dataclasses.replace(known, throughput=others), precision, name)
        if own.known_by == "measured":
            errors.append(own.log_offset - told.log_offset)
    return float(np.sqrt(np.mean(np.square(errors))))


def _is_in(task: str, group: str) -> bool:
    return task in data.ORDINARY_TASKS if group == "any" else task in TASK_GROUPS[group]


def _group_mean(found: tuple[LogRatio, ...], group: str) -> float:
    """Mean log ratio of a group; for ``any``, of the groups' means, so that none counts more for having more tasks."""
    groups = TASK_GROUPS if group == "any" else (group,)
    means = [[each.log_ratio for each in found if each.task in TASK_GROUPS[name]] for name in groups]
    return float(np.mean([np.mean(each) for each in means])) if all(means) else math.nan


def _features(pair: data.Pair, precision: Precision) -> list[float]:
    def log_quotient(above: float | None, below: float | None) -> float:
        assert above, pair.offer.gpu_id
        assert below, pair.home.gpu_id
        return math.log(above / below)

    return [
        log_quotient(compute_tflops(pair.offer, precision), compute_tflops(pair.home, precision)),
        # At FP32 the plain rate is the rate of matrix products: it counts once.
        0.0 if precision == "fp32" else log_quotient(pair.offer.fp32_tflops, pair.home.fp32_tflops),
        log_quotient(pair.offer.memory_bandwidth_gb_per_s, pair.home.memory_bandwidth_gb_per_s),
    ]


def _task_rows(precision: str, model: TaskModel, pair_count: int) -> list[Row]:
    how = f"greatest density of held-out tasks over {pair_count} pairs of fitted GPUs"
    plain = {
        "base_log_sd": model.base,
        "log_sd_per_log_ratio": model.per_log_ratio,
        "log_sd_per_log_memory": model.per_log_memory,
        "group_variance": model.group_variance,
        "prior_weight": model.prior_weight,
    }
    rows: list[Row] = [(name, precision, "any", value, "derived", how) for name, value in plain.items()]
    rows = [
        (*row[:4], "assumed", "held where the literature has it") if row[0] == "prior_weight" else row for row in rows
    ]
    return rows + [("task_noise", precision, task, value, "derived", how) for task, value in model.noise]


def _other_rows(fitted: frozenset[str], model: RatioModel) -> list[Row]:
    spread = "Sinha et al., SC22, arXiv 2208.11035: 8 % between boards of one model"
    return [
        ("chosen_noise", "any", "any", data.chosen_noise(data.ORDINARY_TASKS, model), "derived",
         "95 % quantile over 1.96 of how ordinary tasks' ratios changed between suites, over the prior SD"),
        ("bridge_log_sd", "any", "any", data.bridge_log_sd(), "derived",
         "root mean square over GPUs of the median task's error when a GPU is bridged by the others"),
        ("mlperf_log_sd", "any", "any", data.mlperf_log_sd(fitted, data.ORDINARY_TASKS, model), "derived",
         "least SD with which ranges by MLPerf hold 95 % of Lambda's ordinary tasks, pairs with a fitted GPU"),
        ("foreign_log_sd", "any", "any", data.foreign_log_sd(model), "derived",
         "root mean square of MLPerf ratios of AMD and NVIDIA GPUs about the fitted blend of specs"),
        ("probe_log_sd", "any", "any", 0.4, "assumed", "no table gives both a probe and published throughput"),
        ("software_log_sd", "any", "any", SOFTWARE_LOG_SD, "assumed",
         "for models and software that no table holds; widens the ranges inside by about a fifth at most"),
        ("device_log_half_width", "any", "any", math.log(1.08), "quoted", spread),
    ]  # fmt: skip


def write_table(version: str, rows: list[Row]) -> None:
    """Write the version and its sidecar, and read both back through the checks."""
    folder = data_root() / "speed_ratio_model"
    schema = read_sidecar(folder / "schema.toml")
    frame = pd.DataFrame(rows, columns=["parameter", "precision", "group", "value", "basis", "source"])
    frame["as_of"] = version
    frame["value"] = frame["value"].map(lambda value: float(f"{value:.4g}"))
    frame = frame[[column.name for column in schema.columns]].sort_values(list(schema.key))
    path = folder / f"{version}.csv"
    frame.to_csv(path, index=False, lineterminator="\n")
    sidecar = dataclasses.replace(
        schema,
        source=dataclasses.replace(schema.source, version=version, published=version, accessed=version),
        as_of=version,
        row_count=len(frame),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    path.with_suffix(".toml").write_text(format_sidecar(sidecar), encoding="utf-8", newline="\n")
    print(read_table_file(path).frame.to_string())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
