"""Small trainings for a CPU, one function each: model, optimizer, criterion and data of seconds per epoch.

The data is made up, but of real shapes and sizes: what is timed is arithmetic and loading, not learning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

Parts = tuple[nn.Module, torch.optim.Optimizer, Any, Any]


def images(count: int, channels: int = 1, side: int = 28) -> TensorDataset:
    return TensorDataset(torch.randn(count, channels, side, side), torch.randint(0, 10, (count,)))


def sequences(count: int, length: int = 32, vocabulary: int = 500) -> TensorDataset:
    return TensorDataset(torch.randint(0, vocabulary, (count, length)), torch.randint(0, 2, (count,)))


def _parts(model: nn.Module, data: Dataset[Any], batch_size: int = 64, **loader: Any) -> Parts:
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    return model, optimizer, nn.CrossEntropyLoss(), DataLoader(data, batch_size=batch_size, shuffle=True, **loader)


def softmax_regression() -> Parts:
    return _parts(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), images(20_000))


def perceptron() -> Parts:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    return _parts(model, images(12_000))


def wide_perceptron() -> Parts:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(),
                          nn.Linear(1024, 10))  # fmt: skip
    return _parts(model, images(4000), 128)


def convolution() -> Parts:
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(),
                          nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, 10))  # fmt: skip
    return _parts(model, images(4000))


def residual() -> Parts:
    return _parts(_Residual(), images(1000, 3, 32), 32)


def lstm() -> Parts:
    return _parts(_Recurrent(nn.LSTM(64, 64, batch_first=True)), sequences(4000), 32)


def gru() -> Parts:
    return _parts(_Recurrent(nn.GRU(64, 96, batch_first=True)), sequences(3000), 32)


def transformer() -> Parts:
    return _parts(_Attention(layers=2, width=64), sequences(2000), 32)


def fine_tuning() -> Parts:
    model = _Attention(layers=3, width=96)
    for parameter in [*model.embed.parameters(), *model.encoder.layers[:-1].parameters()]:
        parameter.requires_grad = False
    return _parts(model, sequences(2000), 16)


def variable_length() -> Parts:
    lengths = np.random.default_rng(0).integers(8, 64, 3000)
    data = [(torch.randint(0, 500, (int(n),)), int(n) % 2) for n in lengths]
    return _parts(_Recurrent(nn.GRU(64, 64, batch_first=True)), data, 32, collate_fn=_pad)


def augmented() -> Parts:
    return _parts(nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)), _Augmented(6000))


def workers() -> Parts:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    return _parts(model, _Augmented(6000), num_workers=1)


def cached() -> Parts:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    return _parts(model, _Cached(4000))


def tiny() -> Parts:
    return _parts(nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10)), images(100))


WORKLOADS: dict[str, Callable[[], Parts]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        softmax_regression, perceptron, convolution, lstm, transformer, fine_tuning, workers, cached, tiny,
        variable_length, augmented, wide_perceptron, residual, gru,
    )
}  # fmt: skip


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 24, 3, padding=1), nn.Linear(24, 10)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(24, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU()) for _ in range(3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean((2, 3)))


class _Recurrent(nn.Module):
    def __init__(self, core: nn.RNNBase) -> None:
        super().__init__()
        self.embed, self.core, self.head = nn.Embedding(500, 64), core, nn.Linear(core.hidden_size, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.core(self.embed(tokens))[0][:, -1])


class _Attention(nn.Module):
    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True)
        self.embed, self.head = nn.Embedding(500, width), nn.Linear(width, 2)
        self.encoder = nn.TransformerEncoder(layer, layers)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.embed(tokens)).mean(1))


class _Augmented(Dataset[Any]):
    """Pictures that numpy shifts and blurs a little at each visit."""

    def __init__(self, count: int) -> None:
        self.pictures = np.random.default_rng(0).random((count, 28, 28), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Any:
        picture = np.roll(self.pictures[index], index % 5, axis=0)
        picture = (picture + np.roll(picture, 1, axis=1) + np.roll(picture, -1, axis=1)) / 3.0
        return torch.from_numpy(picture[None]), index % 10


class _Cached(Dataset[Any]):
    """Pictures that are decoded, at some cost, on their first visit only."""

    def __init__(self, count: int) -> None:
        self.count, self.cache = count, dict[int, Any]()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        if index not in self.cache:
            wave = np.random.default_rng(index).random((64, 64))
            self.cache[index] = torch.from_numpy(np.abs(np.fft.fft2(wave))[:28, :28].astype(np.float32)[None])
        return self.cache[index], index % 10


def _pad(items: list[Any]) -> Any:
    tokens = nn.utils.rnn.pad_sequence([x for x, _ in items], batch_first=True)
    return tokens, torch.tensor([y for _, y in items])
