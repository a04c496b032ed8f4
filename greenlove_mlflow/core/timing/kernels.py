"""The kernels that a step would launch on a GPU, from the operators that it dispatches on a CPU."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFactors:
    """Sourced conversion factors from operator counts to GPU kernels, from ``data/kernel_factors``.

    Args:
        per_operator: Kernels per operator that is not a view, over forward, backward and optimizer.
        per_recurrent_step: Kernels of a fused recurrent layer per time step, forward and backward.
        tracer_s: Host overhead of torch's profiler per operator, seconds.
    """

    per_operator: float = 1.0
    per_recurrent_step: float = 1.0
    tracer_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCounts:
    """The operators counted in one step.

    Args:
        operator_count: Operators that do work, without those of recurrent layers.
        recurrent_step_count: Time steps of fused recurrent layers, over all layers and directions.
        flop_count: Floating-point operations of matrix products, convolutions and attention.
        moved_bytes: Bytes that the operators read and write.
    """

    operator_count: float
    recurrent_step_count: float = 0.0
    flop_count: float = 0.0
    moved_bytes: float = 0.0


def expected_launches(counts: OperatorCounts, factors: KernelFactors) -> float:
    """Kernels that the step would launch on a GPU.

    >>> expected_launches(OperatorCounts(operator_count=30.0, recurrent_step_count=100.0),
    ...                   KernelFactors(per_operator=1.5, per_recurrent_step=5.0))
    545.0
    """
    return factors.per_operator * counts.operator_count + factors.per_recurrent_step * counts.recurrent_step_count
