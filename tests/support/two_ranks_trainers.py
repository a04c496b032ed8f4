"""Lightning's and Hugging Face's trainer on two ranks, as a program for ``run_ranks``."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import greenlove_mlflow as greenlove
from tests.support.two_ranks import say

EPOCH_COUNT = 3


def a_data_set() -> TensorDataset:
    """The same data on each rank."""
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(torch.randn(640, 20, generator=generator), torch.randint(0, 2, (640,), generator=generator))


def train_with_lightning(callbacks: list[Any]) -> tuple[int, nn.Module]:
    """Train by Lightning's own launcher; return the rank and the model."""
    import lightning

    class Net(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(20, 2)

        def training_step(self, batch: Any, index: int) -> Any:
            return nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    torch.manual_seed(0)
    trainer = lightning.Trainer(
        max_epochs=EPOCH_COUNT,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=callbacks,
    )
    net = Net()
    trainer.fit(net, DataLoader(a_data_set(), 16, shuffle=True))
    return trainer.global_rank, net


def train_with_transformers(callbacks: list[Any]) -> tuple[int, nn.Module]:
    """Train under torchrun; return the rank and the model."""
    from transformers import Trainer, TrainingArguments

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(20, 2)

        def forward(self, x: Any, labels: Any) -> Any:
            return {"loss": nn.functional.cross_entropy(self.layer(x), labels)}

    torch.manual_seed(0)
    rows = [{"x": x, "labels": y} for x, y in zip(*a_data_set().tensors, strict=True)]
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        num_train_epochs=EPOCH_COUNT,
        per_device_train_batch_size=16,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    net = Net()
    Trainer(model=net, args=arguments, train_dataset=rows, callbacks=callbacks).train()
    return int(os.environ["RANK"]), net


if __name__ == "__main__":
    settings = json.loads(os.environ["SETTINGS"])
    with_lightning = settings["trainer"] == "lightning"
    kind = "LightningCallback" if with_lightning else "TrainerCallback"
    callbacks = [getattr(greenlove, kind)()] if settings["is_followed"] else []
    rank, net = (train_with_lightning if with_lightning else train_with_transformers)(callbacks)
    run = callbacks[0].run if callbacks else None
    estimate = None if run is None or run.estimate is None else run.estimate.time_s.point
    weights = b"".join(each.detach().cpu().numpy().tobytes() for each in net.parameters()).hex()
    say(rank, {"weights": weights, "estimate_s": estimate})
