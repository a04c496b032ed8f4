"""MLPerf Training: time to train on one node, worked out from the logs that MLCommons publishes (Apache-2.0).

Kept: closed division, one node, GPUs that ``gpu_specs`` has. Minutes are from run start to run stop; of the runs of a
submission the fastest and the slowest are dropped, the rest averaged, and multiplied by the submission's factor for
convergence. Refused: several nodes, other accelerators, submissions with more failed runs than the slowest one, and
logs that are broken. Logs are compressed by round: one archive a repository, of which the results alone are read. The
repository of v6.0 was in no copy; its rows come from the summary that they name.
"""

from __future__ import annotations

import io
import json
import re
import statistics
import tarfile
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from versions import Change, add_row, set_cell

# Round: commit of its repository, and the day its results were announced.
ROUNDS = {
    "v2.1": ("158189d4cbfbee366c10da1f0f086c85d8f15b5f", "2022-11-09"),
    "v3.1": ("d06288b2bd675a9d88e0e6181f5bb5626b71ec19", "2023-11-08"),
    "v4.0": ("6fe954378efe4a1a1bd665550b18ff8f26018def", "2024-06-12"),
    "v4.1": ("b87b9e396f771345d4ef122ba33456304f15228d", "2024-11-13"),
    "v5.0": ("0fdc28f013256aea84fa36fdaf1e0fa46094b18c", "2025-06-04"),
    "v5.1": ("441d65f4445cd59687466533fd9f55399136e7a4", "2025-11-12"),
}
PAGES = {
    f"training_results_{name}.tar.gz": f"https://codeload.github.com/mlcommons/training_results_{name}/tar.gz/{commit}"
    for name, (commit, _) in ROUNDS.items()
}
BENCHMARKS = {
    "bert": "BERT-large pretrain phase 2",
    "dlrm": "DLRM Criteo 1TB",
    "dlrm_dcnv2": "DLRM-DCNv2 Criteo 4TB multi-hot",
    "llama2_70b_lora": "Llama 2 70B LoRA fine-tune (GovReport)",
    "llama31_8b": "Llama 3.1 8B pretrain (C4)",
    "maskrcnn": "Mask R-CNN COCO",
    "minigo": "MiniGo",
    "resnet": "ResNet-50 ImageNet",
    "retinanet": "RetinaNet OpenImages",
    "rgat": "R-GAT IGBH",
    "rnnt": "RNN-T LibriSpeech",
    "stable_diffusion": "Stable Diffusion v2 base",
    "unet3d": "3D U-Net KiTS19",
}
# Names of folders that are other words for a benchmark.
FOLDERS = {"ssd": "retinanet", "gnn": "rgat"}
OFF = 0.005
_RESULT = re.compile(r"(?:^|/)(?P<submitter>[^/]+)/results/(?P<system>[^/]+)/(?P<folder>[^/]+)/(?P<file>[^/]+)$")
_SYSTEM = re.compile(r"(?:^|/)(?P<submitter>[^/]+)/systems/(?P<system>[^/]+)\.json$")

Key = tuple[str, str, str]  # submitter, system, folder


def changes(pages: dict[str, bytes], before: Iterable[dict[str, str | None]]) -> list[Change]:
    """The lines that bring the rounds' results into the table."""
    rows = list(before)
    gpu_of_system = {(row["round"], row["submitter"], row["system"]): str(row["gpu_id"]) for row in rows}
    known = {_row_key(row): row for row in rows}
    lines: list[Change] = []
    for name, (_, announced) in ROUNDS.items():
        page = f"training_results_{name}.tar.gz"
        for (submitter, system, folder), result in sorted(read_results(pages[page]).items()):
            gpu_id = gpu_of_system.get((name, submitter, system)) or gpu_of_model(result["model"])
            if gpu_id is None or FOLDERS.get(folder, folder) not in BENCHMARKS:
                continue
            key = "|".join((name, FOLDERS.get(folder, folder), submitter, system, str(result["gpu_count"])))
            row, minutes = known.get(key), result["minutes"]
            if row is None:
                path = f"training_results_{name}/tree/main/{submitter}/results/{system}/{folder}"
                lines += _added(key, result, gpu_id, announced, f"https://github.com/mlcommons/{path}")
            elif abs(float(row["minutes"] or 0.0) / minutes - 1.0) > OFF:
                lines.append(set_cell(key, "minutes", f"{minutes:.3f}"))
    return lines


