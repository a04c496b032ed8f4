"""A training on several ranks is refused on each of them, whoever tells of the ranks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from greenlove_mlflow.benchmark.ranks import rank_of_process, refuse_several_ranks, world_size
from greenlove_mlflow.environment import read_environment
from greenlove_mlflow.errors import InvalidInputError


def test_alone_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    environment = read_environment()
    assert (environment.rank, environment.world_size) == (0, 1)
    refuse_several_ranks(environment.world_size)


def test_a_launchers_word_counts_before_the_ranks_have_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert read_environment().world_size == 2
    with pytest.raises(InvalidInputError, match="on 2 ranks"):
        refuse_several_ranks(read_environment().world_size)


def test_torch_distributed_is_asked_before_the_environment(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        assert world_size(8) == 1
        assert rank_of_process(5) == 0
    finally:
        torch.distributed.destroy_process_group()
