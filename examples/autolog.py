"""``autolog``: one line at the top of a program, and each PyTorch training in it is metered.

python examples/autolog.py --epochs 30
"""

import argparse

import mlflow
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import greenlove_mlflow as greenlove


def main(epochs: int) -> None:
    greenlove.autolog()

    torch.manual_seed(0)
    digits = load_digits()
    dataset = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16.0, torch.tensor(digits.target))
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    # A run of the program's own: autolog joins it, and leaves it to the program to end it.
    with mlflow.start_run() as run:
        for epoch in range(epochs):
            for inputs, labels in DataLoader(dataset, batch_size=32, shuffle=True):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(inputs), labels)
                loss.backward()
                optimizer.step()
            mlflow.log_metric("loss", loss.item(), step=epoch)
        greenlove.autolog(disable=True)  # without it, the training ends with the program
    print(f"kept in MLflow as run {run.info.run_id}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    main(parser.parse_args().epochs)
