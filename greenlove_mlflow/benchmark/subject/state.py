"""State: what a benchmark could change, kept aside and put back bit by bit."""

from __future__ import annotations

import copy
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from greenlove_mlflow.benchmark.subject.training import Training

logger = logging.getLogger(__name__)

# Keeping a copy on the device is refused when it would take more than this share of the memory still free there.
FREE_MEMORY_SHARE = 0.5

Restore = Callable[[], None]


@contextmanager
def preserved(training: Training) -> Iterator[int]:
    """Everything that training steps change, as it was before the block, also when the block raises.

    The block is given the bytes that the copies kept meanwhile take on the training's own device.
    """
    needed_bytes = count_state_bytes(training)
    to_cpu = _copies_belong_on_cpu(training, needed_bytes)
    restores = [_keep_random_state(training)]
    restores += [_keep_module(module, to_cpu=to_cpu) for module in _modules(training)]
    restores += [_keep_optimizer(each, to_cpu=to_cpu) for each in _optimizers(training.optimizer)]
    restores += [_keep_other(item) for item in training.extra_state if not isinstance(item, torch.nn.Module)]
    if not isinstance(training.optimizer, torch.optim.Optimizer) and hasattr(training.optimizer, "load_state_dict"):
        restores.append(_keep_other(training.optimizer))
    try:
        yield 0 if to_cpu else needed_bytes
    finally:
        # The random state was kept first and is put back last: restoring the others may draw numbers.
        for restore in reversed(restores):
            restore()


def count_state_bytes(training: Training) -> int:
    """The bytes that a training holds on its device whatever the batch size: weights, buffers, gradients, states."""
    device_type = training.torch_device.type
    tensors = [value for module in _modules(training) for value in (*module.parameters(), *module.buffers())]
    gradients = [value.grad for value in tensors if value.grad is not None]
    states = [
        item
        for optimizer in _optimizers(training.optimizer)
        for state in optimizer.state.values()
        if isinstance(state, dict)
        for item in state.values()
        if isinstance(item, torch.Tensor)
    ]
    held = [value for value in (*tensors, *gradients, *states) if _is_real(value) and value.device.type == device_type]
    return sum(value.numel() * value.element_size() for value in held)


def _modules(training: Training) -> list[torch.nn.Module]:
    candidates = [training.model, training.criterion, *training.extra_state]
    return [item for item in candidates if isinstance(item, torch.nn.Module)]


def _optimizers(optimizer: Any) -> list[torch.optim.Optimizer]:
    if isinstance(optimizer, torch.optim.Optimizer):
        return [optimizer]
    inner = (
        optimizer.values() if isinstance(optimizer, dict) else optimizer if isinstance(optimizer, (list, tuple)) else ()
    )
    return [item for item in inner if isinstance(item, torch.optim.Optimizer)]


def _keep_module(module: torch.nn.Module, *, to_cpu: bool) -> Restore:
    members = list(module.modules())
    modes = [(each, each.training) for each in members]
    slots: list[tuple[Any, dict[str, Any]]] = [
        (table, dict(table)) for each in members for table in (each._parameters, each._buffers)
    ]
    tensors = {id(value): value for _, content in slots for value in content.values() if value is not None}
    copies = [(value, _copy(value, to_cpu=to_cpu)) for value in tensors.values() if _is_real(value)]
    gradients = [
        (value, value.requires_grad, value.grad, None if value.grad is None else _copy(value.grad, to_cpu=to_cpu))
        for value in tensors.values()
        if isinstance(value, torch.nn.Parameter)
    ]
    extras = [(each, copy.deepcopy(each.get_extra_state())) for each in members if _has_extra_state(each)]

    def restore() -> None:
        for table, content in slots:
            table.clear()
            table.update(content)
        with torch.no_grad():
            for value, kept in copies:
                _put_back(value, kept)
            for value, requires_grad, grad, kept_grad in gradients:
                value.requires_grad_(requires_grad)
                if grad is not None and kept_grad is not None:
                    _put_back(grad, kept_grad)
                value.grad = grad
        for each, mode in modes:
            each.training = mode
        for each, state in extras:
            each.set_extra_state(state)

    return restore


def _put_back(value: torch.Tensor, kept: torch.Tensor) -> None:
    if value.shape == kept.shape:
        value.data.copy_(kept)
    else:
        value.data = kept.to(value.device)


