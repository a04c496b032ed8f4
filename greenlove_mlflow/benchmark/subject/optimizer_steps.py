"""Observes optimizer steps by torch's own hooks; training itself is not changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

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


@contextmanager
def watched_steps(optimizers: Iterable[torch.optim.Optimizer], on_step: Callable[[], None]) -> Iterator[None]:
    """Call ``on_step`` after each step, inside the block, of the optimizer that steps most.

    With several optimizers (two in a GAN, one inside another) each batch steps all of them; only the one that has
    stepped most is counted, so that a batch counts once.
    """
    counts: dict[int, int] = {}
    most = 0

    def count(optimizer: Any, args: Any, kwargs: Any) -> None:
        nonlocal most
        del args, kwargs
        own = counts[id(optimizer)] = counts.get(id(optimizer), 0) + 1
        if own > most:
            most = own
            on_step()

    handles = [each.register_step_post_hook(count) for each in optimizers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
