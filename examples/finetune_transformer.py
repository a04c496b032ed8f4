"""Fine-tuning: a small transformer with its lower layers frozen, dict batches, and a training step of its own.

Digits are read pixel row by pixel row, as a sequence of eight tokens. The frozen layers run forward only, so a step
costs less than the model's size suggests; the benchmark times the real step and sees that.

python examples/finetune_transformer.py --epochs 10
"""

import argparse
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

import greenlove_mlflow as greenlove

CLASS_COUNT = 10
WIDTH = 64


class Rows(Dataset):
    """Digits as dictionaries, as tokenizers and Hugging Face data sets give them."""

    def __init__(self) -> None:
        digits = load_digits()
        self.rows = torch.tensor(digits.images, dtype=torch.float32) / 16.0
        self.labels = torch.tensor(digits.target)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"rows": self.rows[index], "labels": self.labels[index]}


class Classifier(nn.Module):
    """An encoder of four layers and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, WIDTH)
        self.position = nn.Parameter(torch.randn(8, WIDTH) * 0.02)
        layer = nn.TransformerEncoderLayer(WIDTH, nhead=4, dim_feedforward=128, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=4)
        self.head = nn.Linear(WIDTH, CLASS_COUNT)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        return self.head(self.encoder(self.embed(rows) + self.position).mean(1))


def freeze_lower_layers(model: Classifier) -> None:
    for part in (model.embed, *model.encoder.layers[:3]):
        part.requires_grad_(requires_grad=False)
    model.position.requires_grad_(requires_grad=False)


def train_step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> torch.Tensor:
    """One step with clipped gradients: what the benchmark times is what the training runs."""
    optimizer.zero_grad(set_to_none=True)
    loss = criterion(model(batch["rows"].to(device)), batch["labels"].to(device))
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss


def main(epochs: int) -> None:
    torch.manual_seed(0)
    model = Classifier()
    freeze_lower_layers(model)
    loader = DataLoader(Rows(), batch_size=32, shuffle=True)
    optimizer = torch.optim.AdamW((each for each in model.parameters() if each.requires_grad), lr=2e-3)
    criterion = nn.CrossEntropyLoss()

    with greenlove.track(
        model, optimizer, criterion, loader, epochs=epochs, train_step=train_step, run_name="example-finetune"
    ) as run:
        print(run)
        for epoch in run.epochs():
            for batch in loader:
                loss = train_step(model, batch, optimizer, criterion, "cpu")
            print(f"epoch {epoch}: loss {loss.item():.3f}")
    print(f"kept in MLflow as run {run.run_id}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    main(parser.parse_args().epochs)