def _keep_optimizer(optimizer: torch.optim.Optimizer, *, to_cpu: bool) -> Restore:
    groups = [dict(group, params=list(group["params"])) for group in optimizer.param_groups]
    group_values = [_remember({k: v for k, v in group.items() if k != "params"}, to_cpu=to_cpu) for group in groups]
    states = [(key, _remember(value, to_cpu=to_cpu)) for key, value in optimizer.state.items()]

    def restore() -> None:
        del optimizer.param_groups[len(groups) :]
        for group, kept, recall in zip(optimizer.param_groups, groups, group_values, strict=True):
            group.clear()
            group["params"] = kept["params"]
            group.update(recall())
        if not isinstance(optimizer.state, dict):
            optimizer.state = defaultdict(dict)
        optimizer.state.clear()
        for key, recall in states:
            optimizer.state[key] = recall()

    return restore


def _remember(value: Any, *, to_cpu: bool) -> Callable[[], Any]:
    """A function that gives ``value`` back as it is now: the same tensors with the same bits, in new containers."""
    if isinstance(value, torch.Tensor):
        kept = _copy(value, to_cpu=to_cpu)

        def recall_tensor() -> torch.Tensor:
            with torch.no_grad():
                _put_back(value, kept)
            return value

        return recall_tensor
    if isinstance(value, dict):
        items = [(key, _remember(item, to_cpu=to_cpu)) for key, item in value.items()]
        return lambda: {key: recall() for key, recall in items}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        recalls, kind = [_remember(item, to_cpu=to_cpu) for item in value], type(value)
        return lambda: kind(recall() for recall in recalls)
    if callable(value) or isinstance(value, (str, bytes, int, float, bool, type(None))):
        return lambda: value
    kept_value = copy.deepcopy(value)
    return lambda: kept_value


def _keep_other(item: Any) -> Restore:
    state = copy.deepcopy(item.state_dict())
    per_optimizer = getattr(item, "_per_optimizer_states", None)

    def restore() -> None:
        if state:
            item.load_state_dict(copy.deepcopy(state))
        if per_optimizer is not None:
            per_optimizer.clear()  # a gradient scaler left in the middle of a step refuses the next one

    return restore


def _keep_random_state(training: Training) -> Restore:
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    uses_cuda = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda_states = torch.cuda.get_rng_state_all() if uses_cuda else []
    mps_state = torch.mps.get_rng_state() if training.torch_device.type == "mps" else None
    own = [_keep_generator(each) for each in _generators(training)]

    def restore() -> None:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        if cuda_states:
            torch.cuda.set_rng_state_all(cuda_states)
        if mps_state is not None:
            torch.mps.set_rng_state(mps_state)
        for each in own:
            each()

    return restore


def _generators(training: Training) -> list[Any]:
    """The random generators that belong to the loaders, their samplers and their data sets."""
    validation = training.validation[0] if isinstance(training.validation, tuple) else training.validation
    found: dict[int, Any] = {}
    for loader in (training.data, validation):
        batch_sampler = getattr(loader, "batch_sampler", None)
        holders = [loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None)]
        holders.append(getattr(loader, "dataset", None))
        for holder in holders:
            for value in getattr(holder, "__dict__", {}).values():
                if isinstance(value, (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)):
                    found[id(value)] = value
    return list(found.values())


def _keep_generator(generator: Any) -> Restore:
    if isinstance(generator, np.random.Generator):
        bits, bits_state = generator.bit_generator, copy.deepcopy(generator.bit_generator.state)
        return lambda: setattr(bits, "state", bits_state)
    if isinstance(generator, random.Random):
        python_state = generator.getstate()
        return lambda: generator.setstate(python_state)
    state = copy.deepcopy(generator.get_state())
    return lambda: _ignore_result(generator.set_state(state))


def _ignore_result(_: object) -> None:
    pass


def _copies_belong_on_cpu(training: Training, needed_bytes: int) -> bool:
    device = training.torch_device
    if device.type != "cuda":
        return False
    free_bytes, _ = torch.cuda.mem_get_info(device)
    if needed_bytes <= FREE_MEMORY_SHARE * free_bytes:
        return False
    logger.info("keeping %.1f GiB of state in the CPU's memory: the device is short of it", needed_bytes / 2**30)
    return True


def _copy(value: torch.Tensor, *, to_cpu: bool) -> torch.Tensor:
    detached = value.detach()
    return detached.to("cpu", copy=True) if to_cpu else detached.clone()


def _is_real(value: torch.Tensor) -> bool:
    return not torch.nn.parameter.is_lazy(value) and not value.is_meta


def _has_extra_state(module: torch.nn.Module) -> bool:
    own = type(module).get_extra_state
    return own is not torch.nn.Module.get_extra_state
