"""Hugging Face: one callback in the ``Trainer``, here of a small transformer that reads digits row by row.

python examples/huggingface_callback.py --epochs 10
"""

import argparse
from tempfile import TemporaryDirectory
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import greenlove_mlflow as greenlove


class Rows(Dataset):
    """A digit as 64 tokens: one per pixel, its brightness the token."""

    def __init__(self) -> None:
        digits = load_digits()
        self.pixels, self.labels = torch.tensor(digits.data).long(), torch.tensor(digits.target)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.pixels[index], "labels": self.labels[index]}


def main(epochs: int) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = BertForSequenceClassification(BertConfig(vocab_size=17, num_labels=10, **sizes))
    callback = greenlove.TrainerCallback()
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=epochs,
            per_device_train_batch_size=32,
            learning_rate=1e-3,
            report_to="none",  # "mlflow" opens a run itself, which is then joined
            save_strategy="no",
            use_cpu=True,
        )
        Trainer(model=model, args=arguments, train_dataset=Rows(), callbacks=[callback]).train()
    print(callback.run)
    print(f"kept in MLflow as run {callback.run.run_id}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    main(parser.parse_args().epochs)
