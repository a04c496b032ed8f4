"""A study in a real store: trials as children, one benchmark for equal workloads, totals, pruned trials."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import greenlove_mlflow as greenlove
from greenlove_mlflow.benchmark.machine import probe as probe_module
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.workload import Limits
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.pipeline.live.policy import Policy
from greenlove_mlflow.pipeline.study import Study, TrialUnderWay
from greenlove_mlflow.tracking import TrackedRun, recover
from greenlove_mlflow.tracking.earlier_parts import read_trials
from greenlove_mlflow.tracking.spool.header import StudyRun
from tests.support.report import an_estimate, an_outcome
from tests.support.store import store_in
from tests.support.tracking import run_script

pytestmark = pytest.mark.slow

QUIET: dict[str, Any] = {"country": "DE", "log_model": False, "saved_view": False, "budget_s": 0.5}
EPOCH_COUNT = 3


class TrialPruned(Exception):
    """What Optuna raises, by its name."""


def parts(width: int = 8, lr: float = 0.1) -> tuple[Any, ...]:
    model = torch.nn.Sequential(torch.nn.Linear(8, width), torch.nn.ReLU(), torch.nn.Linear(width, 2))
    data = TensorDataset(torch.randn(512, 8), torch.randint(0, 2, (512,)))
    return model, torch.optim.SGD(model.parameters(), lr=lr), torch.nn.CrossEntropyLoss(), DataLoader(data, 64)


def train_epoch(model: Any, optimizer: Any, criterion: Any, loader: Any) -> None:
    for inputs, targets in loader:
        optimizer.zero_grad()
        criterion(model(inputs), targets).backward()
        optimizer.step()


def try_one(lr: float, *, width: int = 8, epochs: int = EPOCH_COUNT, prune_after: int | None = None) -> Any:
    """An objective as a library for hyperparameters calls it."""
    subject = parts(width, lr)
    model, optimizer, criterion, loader = subject
    with greenlove.track(model, optimizer, criterion, loader, epochs=epochs, run_name=f"lr={lr}", **QUIET) as run:
        for epoch in run.epochs():
            train_epoch(*subject)
            if epoch + 1 == prune_after:
                raise TrialPruned(f"lr={lr} is no good")
    return run


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A sweep that has ended: the study, its runs by name, and what it said on the way."""

    study: Any
    parent: Any
    trials: dict[str, Any]
    runs: dict[str, Any]
    first_estimate: Any
    client: mlflow.MlflowClient


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    folder = tmp_path_factory.mktemp("study")
    with store_in(folder) as uri, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        runs: dict[str, Any] = {}
        with greenlove.study("sweep", trials=6, summary=False) as study:
            runs["first"] = try_one(0.1)
            first_estimate = study.estimate
            runs["again"] = try_one(0.2)
            runs["longer"] = try_one(0.3, epochs=2 * EPOCH_COUNT)
            with pytest.raises(TrialPruned):
                try_one(0.4, prune_after=1)
            runs["wider"] = try_one(0.5, width=64)
            thread = threading.Thread(target=lambda: runs.update(thread=try_one(0.6)))
            thread.start()
            thread.join()
        client = mlflow.MlflowClient(uri)
        trials = {run.info.run_name: run for run in client.search_runs(["0"]) if run.info.run_id != study.run_id}
        yield Swept(
            study=study,
            parent=client.get_run(str(study.run_id)),
            trials=trials,
            runs=runs,
            first_estimate=first_estimate,
            client=client,
        )


