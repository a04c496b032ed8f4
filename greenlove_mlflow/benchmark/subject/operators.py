"""Counts the operators of a step as they are dispatched: how many do work, their flops and their bytes."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from greenlove_mlflow.core.timing.timeline import OperatorCounts

# Operators that return a view without declaring it in their schema, or that only allocate memory or read a number.
_NO_WORK = frozenset(
    {
        "_unsafe_view",
        "_reshape_alias",
        "lift_fresh",
        "empty",
        "empty_like",
        "empty_strided",
        "new_empty",
        "new_empty_strided",
        "_local_scalar_dense",
        "resize_",
        "set_",
    }
)
# Attention on a CPU has separate operator names, which older torch formula tables lack.
_CPU_ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"
# Dispatch is timed on this many operators, this often; the minimum counts, because a disturbance only adds time.
_DISPATCH_OPERATORS = 64
_DISPATCH_REPEATS = 5


class OperatorCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts every operator that is dispatched while it is entered, backward passes included.

    Attributes:
        is_complete: False once ``until_s`` has passed and the rest went uncounted.
    """

    def __init__(self, *, until_s: float = math.inf) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._until_s = until_s
        self.is_complete = True
        self.operator_count = 0
        self.flop_count = 0.0
        self.moved_bytes = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count the operator and return its own result."""
        del types
        named = dict(kwargs or {})
        if not self.is_complete:
            return func(*args, **named)
        if _is_composite(func):
            with self:
                return func.decompose(*args, **named)
        result = func(*args, **named)
        if not _is_view(func):
            self.operator_count += 1
            self.flop_count += _flop_count(func._overloadpacket, args, named, result)
            self.moved_bytes += sum(_bytes_of(each) for each in (*args, *named.values(), result))
            self.is_complete = time.perf_counter() < self._until_s
        return result


def count_operators(
    step: Callable[[], object],
    modules: Iterable[Any] = (),
    optimizers: Iterable[Any] = (),
    *,
    until_s: float = math.inf,
) -> OperatorCounts | None:
    """Operators of one step as a GPU would run it: optimizers over all parameters at once, recurrent layers fused.

    Args:
        step: Runs one training step.
        modules: Modules whose recurrent layers are counted separately.
        optimizers: Optimizers that update all parameters at once, unless the caller chose otherwise.
        until_s: Clock time after which the rest of the step goes uncounted.

    Returns:
        The counts; None if there was no time for the whole step.
    """
    layers = _RecurrentLayers(modules)
    with _foreach(optimizers), layers.watched(), OperatorCounter(until_s=until_s) as counter:
        step()
    if not counter.is_complete:
        return None
    unrolled, flop_count = layers.settle()
    return OperatorCounts(
        operator_count=max(0.0, counter.operator_count - unrolled),
        recurrent_step_count=layers.step_count,
        flop_count=counter.flop_count + flop_count,
        moved_bytes=counter.moved_bytes,
    )


def reason_not_to_count(model: Any, train_step: Any = None) -> str:
    """Why a step cannot be counted; empty if it can. Counting a compiled model would slow it down permanently."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    frames = getattr(dynamo, "counters", {}).get("frames", {}) if dynamo is not None else {}
    compiled = any(getattr(each, "_compiled_call_impl", None) is not None for each in _members([model]))
    compiled = compiled or any(hasattr(each, "_torchdynamo_orig_callable") for each in (model, train_step))
    if compiled or any(frames.values()) or type(model).__name__ == "OptimizedModule":
        return "the operators of a compiled step are not counted: that would leave it slow"
    if isinstance(model, torch.jit.ScriptModule):
        return "the operators of a scripted model are not counted"
    return ""


def time_dispatch_s() -> float | None:
    """Seconds that this machine's CPU takes to dispatch one operator and its gradient, with hardly any arithmetic.

    None if the clock does not advance.
    """
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        value, factor = torch.ones(1, requires_grad=True), torch.ones(1)

        def run() -> None:
            total = value
            for _ in range(_DISPATCH_OPERATORS):
                total = total * factor
            torch.autograd.grad(total, value)

        least_s = min(_seconds(run) for _ in range(_DISPATCH_REPEATS))
    return least_s / _DISPATCH_OPERATORS if least_s > 0.0 else None


def _seconds(work: Callable[[], object]) -> float:
    begun_s = time.perf_counter()
    work()
    return time.perf_counter() - begun_s


@lru_cache(maxsize=4096)
def _is_composite(func: Any) -> bool:
    """Whether the operator is composed of others on every device and has no formula itself."""
    if func._overloadpacket in flop_registry or func is torch.ops.prim.device.default:
        return False
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))