def _row_key(row: dict[str, str | None]) -> str:
    return "|".join(str(row[part]) for part in ("round", "benchmark", "submitter", "system", "gpu_count"))


def read_results(content: bytes) -> dict[Key, dict[str, Any]]:
    """Minutes, runs, GPUs and their model by submission, of the systems of one node in a round's archive."""
    logs: dict[Key, list[float | None]] = defaultdict(list)
    factors: dict[Key, float] = {}
    systems: dict[tuple[str, str], dict[str, Any]] = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for entry in archive:
            found, described = _RESULT.search(entry.name), _SYSTEM.search(entry.name)
            opened = archive.extractfile(entry) if entry.isfile() and (found or described) else None
            if opened is None:
                continue
            if described:
                systems[described["submitter"], described["system"]] = _json(opened.read())
            elif found and re.fullmatch(r"result_\d+\.txt", found["file"]):
                key = (found["submitter"], found["system"], found["folder"])
                logs[key].append(minutes_of(opened.read().decode(errors="replace")))
            elif found and found["file"] == "scaling.json":
                key = (found["submitter"], found["system"], found["folder"])
                factors[key] = float(_json(opened.read()).get("scaling_factor", 1.0))
    results = {}
    for key, runs in logs.items():
        system = systems.get(key[:2], {})
        mean = olympic_mean(runs)
        if mean is not None and str(system.get("number_of_nodes")) == "1" and system.get("division") == "closed":
            results[key] = {
                "minutes": mean * factors.get(key, 1.0),
                "run_count": len(runs),
                "gpu_count": int(system["accelerators_per_node"]),
                "model": system["accelerator_model_name"],
            }
    return results


def minutes_of(log: str) -> float | None:
    """Minutes from run start to run stop; None for a run that did not succeed."""
    start = stop = None
    for line in log.splitlines():
        if ":::MLLOG" not in line or ('"run_st' not in line):
            continue
        event = _json(line.split(":::MLLOG", 1)[1].encode())
        if event.get("key") == "run_start" and start is None:
            start = event["time_ms"]
        elif event.get("key") == "run_stop" and event.get("metadata", {}).get("status") == "success":
            stop = event["time_ms"]
    return (stop - start) / 60_000.0 if start is not None and stop is not None else None


def olympic_mean(runs: list[float | None]) -> float | None:
    """The mean without the fastest and the slowest run; a failed run counts as the slowest.

    >>> olympic_mean([1.0, 2.0, 4.0, None, 3.0])
    3.0
    """
    done = sorted(run for run in runs if run is not None)
    failed = len(runs) - len(done)
    if len(runs) < 3 or failed > 1:
        return None
    kept = done[1:] if failed else done[1:-1]
    return statistics.fmean(kept)


def gpu_of_model(model: str) -> str | None:
    """The key of ``gpu_specs`` for a submitter's words; None when no row is called so."""
    from greenlove_mlflow.core.speed.gpu_names import match_gpu
    from greenlove_mlflow.tables.hardware import read_gpu_specs

    spec = match_gpu(model, read_gpu_specs())
    return None if spec is None else spec.gpu_id


def _added(key: str, result: dict[str, Any], gpu_id: str, announced: str, source: str) -> list[Change]:
    cells = {
        "benchmark_name": BENCHMARKS[key.split("|")[1]],
        "gpu_id": gpu_id,
        "minutes": f"{result['minutes']:.3f}",
        "group_ratio": "1",
        "run_count": str(result["run_count"]),
        "as_of": announced,
    }
    return [add_row(key, source), *(set_cell(key, column, value) for column, value in cells.items())]


def _json(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}
