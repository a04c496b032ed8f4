"""What ``speed_ratio`` says about pairs of GPUs when what was published about them is held back, row by row."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
import speed_ratios_data as data

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.speed.gpus import GpuSpec, SpeedRatio, SuiteBridge, ThroughputRow, group_of_task
from greenlove_mlflow.core.speed.published import LogRatio, RatioEvidence, is_at, mlperf_log_ratios
from greenlove_mlflow.core.speed.ratio import speed_ratio
from greenlove_mlflow.core.speed.spec_offsets import compute_tflops, plausible
from greenlove_mlflow.tables.published_speeds import read_ratio_evidence

# What is taken away.
LEFT_OUT, BRIDGE = "one task left out", "over a bridge"
MLPERF, MLPERF_OUT = "MLPerf against throughput", "one benchmark left out"
BOTH, ONE, CHOSEN = "specs, both unmeasured", "specs, one GPU unmeasured", "older suite"
KIND_OF_GROUP = {"convolution": "convolutional", "matrix": "transformer"}


def kind_of(task: str) -> str:
    """The kind of model that a published task is."""
    return KIND_OF_GROUP.get(group_of_task(task), "other")


def _row(
    check: str, pair: data.Pair, task: str, actual: float, said: SpeedRatio, *, by: str, home: GpuSpec | None = None
) -> dict[str, object]:
    fitted = data.fitted_half()
    ends = {pair.home.gpu_id, pair.offer.gpu_id}
    home = home or pair.home
    offer = pair.offer if home is pair.home else pair.home
    return {
        "check": check,
        "by": by,
        "precision": pair.precision,
        "suite": pair.suite,
        "home": home.gpu_id,
        "offer": offer.gpu_id,
        "task": task,
        "halves": "fitted" if ends <= fitted else "mixed" if ends & fitted else "tested",
        "basis": said.basis,
        "actual": actual,
        "predicted": said.ratio.point,
        "low": said.ratio.low,
        "high": said.ratio.high,
    }


def _ways(task: str) -> dict[str, dict[str, str]]:
    """How one may ask about a task that is held back: as any workload, and as one of its kind where it has others."""
    kind = kind_of(task)
    return {"any": {}} | ({} if kind == "other" else {"kind": {"model_kind": kind}})


def leave_one_task_out() -> list[dict[str, object]]:
    """Each task of each pair, told from the others; beside it plain means, of the others and of all."""
    known = read_ratio_evidence()
    rows = []
    for held in sorted({row.task for row in known.throughput}):
        without = dataclasses.replace(known, throughput=tuple(row for row in known.throughput if row.task != held))
        for precision in data.PRECISIONS:
            for pair in data.newest_pairs(precision):
                logs = {each.task: each.log_ratio for each in pair.found}
                for each in (one for one in pair.found if one.task == held):
                    others = [log_ratio for task, log_ratio in logs.items() if task != held]
                    means = {"others": np.mean(others), "all": np.mean(list(logs.values()))}
                    rows += _told(LEFT_OUT, pair, each, without)
                    rows += [_as_said(LEFT_OUT, pair, each, math.exp(mean), by=by) for by, mean in means.items()]
    return rows


def bridged() -> list[dict[str, object]]:
    """Pairs with one GPU taken out of its newer suite and out of the bridge: what the bridge makes of them."""
    known = read_ratio_evidence()
    rows = []
    for precision in data.PRECISIONS:
        for pair in data.newest_pairs(precision):
            for home in (pair.home, pair.offer):
                offer = pair.offer if home is pair.home else pair.home
                without = _only_in_older(known, home.gpu_id, pair.suite, precision)
                if without is None:
                    continue
                sign = 1.0 if home is pair.home else -1.0
                for each in pair.found:
                    for by, way in {"task": {"task": each.task}, **_ways(each.task)}.items():
                        said = speed_ratio(home, offer, evidence=without, precision=precision, **way)
                        actual = math.exp(sign * each.log_ratio)
                        rows.append(_row(BRIDGE, pair, each.task, actual, said, by=by, home=home))
    return rows


def _only_in_older(known: RatioEvidence, gpu_id: str, suite: str, precision: str) -> RatioEvidence | None:
    """The evidence without a GPU in that suite and later, and with bridges that it had no part in."""
    kept = tuple(row for row in known.throughput if row.gpu_id != gpu_id or row.suite < suite)
    if not any(row.gpu_id == gpu_id and is_at(row, precision) for row in kept):
        return None
    others = [row for row in known.throughput if row.gpu_id != gpu_id and row.gpu_count == 1]
    return dataclasses.replace(known, throughput=kept, bridges=_bridges(others))


def _bridges(rows: list[ThroughputRow]) -> tuple[SuiteBridge, ...]:
    cells = {(row.precision, row.task, row.suite, row.gpu_id): row.throughput for row in rows}
    found = []
    for precision, task in sorted({key[:2] for key in cells}):
        for older, newer in itertools.pairwise(data.SUITES):
            gains = [
                cells[precision, task, newer, gpu] / value
                for (one, two, suite, gpu), value in cells.items()
                if (one, two, suite) == (precision, task, older) and (precision, task, newer, gpu) in cells
            ]
            if gains:
                found.append(
                    SuiteBridge(
                        from_suite=older,
                        to_suite=newer,
                        task=task,
                        precision=precision,
                        gpu_count=len(gains),
                        ratio_median=float(np.median(gains)),
                        ratio_min=min(gains),
                        ratio_max=max(gains),
                    )
                )
    return tuple(found)


def by_mlperf() -> list[dict[str, object]]:
    """Lambda's tasks, told by MLPerf alone."""
    without = dataclasses.replace(read_ratio_evidence(), throughput=(), specs=())
    return [row for pair, _ in data.mlperf_pairs() for each in pair.found for row in _told(MLPERF, pair, each, without)]


