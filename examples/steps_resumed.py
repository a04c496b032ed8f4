"""Training by steps in two parts, as after an interruption: the second continues the account of the first's run.

python examples/steps_resumed.py --epochs 30
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import greenlove_mlflow as greenlove

BATCH_SIZE = 32


def batches_without_end(loader: DataLoader) -> Iterator[list[torch.Tensor]]:
    while True:
        yield from loader


def train(dataset: TensorDataset, checkpoint: Path, *, steps: int, until: int) -> str | None:
    """Train up to step ``until`` of ``steps``, from the checkpoint if there is one; return the id of the run."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    kept = torch.load(checkpoint, weights_only=True) if checkpoint.exists() else {"done": 0, "run_id": None}
    if kept["done"]:
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])

    loader = DataLoader(dataset, BATCH_SIZE, shuffle=True)
    with greenlove.track(
        model, optimizer, criterion, loader, steps=steps, done=kept["done"], run_id=kept["run_id"]
    ) as run:
        batches = batches_without_end(loader)
        for step in run.steps():
            inputs, labels = next(batches)
            optimizer.zero_grad()
            criterion(model(inputs), labels).backward()
            optimizer.step()
            if step + 1 == until:
                break
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "done": until, "run_id": run.run_id}
        torch.save(state, checkpoint)
    print(f"steps {kept['done']} to {until}: {run.outcome}")
    return run.run_id


def main(epochs: int) -> None:
    digits = load_digits()
    dataset = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16.0, torch.tensor(digits.target))
    steps = epochs * len(DataLoader(dataset, BATCH_SIZE))
    with TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint.pt"
        train(dataset, checkpoint, steps=steps, until=steps // 2)
        run_id = train(dataset, checkpoint, steps=steps, until=steps)
    print(f"kept in MLflow as run {run_id}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    main(parser.parse_args().epochs)
