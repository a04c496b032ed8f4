"""A training on two real ranks: followed in every form, it ends as without, and leaves one whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.conftest import new_store
from tests.support.two_ranks import EPOCH_COUNT, run_ranks

pytestmark = pytest.mark.slow

# What each rank said, by rank.
Said = dict[int, dict[str, Any]]
Launched = tuple[MlflowClient, dict[str, Said]]


@pytest.fixture(autouse=True)
def prepared_store(tmp_path: Path) -> None:
    """The store that the training writes into has its tables."""
    new_store(tmp_path / "mlflow.db")


def the_run(folder: Path) -> Run:
    """The only run in the store."""
    (run,) = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_runs(["0"])
    return run


QUIET = {"country": "DE", "log_model": False, "saved_view": False}
# Estimated to take a second, and slow as soon as that is done.
SLOWS_DOWN = {"step_s": 0.001, "later_s": 0.1, "limits": {"hours": 4.0 / 3600.0}, "options": QUIET}
# What torchrun starts once, as that takes as long as all of these.
LAUNCHED: dict[str, dict[str, Any]] = {
    "bare": {"kind": "bare"},
    "watch": {"kind": "watch", "form": "plain", "slower": 1.0, "options": QUIET},
    "epochs": {"form": "epochs", "slower": 1.0},
    "steps": {"form": "steps", "slower": 1.0, "options": QUIET},
    "plain": {"form": "plain", "slower": 1.0, "options": QUIET},
    "first": {"kind": "watch", "form": "plain", "left": 2, "options": QUIET},
    "second": {"kind": "watch", "form": "plain", "done": 3, "resumes": 5, "options": QUIET},
    "spent": {"kind": "watch", "form": "plain", "slower": 0.5, "slow_rank": 0, **SLOWS_DOWN},
    "limited on rank 0": {"limits": {"hours": 1e-6}, "limited": [0], "step_s": 0.03, "options": QUIET},
    "raised": {"form": "plain", "limits": {"hours": 1e-6}, "step_s": 0.03, "options": {**QUIET, "on_refusal": "raise"}},
    "asked on rank 0": {"confirms": True, "options": {**QUIET, "budget_s": 0.5}},
    "estimate": {"kind": "estimate", "slower": 8.0, "options": {"budget_s": 2.0}},
    "done on rank 1": {"done": [0, 3], "options": QUIET},
    "without a store": {"uri": "sqlite:////proc/nowhere/mlflow.db", "options": QUIET},
    "without a server": {"uri": "http://127.0.0.1:9", "options": QUIET},
}


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """Trainings one after the other in the processes that torchrun starts, and the store that they left."""
    folder = tmp_path_factory.mktemp("launched")
    uri = new_store(folder / "mlflow.db")
    ranks = run_ranks(folder, launcher="torchrun", trainings=[*LAUNCHED.values()])
    by_name = {
        name: {rank: ranks[rank]["trainings"][number] for rank in (0, 1)} for number, name in enumerate(LAUNCHED)
    }
    return MlflowClient(uri), by_name


class TestLaunched:
    @pytest.mark.parametrize("form", ["epochs", "steps", "plain", "watch"])
    def test_a_training_ends_as_without_us(self, form: str, launched: Launched) -> None:
        client, said = launched
        ranks = said[form]
        assert [ranks[rank]["error"] for rank in (0, 1)] == ["", ""]
        assert [ranks[rank]["weights"] for rank in (0, 1)] == [said["bare"][rank]["weights"] for rank in (0, 1)]
        assert ranks[0]["estimate_s"] == pytest.approx(ranks[1]["estimate_s"], rel=1e-9)
        assert ranks[1]["run_id"] is None
        run = client.get_run(ranks[0]["run_id"])
        assert run.info.status == "FINISHED"
        assert (run.data.params["green.world_size"], run.data.params["green.benchmark"]) == ("2", "within")
        assert {"green/time_h/local", "green/actual/time_h", "green/actual/energy_kwh"} <= set(run.data.metrics)
        assert "green/time_h/H100-HGX-80GB-x2" in run.data.metrics  # an offer of as many GPUs as there are ranks
        if form in ("epochs", "plain"):
            assert len(client.get_metric_history(run.info.run_id, "green/train/epoch_s")) == EPOCH_COUNT

    def test_all_ranks_together_leave_one_run_a_training(self, launched: Launched) -> None:
        client, said = launched
        kept = {ranks[0].get("run_id") for name, ranks in said.items() if name != "raised"} - {None}
        assert len(client.search_runs(["0"])) == len(kept) + 1

    def test_a_second_part_adds_to_the_account_of_the_first(self, launched: Launched) -> None:
        client, said = launched
        first, second = said["first"], said["second"]
        assert first[0]["run_id"] == second[0]["run_id"]
        assert [part[0]["step_count"] for part in (first, second)] == [120, 80]
        run = client.get_run(first[0]["run_id"])
        laps = client.get_metric_history(run.info.run_id, "green/train/lap_s")
        assert [lap.step for lap in laps] == list(range(50))
        assert run.data.metrics["green/actual/time_h"] * 3600.0 > sum(lap.value for lap in laps) * 0.99

    def test_a_spent_limit_ends_all_ranks_at_the_same_step(self, launched: Launched) -> None:
        client, said = launched
        ranks = said["spent"]
        assert 60 < ranks[0]["step_count"] == ranks[1]["step_count"] < 200
        assert ranks[0]["weights"] == ranks[1]["weights"]
        assert "reached the limit of" in ranks[0]["must_stop"] == ranks[1]["must_stop"]
        tags = client.get_run(ranks[0]["run_id"]).data.tags
        assert (tags["greenlove.status"], tags["greenlove.reason"]) == ("stopped", ranks[0]["must_stop"])

    def test_a_limit_of_rank_0_ends_all_ranks_together(self, launched: Launched) -> None:
        client, said = launched
        ranks = said["limited on rank 0"]
        assert ranks[0]["step_count"] == ranks[1]["step_count"] < 40 * EPOCH_COUNT
        assert ranks[0]["weights"] == ranks[1]["weights"]
        assert ranks[0]["must_stop"] == ranks[1]["must_stop"] != ""
        assert ranks[0]["refusal"] == ranks[1]["refusal"] != ""
        assert client.get_run(ranks[0]["run_id"]).data.tags["greenlove.status"] == "stopped"

    def test_a_refusal_is_raised_at_the_same_step_of_a_loop_of_ones_own(self, launched: Launched) -> None:
        ranks = launched[1]["raised"]
        assert ranks[0]["step_count"] == ranks[1]["step_count"] < 40 * EPOCH_COUNT
        assert [ranks[rank]["error"].split(":")[0] for rank in (0, 1)] == ["TrainingRefused", "TrainingRefused"]

    def test_what_rank_0_is_asked_decides_for_all(self, launched: Launched) -> None:
        ranks = launched[1]["asked on rank 0"]
        assert [ranks[rank]["refusal"] for rank in (0, 1)] == ["confirm() said no"] * 2
        assert [ranks[rank]["weights"] for rank in (0, 1)] == [ranks[rank]["initial"] for rank in (0, 1)]

    def test_an_estimate_of_unequal_ranks_is_one_and_leaves_no_trace(self, launched: Launched) -> None:
        ranks = launched[1]["estimate"]
        assert [ranks[rank]["weights"] for rank in (0, 1)] == [ranks[rank]["initial"] for rank in (0, 1)]
        assert ranks[0]["estimate_s"] == pytest.approx(ranks[1]["estimate_s"], rel=1e-9)
        # 5 epochs of 40 steps; rank 1 needs at least 36 ms for a step, and rank 0 waits for it.
        assert ranks[0]["estimate_s"] > 5 * 40 * 0.036

    def test_ranks_that_have_done_unequal_parts_are_refused(self, launched: Launched) -> None:
        ranks = launched[1]["done on rank 1"]
        assert [ranks[rank]["step_count"] for rank in (0, 1)] == [0, 0]
        assert all("rank 1 for track(epochs=5, done=3)" in ranks[rank]["error"] for rank in (0, 1))

    def test_a_store_that_rank_0_cannot_use_is_refused_on_all_ranks(self, launched: Launched) -> None:
        ranks = launched[1]["without a store"]
        assert [ranks[rank]["error"].split(":")[0] for rank in (0, 1)] == ["TrackingError", "TrackingError"]
        assert [ranks[rank]["step_count"] for rank in (0, 1)] == [0, 0]

    def test_a_server_that_is_down_keeps_no_rank_from_training(self, launched: Launched) -> None:
        said = launched[1]
        ranks = said["without a server"]
        assert [ranks[rank]["weights"] for rank in (0, 1)] == [said["bare"][rank]["weights"] for rank in (0, 1)]
        assert [ranks[rank]["error"] for rank in (0, 1)] == ["", ""]
        assert ranks[0]["estimate_s"] == pytest.approx(ranks[1]["estimate_s"], rel=1e-9)


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


@pytest.mark.exhaustive
def test_a_rank_that_is_killed_leaves_a_failed_run(tmp_path: Path) -> None:
    assert not run_ranks(tmp_path, launcher="torchrun", killed=1, fails=True)
    run = the_run(tmp_path)
    assert run.info.status == "FAILED"
    assert run.data.tags["greenlove.reason"] == "rank 1 died without an error"


@pytest.mark.exhaustive
def test_a_slow_store_holds_up_no_rank(tmp_path: Path, launched: Launched) -> None:
    bare = launched[1]["bare"]
    ranks = run_ranks(tmp_path, store_s=2.0)
    assert [ranks[rank]["weights"] for rank in (0, 1)] == [bare[rank]["weights"] for rank in (0, 1)]
    assert the_run(tmp_path).info.status == "FINISHED"


@pytest.mark.exhaustive
def test_measured_before_the_training_ends_as_an_untracked_one(tmp_path: Path, launched: Launched) -> None:
    bare = launched[1]["bare"]
    ranks = run_ranks(tmp_path, options={"benchmark": "before", "budget_s": 2.0})
    assert [ranks[rank]["weights"] for rank in (0, 1)] == [bare[rank]["weights"] for rank in (0, 1)]
    assert the_run(tmp_path).data.params["green.benchmark"] == "before"
