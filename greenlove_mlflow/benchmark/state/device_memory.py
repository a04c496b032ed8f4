"""GPU memory that training uses, without the benchmark's own copies."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from greenlove_mlflow.benchmark.machine.machine import BYTES_PER_GIB
from greenlove_mlflow.benchmark.state.state import count_state_bytes
from greenlove_mlflow.benchmark.subject.training import Training


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """Peak device memory of training, GiB; None if the device does not report it.

    Args:
        peak_allocated_gib: Allocated to tensors.
        peak_reserved_gib: Reserved by the allocator, for tensors and the gaps between them.
        fixed_gib: The part independent of batch size: weights, buffers, gradients, optimizer state.
    """

    peak_allocated_gib: float | None = None
    peak_reserved_gib: float | None = None
    fixed_gib: float | None = None


def read_device_memory(training: Training, copied_bytes: int) -> DeviceMemory:
    """The peaks since their last reset, read while the steps' gradients and optimizer state still exist.

    Args:
        training: The benchmarked training.
        copied_bytes: Bytes of the benchmark's own copies on the device.
    """
    device = training.torch_device
    if device.type != "cuda":
        return DeviceMemory()
    return DeviceMemory(
        peak_allocated_gib=(torch.cuda.max_memory_allocated(device) - copied_bytes) / BYTES_PER_GIB,
        peak_reserved_gib=(torch.cuda.max_memory_reserved(device) - copied_bytes) / BYTES_PER_GIB,
        fixed_gib=count_state_bytes(training) / BYTES_PER_GIB,
    )
