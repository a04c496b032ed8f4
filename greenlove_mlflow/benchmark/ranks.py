"""Ranks of distributed training."""

from __future__ import annotations

import torch

from greenlove_mlflow.errors import InvalidInputError


def world_size(launched: int = 1) -> int:
    """Number of processes that train together: from ``torch.distributed``, else from the launcher.

    Args:
        launched: World size from the launcher.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return launched


def rank_of_process(launched: int = 0) -> int:
    """Rank of this process: from ``torch.distributed``, else from the launcher, which may not set RANK.

    Args:
        launched: Rank from the launcher.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    return launched


def refuse_several_ranks(launched: int = 1) -> None:
    """Refuse training by several processes; each process calls this, and each is refused.

    Raises:
        InvalidInputError: If there is more than one.
    """
    count = world_size(launched)
    if count > 1:
        raise InvalidInputError(
            f"this training runs on {count} ranks, which would have to take every step of a benchmark together: "
            "that is not supported, and nothing has run. Estimate on one GPU with the same batch size per GPU in a "
            "process of its own, and train without greenlove.track"
        )
