"""A sweep over learning rates: the first trial is benchmarked, the others reuse it, and the study adds all of them up.

python examples/sweep.py --epochs 10 --trials 6 --hours 1
"""

import argparse
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import greenlove_mlflow as greenlove


def train(lr: float, epochs: int, loader: "DataLoader[Any]", name: str) -> float:
    """One trial, as a library for hyperparameters would call it; returns its last loss."""
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    criterion = nn.CrossEntropyLoss()
    loss = torch.tensor(float("inf"))
    with greenlove.track(model, optimizer, criterion, loader, epochs=epochs, run_name=name) as run:
        for _ in run.epochs():
            for inputs, labels in loader:
                optimizer.zero_grad()
                loss = criterion(model(inputs), labels)
                loss.backward()
                optimizer.step()
    return loss.item()


def main(epochs: int, trials: int, hours: float) -> None:
    torch.manual_seed(0)
    digits = load_digits()
    dataset = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16.0, torch.tensor(digits.target))
    loader = DataLoader(dataset, batch_size=32, shuffle=True)
    with greenlove.study("example-sweep", trials=trials, limits=greenlove.Limits(hours=hours)) as study:
        for trial in range(trials):
            lr = 10.0 ** -(1.0 + 3.0 * trial / trials)
            loss = train(lr, epochs, loader, f"lr={lr:.2g}")
            print(f"lr={lr:.2g}: loss {loss:.3f}")
            if study.must_stop:
                break
        print(study)
    print(f"kept in MLflow as run {study.run_id}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--hours", type=float, default=1.0)
    given = parser.parse_args()
    main(given.epochs, given.trials, given.hours)
