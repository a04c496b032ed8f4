"""Real trainings one after the other, tracked in one MLflow store: what the later promises learn from the earlier."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]
WORKLOAD = "the demo's network"


def tracked_records(run_count: int, *, train_seconds: float) -> Iterator[Record]:
    """One record per tracked training: what was promised, what it took, and what the promise was calibrated on."""
    import torch

    torch.set_num_threads(1)
    epochs = 0
    for logger in ("alembic", "mlflow"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        before = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "XDG_STATE_HOME")}
        os.environ |= {"MLFLOW_TRACKING_URI": f"sqlite:///{Path(folder) / 'mlflow.db'}", "XDG_STATE_HOME": folder}
        try:
            for number in range(run_count):
                record = _track_one(epochs, train_seconds)
                epochs = record["epochs"]
                yield {"machine": "this CPU", "method": "adaptive", "history": number, **record}
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def _track_one(epochs: int, train_seconds: float) -> Record:
    import torch

    import greenlove_mlflow as greenlove
    from greenlove_mlflow.cli.demo import BATCH_SIZE, load_digits_dataset, make_network, train_one_epoch

    model, criterion = make_network(), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = torch.utils.data.DataLoader(load_digits_dataset(), batch_size=BATCH_SIZE, shuffle=True)
    parts = (model, optimizer, criterion, loader)
    if not epochs:
        first = greenlove.estimate(*parts, epochs=10, country="DE")
        epochs = max(2, round(10 * train_seconds / first.time_s.point))
    with greenlove.track(*parts, epochs=epochs, country="DE", log_model=False, saved_view=False) as run:
        for _ in run.epochs():
            train_one_epoch(model, loader, optimizer, criterion)
    promised, statistics = run.estimate.time_s, run.estimate.statistics
    return {
        "workload": WORKLOAD,
        "promised_s": promised.point,
        "low_s": promised.low,
        "high_s": promised.high,
        "benchmark_s": run.log.duration_s,
        "epochs": epochs,
        "actual_s": None if run.outcome is None else run.outcome.time_s,
        "calibrated_on": "" if statistics is None else statistics.fit.calibrated_on,
    }
