"""Lightning: one callback in the ``Trainer``.

python examples/lightning_callback.py --epochs 30
"""

import argparse

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import greenlove_mlflow as greenlove


class Digits(lightning.LightningModule):
    """A multilayer perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        """The loss of a batch."""
        loss = nn.functional.cross_entropy(self.layers(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main(epochs: int) -> None:
    digits = load_digits()
    dataset = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16.0, torch.tensor(digits.target))
    callback = greenlove.LightningCallback(progress_bar=True)
    trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", logger=False, callbacks=[callback])
    trainer.fit(Digits(), DataLoader(dataset, batch_size=32, shuffle=True))
    print(callback.run)
    print(f"kept in MLflow as run {callback.run.run_id}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    main(parser.parse_args().epochs)
