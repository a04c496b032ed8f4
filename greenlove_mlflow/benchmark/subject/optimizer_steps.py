"""The optimizers of a training and their steps, seen from outside and left as they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from greenlove_mlflow.benchmark.subject.overheard import Overheard

# Wrappers store the wrapped optimizer under one of these names.
_INNER_NAMES = ("optimizer", "base_optimizer", "_optimizer")


def find_optimizers(given: Any) -> tuple[torch.optim.Optimizer, ...]:
    """Every torch optimizer in ``given``: one, several in a list or mapping, or one inside a wrapper."""
    return tuple({id(each): each for each in _walk(given, depth=4)}.values())


def _walk(given: Any, depth: int) -> Iterator[torch.optim.Optimizer]:
    if depth == 0 or given is None:
        return
    if isinstance(given, torch.optim.Optimizer) and "_optimizer_step_post_hooks" in vars(given):
        yield given  # a wrapper that only poses as an optimizer (Accelerate's) has no hooks; the wrapped one has
    if isinstance(given, Mapping):
        members: Iterable[Any] = given.values()
    elif isinstance(given, (list, tuple, set)):
        members = given
    else:
        members = [vars(given)[name] for name in _INNER_NAMES if name in getattr(given, "__dict__", ())]
    for each in members:
        yield from _walk(each, depth - 1)


class _ScaledSteps(threading.local):
    """Optimizers that have stepped during the ``GradScaler.step`` of this thread; None outside of one."""

    stepped: set[int] | None = None


_SCALED = _ScaledSteps()


def _scaler_step(
    original: Callable[..., Any],
    listeners: Iterable[Callable[[torch.optim.Optimizer], None]],
    scaler: Any,
    optimizer: Any,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """``GradScaler.step``, and a call of the listeners with each optimizer whose step it skips."""
    outer, _SCALED.stepped = _SCALED.stepped, set()
    try:
        result = original(scaler, optimizer, *args, **kwargs)
        skipped = [each for each in find_optimizers(optimizer) if id(each) not in _SCALED.stepped]
    finally:
        _SCALED.stepped = outer
    for each in skipped:
        for listener in listeners:
            listener(each)
    return result


_SCALER_STEP = Overheard(torch.amp.GradScaler, "step", _scaler_step)


@contextmanager
def told_of_steps(on_step: Callable[[torch.optim.Optimizer], None]) -> Iterator[None]:
    """Call ``on_step`` with the optimizer after each step in this process, also if a gradient scaler skipped it."""

    def hook(optimizer: Any, args: Any, kwargs: Any) -> None:
        del args, kwargs
        if _SCALED.stepped is not None:
            _SCALED.stepped.add(id(optimizer))
        on_step(optimizer)

    handle = register_optimizer_step_post_hook(hook)
    try:
        with _SCALER_STEP.heard_by(on_step):
            yield
    finally:
        handle.remove()


class _OwnSteps:
    """Counts the batches of a training by the steps of its optimizers, and of those that take over their parameters.

    Args:
        optimizers: The training's optimizers.
        on_step: Called after each batch.
        on_other_step: Called after a step of an optimizer that trains other parameters, in the thread of the training.
    """

    def __init__(
        self,
        optimizers: tuple[torch.optim.Optimizer, ...],
        on_step: Callable[[], None],
        on_other_step: Callable[[], None],
    ) -> None:
        self._on_step = on_step
        self._on_other_step = on_other_step
        self._thread_id = threading.get_ident()
        self._parameters = {id(each) for optimizer in optimizers for each in _parameters_of(optimizer)}
        self._groups = {id(group) for optimizer in optimizers for group in optimizer.param_groups}
        self._is_own: WeakKeyDictionary[torch.optim.Optimizer, bool] = WeakKeyDictionary(
            dict.fromkeys(optimizers, True)
        )
        self._in_batch: set[int] = set()

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take note that an optimizer has stepped."""
        is_own = self._is_own.get(optimizer)
        if is_own is None:
            is_own = self._is_own[optimizer] = any(id(each) in self._parameters for each in _parameters_of(optimizer))
            if is_own and not any(id(group) in self._groups for group in optimizer.param_groups):
                self._in_batch.clear()  # it replaces one of them: no wrapper around it, which steps in the same batch
        if is_own:
            self._own_step(id(optimizer))
        elif threading.get_ident() == self._thread_id:
            self._on_other_step()

    def _own_step(self, optimizer_id: int) -> None:
        """Count a batch when an optimizer steps again; until then, others step in the same batch."""
        if self._in_batch and optimizer_id not in self._in_batch:
            self._in_batch.add(optimizer_id)
            return
        self._in_batch = {optimizer_id}
        self._on_step()


def _parameters_of(optimizer: torch.optim.Optimizer) -> Iterator[Any]:
    return (each for group in optimizer.param_groups for each in group["params"])


@contextmanager
def watched_steps(
    optimizers: Iterable[torch.optim.Optimizer],
    on_step: Callable[[], None],
    on_other_step: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Call ``on_step`` after each batch, inside the block, by the steps of these optimizers.

    With several optimizers (two in a GAN, one inside another) each batch steps all of them, but counts once. An
    optimizer that is made later for the same parameters counts too.

    Args:
        optimizers: The training's optimizers; without any, nothing is counted.
        on_step: Called after each batch.
        on_other_step: Called after a step of an optimizer that trains other parameters, in the same thread.
    """
    own = tuple(optimizers)
    with told_of_steps(_OwnSteps(own, on_step, on_other_step).step) if own else nullcontext():
        yield
