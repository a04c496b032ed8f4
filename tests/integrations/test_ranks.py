"""The callbacks on two ranks: one run, the same weights as without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.support.two_ranks import run_ranks
from tests.support.two_ranks_trainers import EPOCH_COUNT

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]


@pytest.mark.parametrize(("trainer", "launcher"), [("lightning", "own"), ("huggingface", "torchrun")])
def test_a_trainer_on_two_ranks_leaves_one_run(trainer: str, launcher: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"module": "tests.support.two_ranks_trainers", "trainer": trainer, "launcher": launcher}
    bare = run_ranks(tmp_path, is_followed=False, **settings)
    ranks = run_ranks(tmp_path, is_followed=True, **settings)
    assert [ranks[rank]["weights"] for rank in (0, 1)] == [bare[rank]["weights"] for rank in (0, 1)]
    assert ranks[0]["estimate_s"] == pytest.approx(ranks[1]["estimate_s"], rel=1e-9)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs(["0"])
    assert run.info.status == "FINISHED"
    assert run.data.params["green.world_size"] == "2"
    laps = [key for key in ("green/train/epoch_s", "green/train/lap_s") if key in run.data.metrics]
    assert [len(client.get_metric_history(run.info.run_id, key)) for key in laps] == [EPOCH_COUNT]
    assert "green/actual/energy_kwh" in run.data.metrics
