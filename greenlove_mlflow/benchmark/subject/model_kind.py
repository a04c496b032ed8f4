"""The kind of model, its training precision, and a fingerprint that identifies equal workloads."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from greenlove_mlflow.benchmark.machine.torch_settings import convolves_in_tf32, multiplies_in_tf32
from greenlove_mlflow.benchmark.subject.overheard import Overheard
from greenlove_mlflow.core.speed.gpus import Precision

_PRECISION_OF_DTYPE: dict[torch.dtype, Precision] = {torch.float16: "fp16", torch.bfloat16: "bf16"}
_RECURRENT = (torch.nn.RNNBase, torch.nn.RNNCellBase)
_CONVOLUTIONAL = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.ConvTranspose2d)
# Least compute capability at which NVIDIA boards support TF32.
_TF32_CAPABILITY = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """Short description of a model.

    Args:
        kind: ``convolutional``, ``transformer``, ``recurrent`` or ``other``.
        precision: Precision of its matrix products.
        fingerprint: Twelve hexadecimal digits, equal for the same structure, optimizer, batch and data shape.
        parameter_count: Number of parameters, trained or frozen.
    """

    kind: str
    precision: Precision
    fingerprint: str
    parameter_count: int | None


def _enter_autocast(original: Callable[[Any], Any], listeners: Iterable[Callable[[Any], None]], region: Any) -> Any:
    if getattr(region, "_enabled", False):
        for listener in listeners:
            listener(region)
    return original(region)


_AUTOCAST_ENTERED = Overheard(torch.autocast, "__enter__", _enter_autocast)


class AutocastWatch:
    """Records the dtype that mixed precision computes in while this thread runs a step."""

    def __init__(self) -> None:
        self.dtype: torch.dtype | None = None
        self._thread_id = threading.get_ident()

    def watching(self) -> AbstractContextManager[None]:
        """A block in which every autocast region that is entered is recorded."""
        return _AUTOCAST_ENTERED.heard_by(self._note)

    def _note(self, region: Any) -> None:
        if threading.get_ident() == self._thread_id:
            self.dtype = getattr(region, "fast_dtype", None)


def describe_model(
    model: Any, optimizer: Any, sample_batch: Any, batch_size: int, *, autocast_dtype: torch.dtype | None = None
) -> ModelDescription:
    """Describe a model as it is trained.

    Args:
        model: The model.
        optimizer: Its optimizer, whose type is part of the workload.
        sample_batch: One batch, whose shapes are part of the workload.
        batch_size: Samples in a full batch.
        autocast_dtype: Dtype that mixed precision was observed to use; None reads the current autocast state.
    """
    if not isinstance(model, torch.nn.Module):
        return ModelDescription(
            kind="other",
            precision="fp32",
            fingerprint=_digest([type(model).__name__, str(batch_size)]),
            parameter_count=None,
        )
    kind = _kind_of(model)
    precision = _precision_of(model, kind, autocast_dtype)
    words = [type(each).__name__ for each in model.modules()]
    words += [f"{name}:{tuple(p.shape)}:{p.requires_grad}" for name, p in model.named_parameters() if _has_shape(p)]
    words += [type(optimizer).__name__, str(batch_size), precision, *_shapes_of(sample_batch)]
    return ModelDescription(
        kind=kind,
        precision=precision,
        fingerprint=_digest(words),
        parameter_count=sum(p.numel() for p in model.parameters() if _has_shape(p)),
    )


def _kind_of(model: torch.nn.Module) -> str:
    members = list(model.modules())
    if any(_is_attention(each) for each in members):
        return "transformer"
    if any(isinstance(each, _RECURRENT) for each in members):
        return "recurrent"
    if any(isinstance(each, _CONVOLUTIONAL) for each in members):
        return "convolutional"
    return "other"


def _is_attention(module: torch.nn.Module) -> bool:
    if isinstance(module, torch.nn.MultiheadAttention):
        return True
    # Other libraries implement their own; gates in convolutional nets use the same name but hold no projections.
    named = type(module).__name__.endswith("Attention")
    return named and sum(isinstance(child, torch.nn.Linear) for child in module.modules()) >= 2


def _precision_of(model: torch.nn.Module, kind: str, autocast_dtype: torch.dtype | None) -> Precision:
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    device_type = "cpu" if parameter is None else parameter.device.type
    if autocast_dtype is None and torch.is_autocast_enabled(device_type):
        autocast_dtype = torch.get_autocast_dtype(device_type)
    dtype = autocast_dtype or (torch.float32 if parameter is None else parameter.dtype)
    if dtype in _PRECISION_OF_DTYPE:
        return _PRECISION_OF_DTYPE[dtype]
    return "tf32" if device_type == "cuda" and _uses_tf32(kind) else "fp32"


def _uses_tf32(kind: str) -> bool:
    if torch.cuda.get_device_capability()[0] < _TF32_CAPABILITY:
        return False
    return multiplies_in_tf32() or (kind == "convolutional" and convolves_in_tf32())


def _shapes_of(batch: Any) -> list[str]:
    """The shapes of a batch without its first dimension, which is the batch size."""
    if isinstance(batch, torch.Tensor):
        return [f"{tuple(batch.shape[1:])}:{batch.dtype}"]
    if isinstance(batch, Mapping):
        return [f"{key}={shape}" for key, value in batch.items() for shape in _shapes_of(value)]
    if isinstance(batch, Sequence) and not isinstance(batch, (str, bytes)):
        return [shape for value in batch for shape in _shapes_of(value)]
    return [type(batch).__name__]


def _has_shape(parameter: torch.Tensor) -> bool:
    return not torch.nn.parameter.is_lazy(parameter)


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("|".join(words).encode()).hexdigest()[:12]
