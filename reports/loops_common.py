"""One part of a training, and what it leaves: shared by all forms of ``reports/loops.py``."""

from __future__ import annotations

import hashlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import greenlove_mlflow as greenlove

EPOCHS, STEPS, BATCH = 8, 60, 64
# The epoch in whose middle a training is killed, and the step of it.
KILLED_EPOCH, KILLED_STEP = 4, 5
WIDTH, CLASSES = 384, 10
QUIET: dict[str, Any] = {"country": "DE", "log_model": False, "saved_view": False}
SOME_TIME_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a training that is to run.

    Args:
        folder: Where checkpoints go.
        is_tracked: Whether it is tracked.
        has_limit: Whether it is tracked with a limit that it breaks at once.
        is_killed: Whether it kills its own process in the middle.
        run_id: The run of the killed part that it continues; None when it starts anew.
    """

    folder: Path
    is_tracked: bool = True
    has_limit: bool = False
    is_killed: bool = False
    run_id: str | None = None

    @property
    def first_epoch(self) -> int:
        """Epochs that an earlier part has done."""
        return KILLED_EPOCH if self.run_id else 0

    @property
    def limits(self) -> greenlove.Limits | None:
        """A limit that every training breaks, where one was asked for."""
        return greenlove.Limits(hours=1e-9) if self.has_limit else None

    def kill_if_due(self, run: Any, epoch: int, step: int) -> None:
        """Kill this process where it is due, its estimate kept by then as in a training of minutes."""
        if self.is_killed and (epoch, step) == (KILLED_EPOCH, KILLED_STEP):
            os.kill(os.getpid(), signal.SIGKILL)
        self.wait(run, step)

    def wait(self, run: Any, step: int) -> None:
        """Give the estimate the time that a training of minutes gives it."""
        if run is not None and step == STEPS - 1 and (self.has_limit or self.is_killed):
            run.wait(SOME_TIME_S)

    def say(self, run: Any) -> None:
        """Tell the parent process the run of a part that will be killed."""
        if self.is_killed and run is not None:
            (self.folder / "run_id").write_text(str(run.run_id), encoding="utf-8")


@dataclass(slots=True, kw_only=True)
class Left:
    """What a part left behind.

    Args:
        weights: Digest of the weights.
        metrics: The metrics that the loop or the framework itself reports.
        step_count: Steps, or epochs where the loop has no steps, that were trained.
        run: The tracked training; None without one.
        run_id: Its run, where there is no tracked training at hand.
    """

    weights: str
    metrics: list[float]
    step_count: int
    run: Any = None
    run_id: str | None = None


@dataclass(slots=True)
class Log:
    """Losses and steps of a loop of one's own."""

    losses: list[float] = field(default_factory=list)
    step_count: int = 0


def digest(tensors: Any) -> str:
    """A digest of the tensors' bytes."""
    found = hashlib.sha256()
    for each in tensors:
        array = each.detach().cpu().numpy() if isinstance(each, torch.Tensor) else np.asarray(each)
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def data() -> torch.utils.data.TensorDataset:
    """The samples of one epoch."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(STEPS * BATCH, 64, generator=generator)
    return torch.utils.data.TensorDataset(inputs, (inputs.sum(1) > 0).long())


def network() -> torch.nn.Module:
    """A network with dropout, so that a random number drawn too many changes it."""
    return torch.nn.Sequential(
        torch.nn.Linear(64, WIDTH),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.1),
        torch.nn.Linear(WIDTH, WIDTH),
        torch.nn.ReLU(),
        torch.nn.Linear(WIDTH, CLASSES),
    )


def parts() -> tuple[Any, Any, Any, Any]:
    """Model, optimizer, criterion and loader, each time the same."""
    torch.manual_seed(0)
    model = network()
    loader = torch.utils.data.DataLoader(data(), BATCH, shuffle=True)
    return model, torch.optim.Adam(model.parameters(), lr=1e-3), torch.nn.CrossEntropyLoss(), loader


def take_step(model: Any, optimizer: Any, criterion: Any, batch: Any, log: Log) -> None:
    """One step, its loss logged."""
    optimizer.zero_grad()
    loss = criterion(model(batch[0]), batch[1])
    loss.backward()
    optimizer.step()
    log.losses.append(loss.item())
    log.step_count += 1
