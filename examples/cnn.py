"""A convolutional network that is validated after each epoch, and asked about before it starts.

It shows ``confirm=`` (asks on a terminal, goes on without one), ``limits=`` (refuses what takes too long),
``validation=`` (timed and part of the estimate), and the comparison with Crusoe's GPUs.

python examples/cnn.py --epochs 20
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import greenlove_mlflow as greenlove


def make_model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 10),
    )


def accuracy(model: nn.Module, loader: DataLoader) -> float:
    model.eval()
    with torch.no_grad():
        hits = sum((model(images).argmax(1) == labels).sum().item() for images, labels in loader)
    model.train()
    return hits / len(loader.dataset)


def main(epochs: int) -> None:
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16.0
    train, held_out = random_split(TensorDataset(images, torch.tensor(digits.target)), [0.8, 0.2])
    train_loader, held_out_loader = DataLoader(train, batch_size=32, shuffle=True), DataLoader(held_out, batch_size=256)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    with greenlove.track(
        model,
        optimizer,
        criterion,
        train_loader,
        epochs=epochs,
        validation=held_out_loader,
        confirm=greenlove.ask_in_terminal(default=True),
        limits=greenlove.Limits(hours=1.0),
        country="DE",
        run_name="example-cnn",
    ) as run:
        print(run)
        for epoch in run.epochs():
            for batch, labels in train_loader:
                optimizer.zero_grad()
                criterion(model(batch), labels).backward()
                optimizer.step()
            right = accuracy(model, held_out_loader)
            print(f"epoch {epoch}: {right:.1%} right, forecast {run.forecast.time_s.point:.1f} s")
    print(f"kept in MLflow as run {run.run_id}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    main(parser.parse_args().epochs)
