"""Real trainings on this CPU: what three methods promise, and what the whole training then takes.

    python reports/accuracy_real.py --workload convolution --method adaptive --train-seconds 15 --output record.json

runs one workload in a process of its own: the promise first, then the whole training, as ``track`` does.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT)]

METHODS = ("adaptive", "original", "green-love 0.2.2")
Record = dict[str, Any]


def real_records(workloads: Sequence[str], *, train_seconds: float, peer_workloads: Sequence[str], limit_s: float,
                 seed_cap_s: float, methods: Sequence[str] = METHODS) -> Iterator[Record]:  # fmt: skip
    """One record per workload and method, each in a fresh process; a method over its limit leaves no promise."""
    for workload in workloads:
        epochs = 0
        for method in methods:
            if method == METHODS[2] and workload not in peer_workloads:
                continue
            record = _in_process(workload, method, epochs, train_seconds, seed_cap_s, limit_s)
            epochs = record.get("epochs", epochs)
            yield record


def _in_process(workload: str, method: str, epochs: int, train_seconds: float, cap_s: float, limit_s: float) -> Record:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.json"
        command = [sys.executable, str(Path(__file__)), "--workload", workload, "--method", method]
        command += ["--epochs", str(epochs), "--train-seconds", str(train_seconds), "--seed-cap-s", str(cap_s)]
        began_s = time.perf_counter()
        try:
            subprocess.run([*command, "--output", str(path)], check=True, timeout=limit_s, cwd=folder)
            content: Record = json.loads(path.read_text(encoding="utf-8"))
        except subprocess.TimeoutExpired:
            content = {"benchmark_s": time.perf_counter() - began_s, "problem": f"not done in {limit_s:.0f} s"}
        except subprocess.CalledProcessError as error:
            content = {"problem": f"ended with code {error.returncode}"}
    return {"machine": "this CPU", "workload": workload, "method": method, **content}


def run_one(workload: str, method: str, *, epochs: int, train_seconds: float, seed_cap_s: float) -> Record:
    """The promise of a workload and the training that follows it."""
    import torch
    from accuracy_workloads import WORKLOADS

    from greenlove_mlflow.core.timing.adaptive_fit import fit_log

    torch.set_num_threads(1)
    torch.manual_seed(0)
    parts = WORKLOADS[workload]()
    if method == METHODS[2]:
        if not epochs:
            raise SystemExit("the peer is asked after another method has settled the number of epochs")
        promise = _promise_of_peer(parts, epochs)
    else:
        log = _benchmark(parts, method, epochs or 10**6, seed_cap_s)
        one_epoch_s = fit_log(log, _plan(log, 2)).epoch_s
        epochs = epochs or max(2, round(train_seconds / one_epoch_s))
        promised = fit_log(log, _plan(log, epochs)).predict(_plan(log, epochs))
        promise = {"promised_s": promised.point, "low_s": promised.low, "high_s": promised.high,
                   "benchmark_s": log.duration_s}  # fmt: skip
    began_cpu_s = time.process_time()
    durations = _train(parts, epochs)
    train_cpu_s = time.process_time() - began_cpu_s
    return {**promise, "epochs": epochs, "actual_s": sum(durations), "epoch_durations_s": durations,
            "train_cpu_s": train_cpu_s}  # fmt: skip


def _benchmark(parts: Any, method: Any, epochs: int, cap_s: float) -> Any:
    from greenlove_mlflow.benchmark import BenchmarkPlan, Training, run_benchmark
    from greenlove_mlflow.benchmark.machine.signals import SignalReader

    model, optimizer, criterion, loader = parts
    training = Training(model=model, optimizer=optimizer, criterion=criterion, data=loader)
    plan = BenchmarkPlan(method=method, epoch_count=epochs, cap_s=cap_s)
    return run_benchmark(training, plan, signals=SignalReader())


def _plan(log: Any, epochs: int) -> Any:
    from greenlove_mlflow.core.workload import Workload

    return Workload(sample_count=log.sample_count, batch_size=log.batch_size, epoch_count=epochs,
                    steps_per_epoch=log.steps_per_epoch)  # fmt: skip


def _promise_of_peer(parts: Any, epochs: int) -> Record:
    """What the original package promises, its question, its browser and its call for the place stubbed."""
    from unittest import mock

    from green_love import GreenLoveEstimator

    model, optimizer, criterion, loader = parts
    began_s = time.perf_counter()
    with (
        mock.patch("builtins.input", return_value="n"),
        mock.patch("webbrowser.open", return_value=False),
        mock.patch("requests.get", side_effect=OSError("no network in this report")),
        contextlib.redirect_stdout(io.StringIO()),
        tempfile.TemporaryDirectory() as folder,
    ):
        results = GreenLoveEstimator(
            model=model, optimizer=optimizer, criterion=criterion, train_dataset=loader.dataset, total_epochs=epochs,
            batch_size=loader.batch_size, device="cpu", country_code="DE", carbon_intensity=300.0,
            electricity_price=0.4, report_dir=folder, auto_open_report=False,
        ).estimate()  # fmt: skip
    return {
        "promised_s": results.est_total_time_s,
        "low_s": results.est_total_time_lower_s,
        "high_s": results.est_total_time_upper_s,
        "benchmark_s": time.perf_counter() - began_s,
    }


def _train(parts: Any, epochs: int) -> list[float]:
    """Seconds of each epoch of the plain loop that the promise is for."""
    model, optimizer, criterion, loader = parts
    model.train()
    durations = []
    for _ in range(epochs):
        began_s = time.perf_counter()
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        durations.append(time.perf_counter() - began_s)
    return durations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", required=True)
    parser.add_argument("--method", required=True, choices=METHODS)
    parser.add_argument("--epochs", type=int, default=0, help="0 lets the promise choose them by --train-seconds")
    parser.add_argument("--train-seconds", type=float, default=15.0)
    parser.add_argument("--seed-cap-s", type=float, default=90.0)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    record = run_one(given.workload, given.method, epochs=given.epochs, train_seconds=given.train_seconds,
                     seed_cap_s=given.seed_cap_s)  # fmt: skip
    given.output.write_text(json.dumps(record), encoding="utf-8")


if __name__ == "__main__":
    main()