def within_mlperf() -> list[dict[str, object]]:
    """Each benchmark of two GPUs in MLPerf, told from their others: other makers' GPUs too, which Lambda lacks."""
    known = dataclasses.replace(read_ratio_evidence(), throughput=())
    gpus = [data.specs()[gpu_id] for gpu_id in sorted({row.gpu_id for row in known.mlperf})]
    without = {
        benchmark: dataclasses.replace(known, mlperf=tuple(row for row in known.mlperf if row.benchmark != benchmark))
        for benchmark in {row.benchmark for row in known.mlperf}
    }
    rows = []
    for home, offer in itertools.combinations(gpus, 2):
        found = plausible(mlperf_log_ratios(known, home, offer), data.spec_log_ratio(home, offer, known.model))
        pair = data.Pair(suite="mlperf", precision="fp16", home=home, offer=offer, found=found)
        if len(found) > 1:
            rows += [row for each in found for row in _told(MLPERF_OUT, pair, each, without[each.task])]
    return [row for row in rows if row["basis"] == "mlperf"]


def by_spec() -> list[dict[str, object]]:
    """Lambda's tasks of pairs with one GPU, or both, that nobody measured; and the seed's formula."""
    known = read_ratio_evidence()
    rows = []
    for precision in data.PRECISIONS:
        pairs = data.newest_pairs(precision)
        for gpu in data.measured_gpus():
            without = _unmeasured(known, gpu)
            for pair in (each for each in pairs if gpu in (each.home.gpu_id, each.offer.gpu_id)):
                rows += [row for each in pair.found for row in _told(ONE, pair, each, without)]
        for pair in pairs:
            without = _unmeasured(known, pair.home.gpu_id, pair.offer.gpu_id)
            for each in pair.found:
                rows += _told(BOTH, pair, each, without)
                rows.append(_as_said(BOTH, pair, each, seed_ratio(pair), by="seed"))
    return rows


def _unmeasured(known: RatioEvidence, *gpus: str) -> RatioEvidence:
    """The evidence without any publication of some GPUs."""
    return dataclasses.replace(
        known,
        throughput=tuple(row for row in known.throughput if row.gpu_id not in gpus and row.gpu_count == 1),
        mlperf=tuple(row for row in known.mlperf if row.gpu_id not in gpus),
    )


def _told(check: str, pair: data.Pair, held: LogRatio, without: RatioEvidence) -> list[dict[str, object]]:
    """A task that was held back, told from what is left, every way that one may ask."""
    rows = []
    for by, way in _ways(held.task).items():
        said = speed_ratio(pair.home, pair.offer, evidence=without, precision=pair.precision, **way)
        rows.append(_row(check, pair, held.task, math.exp(held.log_ratio), said, by=by))
    return rows


def _as_said(check: str, pair: data.Pair, held: LogRatio, ratio: float, *, by: str) -> dict[str, object]:
    """A task that was held back beside a bare figure, which has no range."""
    said = SpeedRatio(ratio=Interval.exactly(ratio), basis="throughput" if check == LEFT_OUT else "spec")
    return _row(check, pair, held.task, math.exp(held.log_ratio), said, by=by)


def seed_ratio(pair: data.Pair) -> float:
    """The seed's fallback, with our specs: 0.7 of the TFLOPS ratio plus 0.3 of the bandwidth ratio."""
    compute = [compute_tflops(spec, pair.precision) or math.nan for spec in (pair.home, pair.offer)]
    bandwidth = [spec.memory_bandwidth_gb_per_s or math.nan for spec in (pair.home, pair.offer)]
    return 0.7 * compute[1] / compute[0] + 0.3 * bandwidth[1] / bandwidth[0]


def older_suite() -> list[dict[str, object]]:
    """A task's ratio in the newer of two suites, told from the older: by that task, or by the others of its kind."""
    known = read_ratio_evidence()
    rows = []
    for precision in data.PRECISIONS:
        for older, newer in itertools.permutations(data.pairs_within(precision), 2):
            if older.suite >= newer.suite or (older.home, older.offer) != (newer.home, newer.offer):
                continue
            kept = tuple(row for row in known.throughput if row.suite == older.suite and row.gpu_count == 1)
            known_tasks = {each.task for each in older.found}
            for each in (one for one in newer.found if one.task in known_tasks):
                others = tuple(row for row in kept if row.task != each.task)
                for by, way in {"task": {"task": each.task}, **_ways(each.task)}.items():
                    without = dataclasses.replace(known, throughput=kept if by == "task" else others)
                    said = speed_ratio(newer.home, newer.offer, evidence=without, precision=precision, **way)
                    rows.append(_row(CHOSEN, newer, each.task, math.exp(each.log_ratio), said, by=by))
    return rows


def all_checks() -> pd.DataFrame:
    """Every row of every check, with its error."""
    checks = (leave_one_task_out, bridged, by_mlperf, within_mlperf, by_spec, older_suite)
    frame = pd.DataFrame([row for check in checks for row in check()])
    frame["log_error"] = np.log(frame["actual"] / frame["predicted"])
    frame["error"] = np.expm1(frame["log_error"].abs())
    frame["is_held"] = (frame["low"] <= frame["actual"]) & (frame["actual"] <= frame["high"])
    frame["range_factor"] = np.sqrt(frame["high"] / frame["low"])
    return frame