@pytest.mark.slow
class TestSweep:
    def test_every_trial_is_a_child_of_the_study_also_one_in_a_thread(self, swept: Swept) -> None:
        assert len(swept.trials) == 6
        assert {run.data.tags["mlflow.parentRunId"] for run in swept.trials.values()} == {swept.study.run_id}
        assert swept.parent.info.status == "FINISHED"
        assert swept.parent.data.tags["greenlove.kind"] == "study"
        assert mlflow.active_run() is None

    def test_an_equal_workload_is_benchmarked_once_and_another_one_anew(self, swept: Swept) -> None:
        made = {name: run.data.params["green.benchmark"] for name, run in swept.trials.items()}
        assert [name for name, how in made.items() if how == "before"] == ["lr=0.5", "lr=0.1"]
        assert made["lr=0.2"] == made["lr=0.3"] == made["lr=0.6"] == "reused"
        first = swept.trials["lr=0.1"].info.run_id
        assert swept.trials["lr=0.2"].data.tags["greenlove.benchmark_run"] == first
        (said,) = [each for each in swept.runs["again"].estimate.caveats if each.code == "benchmark-reused"]
        assert first in said.message

    def test_a_reused_benchmark_makes_the_same_estimate_or_that_of_another_plan(self, swept: Swept) -> None:
        first, again, longer = (swept.runs[name].estimate for name in ("first", "again", "longer"))
        assert again.time_s == first.time_s
        assert longer.workload.epoch_count == 2 * EPOCH_COUNT
        # Nothing is paid once any more; but the first epoch may be slower than the others.
        assert 1.4 < longer.time_s.point / first.time_s.point < 2.05
        metrics = swept.trials["lr=0.3"].data.metrics
        assert metrics["green/time_h/local"] == pytest.approx(longer.time_s.point / 3600.0, rel=1e-3)
        assert metrics["green/time_h/H100-HGX-80GB"] > 0.0

    def test_a_trial_that_reuses_keeps_no_second_copy_of_pictures_and_tables(self, swept: Swept) -> None:
        kept = {
            name: {each.path for each in swept.client.list_artifacts(swept.trials[name].info.run_id, "greenlove")}
            for name in ("lr=0.1", "lr=0.2")
        }
        assert {"greenlove/plots", "greenlove/tables", "greenlove/report.html"} <= kept["lr=0.1"]
        assert kept["lr=0.2"] <= {"greenlove/estimates.json", "greenlove/epochs.parquet", "greenlove/power.parquet"}
        assert "greenlove report" in swept.trials["lr=0.2"].data.tags["mlflow.note.content"]

    def test_its_report_can_be_made_all_the_same(self, swept: Swept, tmp_path: Path) -> None:
        from click.testing import CliRunner

        from greenlove_mlflow.cli import main

        out = tmp_path / "report.html"
        done = CliRunner().invoke(main, ["report", swept.trials["lr=0.2"].info.run_id, "-o", str(out)])
        assert done.exit_code == 0, done.output
        assert "benchmark of an earlier trial" in out.read_text(encoding="utf-8")

    def test_the_first_trial_tells_what_all_will_take(self, swept: Swept) -> None:
        one = swept.runs["first"].estimate
        assert swept.first_estimate.time_s.point == pytest.approx(6.0 * one.time_s.point)
        assert swept.first_estimate.time_s.high == pytest.approx(6.0 * one.time_s.high)
        history = swept.client.get_metric_history(swept.study.run_id, "green/study/forecast_time_h")
        assert history[0].value == pytest.approx(6.0 * one.time_s.point / 3600.0)

    def test_the_totals_in_the_parent_are_the_sums_of_the_trials(self, swept: Swept) -> None:
        metrics = swept.parent.data.metrics
        assert metrics["green/study/trials"] == 6.0
        assert metrics["green/study/pruned"] == 1.0
        for name in ("time_h", "energy_kwh", "cost_usd", "co2_kg"):
            total = sum(run.data.metrics[f"green/actual/{name}"] for run in swept.trials.values())
            assert metrics[f"green/study/{name}"] == pytest.approx(total)
            assert metrics[f"green/study/forecast_{name}"] == pytest.approx(total)
        assert "6 of 6 trials begun, 1 of them pruned" in swept.parent.data.tags["mlflow.note.content"]

    def test_a_pruned_trial_is_no_failure(self, swept: Swept) -> None:
        pruned = swept.trials["lr=0.4"]
        assert pruned.info.status == "FINISHED"
        assert pruned.data.tags["greenlove.status"] == "pruned"
        assert pruned.data.tags["greenlove.reason"] == "lr=0.4 is no good"
        assert "Pruned: lr=0.4 is no good" in pruned.data.tags["mlflow.note.content"]
        assert pruned.data.metrics["green/actual/time_h"] > 0.0
        assert "green/actual/time_error_ratio" not in pruned.data.metrics

    def test_a_study_is_no_training_to_reports_and_history(self, swept: Swept) -> None:
        from greenlove_mlflow.stored.stored_runs import read_pages
        from greenlove_mlflow.tracking.reading import finished_runs

        found = list(read_pages(swept.client, ["0"]))
        assert {each.run_id for page in found for each in page.facts} == {
            run.info.run_id for run in swept.trials.values()
        }
        assert not [each for page in found for each in page.skipped]
        # Trials of one benchmark repeat its error; one of them is evidence.
        assert len(finished_runs(mlflow.get_tracking_uri())) == 2


