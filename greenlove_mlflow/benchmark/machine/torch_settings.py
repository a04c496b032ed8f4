"""Settings of torch that hold for the whole process: read, and restored as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.utils.deterministic

_UNREADABLE = object()
_DEVICE_TYPES = ("cpu", "cuda")
# By path below ``torch``. Those that end in ``fp32_precision`` exist from PyTorch 2.9 on.
_FLAGS = (
    "utils.deterministic.fill_uninitialized_memory", "backends.cudnn.enabled", "backends.cudnn.benchmark",
    "backends.cudnn.deterministic", "backends.cudnn.allow_tf32", "backends.cuda.matmul.allow_tf32",
    "backends.cuda.matmul.allow_fp16_reduced_precision_reduction",
    "backends.cuda.matmul.allow_bf16_reduced_precision_reduction", "backends.mkldnn.enabled",
    "backends.fp32_precision", "backends.cuda.matmul.fp32_precision", "backends.cudnn.fp32_precision",
    "backends.cudnn.conv.fp32_precision", "backends.cudnn.rnn.fp32_precision", "backends.mkldnn.fp32_precision",
    "backends.mkldnn.matmul.fp32_precision", "backends.mkldnn.conv.fp32_precision",
    "backends.mkldnn.rnn.fp32_precision",
)  # fmt: skip


def keep_settings() -> list[tuple[str, Callable[[], None]]]:
    """The name of each setting, with a function that restores it where it has changed."""
    kept = []
    for name, read, write in _settings():
        value = _read(read)
        if value is not _UNREADABLE:
            kept.append((name, _restorer(read, write, value)))
    return kept


def multiplies_in_tf32() -> bool:
    """Whether matrix products of FP32 numbers may be taken in TF32 on a GPU that can."""
    legacy = _read(torch.get_float32_matmul_precision)
    if legacy is not _UNREADABLE:
        return bool(legacy != "highest")
    return bool(_read(lambda: _flag("backends.cuda.matmul.fp32_precision")) == "tf32")


def convolves_in_tf32() -> bool:
    """Whether convolutions of FP32 numbers may be taken in TF32 on a GPU that can."""
    legacy = _read(lambda: _flag("backends.cudnn.allow_tf32"))
    if legacy is not _UNREADABLE:
        return bool(legacy)
    return bool(_read(lambda: _flag("backends.cudnn.conv.fp32_precision")) == "tf32")


def _read(read: Callable[[], Any]) -> Any:
    """A setting's value. PyTorch refuses to read the older of two names once the newer one has been set."""
    try:
        return read()
    except (AttributeError, RuntimeError):
        return _UNREADABLE


def _restorer(read: Callable[[], Any], write: Callable[[Any], Any], value: Any) -> Callable[[], None]:
    def restore() -> None:
        if _read(read) != value:
            write(value)

    return restore


def _settings() -> list[tuple[str, Callable[[], Any], Callable[[Any], Any]]]:
    settings: list[tuple[str, Callable[[], Any], Callable[[Any], Any]]] = [
        ("gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
        ("default type", torch.get_default_dtype, torch.set_default_dtype),
        ("default device", _default_device, torch.set_default_device),
        ("anomaly mode", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        ("number of threads", torch.get_num_threads, torch.set_num_threads),
        ("deterministic mode", torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        ("cache of autocast", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
        ("precision of matrix products", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    ]
    settings += [each for kind in _DEVICE_TYPES for each in _autocast_of(kind)]
    settings += [(path, *_access(path)) for path in _FLAGS]
    return [(f"torch's {name}", read, write) for name, read, write in settings]


def _default_device() -> torch.device | None:
    """The default device; None where none was set, which is not the same to torch as the CPU."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


def _autocast_of(kind: str) -> list[tuple[str, Callable[[], Any], Callable[[Any], Any]]]:
    return [
        (
            f"autocast on {kind}",
            lambda: torch.is_autocast_enabled(kind),
            lambda value: torch.set_autocast_enabled(kind, value),
        ),
        (
            f"type of autocast on {kind}",
            lambda: torch.get_autocast_dtype(kind),
            lambda value: torch.set_autocast_dtype(kind, value),
        ),
    ]


def _access(path: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    def write(value: Any) -> None:
        holder, _, name = path.rpartition(".")
        setattr(_flag(holder), name, value)

    return lambda: _flag(path), write


def _flag(path: str) -> Any:
    value: Any = torch
    for name in path.split("."):
        value = getattr(value, name)
    return value