@lru_cache(maxsize=4096)
def _is_view(func: Any) -> bool:
    """Whether the operator only creates a view, or does nothing that reaches a GPU."""
    schema = func._schema
    if schema.name.rpartition("::")[2] in _NO_WORK:
        return True
    if not schema.returns:
        return False
    first = schema.returns[0]
    if not any(str(each.type).find("Tensor") >= 0 for each in schema.returns):
        return True
    return first.alias_info is not None and not first.alias_info.is_write


def _flop_count(packet: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> float:
    formula = flop_registry.get(packet)
    if formula is not None:
        return float(formula(*args, **kwargs, out_val=result))
    name = str(packet).rpartition(".")[2]
    if name == _CPU_ATTENTION:
        return _attention_flop_count(*args[:3])
    if name == f"{_CPU_ATTENTION}_backward":
        return 2.5 * _attention_flop_count(*args[1:4])  # five products instead of two
    return 0.0


def _attention_flop_count(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> float:
    batch, heads, rows, width = query.shape
    return 2.0 * batch * heads * rows * key.shape[2] * (width + value.shape[3])


def _bytes_of(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    return sum(_bytes_of(each) for each in value) if isinstance(value, (list, tuple)) else 0


@contextmanager
def _foreach(optimizers: Iterable[Any]) -> Iterator[None]:
    """Make optimizers with ``foreach=None`` update all parameters at once inside the block, as on a GPU."""
    groups = [
        group
        for optimizer in optimizers
        for group in getattr(optimizer, "param_groups", ())
        if group.get("foreach", False) is None and not group.get("fused") and not group.get("differentiable")
    ]
    for group in groups:
        group["foreach"] = True
    try:
        yield
    finally:
        for group in groups:
            group["foreach"] = None


class _RecurrentLayers:
    """Recurrent layers of some modules: on a GPU each runs fused, on a CPU it may be a loop of operators."""

    def __init__(self, modules: Iterable[Any]) -> None:
        self._layers = [each for each in _members(modules) if isinstance(each, torch.nn.RNNBase)]
        self._steps: dict[int, float] = {}
        self._flop_count: dict[int, float] = {}

    @property
    def step_count(self) -> float:
        """Time steps so far, over layers and directions."""
        return sum(self._steps.values())

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Count calls inside the block."""
        handles = [each.register_forward_pre_hook(self._note) for each in self._layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def settle(self) -> tuple[float, float]:
        """Operators that were counted once per time step, and flops that no operator's formula covered."""
        unrolled = flop_count = 0.0
        for layer in self._layers:
            steps = self._steps.get(id(layer), 0.0)
            if steps:
                each = _operators_per_time_step(layer)
                unrolled += each * steps
                flop_count += 0.0 if each else 3.0 * self._flop_count[id(layer)]  # backward costs twice forward
        return unrolled, flop_count

    def _note(self, layer: torch.nn.RNNBase, inputs: tuple[Any, ...]) -> None:
        steps, samples = _time_steps(layer, inputs[0]) if inputs else (0, 0)
        sweeps = layer.num_layers * (2 if layer.bidirectional else 1)
        weights = sum(weight.numel() for weight in layer.parameters() if weight.dim() == 2)
        self._steps[id(layer)] = self._steps.get(id(layer), 0.0) + steps * sweeps
        self._flop_count[id(layer)] = self._flop_count.get(id(layer), 0.0) + 2.0 * steps * samples * weights


def _time_steps(layer: torch.nn.RNNBase, value: Any) -> tuple[int, float]:
    """Number of time steps and of samples of an input."""
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        count = len(value.batch_sizes)
        return count, float(value.data.shape[0]) / max(1, count)
    if value.dim() == 2:
        return int(value.shape[0]), 1.0
    first, second = int(value.shape[0]), int(value.shape[1])
    return (second, float(first)) if layer.batch_first else (first, float(second))


def _operators_per_time_step(layer: torch.nn.RNNBase) -> float:
    """Operators that one more time step of the layer dispatches here, forward and backward; 0 if fused."""
    weight = next(iter(layer.parameters()))
    kind: Any = {"LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU}.get(layer.mode, torch.nn.RNN)
    with torch.random.fork_rng(devices=[]):
        small = kind(2, 2, device=weight.device, dtype=weight.dtype)
    counts = []
    for length in (3, 4):
        value = torch.zeros(length, 2, 2, device=weight.device, dtype=weight.dtype, requires_grad=True)
        with torch.enable_grad(), OperatorCounter() as counter:
            torch.autograd.grad(small(value)[0].sum(), [value, *small.parameters()])
        counts.append(counter.operator_count)
    return float(counts[1] - counts[0])


def _members(modules: Iterable[Any]) -> list[torch.nn.Module]:
    found: dict[int, torch.nn.Module] = {}
    for module in modules:
        if isinstance(module, torch.nn.Module):
            found.update({id(each): each for each in module.modules()})
    return list(found.values())