@pytest.mark.slow
def test_a_study_goes_on_in_another_process_and_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with store_in(tmp_path) as uri:
        client = mlflow.MlflowClient(uri)
        entered = greenlove.study("sweep", trials=3, summary=False)
        study = entered.__enter__()
        try_one(0.1)
        entered.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        before = client.get_run(str(study.run_id))
        assert before.info.status == "KILLED"
        assert before.data.metrics["green/study/time_h"] > 0.0
        # A process that was started for a trial knows no more than MLflow's own variable.
        monkeypatch.setenv("MLFLOW_RUN_ID", str(study.run_id))
        foreign = try_one(0.2)
        monkeypatch.delenv("MLFLOW_RUN_ID")
        assert client.get_run(foreign.run_id).data.tags["mlflow.parentRunId"] == study.run_id
        assert client.get_run(str(study.run_id)).info.status == "KILLED"
        assert mlflow.active_run() is None
        with greenlove.study("sweep", trials=3, run_id=study.run_id, summary=False) as later:
            assert later.run_id == study.run_id
            assert later.trial_count == 2
            try_one(0.3)
        after = client.get_run(str(study.run_id))
        assert after.info.status == "FINISHED"
        trials = [run for run in client.search_runs(["0"]) if run.info.run_id != study.run_id]
        total_h = sum(run.data.metrics["green/actual/time_h"] for run in trials)
        assert after.data.metrics["green/study/time_h"] == pytest.approx(total_h)
        assert after.data.metrics["green/study/trials"] == 3.0


@pytest.mark.slow
def test_the_first_seconds_of_one_trial_are_the_benchmark_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    probed: list[str] = []
    probe = probe_module.probe_hardware
    monkeypatch.setattr(
        probe_module, "probe_hardware", lambda device, precision: (probed.append(device), probe(device, precision))[1]
    )
    with store_in(tmp_path) as uri, greenlove.study("within", trials=3, summary=False):
        known, runs = [], []
        for lr in (0.1, 0.2):
            subject = model, optimizer, criterion, loader = parts(lr=lr)
            options: Any = {**QUIET, "benchmark": "within", "epochs": 6}
            with greenlove.track(model, optimizer, criterion, loader, **options) as run:
                known.append(run.estimate is not None)
                runs.append(run)
                for _ in run.epochs():
                    train_epoch(*subject)
        # Of a watched training the workload is not known beforehand; the machine is the same.
        watched = {name: value for name, value in QUIET.items() if name != "budget_s"}
        with greenlove.watch(optimizer, model, steps=6 * len(loader), batch_size=64, **watched) as run:
            for _ in range(6):
                train_epoch(*subject)
        assert run.estimate is not None
        made = [mlflow.MlflowClient(uri).get_run(each.run_id).data.params["green.benchmark"] for each in runs]
    assert known == [False, True]
    assert made == ["within", "reused"]
    assert probed == ["cpu"]


