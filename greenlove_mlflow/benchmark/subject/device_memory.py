"""The memory that a training takes on its GPU, without what the benchmark itself kept there."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from greenlove_mlflow.benchmark.machine.machine import BYTES_PER_GIB
from greenlove_mlflow.benchmark.state.state import count_state_bytes
from greenlove_mlflow.benchmark.subject.training import Training


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """What a training took at most, GiB; None where the device does not say.

    Args:
        peak_allocated_gib: In tensors.
        peak_reserved_gib: Held by the allocator, tensors and the room between them.
        fixed_gib: Of that, what no smaller batch saves: weights, buffers, gradients, optimizer state.
    """

    peak_allocated_gib: float | None = None
    peak_reserved_gib: float | None = None
    fixed_gib: float | None = None


def read_device_memory(training: Training, copied_bytes: int) -> DeviceMemory:
    """The peaks since they were last reset, read while gradients and optimizer state of the steps still stand.

    Args:
        training: What was benchmarked.
        copied_bytes: What the benchmark keeps on the device beside the training.
    """
    device = training.torch_device
    if device.type != "cuda":
        return DeviceMemory()
    return DeviceMemory(
        peak_allocated_gib=(torch.cuda.max_memory_allocated(device) - copied_bytes) / BYTES_PER_GIB,
        peak_reserved_gib=(torch.cuda.max_memory_reserved(device) - copied_bytes) / BYTES_PER_GIB,
        fixed_gib=count_state_bytes(training) / BYTES_PER_GIB,
    )
