"""Probe of hardware without published specs: a matrix product and a copy, in at most two seconds.

It replaces published specs, so it measures the same figures: dense matrix TFLOPS at the training precision and
memory bandwidth. It draws no random numbers and leaves torch's settings unchanged.
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from greenlove_mlflow.benchmark.machine.torch_settings import keep_settings
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.speed.gpus import Precision, ProbeResult
from greenlove_mlflow.errors import BenchmarkError

FLOP_PER_TFLOP = 1e12
BYTES_PER_GB = 1e9
# Repeats bound each loop even if the clock does not advance; the median of a dozen is stable to a few percent.
MAX_REPEATS = 12
# The first product is small enough to take milliseconds on any CPU; the timed one is sized from it.
FIRST_SIDE = 256
MAX_SIDE = 8192
# Larger than the caches of a server CPU, small enough for any device.
COPY_BYTES = 256 * 2**20
# Least log standard deviation: a probe sees one machine at one moment.
LEAST_LOG_HALF_WIDTH = 0.08

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "tf32": torch.float32, "fp32": torch.float32}


def probe_hardware(
    device: Any, precision: Precision, *, budget_s: float = 2.0, device_name: str | None = None
) -> ProbeResult:
    """Measured TFLOPS of a matrix product at that precision and bandwidth of a copy, each with its range.

    Args:
        device: As torch names it.
        precision: Precision of the training's matrix products.
        budget_s: Seconds for both measurements together, above 0.
        device_name: Name to report; None asks torch or the operating system.

    Raises:
        BenchmarkError: If the device cannot run a matrix product at all.
    """
    where = torch.device(device)
    with torch.no_grad(), _matmul_precision(precision):
        matmul_tflops = _matmul_tflops(where, _usable_dtype(where, precision), budget_s / 2.0)
        copy_gb_per_s = _copy_gb_per_s(where, budget_s / 2.0)
    return ProbeResult(
        device_name=device_name or _name(where), matmul_tflops=matmul_tflops, copy_gb_per_s=copy_gb_per_s
    )


def _matmul_tflops(device: torch.device, dtype: torch.dtype, budget_s: float) -> Interval:
    def product_of(side: int) -> Callable[[], object]:
        left, right = (_pattern(side, device, dtype) for _ in range(2))
        out = torch.empty_like(left)
        return lambda: torch.mm(left, right, out=out)

    first = product_of(FIRST_SIDE)
    first()
    first_s = _seconds(first, device)
    # The work grows with the cube of the side; a tenth of the budget leaves room for repeats.
    # A clock that does not advance (in a simulation) cannot tell how large it may be.
    growth = (budget_s / 10.0 / first_s) ** (1.0 / 3.0) if first_s > 0.0 else 1.0
    side = max(FIRST_SIDE, min(MAX_SIDE, int(FIRST_SIDE * growth) // 64 * 64))
    durations = _repeat(product_of(side), device, budget_s)
    return _rate(2.0 * side**3 / FLOP_PER_TFLOP, durations)


def _copy_gb_per_s(device: torch.device, budget_s: float) -> Interval:
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    durations = _repeat(lambda: target.copy_(source), device, budget_s)
    return _rate(2.0 * COPY_BYTES / BYTES_PER_GB, durations)


def _repeat(work: Callable[[], object], device: torch.device, budget_s: float) -> list[float]:
    """Durations of the repeats in seconds, without the first run if there are more."""
    began_s = time.perf_counter()
    durations: list[float] = []
    for _ in range(MAX_REPEATS):
        durations.append(_seconds(work, device))
        if time.perf_counter() - began_s + durations[-1] > budget_s:
            break
    return durations[1:] or durations


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    _synchronize(device)
    began_s = time.perf_counter()
    work()
    _synchronize(device)
    return time.perf_counter() - began_s


def _rate(amount: float, durations: list[float]) -> Interval:
    rates = sorted(amount / max(each, 1e-9) for each in durations)
    middle = rates[len(rates) // 2]
    least = Interval.from_log_width(middle, LEAST_LOG_HALF_WIDTH)
    return Interval(point=middle, low=min(rates[0], least.low), high=max(rates[-1], least.high))


def _pattern(side: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """A matrix that is neither constant nor random: with a constant one a GPU clocks higher than in training."""
    values = torch.arange(side * side, device=device, dtype=torch.float32)
    return values.remainder(251.0).div(251.0).sub(0.5).reshape(side, side).to(dtype)


def _usable_dtype(device: torch.device, precision: Precision) -> torch.dtype:
    """The dtype of the precision, or FP32 if the device does not support its matrix product."""
    for dtype in dict.fromkeys((_DTYPES[precision], torch.float32)):
        with contextlib.suppress(RuntimeError, TypeError):
            tile = torch.ones(16, 16, device=device, dtype=dtype)
            torch.mm(tile, tile)
            return dtype
    raise BenchmarkError(f"{device} supports no matrix product, so it cannot be probed; pass speed_ratios=")


@contextlib.contextmanager
def _matmul_precision(precision: Precision) -> Iterator[None]:
    """Enable TF32 for ``tf32``, disable it otherwise, and restore the setting afterwards."""
    kept = keep_settings()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        for _, restore in kept:
            restore()


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return platform.processor() or platform.machine() or str(device)
