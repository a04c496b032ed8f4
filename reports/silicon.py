"""What the package does on a real GPU: promises, energy, profiles, and the ratio between boards.

    python reports/silicon.py [--device cuda] [--share 1.0] [--workloads NAME ...] [--credit TEXT] [--output FOLDER]
    python reports/silicon.py --render

One script for a machine with a GPU and without network; nothing but the package and torch is needed. Each training is
promised in one process and run in another, whose board is metered by its own energy counter. Records are added to
silicon.parquet; silicon.md is made from all that are there, whoever measured them.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT)]

Record = dict[str, Any]
# promise: an estimate and the training after it; profile: a step taken apart. Unknown cells are empty.
TEXTS = ("kind", "measured_at", "board", "host_cpu", "torch", "workload", "credit", "bound_by", "caveats", "note")
PROFILED = ("step_s", "loader_s", "fetch_s", "host_s", "device_busy_s", "launch_count", "sync_count", "flop_count",
            "moved_bytes")  # fmt: skip
NUMBERS = ("promised_s", "low_s", "high_s", "actual_s", "first_epoch_s", "later_epoch_s", "benchmark_s", "promised_kwh",
           "low_kwh", "high_kwh", "metered_kwh", "counter_kwh", "board_w", "operator_count", *PROFILED)  # fmt: skip
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in TEXTS),
        *((name, pa.float64()) for name in NUMBERS),
        ("was_inside", pa.bool_()),
    ]
)
METADATA = {"greenlove.table": "silicon", "greenlove.source": "reports/silicon.py"}
J_PER_KWH = 3.6e6


def read_records(path: Path) -> pd.DataFrame:
    """The records that are there; none when there is no such file."""
    return pq.read_table(path, schema=SCHEMA).to_pandas() if path.exists() else pd.DataFrame(columns=SCHEMA.names)


def write_records(records: pd.DataFrame, path: Path) -> None:
    """Write them with one explicit schema, so that a column of nothing keeps its type."""
    table = pa.Table.from_pandas(records.reindex(columns=SCHEMA.names), schema=SCHEMA, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(METADATA), path)


def promise(workload: str, device_name: str, share: float) -> Record:
    """The estimate of a workload, and the profile of its step."""
    import torch
    from silicon_workloads import WORKLOADS

    import greenlove_mlflow as greenlove

    torch.manual_seed(0)
    device = torch.device(device_name)
    parts = WORKLOADS[workload](device, share)
    began_s = time.perf_counter()
    estimate = greenlove.estimate(
        parts.model, parts.optimizer, parts.criterion, parts.loader, epochs=parts.epochs, train_step=parts.step
    )
    took_s = time.perf_counter() - began_s
    energy, profile = estimate.energy_kwh, estimate.profile
    found: Record = {
        **_machine(device),
        "promised_s": estimate.time_s.point,
        "low_s": estimate.time_s.low,
        "high_s": estimate.time_s.high,
        "benchmark_s": took_s,
        "caveats": ", ".join(dict.fromkeys(caveat.code for caveat in estimate.caveats)),
    }
    if energy is not None:
        found |= {"promised_kwh": energy.point, "low_kwh": energy.low, "high_kwh": energy.high}
    if profile is not None:
        figures = dataclasses.asdict(profile)
        found |= {name: figures[name] for name in figures if name in SCHEMA.names}
        found |= {"bound_by": profile.bound_by, "note": profile.reason}
    fit = None if estimate.statistics is None else estimate.statistics.fit
    if fit is not None:
        found["step_s"] = fit.step_s
    return found


def train(workload: str, device_name: str, share: float) -> Record:
    """The whole training, timed epoch by epoch, its board metered by the counter of the board itself."""
    import torch
    from silicon_workloads import WORKLOADS

    torch.manual_seed(0)
    device = torch.device(device_name)
    parts = WORKLOADS[workload](device, share)
    counter = _energy_counter(device)
    before_j = counter()
    epochs_s = []
    began_s = time.perf_counter()
    for _ in range(parts.epochs):
        epoch_began_s = time.perf_counter()
        for batch in parts.loader:
            parts.step(parts.model, batch, parts.optimizer, parts.criterion, device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        epochs_s.append(time.perf_counter() - epoch_began_s)
    actual_s, after_j = time.perf_counter() - began_s, counter()
    used_j = None if before_j is None or after_j is None else after_j - before_j
    return {
        "actual_s": actual_s,
        "first_epoch_s": epochs_s[0],
        "later_epoch_s": sum(epochs_s[1:]) / max(1, len(epochs_s) - 1),
        "counter_kwh": None if used_j is None else used_j / J_PER_KWH,
        "board_w": None if used_j is None else used_j / actual_s,
    }


def measure(workload: str, given: argparse.Namespace) -> list[Record]:
    """The records of one workload: each part in a process of its own, since a first step is paid only once in one."""
    promised, trained = (_in_process(part, workload, given) for part in ("promise", "train"))
    common = {
        "measured_at": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "workload": workload,
        "credit": given.credit,
        **{name: promised.get(name) for name in ("board", "host_cpu", "torch")},
    }
    profile = {name: promised.get(name) for name in (*PROFILED, "bound_by", "note")}
    return [
        {
            "kind": "promise",
            **{key: value for key, value in promised.items() if key not in profile},
            **trained,
            **common,
        },
        {"kind": "profile", **profile, "board_w": trained.get("board_w"), **common},
    ]


def _in_process(part: str, workload: str, given: argparse.Namespace) -> Record:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.json"
        command = [sys.executable, str(Path(__file__)), "--part", part, "--workloads", workload]
        command += ["--device", given.device, "--share", str(given.share), "--output", str(path)]
        try:
            subprocess.run(command, check=True, timeout=given.limit_s)
            content: Record = json.loads(path.read_text(encoding="utf-8"))
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
            content = {"note": f"{part}: {type(error).__name__}"}
    return content


def _machine(device: Any) -> Record:
    import torch

    from greenlove_mlflow.benchmark.machine.machine import read_machine

    machine = read_machine(device)
    return {"board": machine.gpu_name or "CPU", "host_cpu": machine.cpu_name or "", "torch": torch.__version__}


def _energy_counter(device: Any) -> Any:
    """A function that reads the board's own energy counter in joules; None where it has none."""
    if device.type != "cuda":
        return lambda: None
    import pynvml
    import torch

    pynvml.nvmlInit()
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000.0


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--share", type=float, default=1.0, help="of the epochs of each training")
    parser.add_argument("--workloads", nargs="+", help="all but the tiny one when not given")
    parser.add_argument("--limit-s", type=float, default=300.0, help="for one process")
    parser.add_argument("--credit", default="", help="who measured it, and what else must be said of the machine")
    parser.add_argument("--render", action="store_true", help="make silicon.md from the records that are there")
    parser.add_argument("--part", choices=["promise", "train"], help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=HERE)
    given = parser.parse_args()
    if given.part:
        found = {"promise": promise, "train": train}[given.part](given.workloads[0], given.device, given.share)
        given.output.write_text(json.dumps(found), encoding="utf-8")
        return
    from silicon_text import write_report
    from silicon_workloads import WORKLOADS

    given.output.mkdir(parents=True, exist_ok=True)
    path = given.output / "silicon.parquet"
    records = read_records(path)
    for workload in () if given.render else given.workloads or [name for name in WORKLOADS if name != "tiny"]:
        made = pd.DataFrame(measure(workload, given)).reindex(columns=SCHEMA.names)
        records = made if records.empty else pd.concat([records, made], ignore_index=True)
        # After each workload, so that what took minutes is not lost with what fails after it.
        write_records(records, path)
    write_report(records, given.output)


if __name__ == "__main__":
    main()
