"""``watch``: any loop, known by its optimizer alone; nothing is run before it.

python examples/watch.py --epochs 30
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import greenlove_mlflow as greenlove


def main(epochs: int) -> None:
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16.0
    loader = DataLoader(TensorDataset(images), batch_size=32, shuffle=True)
    encoder, decoder = nn.Linear(64, 8), nn.Linear(8, 64)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)

    steps = epochs * len(loader)
    with greenlove.watch(optimizer, steps=steps, lap_steps=len(loader), batch_size=32) as run:
        for epoch in range(epochs):
            for (inputs,) in run.over(loader):
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(decoder(torch.relu(encoder(inputs))), inputs)
                loss.backward()
                optimizer.step()
            run.pause("validation")
            with torch.no_grad():
                error = nn.functional.mse_loss(decoder(torch.relu(encoder(images))), images)
            run.resume()
            print(f"epoch {epoch}: error {error.item():.4f}")
    print(run)
    print(f"kept in MLflow as run {run.run_id}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    main(parser.parse_args().epochs)