@pytest.mark.slow
def test_kill_9_leaves_the_totals_of_the_trials_that_were_over(tmp_path: Path) -> None:
    script = """
import greenlove_mlflow as greenlove
from tests.support.report import a_comparison, an_outcome
with greenlove.study("killed", trials=3, summary=False) as study:
    with open_run(run_name="over", study=study.tracked) as run, study.trial(run) as trial:
        trial.end(a_comparison().home, an_outcome(time_s=7200.0), is_whole=True)
        run.metric("green/actual/time_h", 2.0, 0)
    run = open_run(run_name="under way", study=study.tracked)
    train(run, epochs=3)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert run_script(script, cwd=tmp_path, uri=uri, state=tmp_path / "state").returncode == -signal.SIGKILL
    assert all(each.is_sent for each in recover(tmp_path / "state" / "greenlove", store_uri=uri))
    client = mlflow.MlflowClient(uri)
    (study,) = client.search_runs(["0"], "tags.`greenlove.kind` = 'study'")
    assert study.info.status == "KILLED"
    assert study.data.metrics["green/study/time_h"] == pytest.approx(2.0)
    assert study.data.metrics["green/study/forecast_time_h"] > 2.0
    # Whoever goes on with the study counts the laps of the trial that was killed: 1, 2 and 3 s.
    found = read_trials(client, StudyRun(run_id=study.info.run_id, experiment_id="0"))
    assert sorted(each.spent.time_s.point for each in found.values() if each.spent) == pytest.approx([6.0, 7200.0])


@pytest.mark.slow
def test_a_trial_that_no_longer_fits_is_refused_and_runs_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with (
        store_in(tmp_path) as uri,
        greenlove.study("small", trials=3, limits=Limits(kwh=1e-12), summary=False) as study,
    ):
        run = try_one(0.1)
        assert not run.approved
        assert run.step_count == 0
        assert "the study would break the limit of" in study.must_stop
        stored = mlflow.MlflowClient(uri).get_run(run.run_id)
        assert stored.data.tags["mlflow.parentRunId"] == study.run_id
    stored = mlflow.MlflowClient(uri).get_run(run.run_id)
    assert stored.data.tags["greenlove.status"] == "refused"
    assert "the study would break the limit of" in stored.data.tags["greenlove.reason"]


def a_study(**options: Any) -> Study:
    """A study that records nowhere, as on a rank other than 0."""
    settings = {"name": "sweep", "trials": 5, "limits": None, "reuse": True, "says": False, "is_shared": False}
    return Study(TrackedRun(None, Path()), **{**settings, **options})


def took(time_s: float, *, completed: bool = True) -> Any:
    return an_outcome(time_s=time_s, completed=completed, energy_kwh=0.1, cost_usd=1.0, co2_g=10.0)


def estimated(time_s: float, usd: float) -> Any:
    return an_estimate(
        time_s=Interval.exactly(time_s),
        energy_kwh=Interval.exactly(0.1),
        cost_usd=Interval.exactly(usd),
        co2_g=Interval.exactly(10.0),
    )


def begin(study: Study) -> TrialUnderWay:
    """A trial that goes on for as long as it is held."""
    entered: Any = study.trial(TrackedRun(None, Path()))
    trial: TrialUnderWay = entered.__enter__()
    vars(trial)["entered"] = entered
    return trial


def test_limits_count_what_is_spent_and_what_runs() -> None:
    study = a_study(limits=Limits(usd=3.5))
    first = begin(study)
    assert first.policy(Policy()).refusal(estimated(100.0, 1.5)) == ""
    second = begin(study)
    # 1.5 run and 1.5 are asked for: 3 of 3.5.
    assert second.policy(Policy()).refusal(estimated(100.0, 1.5)) == ""
    third = begin(study)
    assert "the limit of $3.50 (spent $3.00, the next trial is estimated at $1.50)" in third.policy(Policy()).refusal(
        estimated(100.0, 1.5)
    )
    third.end(None, None, is_whole=False)
    for each in (first, second):
        each.end(estimated(100.0, 1.5), took(90.0), is_whole=True)
    # The two took 1 each in place of 1.5.
    fourth = begin(study)
    assert fourth.policy(Policy()).refusal(estimated(100.0, 1.5)) == ""
    assert study.spent.cost_usd == Interval.exactly(2.0)


def test_a_trial_is_stopped_by_what_the_others_left() -> None:
    study = a_study(limits=Limits(hours=1.0))
    first = begin(study)
    first.end(estimated(3000.0, 1.0), took(3000.0), is_whole=True)
    second = begin(study)
    policy = second.policy(Policy())
    assert policy.is_limited
    assert policy.spent(took(500.0, completed=False)) == ""
    assert "the limit of 1 h (spent 1 h)" in policy.spent(took(600.0, completed=False))
    assert "the limit of 1 h" in study.must_stop


def test_a_trials_own_limits_hold_too() -> None:
    trial = begin(a_study())
    policy = trial.policy(Policy(limits=Limits(usd=1.0)))
    assert "the limit of $1.00" in policy.refusal(estimated(100.0, 1.5))
    assert "the limit of $1.00" in policy.spent(took(10.0))


def test_pruned_is_said_of_the_trial_of_this_thread() -> None:
    study = a_study()
    with pytest.raises(InvalidInputError, match="no trial of this study is under way"):
        study.pruned()
    trial = begin(study)
    study.pruned("flat loss")
    assert not trial.account.has_ended
    assert study.pruned_count == 1
    thread = threading.Thread(target=lambda: caught.append(_pruned_by(study)))
    caught: list[Any] = []
    thread.start()
    thread.join()
    assert isinstance(caught[0], InvalidInputError)


def _pruned_by(study: Study) -> Exception | None:
    try:
        study.pruned()
    except InvalidInputError as error:
        return error
    return None


def test_a_trial_that_fails_leaves_the_totals_of_the_others() -> None:
    study = a_study(trials=2)
    begin(study).end(estimated(100.0, 1.0), took(100.0), is_whole=True)

    def fail() -> None:
        with study.trial(TrackedRun(None, Path())):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fail()
    assert study.trial_count == 2
    assert study.spent.time_s.point == 100.0
    assert study.forecast is not None
    assert study.forecast.time_s.point == 100.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trials": 0}, "trials must be a whole number"),
        ({"limits": {"usd": 1}}, "greenlove.Limits"),
        ({"reuse": "yes"}, "reuse must be True or False"),
        ({"name": ""}, "name must be text"),
    ],
)
def test_what_cannot_be_used_is_refused_before_a_run_is_opened(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with store_in(tmp_path) as uri:
        with pytest.raises(InvalidInputError, match=said):
            greenlove.study(**{"name": "sweep", **options}).__enter__()
        assert mlflow.MlflowClient(uri).search_runs(["0"]) == []


def test_two_studies_at_once_and_ranks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with store_in(tmp_path):
        with greenlove.study("one"), pytest.raises(InvalidInputError, match="open already"):
            greenlove.study("two").__enter__()
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(InvalidInputError, match="one of 2 ranks"):
            greenlove.study("three").__enter__()
