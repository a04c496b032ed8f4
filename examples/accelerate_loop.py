"""Accelerate: its prepared model, optimizer and loader go into ``track`` as they are.

python examples/accelerate_loop.py --epochs 30
"""

import argparse
from typing import Any

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import greenlove_mlflow as greenlove


def main(epochs: int) -> None:
    torch.manual_seed(0)
    digits = load_digits()
    dataset = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16.0, torch.tensor(digits.target))
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    accelerator = Accelerator(cpu=True)
    model, optimizer, loader, schedule = accelerator.prepare(
        model, optimizer, DataLoader(dataset, batch_size=32, shuffle=True), schedule
    )
    criterion = nn.CrossEntropyLoss()

    def train_step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> torch.Tensor:
        optimizer.zero_grad()
        loss = criterion(model(batch[0]), batch[1])
        accelerator.backward(loss)
        optimizer.step()
        return loss

    with greenlove.track(model, optimizer, criterion, loader, epochs=epochs, train_step=train_step) as run:
        for epoch in run.epochs():
            for batch in loader:
                loss = train_step(model, batch, optimizer, criterion, accelerator.device)
            schedule.step()
            print(f"epoch {epoch}: loss {loss.item():.3f}")
    print(run)
    print(f"kept in MLflow as run {run.run_id}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    main(parser.parse_args().epochs)
