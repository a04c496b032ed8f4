"""A training on two real ranks: followed in every form, it ends as without, and leaves one whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.support.two_ranks import EPOCH_COUNT, run_ranks

pytestmark = pytest.mark.slow

# What each rank said, by rank.
Said = dict[int, dict[str, Any]]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Said:
    """The training without us."""
    return run_ranks(tmp_path_factory.mktemp("bare"), kind="bare")


def the_run(folder: Path) -> Run:
    """The only run in the store."""
    (run,) = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_runs(["0"])
    return run


@pytest.mark.parametrize("form", ["epochs", "steps", "plain"])
def test_a_tracked_training_ends_as_an_untracked_one(form: str, tmp_path: Path, bare: Said) -> None:
    ranks = run_ranks(tmp_path, form=form, slower=1.0)
    assert [ranks[rank]["weights"] for rank in (0, 1)] == [bare[rank]["weights"] for rank in (0, 1)]
    assert [ranks[rank]["error"] for rank in (0, 1)] == ["", ""]
    assert ranks[0]["estimate_s"] == pytest.approx(ranks[1]["estimate_s"], rel=1e-9)
    run = the_run(tmp_path)
    assert run.info.status == "FINISHED"
    assert (ranks[0]["run_id"], ranks[1]["run_id"]) == (run.info.run_id, None)
    assert (run.data.params["green.world_size"], run.data.params["green.benchmark"]) == ("2", "within")
    assert {"green/time_h/local", "green/actual/time_h", "green/actual/energy_kwh"} <= set(run.data.metrics)
    if form != "steps":
        client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
        assert len(client.get_metric_history(run.info.run_id, "green/train/epoch_s")) == EPOCH_COUNT
