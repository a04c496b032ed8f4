"""A training on two real ranks: followed in every form, it ends as without, and leaves one whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.conftest import copy_store
from tests.support.two_ranks import EPOCH_COUNT, run_ranks

pytestmark = pytest.mark.slow

# What each rank said, by rank.
Said = dict[int, dict[str, Any]]


@pytest.fixture(autouse=True)
def prepared_store(empty_store: Path, tmp_path: Path) -> None:
    """The store that the training writes into has its tables."""
    copy_store(empty_store, tmp_path / "mlflow.db")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Said:
    """The training without us."""
    return run_ranks(tmp_path_factory.mktemp("bare"), kind="bare")


def the_run(folder: Path) -> Run:
    """The only run in the store."""
    (run,) = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_runs(["0"])
    return run


@pytest.mark.parametrize(("form", "launcher"), [("epochs", "torchrun"), ("steps", "fork"), ("plain", "fork")])
def test_a_tracked_training_ends_as_an_untracked_one(form: str, launcher: str, tmp_path: Path, bare: Said) -> None:
    ranks = run_ranks(tmp_path, form=form, launcher=launcher, slower=1.0)
    assert [ranks[rank]["weights"] for rank in (0, 1)] == [bare[rank]["weights"] for rank in (0, 1)]
    assert [ranks[rank]["error"] for rank in (0, 1)] == ["", ""]
    assert ranks[0]["estimate_s"] == pytest.approx(ranks[1]["estimate_s"], rel=1e-9)
    run = the_run(tmp_path)
    assert run.info.status == "FINISHED"
    assert (ranks[0]["run_id"], ranks[1]["run_id"]) == (run.info.run_id, None)
    assert (run.data.params["green.world_size"], run.data.params["green.benchmark"]) == ("2", "within")
    assert {"green/time_h/local", "green/actual/time_h", "green/actual/energy_kwh"} <= set(run.data.metrics)
    assert "green/time_h/H100-HGX-80GB-x2" in run.data.metrics  # an offer of as many GPUs as there are ranks
    if form != "steps":
        client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
        assert len(client.get_metric_history(run.info.run_id, "green/train/epoch_s")) == EPOCH_COUNT


@pytest.mark.exhaustive
def test_a_rank_with_fewer_batches_shadows_the_others_as_before(tmp_path: Path) -> None:
    alone = run_ranks(tmp_path, kind="bare", uneven=True)
    ranks = run_ranks(tmp_path, form="plain", uneven=True)
    assert [ranks[rank]["weights"] for rank in (0, 1)] == [alone[rank]["weights"] for rank in (0, 1)]
    assert [ranks[rank]["step_count"] for rank in (0, 1)] == [150, 200]
    assert the_run(tmp_path).info.status == "FINISHED"


def test_a_rank_that_raises_leaves_a_failed_run(tmp_path: Path) -> None:
    assert not run_ranks(tmp_path, launcher="torchrun", dies=1, fails=True)
    run = the_run(tmp_path)
    assert run.info.status == "FAILED"
    assert run.data.tags["greenlove.reason"] == "rank 1: ValueError: rank 1 has had enough"


def test_a_store_that_rank_0_cannot_use_is_refused_on_all_ranks(tmp_path: Path) -> None:
    ranks = run_ranks(tmp_path, environment={"MLFLOW_TRACKING_URI": "sqlite:////proc/nowhere/mlflow.db"})
    assert [ranks[rank]["error"].split(":")[0] for rank in (0, 1)] == ["TrackingError", "TrackingError"]
    assert [ranks[rank]["step_count"] for rank in (0, 1)] == [0, 0]


def test_a_server_that_is_down_keeps_no_rank_from_training(tmp_path: Path, bare: Said) -> None:
    ranks = run_ranks(tmp_path, environment={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    assert [ranks[rank]["weights"] for rank in (0, 1)] == [bare[rank]["weights"] for rank in (0, 1)]
    assert [ranks[rank]["error"] for rank in (0, 1)] == ["", ""]
    assert ranks[0]["estimate_s"] == pytest.approx(ranks[1]["estimate_s"], rel=1e-9)


@pytest.mark.exhaustive
def test_a_slow_store_holds_up_no_rank(tmp_path: Path, bare: Said) -> None:
    ranks = run_ranks(tmp_path, store_s=2.0)
    assert [ranks[rank]["weights"] for rank in (0, 1)] == [bare[rank]["weights"] for rank in (0, 1)]
    assert the_run(tmp_path).info.status == "FINISHED"


@pytest.mark.parametrize("form", ["epochs", pytest.param("steps", marks=pytest.mark.exhaustive)])
def test_a_limit_ends_all_ranks_together(form: str, tmp_path: Path) -> None:
    ranks = run_ranks(tmp_path, form=form, limits={"hours": 1e-6}, step_s=0.1)
    assert ranks[0]["step_count"] == ranks[1]["step_count"] < 40 * EPOCH_COUNT
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert ranks[0]["must_stop"] == ranks[1]["must_stop"] != ""
    assert ranks[0]["refusal"] == ranks[1]["refusal"] != ""
    assert the_run(tmp_path).data.tags["greenlove.status"] == "stopped"


def test_a_refusal_is_raised_at_the_same_step_of_a_loop_of_ones_own(tmp_path: Path) -> None:
    options = {"on_refusal": "raise"}
    ranks = run_ranks(tmp_path, form="plain", limits={"hours": 1e-6}, options=options, step_s=0.1)
    assert ranks[0]["step_count"] == ranks[1]["step_count"] < 40 * EPOCH_COUNT
    assert [ranks[rank]["error"].split(":")[0] for rank in (0, 1)] == ["TrainingRefused", "TrainingRefused"]


def test_an_estimate_of_unequal_ranks_is_one_and_leaves_no_trace(tmp_path: Path) -> None:
    ranks = run_ranks(tmp_path, kind="estimate", slower=8.0, options={"budget_s": 2.0})
    assert [ranks[rank]["weights"] for rank in (0, 1)] == [ranks[rank]["initial"] for rank in (0, 1)]
    assert ranks[0]["estimate_s"] == pytest.approx(ranks[1]["estimate_s"], rel=1e-9)
    # 5 epochs of 40 steps; rank 1 needs at least 36 ms for a step, and rank 0 waits for it.
    assert ranks[0]["estimate_s"] > 5 * 40 * 0.036


@pytest.mark.exhaustive
def test_measured_before_the_training_ends_as_an_untracked_one(tmp_path: Path, bare: Said) -> None:
    ranks = run_ranks(tmp_path, options={"benchmark": "before", "budget_s": 2.0})
    assert [ranks[rank]["weights"] for rank in (0, 1)] == [bare[rank]["weights"] for rank in (0, 1)]
    assert the_run(tmp_path).data.params["green.benchmark"] == "before"
