"""The models of the linearity report, each an epoch runner over digits of MNIST's shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from greenlove_mlflow.benchmark import CallableRunner

BATCH = 64
SIDE = 28
TREES = 10


def make_runners(sample_count: int) -> dict[str, CallableRunner]:
    """One runner a model, by its name."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pictures, labels = mnist_shaped(sample_count)
    x, y = torch.from_numpy(pictures), torch.from_numpy(labels)
    flat = pictures.reshape(len(pictures), -1)
    nets: dict[str, tuple[nn.Module, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = {
        "linear regression": (nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 1)), _squares),
        "logistic regression": (nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 10)), nn.functional.cross_entropy),
        "perceptron": (_perceptron(), nn.functional.cross_entropy),
        "convolutional": (_convolutional(), nn.functional.cross_entropy),
        "recurrent (LSTM)": (_Rows(nn.LSTM(SIDE, 64, batch_first=True)), nn.functional.cross_entropy),
        "transformer": (_Attention(frozen=False), nn.functional.cross_entropy),
        "fine-tuned transformer": (_Attention(frozen=True), nn.functional.cross_entropy),
    }
    runners = {name: _runner_of_net(net, loss, x, y) for name, (net, loss) in nets.items()}
    runners["random forest"] = CallableRunner(run=_fit_forest(flat, labels), sample_count=sample_count)
    runners["support vectors (RBF)"] = CallableRunner(run=_fit_vectors(flat, labels), sample_count=sample_count)
    return runners


def mnist_shaped(count: int) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits scaled up to 28 x 28 and repeated with a little noise to ``count`` pictures."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.from_numpy(digits.images[:, None].astype(np.float32) / 16.0)
    large = nn.functional.interpolate(small, size=(SIDE, SIDE), mode="bilinear", align_corners=False).numpy()
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(large), count)
    pictures = large[chosen] + 0.05 * rng.standard_normal((count, 1, SIDE, SIDE), dtype=np.float32)
    return pictures.astype(np.float32), digits.target[chosen].astype(np.int64)


def _runner_of_net(net: nn.Module, loss: Any, x: torch.Tensor, y: torch.Tensor) -> CallableRunner:
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.01)

    def run(count: int) -> None:
        for start in range(0, count, BATCH):
            end = min(count, start + BATCH)
            optimizer.zero_grad()
            loss(net(x[start:end]), y[start:end]).backward()
            optimizer.step()

    return CallableRunner(run=run, sample_count=len(x), batch_size=BATCH)


def _squares(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return ((output[:, 0] - target) ** 2).mean()


def _perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 256), nn.ReLU(), nn.Linear(256, 10))


def _convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, 10))  # fmt: skip


class _Rows(nn.Module):
    def __init__(self, core: nn.RNNBase) -> None:
        super().__init__()
        self.core, self.head = core, nn.Linear(core.hidden_size, 10)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.head(self.core(pictures[:, 0])[0][:, -1])


class _Attention(nn.Module):
    def __init__(self, *, frozen: bool, width: int = 64) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True)
        self.embed, self.encoder = nn.Linear(SIDE, width), nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(width, 10)
        if frozen:
            for parameter in [*self.embed.parameters(), *self.encoder.layers[0].parameters()]:
                parameter.requires_grad = False

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.embed(pictures[:, 0])).mean(1))


def _fit_forest(flat: np.ndarray, labels: np.ndarray) -> Callable[[int], Any]:
    from sklearn.ensemble import RandomForestClassifier

    return lambda count: RandomForestClassifier(TREES, n_jobs=1, random_state=0).fit(flat[:count], labels[:count])


def _fit_vectors(flat: np.ndarray, labels: np.ndarray) -> Callable[[int], Any]:
    from sklearn.svm import SVC

    return lambda count: SVC().fit(flat[:count], labels[:count])
