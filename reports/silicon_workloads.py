"""Everyday trainings for a GPU, of torch alone: a machine without network has no data sets and no model hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset


@dataclass(frozen=True)
class Silicon:
    """One training.

    Attributes:
        model: On its device.
        optimizer: Over its parameters.
        criterion: Its loss.
        loader: Its data.
        autocast: Type of mixed precision; None for full precision.
        epochs: Of the real training.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    criterion: nn.Module
    loader: DataLoader[Any]
    autocast: torch.dtype | None
    epochs: int

    def step(self, model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> Any:
        """One training step."""
        inputs, target = (each.to(device, non_blocking=True) for each in batch)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=self.autocast, enabled=self.autocast is not None):
            loss = criterion(model(inputs), target)
        loss.backward()
        optimizer.step()
        return loss


class Residual(nn.Module):
    """Two convolutions and what they are added to."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(narrow, wide, 3, stride, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True),
            nn.Conv2d(wide, wide, 3, 1, 1, bias=False), nn.BatchNorm2d(wide),
        )  # fmt: skip
        same = stride == 1 and narrow == wide
        self.beside = nn.Identity() if same else nn.Sequential(
            nn.Conv2d(narrow, wide, 1, stride, bias=False), nn.BatchNorm2d(wide)
        )  # fmt: skip

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of both, rectified."""
        return torch.relu(self.body(value) + self.beside(value))


class Encoder(nn.Module):
    """A text encoder with a class on top."""

    def __init__(self, layers: int, width: int = 768, words: int = 30_522, longest: int = 512) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(longest, width)
        layer = nn.TransformerEncoderLayer(width, width // 64, 4 * width, batch_first=True, activation="gelu")
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.top = nn.Linear(width, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """The scores of the classes."""
        places = torch.arange(ids.shape[1], device=ids.device)
        return self.top(self.layers(self.words(ids) + self.places(places))[:, 0])


class Recurrent(nn.Module):
    """Three recurrent layers and a class on top."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers, self.top = nn.LSTM(width, width, 3, batch_first=True), nn.Linear(width, 10)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """The scores of the classes."""
        return self.top(self.layers(value)[0][:, -1])


class Lengths(Dataset[Any]):
    """Texts of many lengths, as many as fill an epoch."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.lengths = torch.randint(16, 257, (count,), generator=generator).tolist()

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((self.lengths[index],), index % 30_000), index % 2


def pad(batch: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch as long as its longest text."""
    return nn.utils.rnn.pad_sequence([ids for ids, _ in batch], batch_first=True), torch.tensor([y for _, y in batch])


def _images(count: int, side: int, channels: int) -> TensorDataset:
    return TensorDataset(torch.randn(count, channels, side, side), torch.randint(0, 10, (count,)))


def _resnet() -> nn.Module:
    stages = [
        (64, 64, 1),
        (64, 64, 1),
        (64, 128, 2),
        (128, 128, 1),
        (128, 256, 2),
        (256, 256, 1),
        (256, 512, 2),
        (512, 512, 1),
    ]
    head = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    body = [Residual(*stage) for stage in stages]
    return nn.Sequential(*head, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def _make(model: nn.Module, device: torch.device, data: Any, *, batch: int, epochs: int, workers: int = 0,
          autocast: torch.dtype | None = None, collate: Any = None, rate: float = 1e-3) -> Silicon:  # fmt: skip
    model = model.to(device)
    loader = DataLoader(data, batch_size=batch, shuffle=True, num_workers=workers, collate_fn=collate,
                        pin_memory=device.type == "cuda", drop_last=True)  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    return Silicon(model, optimizer, nn.CrossEntropyLoss(), loader, autocast, epochs)


def small_cnn(device: torch.device, share: float) -> Silicon:
    model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1),
                          nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))  # fmt: skip
    return _make(model, device, _images(1856, 8, 1), batch=64, epochs=max(2, round(300 * share)))


def resnet(device: torch.device, share: float) -> Silicon:
    data = _images(25_600, 64, 3)
    return _make(
        _resnet(), device, data, batch=256, epochs=max(2, round(10 * share)), workers=4, autocast=torch.bfloat16
    )


def encoder(device: torch.device, share: float) -> Silicon:
    data = TensorDataset(torch.randint(0, 30_000, (6400, 128)), torch.randint(0, 2, (6400,)))
    return _make(
        Encoder(12), device, data, batch=64, epochs=max(2, round(5 * share)), workers=6, autocast=torch.bfloat16
    )


def wide_mlp(device: torch.device, share: float) -> Silicon:
    model = nn.Sequential(nn.Linear(4096, 8192), nn.ReLU(), nn.Linear(8192, 8192), nn.ReLU(), nn.Linear(8192, 10))
    data = TensorDataset(torch.randn(51_200, 4096), torch.randint(0, 10, (51_200,)))
    return _make(model, device, data, batch=512, epochs=max(2, round(20 * share)))


def recurrent(device: torch.device, share: float) -> Silicon:
    data = TensorDataset(torch.randn(12_800, 128, 1024), torch.randint(0, 10, (12_800,)))
    return _make(Recurrent(1024), device, data, batch=128, epochs=max(2, round(8 * share)))


def lengths(device: torch.device, share: float) -> Silicon:
    return _make(Encoder(6), device, Lengths(6400), batch=32, epochs=max(2, round(5 * share)), workers=4,
                 autocast=torch.bfloat16, collate=pad)  # fmt: skip


def tiny(device: torch.device, share: float) -> Silicon:
    """What shows in a second whether the script works."""
    del share
    data = TensorDataset(torch.randn(640, 20), torch.randint(0, 2, (640,)))
    return _make(nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 2)), device, data, batch=32, epochs=20)


WORKLOADS: dict[str, Callable[[torch.device, float], Silicon]] = {
    "small CNN 8x8, batch 64, fp32": small_cnn,
    "ResNet-18 64 px, batch 256, bf16, 4 workers": resnet,
    "encoder of BERT-base, 128 words, batch 64, bf16, 6 workers": encoder,
    "wide MLP, batch 512, fp32": wide_mlp,
    "LSTM, 3 layers, 128 steps, batch 128, fp32": recurrent,
    "encoder of 6 layers, 16 to 256 words, batch 32, bf16, 4 workers": lengths,
    "tiny": tiny,
}
